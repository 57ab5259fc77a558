# SPDX-License-Identifier: Apache-2.0
"""One flipped byte anywhere in the spool's directory costs at most one record, named in the log and as a gap."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.model import Gap, GapKind, SealedBatch
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(180)
HOME = Path("/spool")
LIMIT = 768 * 1024
PAYLOADS = [random.Random(number).randbytes(size) for number, size in enumerate((10, 5000, 3840, 3841, 9000, 1))]
LAST_PAYLOAD = range(9 * 4096 + 128, 9 * 4096 + 129)
"""Where the last record's payload lies: damaged between two whole heads it was written once, whatever came then."""
PARTS = [random.Random(number).randbytes(size) for number, size in enumerate((100, 5000, 4000, 10))]
GAP = Gap(GapKind.DROPPED, frames=3, detail="before")


def spooled(*, clean: bool) -> MemoryDisk:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    for number, payload in enumerate(PAYLOADS):
        spool.append(SealedBatch(payload, catalog="c" * 32, begin_ns=number, end_ns=number + 1, frames=number))
    spool.acknowledge(2)
    spool.add_gap(GAP)
    if clean:
        spool.close()
    disk.kill()
    return disk


def expectation(disk: MemoryDisk, *, clean: bool) -> Callable[[str, int], None]:
    before = {path: bytes(inode.cached) for path, inode in disk.inodes.items()}

    def flip(path: str, offset: int) -> None:
        disk.damage(path, offset, 1 << (offset % 8))
        with capture_logs() as logs:
            spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
            records = {record.sequence: record.payload for record in spool.oldest(limit=100)}
        assert all(payload == PAYLOADS[sequence] for sequence, payload in records.items())
        missing = {0, 1, 3, 4, 5} - set(records)
        assert len(missing) <= 1
        assert spool.next_sequence == len(PAYLOADS)
        gaps = list(spool.pending_gaps())
        assert GAP in gaps
        gaps.remove(GAP)
        assert [(gap.first_sequence, gap.last_sequence) for gap in gaps] == [(one, one) for one in missing]
        named = [line for line in logs if line["event"] in ("record_corrupt", "record_torn")]
        assert [line["sequence"] for line in named] == list(missing)
        for gap in gaps:
            torn = not clean and gap.first_sequence == 5 and offset not in LAST_PAYLOAD
            assert gap.kind == (GapKind.INTERRUPTED if torn else GapKind.CORRUPT)
            assert gap.frames == gap.first_sequence
        disk.kill()
        disk.inodes = {name: inode for name, inode in disk.inodes.items() if name in before}
        for name, content in before.items():
            disk.inodes[name].cached[:] = content
            disk.inodes[name].durable[:] = content
            disk.inodes[name].unsynced.clear()

    return flip


@pytest.mark.parametrize("clean", [True, False])
def test_a_flipped_byte_in_a_segment_costs_at_most_its_record(clean: bool) -> None:
    disk = spooled(clean=clean)
    path = next(path for path in disk.inodes if path.endswith(".segment"))
    flip = expectation(disk, clean=clean)
    for offset in [
        *range(128),
        *range(4096 - 130, 4096 + 130),
        *LAST_PAYLOAD,
        *range(128, len(disk.inodes[path].cached), 61),
    ]:
        flip(path, offset)


def test_a_flipped_byte_in_the_state_costs_nothing() -> None:
    disk = spooled(clean=True)
    flip = expectation(disk, clean=True)
    for copy in range(4):
        for offset in (*range(320), *range(320, 64 * 1024, 2003)):
            flip("/spool/state", copy * 64 * 1024 + offset)


def journaled() -> MemoryDisk:
    disk = MemoryDisk()
    journal = Journal.open(HOME / "journal", 64 * 1024, disk=disk)
    for sequence, payloads in ((6, [b"old"] * 9), (7, PARTS)):
        journal.recycle()
        for payload in payloads:
            assert journal.append(sequence, payload)
    disk.kill()
    return disk


def test_a_flipped_byte_in_the_journal_costs_at_most_its_payload() -> None:
    disk = journaled()
    path = "/spool/journal"
    before = bytes(disk.inodes[path].cached)
    for offset in [*range(0, 4096 * 2, 7), *range(4096, 4096 + 60), *range(8192, len(before), 41)]:
        disk.damage(path, offset, 1 << (offset % 8))
        with capture_logs() as logs:
            recovery = Journal.open(HOME / "journal", 64 * 1024, disk=disk).recover(7)
        missing = [part for part in PARTS if part not in recovery.payloads]
        assert len(missing) <= 1
        assert list(recovery.payloads) == [part for part in PARTS if part not in missing]
        assert recovery.clean is False or offset < 60
        if missing and missing != PARTS[-1:]:
            assert recovery.lost == 1
            assert recovery.lost_begin_ns <= recovery.lost_end_ns
        assert bool(missing) == any(line["event"] == "journal_damaged" for line in logs)
        disk.inodes[path].cached[:] = before
        disk.inodes[path].durable[:] = before


def test_a_truncated_segment_yields_a_clean_prefix() -> None:
    disk = spooled(clean=True)
    path = next(path for path in disk.inodes if path.endswith(".segment"))
    content = bytes(disk.inodes[path].cached)
    ends = (4096, 12288, 16384, 24576, 36864, 40960)
    for length in range(0, ends[-1] + 1, 1024):
        disk.inodes[path].cached = bytearray(content[:length])
        disk.inodes[path].durable = bytearray(content[:length])
        state = bytes(disk.inodes["/spool/state"].cached)
        spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
        whole = [number for number, end in enumerate(ends) if end <= length and number != 2]
        assert [record.sequence for record in spool.oldest(limit=100)] == whole
        told = {
            sequence
            for gap in spool.pending_gaps()
            if gap.first_sequence >= 0
            for sequence in range(gap.first_sequence, gap.last_sequence + 1)
        }
        assert told | set(whole) | {2} == set(range(6))
        assert spool.next_sequence == 6
        disk.kill()
        disk.inodes = {
            name: inode for name, inode in disk.inodes.items() if name in (path, "/spool/state", "/spool/lock")
        }
        disk.inodes["/spool/state"].cached[:] = state
        disk.inodes["/spool/state"].durable[:] = state


def test_a_truncated_journal_yields_a_clean_prefix() -> None:
    disk = journaled()
    content = bytes(disk.inodes["/spool/journal"].cached)
    ends = (8192, 16384, 24576, 28672)
    for length in range(0, len(content), 1000):
        disk.inodes["/spool/journal"].cached = bytearray(content[:length])
        disk.inodes["/spool/journal"].durable = bytearray(content[:length])
        recovery = Journal.open(HOME / "journal", 64 * 1024, disk=disk).recover(7)
        whole = sum(end <= length for end in ends)
        assert list(recovery.payloads) == PARTS[: len(recovery.payloads)]
        assert len(recovery.payloads) in (whole, whole + 1)  # padding may be cut off without harm


@pytest.mark.parametrize("lost", ["state", "segment"])
def test_a_lost_file_is_reported_and_the_rest_is_delivered(lost: str) -> None:
    disk = spooled(clean=True)
    old = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk).stream
    disk.kill()
    for path in [path for path in disk.inodes if path.endswith(lost)]:
        del disk.inodes[path]
    with capture_logs() as logs:
        spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    kept = [(record.stream, record.sequence) for record in spool.oldest(limit=9)]
    if lost == "state":
        assert spool.stream != old
        assert kept == [(old, number) for number in range(6)]
        assert spool.next_sequence == 6
        assert [gap.kind for gap in spool.pending_gaps()] == [GapKind.CORRUPT]
        assert logs[0]["event"] == "state_unreadable"
        spool.append(SealedBatch(b"new", catalog="", begin_ns=0, end_ns=0, frames=0))
        disk.kill()
        again = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
        assert [record.stream for record in again.oldest(limit=9)] == [old] * 6 + [spool.stream]
    else:
        assert spool.stream == old
        assert kept == []
        assert spool.next_sequence == 6
        assert {(gap.first_sequence, gap.last_sequence) for gap in spool.pending_gaps()} == {(-1, -1), (0, 1), (3, 5)}
        assert {line["event"] for line in logs} == {"record_corrupt"}
