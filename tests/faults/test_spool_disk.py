# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, that fail, that lie; and processes that are killed."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.errors import SpoolError
from agent.model import GapKind, SealedBatch, SpooledBatch
from agent.spool.disk import PAGE
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = Path("/spool")
LIMIT = 2 << 20


def put(spool: Spool, size: int = 20_000) -> SpooledBatch | None:
    payload = random.Random(spool.next_sequence).randbytes(size)
    return spool.append(SealedBatch(payload, catalog="", begin_ns=1, end_ns=2, frames=5))


def failing(operation: str, suffix: str, times: int, number: int = errno.EIO) -> Callable[[str, str], OSError | None]:
    left = [times]

    def fail(name: str, path: str) -> OSError | None:
        if name == operation and path.endswith(suffix) and left[0]:
            left[0] -= 1
            return OSError(number, os.strerror(number))
        return None

    return fail


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MiB."""
    target = tmp_path / "tiny"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(target)], check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def hog(folder: Path) -> Path:
    """A file that takes all that is left."""
    path = folder / "hog"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


def test_a_full_file_system_evicts_the_oldest_and_goes_on(tiny: Path) -> None:
    spool = Spool.open(tiny / "normal", SpoolOptions(64 << 20, segment_bytes=512 * 1024))
    for _ in range(300):
        assert put(spool) is not None
    stats = spool.status()
    assert stats.records + stats.evicted_records == 300
    assert stats.records >= 75
    (gap,) = spool.pending_gaps()
    assert (gap.kind, gap.first_sequence, gap.last_sequence) == (GapKind.EVICTED, 0, stats.evicted_records - 1)
    assert gap.frames == 5 * stats.evicted_records
    assert [record.sequence for record in spool.oldest(limit=500)] == list(range(stats.evicted_records, 300))
    spool.close()


def test_a_file_system_that_others_fill_leaves_the_spool_its_segment(tiny: Path) -> None:
    Spool.open(tiny / "normal", SpoolOptions(64 << 20, segment_bytes=1 << 20)).close()
    spool = Spool.open(tiny / "normal", SpoolOptions(64 << 20, segment_bytes=512 * 1024))
    hog(tiny)
    for _ in range(100):
        assert put(spool) is not None
        (record,) = spool.oldest(limit=1)
        spool.acknowledge(record.sequence)
    assert spool.status().evicted_records == 0
    for _ in range(100):
        assert put(spool) is not None
    assert spool.status().records + spool.status().evicted_records == 100
    assert spool.status().records > 0
    spool.close()


def test_full_file_system_drops_new_batches_with_a_gap_until_there_is_room(tiny: Path) -> None:
    with hog(tiny).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 400 * 1024)
    spool = Spool.open(tiny / "normal", SpoolOptions(64 << 20, segment_bytes=512 * 1024))
    assert put(spool) is None
    assert put(spool) is None
    assert spool.status().dropped_records == 2
    (tiny / "hog").unlink()
    record = put(spool)
    assert record is not None
    assert record.sequence == 2
    assert [(gap.kind, gap.first_sequence, gap.last_sequence) for gap in spool.pending_gaps()] == [
        (GapKind.EVICTED, 0, 1)
    ]
    spool.close()


def test_the_reserve_of_the_file_system_is_left_free(tiny: Path) -> None:
    spool = Spool.open(tiny / "normal", SpoolOptions(64 << 20, segment_bytes=256 * 1024, min_free_bytes=1 << 20))
    for _ in range(200):
        assert put(spool) is not None
    usage = os.statvfs(tiny)
    assert usage.f_bavail * usage.f_frsize >= 1 << 20
    spool.close()


def test_all_files_stay_within_the_limit(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "normal", SpoolOptions(1 << 20, segment_bytes=128 * 1024))
    for number in range(70):
        assert put(spool, 30_000) is not None
        if number % 20 == 0:
            spool.set_aside(number, "refused")
        if number % 7:
            continue
        files = [path.stat() for path in (tmp_path / "normal").rglob("*") if path.is_file()]
        assert sum(stat.st_blocks * 512 for stat in files) <= 1 << 20
    spool.close()


def test_a_full_disk_in_place_evicts_and_goes_on() -> None:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    for _ in range(40):
        put(spool)
    disk.fail = failing("write", ".segment", 1, errno.ENOSPC)
    assert put(spool) is not None
    assert spool.status().evicted_records > 0


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_write_is_repeated_elsewhere_and_believed_only_when_it_reads_back(operation: str) -> None:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    put(spool)
    disk.fail = failing(operation, ".segment", 1)
    record = put(spool)
    assert record is not None
    disk.crash(random.Random(1))
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    assert [each.sequence for each in spool.oldest(limit=9)] == [0, 1]
    assert spool.read(1) == record
    assert spool.pending_gaps() == ()
    assert len([path for path in disk.inodes if path.endswith(".segment")]) == 2


class LyingDisk(MemoryDisk):
    """After a sync has failed, the next one of a segment loses the data too, and says nothing."""

    lies = 0

    def sync(self, file: int) -> None:
        inode = self.handles[file]
        if self.lies and self._path(inode).endswith(".segment"):
            self.lies -= 1
            inode.unsynced.clear()
            if self.lies == 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(file)


def test_a_repeated_write_that_does_not_read_back_is_an_error() -> None:
    disk = LyingDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    put(spool)
    disk.lies = 2
    with pytest.raises(SpoolError, match="reads back differently"):
        put(spool)


def test_a_disk_that_fails_twice_is_an_error_that_names_the_file_and_ends_the_spool() -> None:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    put(spool)
    disk.fail = failing("sync", "", 99)
    with pytest.raises(SpoolError, match=r"/spool.*(write|append).*Input/output error"):
        put(spool)
    disk.fail = lambda operation, path: None
    with pytest.raises(SpoolError, match=r"Input/output error.*nothing is done"):
        put(spool)
    spool.close()
    again = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    assert [record.sequence for record in again.oldest(limit=9)] == [0]
    assert again.next_sequence >= 1


def test_a_failed_save_of_the_state_never_touches_the_good_slot() -> None:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    put(spool)
    put(spool)
    spool.acknowledge(0)
    spool.flush()
    disk.fail = failing("sync", "state", 2)
    spool.acknowledge(1)
    with pytest.raises(SpoolError):
        spool.flush()
    stream = spool.stream
    disk.crash(random.Random(0))
    again = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    assert again.stream == stream
    assert again.read(0) is None
    assert again.pending_gaps() == ()


def test_an_unreadable_sector_costs_its_record() -> None:
    disk = MemoryDisk()
    spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=disk)
    put(spool)
    put(spool)
    disk.fail = failing("read", ".segment", 2)
    assert [record.sequence for record in spool.oldest(limit=9)] == [1]
    assert [gap.kind for gap in spool.pending_gaps()] == [GapKind.CORRUPT]


class WornDisk(MemoryDisk):
    """Some pages of the journal cannot be read, alone or with others."""

    worn: tuple[int, ...] = ()

    def read(self, file: int, offset: int, length: int) -> bytes:
        journal = self._path(self.handles[file]).endswith("journal")
        if journal and any(offset < (page + 1) * PAGE and page * PAGE < offset + length for page in self.worn):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(file, offset, length)


@pytest.mark.parametrize(("page", "payloads", "lost"), [(0, "abc", 0), (2, "ac", 1), (3, "ab", 0), (9, "abc", 0)])
def test_an_unreadable_sector_of_the_journal_costs_its_payload(page: int, payloads: str, lost: int) -> None:
    disk = WornDisk()
    journal = Journal.open(HOME / "journal", 64 * 1024, disk=disk)
    for payload in (b"a", b"b", b"c"):
        journal.append(0, payload)
    disk.worn = (page,)
    recovery = Journal.open(HOME / "journal", 64 * 1024, disk=disk).recover(0)
    assert recovery.payloads == tuple(payload.encode() for payload in payloads)
    assert (recovery.lost, recovery.clean) == (lost, False)


def test_a_failed_sync_of_the_journal_is_repeated_and_then_an_error() -> None:
    disk = MemoryDisk()
    journal = Journal.open(HOME / "journal", 64 * 1024, disk=disk)
    journal.append(0, b"one")
    disk.fail = failing("sync", "journal", 1)
    assert journal.append(0, b"two")
    disk.fail = failing("sync", "journal", 2)
    with pytest.raises(SpoolError, match="journal"):
        journal.append(0, b"three")
    disk.crash(random.Random(3))
    assert Journal.open(HOME / "journal", disk=disk).recover(0).payloads == (b"one", b"two")


CHILD = """
import random, sys
from pathlib import Path
from agent.model import SealedBatch
from agent.spool.disk import PAGE
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
spool = Spool.open(Path(sys.argv[1]), SpoolOptions(8 << 20, segment_bytes=256 << 10))
journal = Journal.open(Path(sys.argv[1]) / "journal", 256 << 10)
recovery = journal.recover(spool.unsealed_sequence)
print("recovered", len(recovery.payloads), spool.next_sequence, flush=True)
while True:
    sequence = spool.next_sequence
    for part in range(3):
        journal.append(sequence, b"%d %d" % (sequence, part) + bytes(3000))
        print("journaled", sequence, part, flush=True)
    payload = random.Random(sequence).randbytes(sequence * 7919 % 40000)
    spool.append(SealedBatch(payload, catalog="", begin_ns=1, end_ns=2, frames=1))
    print("sealed", sequence, 0, flush=True)
    journal.recycle()
    if sequence % 3 == 0 and sequence > 8:
        print("acknowledging", sequence - 8, 0, flush=True)
        spool.acknowledge(sequence - 8)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kill_9_at_random_moments_keeps_every_append_that_returned(tmp_path: Path) -> None:
    chance = random.Random(7)
    sealed: set[int] = set()
    acknowledged: set[int] = set()
    for _ in range(5):
        words = live_until_killed(tmp_path / "normal", chance.randint(1, 60))
        sealed |= {number for word, number, _ in words if word == "sealed"}
        acknowledged |= {number for word, number, _ in words if word == "acknowledging"}
        spool = Spool.open(tmp_path / "normal", SpoolOptions(8 << 20, segment_bytes=256 << 10))
        records = {record.sequence: record.payload for record in spool.oldest(limit=10_000)}
        gaps = spool.pending_gaps()
        assert {gap.kind for gap in gaps} <= {GapKind.INTERRUPTED, GapKind.EVICTED}
        named = {each for gap in gaps for each in range(gap.first_sequence, gap.last_sequence + 1)}
        torn = {gap.first_sequence for gap in gaps if gap.kind == GapKind.INTERRUPTED}
        assert sealed - set(records) - acknowledged <= named - torn
        assert not sealed & torn
        assert all(data == random.Random(each).randbytes(each * 7919 % 40000) for each, data in records.items())
        journal = Journal.open(tmp_path / "normal" / "journal", 256 << 10)
        recovery = journal.recover(spool.unsealed_sequence)
        last_sealed = max((at for at, word in enumerate(words) if word[0] == "sealed"), default=-1)
        promised = sum(word == "journaled" for word, _, _ in words[last_sealed + 1 :])
        newest_sealed = max(sealed, default=-1)
        if spool.unsealed_sequence == newest_sealed + 1 and not torn:
            assert promised <= len(recovery.payloads) <= 3 + 3
        assert recovery.lost == 0
        journal.close()
        spool.close()


def live_until_killed(directory: Path, lines: int) -> list[tuple[str, int, int]]:
    """Run a child until it has said so many things, then kill it at once; what it said, whole lines only."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    words = [line.split() for line in said if line.endswith("\n")]
    return [(word, int(number), int(part)) for word, number, part in words]


def test_a_second_process_is_told_who_has_the_spool(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "normal", SpoolOptions(LIMIT))
    with pytest.raises(SpoolError, match=r"normal: another process has this spool open.*stop"):
        Spool.open(tmp_path / "normal", SpoolOptions(LIMIT))
    spool.close()
    Spool.open(tmp_path / "normal", SpoolOptions(LIMIT)).close()
