# SPDX-License-Identifier: Apache-2.0
"""Spools that share one limit: the least urgent gives way, and never one that is more urgent than who asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from agent.model import GapKind, SealedBatch
from agent.spool import retention
from agent.spool.retention import SharedLimit
from agent.spool.segment_set import SegmentSet
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

LIMIT = 9 << 18
CLASSES = ("bulk", "normal", "critical")


class Unit:
    """Three spools on one disk."""

    def __init__(self, limit_bytes: int = LIMIT) -> None:
        self.disk = MemoryDisk(64 << 20)
        self.open(limit_bytes)

    def open(self, limit_bytes: int) -> None:
        self.room = SharedLimit(retention.layout(limit_bytes, 64 << 10, len(CLASSES)))
        self.bulk, self.normal, self.critical = (
            Spool.open(Path("/") / name, SpoolOptions(limit_bytes, priority=priority), shared=self.room, disk=self.disk)
            for priority, name in enumerate(CLASSES)
        )

    def close(self) -> None:
        for spool in self.spools():
            spool.close()

    def spools(self) -> Iterator[Spool]:
        yield from (self.bulk, self.normal, self.critical)

    def records(self) -> list[int]:
        return [spool.status().records for spool in self.spools()]

    def used_bytes(self) -> int:
        return sum(spool.status().disk_bytes for spool in self.spools())


def fill(spool: Spool, batches: int, *, end_ns: int = 0) -> list[bool]:
    return [
        spool.append(SealedBatch(bytes(20_000), catalog="", begin_ns=end_ns, end_ns=end_ns, frames=1)) is not None
        for _ in range(batches)
    ]


def test_what_is_evicted_or_too_large_is_logged_with_the_name_of_its_stream() -> None:
    unit = Unit()
    with capture_logs() as lines:
        fill(unit.bulk, 200)
        assert unit.bulk.append(SealedBatch(bytes(1 << 20), catalog="", begin_ns=0, end_ns=0, frames=1)) is None
    streams = {line["event"]: line["stream"] for line in lines if line["event"].startswith("batch")}
    assert streams == dict.fromkeys(("batches_evicted", "batch_too_large", "batch_dropped"), unit.bulk.stream)
    unit.close()


def test_bulk_gives_way_to_normal_and_both_to_critical() -> None:
    unit = Unit()
    fill(unit.bulk, 200)
    held = unit.records()[0]
    fill(unit.normal, 20)
    bulk, normal, _ = unit.records()
    assert 0 < bulk < held
    assert normal == 20
    fill(unit.critical, 200)
    assert unit.records()[:2] == [0, 0]
    assert unit.used_bytes() <= unit.room.layout.segments_bytes
    for spool, evicted in ((unit.bulk, 200), (unit.normal, 20)):
        gaps = [gap for gap in spool.pending_gaps() if gap.kind == GapKind.EVICTED]
        assert sum(gap.frames for gap in gaps) == evicted


def test_bulk_evicts_no_higher_priority_and_is_dropped_as_a_gap() -> None:
    unit = Unit()
    fill(unit.critical, 200)
    held = unit.records()[2]
    assert fill(unit.bulk, 3) == [False] * 3
    assert unit.records() == [0, 0, held]
    (gap,) = unit.bulk.pending_gaps()
    assert (gap.first_sequence, gap.last_sequence, gap.frames) == (0, 2, 3)
    assert fill(unit.critical, 1) == [True]


def test_a_smaller_limit_costs_bulk_first() -> None:
    unit = Unit(4 << 20)
    for spool in unit.spools():
        fill(spool, 24)
    unit.close()
    unit.open(LIMIT)
    bulk, normal, critical = unit.records()
    assert bulk < 24
    assert (normal, critical) == (24, 24)
    assert unit.used_bytes() <= unit.room.layout.segments_bytes


def test_what_is_past_its_time_to_live_is_given_up_and_told() -> None:
    unit = Unit()
    for end_ns in (5, 100, 200, 300):
        fill(unit.bulk, 1, end_ns=end_ns)
    unit.bulk.expire(before_ns=250, since_ns=10)
    assert [record.end_ns for record in unit.bulk.oldest(limit=10)] == [5, 300]
    (gap,) = unit.bulk.pending_gaps()
    assert (gap.kind, gap.first_sequence, gap.last_sequence, gap.frames) == (GapKind.EVICTED, 1, 2, 2)
    assert gap.detail == "past its time to live"


def test_a_clock_that_was_set_hides_nothing_that_is_past_its_time_to_live() -> None:
    unit = Unit()
    ends_ns = (50, 900, 60, 30, 800, 70)
    for end_ns in ends_ns:
        fill(unit.bulk, 1, end_ns=end_ns)
    unit.bulk.acknowledge(2)
    unit.bulk.expire(before_ns=100, since_ns=40)
    assert [record.end_ns for record in unit.bulk.oldest(limit=10)] == [900, 30, 800]
    assert [gap.first_sequence for gap in unit.bulk.pending_gaps()] == [0, 5]
    assert unit.bulk.status().evicted_records == 2


def test_what_may_stay_is_not_searched_for_one_record_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit(8 << 20)
    fill(unit.bulk, 200, end_ns=500)
    searched = 0
    find, following = SegmentSet.find, SegmentSet.following

    def counted(search: Callable[[SegmentSet, int], Any]) -> Callable[[SegmentSet, int], Any]:
        def searching(shelf: SegmentSet, sequence: int) -> Any:
            nonlocal searched
            searched += 1
            return search(shelf, sequence)

        return searching

    monkeypatch.setattr(SegmentSet, "find", counted(find))
    monkeypatch.setattr(SegmentSet, "following", counted(following))
    unit.bulk.expire(before_ns=100, since_ns=10)
    assert searched <= 2
    assert unit.records()[0] == 200
