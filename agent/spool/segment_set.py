# SPDX-License-Identifier: Apache-2.0
"""All segments of a spool, the last one to append to, and at most one spare to be recycled.

It finds records, makes, recycles and deletes segments, and never decides what may go: `store.py` does, after
it has made that decision last. Numbers only grow, by the order of use, so that the oldest segment holds the
oldest records.

Failure: an `OSError` leaves the set as it was, except that `append` seals the segment it failed in.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import structlog

from agent.spool import segment as segments
from agent.spool.disk import PAGE, Disk
from agent.spool.segment import Head, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.spool.index import SequenceSet

log = structlog.get_logger()
SPARES_MAX = 1


class SegmentSet:
    """Segments in ascending order of number; the last one is appended to unless it is sealed."""

    def __init__(self, disk: Disk, directory: Path, segment_bytes: int) -> None:
        self._disk = disk
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._spares: list[Segment] = []
        self._next_number = 0
        self.segments: list[Segment] = []
        self.erased_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes in segment files, spares included."""
        return sum(segment.size for segment in (*self.segments, *self._spares))

    @property
    def has_spare(self) -> bool:
        """Whether an empty segment waits to be recycled."""
        return bool(self._spares)

    @property
    def has_reusable(self) -> bool:
        """Whether a segment has the size of those that are recycled, be it in use."""
        return any(segment.size == self._segment_bytes for segment in (*self.segments, *self._spares))

    def recover(self, accept: Callable[[Head], bool]) -> None:
        """Open what is in the directory and index the records that `accept` lets in."""
        for file_name in self._disk.names(self._directory):
            stem = file_name.removesuffix(segments.SUFFIX)
            path = self._directory / file_name
            if file_name.endswith(".new"):
                self._disk.remove(path)
            elif stem != file_name and stem.isdecimal():
                self._recover_segment(int(stem), path, accept)

    def heads(self) -> Iterator[Head]:
        """Heads of all records in all segments, whatever they are, before `recover`."""
        for file_name in self._disk.names(self._directory):
            stem = file_name.removesuffix(segments.SUFFIX)
            if stem != file_name and stem.isdecimal():
                file = self._disk.open(self._directory / file_name)
                yield from segments.scan(self._disk, file, int(stem))
                self._disk.close(file)

    def find(self, sequence: int) -> tuple[Segment, int] | None:
        """The segment that holds the record, and the record's place in it."""
        for segment in self._holding(sequence):
            place = segment.place(sequence)
            if place >= 0:
                return segment, place
        return None

    def following(self, sequence: int) -> int | None:
        """The smallest indexed sequence at or above this one."""
        for segment in self.segments:
            if segment.sequences and segment.sequences[-1] >= sequence:
                return segment.sequences[bisect_right(segment.sequences, sequence - 1)]
        return None

    def sequences(self) -> Iterator[int]:
        """All indexed sequences, ascending."""
        for segment in self.segments:
            yield from segment.sequences

    def newest(self) -> tuple[Segment, int] | None:
        """The last record of all."""
        for segment in reversed(self.segments):
            if segment.sequences:
                return segment, len(segment.sequences) - 1
        return None

    def writable(self, length: int) -> Segment | None:
        """The segment which takes a payload of this length, if there is one."""
        last = self.segments[-1] if self.segments else None
        return last if last is not None and last.fits(length) else None

    def create(self) -> Segment:
        """Make a new segment, filled with zeros, last in line."""
        path = self._directory / segments.name(self._next_number)
        fresh = path.with_suffix(".new")
        file = self._disk.open(fresh, create=True)
        try:
            self._disk.allocate(file, self._segment_bytes)
            self._disk.rename(fresh, path)
            self._disk.sync_directory(self._directory)
        except OSError:
            self._disk.close(file)
            for leftover in (fresh, path):
                self._remove_quietly(leftover)
            raise
        return self._put_last(Segment(self._disk, self._next_number, path, file, self._segment_bytes))

    def recycle(self) -> Segment:
        """Put the spare last in line, under a new number."""
        segment = self._spares[-1]
        path = self._directory / segments.name(self._next_number)
        self._disk.rename(segment.path, path)
        segment.path, segment.number = path, self._next_number
        self._disk.sync_directory(self._directory)
        self._spares.pop()
        segment.forget()
        return self._put_last(segment)

    def seal(self) -> None:
        """Nothing more is appended to the last segment."""
        if self.segments:
            self.segments[-1].sealed = True

    def erase(self, done: SequenceSet) -> None:
        """Overwrite what is done with, wherever something has become that since the last time."""
        for segment in (*self.segments, *self._spares):
            if segment.stale:
                try:
                    self.erased_bytes += segment.erase(done)
                except OSError as error:
                    about = {"path": str(segment.path), "reason": error.strerror}
                    log.warning("erase_failed", **about, hint="it is tried again: look at the disk")

    def reclaim(self) -> None:
        """Take sealed segments without live records out of line: one becomes the spare, the rest go."""
        for segment in [each for each in self.segments if each.sealed and not each.live]:
            self.segments.remove(segment)
            if segment.bad or segment.size != self._segment_bytes or len(self._spares) >= SPARES_MAX:
                self._delete(segment)
            else:
                self._spares.append(segment)

    def discard_spares(self) -> bool:
        """Delete the spares, to give the file system their room; whether there were any."""
        found = bool(self._spares)
        while self._spares:
            self._delete(self._spares.pop())
        return found

    def files(self) -> Iterator[tuple[int, Path]]:
        """All that are open, with their names."""
        for segment in (*self.segments, *self._spares):
            yield segment.file, segment.path

    def close(self) -> None:
        """Close all files."""
        for segment in (*self.segments, *self._spares):
            self._disk.close(segment.file)
        self.segments, self._spares = [], []

    def _recover_segment(self, number: int, path: Path, accept: Callable[[Head], bool]) -> None:
        file = self._disk.open(path)
        self._disk.forget_cached(file)
        size = self._disk.size(file) // PAGE * PAGE
        segment = Segment(self._disk, number, path, file, size)
        for head in segments.scan(self._disk, file, number):
            segment.end = head.offset + head.extent
            if accept(head):
                self._index(segment, head)
        self.seal()
        self._put_last(segment)

    def _index(self, segment: Segment, head: Head) -> None:
        """Index the record; of two with one sequence (a write that was repeated elsewhere) the intact one."""
        newest = self.newest()
        if segment.sequences:
            newest = segment, len(segment.sequences) - 1
        if newest is None or newest[0].sequences[-1] < head.sequence:
            segment.index(head)
            return
        older = newest[0]
        if older.sequences[-1] > head.sequence or older is segment or older.read(newest[1]) is not None:
            about = {"path": str(segment.path), "offset": head.offset, "sequence": head.sequence}
            log.warning("record_ignored", **about, hint="stale or doubled: look at the disk if it comes again")
            return
        for column in (older.sequences, older.offsets, older.lengths, older.begins, older.ends, older.frames):
            column.pop()
        older.live -= 1
        segment.index(head)

    def _holding(self, sequence: int) -> Iterator[Segment]:
        for segment in self.segments:
            if segment.sequences and segment.sequences[0] <= sequence <= segment.sequences[-1]:
                yield segment

    def _put_last(self, segment: Segment) -> Segment:
        self._next_number = segment.number + 1
        self.segments.append(segment)
        return segment

    def _delete(self, segment: Segment) -> None:
        self._disk.close(segment.file)
        self._disk.remove(segment.path)

    def _remove_quietly(self, path: Path) -> None:
        try:
            self._disk.remove(path)
        except OSError as error:
            log.debug("file_kept", path=str(path), reason=error.strerror)
