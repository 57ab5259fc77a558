# SPDX-License-Identifier: Apache-2.0
"""The line for ``systemctl status``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.priorities import Priority
from agent.daemon.watchdog import status_line
from agent.model import FrameBlock, SourceCounters
from agent.pipeline.packer import PackerCounters
from agent.spool.index import StoreStatus
from agent.uplink.status import LinkState

STORED = StoreStatus(12, 348_160, *[0] * 11)


class Wires:
    exhausted = False
    drain_within_s = 1.0

    def drain(self) -> FrameBlock:
        return FrameBlock.empty()

    def wake(self, _heard: object, /) -> bool:
        return False

    def counters(self) -> SourceCounters:
        return SourceCounters(dropped=7)

    def states(self) -> dict[str, str]:
        return {"powertrain": "up", "body": "missing"}


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (LinkState(True, "host:8883"), "link up to host:8883"),
        (LinkState(True, "host:8883", last_error="not authorized"), "link up to host:8883, pausing: not authorized"),
        (LinkState(False, "host:8883", last_error="no route"), "no link: no route"),
        (LinkState(False, "host:8883"), "no link: host:8883 is being tried"),
    ],
)
def test_it_says_how_buses_frames_spool_and_link_are(link: LinkState, said: str) -> None:
    counters = PackerCounters(frames=1234, decode_errors=2)
    line = status_line([Wires()], counters, {Priority.NORMAL: STORED}, link)
    assert line == (
        f"powertrain up, body missing; 1234 frames, 7 dropped, 2 decoded in part; spool 12 batches 340KiB; {said}"
    )


def test_a_modem_comes_last() -> None:
    line = status_line(
        [Wires()], PackerCounters(), {Priority.NORMAL: STORED}, LinkState(True, "host:8883"), "modem searching"
    )
    assert line.endswith("; link up to host:8883; modem searching")


def test_several_classes_are_told_one_by_one() -> None:
    stored = {Priority.CRITICAL: replace(STORED, records=0, payload_bytes=0), Priority.BULK: STORED}
    line = status_line([Wires()], PackerCounters(), stored, LinkState(True, "host:8883"))
    assert "; spool 12 batches 340KiB (critical 0, bulk 12 340KiB); " in line
