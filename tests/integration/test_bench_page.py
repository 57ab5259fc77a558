# SPDX-License-Identifier: Apache-2.0
"""The page's way to live signals without a virtual bus; with one it is in tests/headunit/agent/test_bench_page.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bench_page import PAGE, WITH_VCAN, WITHOUT_VCAN, begun, first_line_with, lay_out

if TYPE_CHECKING:
    from pathlib import Path


def test_it_takes_fewer_than_five_commands() -> None:
    assert len(WITH_VCAN) == 4
    assert len(WITHOUT_VCAN) == 2


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_recording_becomes_live_signals_without_a_virtual_bus(tmp_path: Path) -> None:
    assert all(f"`{each}`" in PAGE for each in ('interface = "replay"', 'channel = "drive.log"'))
    lay_out(tmp_path, interface="replay", channel="drive.log")
    run, tail = WITHOUT_VCAN
    with begun(tmp_path, run) as agent:
        assert "rpm" in first_line_with(tmp_path, tail, "can0.ENGINE_SPEED.ENGINE_RPM")
        assert agent.poll() is None
