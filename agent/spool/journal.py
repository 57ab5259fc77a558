# SPDX-License-Identifier: Apache-2.0
"""The journal: what the open batch is made of, kept until it is sealed, in one file rewritten in place.

Promise: a payload whose `append` returned is recovered after a power cut or kill -9, in order, until the
batch that it belongs to is spooled. What an earlier batch left in the file is never recovered, so nothing is
told twice:

- Payloads belong to an *epoch*; `recycle` begins the next one. Only the highest epoch found is recovered.
- A batch that is stored as several is first `replace`d by them: one record, an epoch of its own, beside the ones
  that it replaces. Whole, it counts, and each batch in it until that is spooled; torn, the epoch before it does.
- Each is labelled with the sequence of its batch. A process that dies between spooling batch s and `recycle`
  leaves an epoch whose labels are below the spool's `unsealed_sequence`: obsolete, because the spool itself
  holds that data.
- After a torn append of batch s the spool skips that number, and `unsealed_sequence` stays at s: the epoch is
  alive, and continues with the label s + 1. An epoch is alive if its highest label is at or above
  `unsealed_sequence`.

Use, at start: `recover(spool.unsealed_sequence)`, record an INTERRUPTED gap unless `clean`, store what was
recovered, then `start()`. Then `append` each interval, `recycle` after each `Spool.append`, `close(clean=True)`
after a clean stop.

Limits: the file's size, all allocated when it is made; a larger file is cut off when nothing in it is needed any more.
`append` returns False when the payload does not fit, and the caller seals its batch: a quarter of the file is for
`replace`, and as much as has been appended if that is more. One sync an append. Payloads of one whole file are read at
once in `recover`. The bytes are drawn in journal_records.py.

Failure: a truncated file yields a clean prefix. A damaged payload, or one with a page that the device cannot read,
costs itself and is counted in `lost`; a torn last one was never promised. A failed write or sync is repeated on the
next pages and read back from the device; failing again, it is a `SpoolError`. A damaged mark reads as an unclean end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from zlib import crc32

import msgspec
import structlog

from agent.spool.disk import PAGE, TRIED_ELSEWHERE, Disk, blank, naming, padded, read_around
from agent.spool.journal_records import (
    HEAD_BYTES,
    MARK_MAGIC,
    RECORD_MAGIC,
    SET_MAGIC,
    RecordHead,
    by_epoch,
    extent,
    foreign_version,
    found_records,
    packed,
    unpacked,
)
from agent.spool.state import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = structlog.get_logger()

JOURNAL_BYTES = 4 << 20
_DAMAGED = "the rest was recovered, the cloud is told: nothing after a power cut, else look at the disk"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What an earlier process left behind.

    payloads          of the batch that was open, in order
    lost              payloads that were once durable and are damaged
    lost_begin_ns, lost_end_ns   they were written between these times, wall clock, 0 where unknown
    clean             the earlier process stopped cleanly, or there was none
    last_written_ns   wall clock of the last intact sign of life in the file, 0 where there is none
    """

    payloads: tuple[bytes, ...] = ()
    lost: int = 0
    lost_begin_ns: int = 0
    lost_end_ns: int = 0
    clean: bool = True
    last_written_ns: int = 0


class Journal:
    """The open file. Made by `open`, ended by `close`; one thread, inside the spool's lock.

    is_replaced   it holds batches under numbers of their own: before other ones are spooled instead, they have to
                  `replace` these
    """

    def __init__(self, path: Path, size_bytes: int, disk: Disk, clock: Callable[[], int], *, erase: bool) -> None:
        self._path = path
        self._wanted = size_bytes
        self._disk = disk
        self._clock = clock
        self._file = disk.open(path, create=True)
        self._size = max(size_bytes, disk.size(self._file) // PAGE * PAGE)
        disk.forget_cached(self._file)
        content = read_around(disk, self._file, 0, disk.size(self._file))
        if (version := foreign_version(content[:HEAD_BYTES])) is not None:
            disk.close(self._file)
            raise refusal(path, version)
        self._mark = unpacked(content[:HEAD_BYTES], MARK_MAGIC)
        self._found = list(found_records(content))
        self._newest = self._epoch = max((head.epoch for head, _ in self._found), default=0) + 1
        self._index = 0
        self._begin = PAGE
        self._end = PAGE
        self._appended_bytes = 0
        self._started = False
        self.is_replaced = False
        self._erases = erase
        self._stale_end = len(content)

    @classmethod
    def open(
        cls,
        path: Path,
        size_bytes: int = JOURNAL_BYTES,
        *,
        disk: Disk | None = None,
        clock: Callable[[], int] = time.time_ns,
        erase: bool = False,
    ) -> Self:
        """Open or make the journal; its directory exists. `clock` is the wall clock, ns; with `erase` each `recycle`
        overwrites what was kept, at the price of one more write of it.

        Raises SpoolVersionError where another version has written it; nothing is changed then.
        """
        with naming("open the journal", path):
            return cls(path, max(padded(size_bytes), 2 * PAGE), disk or Disk(), clock, erase=erase)

    def recover(self, unsealed_sequence: int) -> Recovery:
        """What belongs to no sealed batch; writes nothing. Call once, after `open`.

        `append` continues what is recovered, unless it `is_replaced`: that is to be spooled first.
        """
        found, self._found = self._found, []
        times = [head.written_ns for head, payload in found if payload is not None]
        if self._mark is not None:
            times.append(self._mark.written_ns)
        clean = self._mark.epoch == 1 if self._mark is not None else not found
        last_ns = max(times, default=0)
        for epoch, records in by_epoch(found):
            head, payload = records[min(records)]
            is_set = head.magic == SET_MAGIC
            if max(head.sequence for head, _ in records.values()) + (head.number if is_set else 1) <= unsealed_sequence:
                break
            if is_set and payload is None and head.sequence >= unsealed_sequence:
                continue  # cut off: what it was to replace still counts
            self._epoch, self._index = epoch, max(records) + 1
            self._begin, self._end = head.offset, max(head.end for head, _ in records.values())
            self._appended_bytes = sum(head.length for head, _ in records.values())
            self.is_replaced = is_set
            if is_set:
                return self._recovered_set(head, payload, unsealed_sequence, clean=clean, last_ns=last_ns)
            return self._recovered(records, clean=clean, last_ns=last_ns)
        return Recovery(clean=clean, last_written_ns=last_ns)

    def start(self, since_ns: int | None = None) -> None:
        """Mark the file as in use, since then or now: an end without `close(clean=True)` is an interruption."""
        with naming("start the journal", self._path):
            if self._size > self._wanted and self._end == PAGE:
                self._disk.truncate(self._file, self._wanted)
                self._size = self._wanted
            if self._disk.size(self._file) < self._size:
                self._disk.allocate(self._file, self._size)
                self._disk.sync_directory(self._path.parent)
            self._write_mark(clean=False, at_ns=since_ns)
        self._started = True

    def append(self, sequence: int, payload: bytes) -> bool:
        """Keep a part of the batch to be sealed as `sequence`; durable on return. False: full, seal now."""
        if not self._started:
            self.start()
        self.keep_in_place()
        kept_free = extent(self._appended_bytes + len(payload))
        limit = min(PAGE + (self._size - PAGE) * 3 // 4, self._size - kept_free)
        place = self._put(RECORD_MAGIC, self._epoch, sequence, self._index, payload, self._end, limit)
        if place is None:
            return False
        self._end = place + extent(len(payload))
        self._appended_bytes += len(payload)
        self._index += 1
        return True

    def replace(self, sequence: int, batches: Sequence[bytes]) -> bool:
        """What was kept has become these batches, numbered from `sequence` on; all of them, or what was kept, are
        recovered. Durable on return. False: no room, nothing was done."""
        if not self._started:
            self.start()
        payload = msgspec.msgpack.encode(batches)
        for begin, limit in ((self._end, self._size), (PAGE, self._begin)):
            place = self._put(SET_MAGIC, self._newest + 1, sequence, len(batches), payload, begin, limit)
            if place is not None:
                self._newest = self._epoch = self._newest + 1
                self._begin, self._end = place, place + extent(len(payload))
                self.is_replaced = True
                return True
        return False

    def recycle(self) -> None:
        """The batch is spooled, or dropped and reported: begin again at the front. Writes nothing, unless it erases."""
        self.forget()
        if self._erases:
            self.erase()

    @property
    def holds_open_batch(self) -> bool:
        """Whether anything was appended, or recovered, that is not recycled."""
        return self._end > self._begin

    def forget(self) -> None:
        """What `recycle` does, in memory alone."""
        self._newest = self._epoch = self._newest + 1
        self._index = self._appended_bytes = 0
        self._begin = self._end = PAGE
        self.is_replaced = False

    def erase(self) -> int:
        """Overwrite all that is not of the open batch; bytes that were written."""
        kept = [(0, PAGE), (self._begin, self._end)]
        try:
            written = blank(self._disk, self._file, self._stale_end, kept)
        except OSError as error:
            log.warning(
                "erase_failed",
                path=str(self._path),
                reason=error.strerror,
                hint="it is tried again with the next batch",
            )
            return 0
        self._stale_end = self._end
        return written

    def keep_in_place(self) -> None:
        """Put the file back where somebody has deleted, moved or replaced it; done at each `append`."""
        if not self._disk.is_in_place(self._file, self._path):
            with naming("put the journal back", self._path):
                self._disk.make_directory(self._path.parent)
                self._disk.put_back(self._file, self._path)
                self._disk.sync_directory(self._path.parent)
            hint = "it was written anew, and nothing of it is lost: find out who deletes or moves it"
            log.error("journal_deleted", path=str(self._path), hint=hint)

    def close(self, *, clean: bool = False) -> None:
        """Close; `clean` says that no batch is open any more: the next start reports no interruption."""
        try:
            if clean:
                if not self._started:
                    self.start()
                with naming("close the journal", self._path):
                    self._write_mark(clean=True)
        finally:
            self._disk.close(self._file)

    def _put(
        self, magic: bytes, epoch: int, sequence: int, number: int, payload: bytes, offset: int, limit: int
    ) -> int | None:
        """Write a record at or, where that fails, behind the offset: where it is. None: no room below the limit."""
        length = extent(len(payload))
        with naming("append to the journal", self._path):
            for verify in (False, True):
                if offset + length > limit:
                    return None
                head = packed(magic, epoch, sequence, self._clock(), offset, number, len(payload), crc32(payload))
                data = b"".join((head, payload, bytes(length - 2 * HEAD_BYTES - len(payload)), head))
                try:
                    self._write(offset, data, verify=verify)
                except OSError as error:
                    if verify:
                        raise
                    about = {"path": str(self._path), "offset": offset}
                    log.warning("journal_write_failed", **about, reason=error.strerror, hint=TRIED_ELSEWHERE)
                    offset += length
                else:
                    break
        self._stale_end = max(self._stale_end, offset + length)
        return offset

    def _recovered_set(
        self, head: RecordHead, payload: bytes | None, unsealed_sequence: int, *, clean: bool, last_ns: int
    ) -> Recovery:
        """Those of its batches that are not spooled yet."""
        spooled = max(unsealed_sequence - head.sequence, 0)
        if payload is None:
            lost = head.number - spooled
            log.warning("journal_damaged", path=str(self._path), lost=lost, torn=False, recovered=0, hint=_DAMAGED)
            return Recovery((), lost, 0, head.written_ns, clean, last_ns)
        batches = msgspec.msgpack.decode(payload, type=tuple[bytes, ...])
        return Recovery(batches[spooled:], clean=clean, last_written_ns=last_ns)

    def _recovered(self, alive: dict[int, tuple[RecordHead, bytes | None]], *, clean: bool, last_ns: int) -> Recovery:
        """Payloads in order, and what is missing between them. A torn last one was never promised."""
        intact = {index: payload for index, (_, payload) in alive.items() if payload is not None}
        torn = not clean and self._index - 1 not in intact
        self._index -= torn  # its number is free again: it must not look lost at the next start
        lost = [index for index in range(self._index) if index not in intact]
        if lost or torn:
            counters = {"lost": len(lost), "torn": torn, "recovered": len(intact)}
            log.warning("journal_damaged", path=str(self._path), **counters, hint=_DAMAGED)
        before = [alive[index][0].written_ns for index in intact if lost and index < lost[0]]
        after = [alive[index][0].written_ns for index in alive if lost and index >= lost[-1]]
        return Recovery(
            tuple(payload for _, payload in sorted(intact.items())),
            len(lost),
            max(before, default=0),
            min(after, default=0),
            clean,
            last_ns,
        )

    def _write_mark(self, *, clean: bool, at_ns: int | None = None) -> None:
        written_ns = self._clock() if at_ns is None else at_ns
        mark = packed(MARK_MAGIC, int(clean), 0, written_ns, 0, 0, 0, 0).ljust(PAGE, b"\0")
        try:
            self._write(0, mark)
        except OSError:
            self._write(0, mark, verify=True)

    def _write(self, offset: int, data: bytes, *, verify: bool = False) -> None:
        self._disk.write(self._file, offset, data)
        self._disk.sync(self._file)
        if verify:
            self._disk.forget_cached(self._file)
            if self._disk.read(self._file, offset, len(data)) != data:
                raise OSError(5, "what was written reads back differently")
