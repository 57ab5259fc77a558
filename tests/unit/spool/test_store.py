# SPDX-License-Identifier: Apache-2.0
"""The spool's promises on a healthy disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SpoolError
from agent.model import Gap, GapKind, SealedBatch, SpooledBatch
from agent.spool.segment import NAME_BYTES_MAX
from agent.spool.state import RANGES_MAX
from agent.spool.store import ACKS_MAX, Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk

HOME = Path("/spool/normal")
LIMIT = 2 << 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(disk: MemoryDisk, limit: int = LIMIT, clock: Clock | None = None) -> Spool:
    return Spool.open(HOME, SpoolOptions(limit), disk=disk, clock=clock or Clock())


def put(spool: Spool, size: int = 100, gaps: tuple[Gap, ...] = ()) -> SpooledBatch:
    number = spool.next_sequence
    record = spool.append(
        SealedBatch(
            number.to_bytes(4, "big") * (size // 4),
            catalog="c" * 32,
            begin_ns=number,
            end_ns=number + 1,
            frames=7,
            gaps=gaps,
        )
    )
    assert record is not None
    return record


def held(spool: Spool) -> list[int]:
    return [record.sequence for record in spool.oldest(limit=10_000)]


def test_what_is_appended_is_read_back_also_after_a_restart() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    records = [put(spool, size) for size in (0, 4, 4000, 40_000)]
    for _ in range(2):
        assert spool.oldest(limit=9) == records
        assert spool.oldest(after=1, limit=1) == records[2:3]
        assert spool.read(3) == records[3]
        assert spool.read(4) is None
        spool = reopened(spool, disk)


def reopened(spool: Spool, disk: MemoryDisk) -> Spool:
    spool.close()
    return opened(disk)


def test_an_append_costs_one_sync_and_whole_pages_only() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    put(spool, 20_000)
    for size, pages in ((2000, 1), (3840, 1), (3844, 2), (20_000, 5)):
        before = spool.status()
        put(spool, size)
        after = spool.status()
        assert after.syncs - before.syncs == 1
        assert after.bytes_written - before.bytes_written == pages * 4096


def test_acknowledgements_in_any_order_are_remembered() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(8):
        put(spool)
    for sequence in (5, 0, 3, 3, 99, 7):
        spool.acknowledge(sequence)
    assert held(spool) == [1, 2, 4, 6]
    spool = reopened(spool, disk)
    assert held(spool) == [1, 2, 4, 6]
    assert spool.status().records == 4


def test_sequence_numbers_are_not_reused_after_everything_was_acknowledged() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(3):
        spool.acknowledge(put(spool, 100_000).sequence)
        spool = reopened(spool, disk)
    assert spool.next_sequence == 3
    assert held(spool) == []


def test_acknowledgements_last_after_a_while_after_many_and_on_flush() -> None:
    disk, clock = MemoryDisk(), Clock()
    spool = opened(disk, clock=clock)
    for _ in range(ACKS_MAX + 3):
        put(spool)
    spool.acknowledge(0)
    disk.kill()
    spool = opened(disk, clock=clock)
    assert spool.read(0) is not None  # sent again, which is harmless
    spool.acknowledge(0)
    clock.now += 61
    spool.acknowledge(0)
    disk.kill()
    spool = opened(disk, clock=clock)
    assert spool.read(0) is None
    for sequence in range(1, ACKS_MAX + 1):
        spool.acknowledge(sequence)
    disk.kill()
    spool = opened(disk, clock=clock)
    assert held(spool) == [ACKS_MAX + 1, ACKS_MAX + 2]
    spool.acknowledge(ACKS_MAX + 1)
    spool.flush()
    disk.kill()
    assert held(opened(disk)) == [ACKS_MAX + 2]


def test_a_live_spool_recycles_two_segments_for_ever() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(300):
        spool.acknowledge(put(spool, 30_000).sequence - 1)
    assert len([path for path in disk.inodes if path.endswith(".segment")]) == 2
    assert disk.trace.count("remove") == 0
    assert spool.status().bytes_written < 300 * 32_768 * 1.15


def test_a_backlog_that_was_sent_gives_its_disk_space_back() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(50):
        put(spool, 30_000)
    for sequence in range(50):
        spool.acknowledge(sequence)
    spool.flush()
    assert spool.status().disk_bytes <= 2 * 221_184


def test_a_segment_is_deleted_only_after_its_acknowledgements_last() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(50):
        put(spool, 30_000)
    start = len(disk.trace)
    for sequence in range(50):
        spool.acknowledge(sequence)
    spool.flush()
    trace = disk.trace[start:]
    assert "remove" in trace
    assert trace[: trace.index("remove")] == ["write", "write", "sync"]


def test_stale_records_of_a_recycled_segment_stay_dead_even_if_the_state_is_lost() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    while not any(path.endswith("3.segment") for path in disk.inodes):
        put(spool, 30_000)
        spool.acknowledge(spool.next_sequence - 2)
    written = list(spool._segments.sequences())
    spool.flush()
    del disk.inodes["/spool/normal/state"]
    disk.kill()
    assert held(opened(disk)) == written


def test_over_the_limit_the_oldest_are_evicted_with_one_gap() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(100):
        put(spool, 40_000)
    stats = spool.status()
    first = held(spool)[0]
    assert stats.evicted_records == first == 100 - stats.records > 0
    assert spool.pending_gaps() == (
        Gap(GapKind.EVICTED, 1, first, 7 * first, spool.stream, 0, first - 1, "the spool was full"),
    )
    assert held(spool) == list(range(first, 100))
    assert disk.used() <= LIMIT


def test_a_smaller_limit_evicts_at_the_next_start() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(30):
        put(spool, 40_000)
    spool.close()
    spool = opened(disk, 1 << 20)
    assert 0 < spool.status().records < 30
    assert spool.pending_gaps()[0].last_sequence == held(spool)[0] - 1
    assert disk.used() <= 1 << 20


def test_a_gap_is_told_until_a_batch_that_carries_it_is_acknowledged() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    gap = Gap(GapKind.DROPPED, 1, 2, 3, detail="busy")
    spool.add_gap(gap)
    spool = reopened(spool, disk)
    assert spool.pending_gaps() == (gap,)
    put(spool, gaps=spool.pending_gaps())
    assert spool.pending_gaps() == ()
    spool = reopened(spool, disk)
    assert spool.pending_gaps() == ()
    spool.set_aside(0, "too large")
    refused = Gap(GapKind.REFUSED, 0, 1, 7, spool.stream, 0, 0, "too large")
    assert spool.pending_gaps() == (gap, refused)
    put(spool, gaps=spool.pending_gaps())
    spool.acknowledge(1)
    spool = reopened(spool, disk)
    assert spool.status().gaps == 0


def test_an_evicted_batch_gives_its_gaps_back() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    gap = Gap(GapKind.DROPPED, frames=3)
    spool.add_gap(gap)
    put(spool, gaps=(gap,))
    while spool.read(0) is not None:
        put(spool, 40_000)
    assert gap in spool.pending_gaps()


def test_set_aside_records_are_kept_for_a_person_within_a_limit() -> None:
    disk = MemoryDisk()
    spool = opened(disk)
    for _ in range(30):
        put(spool, 10_000)
    taken = [spool.set_aside(sequence, "no") for sequence in range(30)]
    assert taken == sorted(taken, reverse=True)
    kept = sorted(path for path in disk.inodes if "/refused/" in path)
    assert 0 < len(kept) == sum(taken) < 30
    assert kept[0].startswith("/spool/normal/refused/000000000000-"), "none gives way to another"
    assert spool.status().refused_records == len(kept)
    assert held(spool) == list(range(len(kept), 30)), "what has no room there stays"


def test_records_too_large_are_passed_over_and_counted() -> None:
    spool = opened(MemoryDisk())
    for size in (12, 20_000, 12, 20_004):
        put(spool, size)
    assert [record.sequence for record in spool.oldest(limit=9, bytes_max=20_000)] == [0, 1, 2]
    assert [record.sequence for record in spool.oldest(after=0, limit=1, bytes_max=19_999)] == [2]
    assert (spool.larger_than(19_999), spool.larger_than(20_004)) == (2, 0)


def test_a_batch_larger_than_a_segment_is_dropped_with_a_gap() -> None:
    spool = opened(MemoryDisk())
    assert spool.append(SealedBatch(bytes(300_000), catalog="", begin_ns=5, end_ns=6, frames=7)) is None
    assert [(gap.begin_ns, gap.frames, gap.first_sequence) for gap in spool.pending_gaps()] == [(5, 7, 0)]
    assert put(spool).sequence == 1


def test_a_catalog_name_that_does_not_fit_is_refused_before_anything_is_written() -> None:
    spool = opened(MemoryDisk())
    with pytest.raises(ValueError, match="catalog"):
        spool.append(SealedBatch(b"", catalog="c" * (NAME_BYTES_MAX + 1), begin_ns=0, end_ns=0, frames=0))
    assert put(spool).sequence == 0


def test_a_closed_spool_says_so() -> None:
    spool = opened(MemoryDisk())
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        put(spool)


def test_the_stream_is_named_after_the_directory_and_never_twice() -> None:
    streams = {opened(MemoryDisk()).stream for _ in range(20)}
    assert len(streams) == 20
    assert all(stream.startswith("normal-") and len(stream) <= NAME_BYTES_MAX for stream in streams)


def test_acknowledgements_beyond_what_state_holds_are_resent_never_missing() -> None:
    disk = MemoryDisk()
    spool = opened(disk, 64 << 20)
    for _ in range(2 * RANGES_MAX + 100):
        put(spool, 4)
    for sequence in range(1, 2 * RANGES_MAX + 100, 2):
        spool.acknowledge(sequence)
    spool.close()
    spool = opened(disk, 64 << 20)
    assert spool.pending_gaps() == ()
    assert set(held(spool)) >= set(range(0, 2 * RANGES_MAX + 100, 2))


def of_vehicle(disk: MemoryDisk, vehicle: str) -> Spool:
    disk.kill()
    return Spool.open(HOME, SpoolOptions(LIMIT, vehicle=vehicle), disk=disk)


def test_records_keep_the_vehicle_they_were_sealed_for_in_its_own_stream() -> None:
    disk = MemoryDisk()
    old = of_vehicle(disk, "car-1")
    records = [put(old), put(old)]
    new = of_vehicle(disk, "car-2")
    records.append(put(new))
    for vehicle in ("car-2", "car-1"):
        spool = of_vehicle(disk, vehicle)
        assert spool.oldest(limit=9) == records
    assert [record.vehicle for record in records] == ["car-1", "car-1", "car-2"]
    assert [record.stream for record in records] == [old.stream, old.stream, new.stream]
    assert len({old.stream, new.stream, spool.stream}) == 3
    assert [record.sequence for record in spool.oldest(limit=9, held={"car-1"})] == [2]
    assert spool.oldest(after=1, limit=9, held={"car-2"}) == []
    spool.acknowledge(0)
    assert [spool.waiting_of(vehicle) for vehicle in ("car-1", "car-2", "car-3")] == [1, 1, 0]


def test_another_vehicle_before_anything_was_sealed_is_no_other_stream() -> None:
    disk = MemoryDisk()
    stream = of_vehicle(disk, "car-1").stream
    spool = of_vehicle(disk, "car-2")
    assert spool.stream == stream
    assert put(spool).vehicle == "car-2"


def test_a_spool_that_did_not_know_its_vehicle_yet_takes_the_first_that_it_is_told() -> None:
    disk = MemoryDisk()
    stream = put(opened(disk)).stream
    spool = of_vehicle(disk, "car-1")
    assert spool.stream == stream
    assert [record.vehicle for record in spool.oldest()] == ["car-1"]
