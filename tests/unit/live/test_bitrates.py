# SPDX-License-Identifier: Apache-2.0
"""Bitrates that the kernel tells, beside an agent's figures."""

from __future__ import annotations

from agent.live.client import read_bitrates, with_bitrates
from tests.support.snapshots import snapshot


def test_the_kernel_of_this_machine_answers_or_tells_nothing() -> None:
    assert all(name and bitrate > 0 for name, bitrate in read_bitrates().items())


def test_only_socketcan_buses_of_unknown_bitrate_get_one() -> None:
    rates = {"can0": 250_000}
    assert with_bitrates(snapshot(bus_bitrate=None), rates).buses[0].bitrate == 250_000
    assert with_bitrates(snapshot(bus_bitrate=None), {}).buses[0].bitrate is None
    assert with_bitrates(snapshot(), rates).buses[0].bitrate == 500_000
    assert with_bitrates(snapshot(bus_bitrate=None, bus_interface="slcan"), rates).buses[0].bitrate is None
