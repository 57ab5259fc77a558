# SPDX-License-Identifier: Apache-2.0
"""What the status topic tells of a vehicle."""

from __future__ import annotations

import json

import msgspec

from agent.live.heartbeat import FINDINGS_MAX, heartbeat, pause_s
from agent.uplink.status import status_payload
from tests.support.snapshots import BUS, NOW_NS, snapshot

S = 10**9


def test_a_vehicle_that_is_well_is_told_in_few_bytes() -> None:
    told = heartbeat(snapshot(normal_batches=0, normal_size_bytes=0))
    assert told == {
        "time": NOW_NS // S,
        "clock_trusted": True,
        "up_s": 7200,
        "frames": 60_000,
        "unknown": 1000,
        "acknowledged": 7,
    }
    assert len(status_payload(online=True, stream="normal-3f2a9c01", counters=told)) < 200


def test_who_is_behind_dropping_evicting_and_failing_can_be_seen() -> None:
    told = heartbeat(
        snapshot(
            bus_dropped=17, bus_partial=9, bus_state="down", normal_evicted=3, normal_dropped=2, normal_refused=1,
            normal_corrupt=4, clock_trusted=False,
        )
    )  # fmt: skip
    assert (told["backlog"], told["backlog_bytes"], told["backlog_from"]) == (2, 20_000, NOW_NS // S - 90)
    assert (told["dropped"], told["partial"], told["clock_trusted"]) == (17, 9, False)
    assert (told["evicted"], told["refused"], told["corrupt"]) == (5, 1, 4)
    findings = told["findings"]
    assert isinstance(findings, list)
    assert findings[0] == "bus_down"
    assert len(findings) <= FINDINGS_MAX


def test_a_renamed_finding_is_followed_by_its_former_code() -> None:
    assert heartbeat(snapshot(normal_refused=1))["findings"] == ["batch_refused", "batches_refused"]


def test_buses_that_share_a_queue_share_what_was_lost_there() -> None:
    replace = msgspec.structs.replace
    shared = [replace(BUS, name=name, dropped=5) for name in ("a", "b")]
    own = [replace(BUS, name=name, interface="slcan", dropped=5) for name in ("c", "d")]
    assert heartbeat(snapshot(buses=(*shared, *own)))["dropped"] == 15


def test_a_status_says_its_format_and_a_will_nothing_more() -> None:
    assert json.loads(status_payload(online=False, stream="s")).keys() == {"v", "online", "version", "stream"}


def test_vehicles_that_start_together_drift_apart() -> None:
    assert [pause_s(900, roll, first=True) for roll in (0.0, 0.5)] == [30, 60]
    assert [pause_s(900, roll, first=False) for roll in (0.0, 0.5)] == [810, 900]
    assert pause_s(10, 0.0, first=True) == 5
