# SPDX-License-Identifier: Apache-2.0
"""Placement: where a new record goes, what has to go for it, and what is done when the disk refuses.

Promise: a record that is reported as stored was synced without an error, and, if any error came before, read
back from the device. Whatever is evicted for it was accounted for before it was deleted. Room for one segment is
taken at the start, and kept.

Failure: a full disk (ENOSPC, EDQUOT) evicts the oldest until there is room or nothing is left. Any other
error of a write or sync leaves the segment for good, because the kernel may mark pages clean that never
reached the device, and writes the record once more elsewhere; the second error is raised."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING
from zlib import crc32

import structlog

from agent.model import GapKind
from agent.spool import retention
from agent.spool.disk import TRIED_ELSEWHERE, naming
from agent.spool.retention import Step
from agent.spool.segment import Head, Segment, extent

if TYPE_CHECKING:
    from pathlib import Path

    from agent.model import SpooledBatch
    from agent.spool.disk import Disk
    from agent.spool.index import SpoolIndex
    from agent.spool.retention import SharedLimit

log = structlog.get_logger()
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Placement:
    """Writes records to segments within the layout's limits."""

    def __init__(self, disk: Disk, directory: Path, index: SpoolIndex, shared: SharedLimit) -> None:
        self._disk = disk
        self._directory = directory
        self._segments = index.segments
        self._index = index
        self._shared = shared

    def store(self, record: SpooledBatch) -> bool:
        """Write the record somewhere, durable on return; False where there is no room for it."""
        length = len(record.payload)
        if extent(length) > self._shared.layout.segment_bytes:
            hint = "raise the spool's limit, or seal smaller batches"
            segment_bytes = self._shared.layout.segment_bytes
            stream = self._index.stream_of(record.sequence).name
            log.error("batch_too_large", stream=stream, size_bytes=length, segment_bytes=segment_bytes, hint=hint)
            return False
        failures = 0
        for _ in range(retention.SEGMENTS_MAX + 2):
            segment = self._writable(length)
            if segment is None:
                return False
            try:
                segment.append(_head(record, segment), record.payload, verify=failures > 0)
            except OSError as error:
                segment.sealed = segment.bad = True
                if error.errno in _FULL:
                    self._make_way()
                    continue
                failures += 1
                if failures > 1:
                    with naming("write a record", segment.path):
                        raise
                about = {"path": str(segment.path), "offset": segment.end}
                log.warning("write_failed", **about, reason=error.strerror, hint=TRIED_ELSEWHERE)
            else:
                return True
        return False

    def evict(self, segment: Segment) -> None:
        """Give up the segment's records: the gaps and the decision in one write, then the data goes."""
        segment.sealed = True
        lost = [place for place, sequence in enumerate(segment.sequences) if sequence not in self._index.done]
        first, last = (segment.sequences[lost[0]], segment.sequences[lost[-1]]) if lost else (-1, -1)
        for place in lost:
            self._index.report_gap(GapKind.EVICTED, segment, place, "the spool was full")
        self._index.counters.evicted_records += len(lost)
        self._index.save()
        if lost:
            hint = "the link was away for longer than the spool has room for: raise its limit, or keep less"
            stream, number_of = self._index.stream_of(last).name, self._index.number_of
            ends = {"first": number_of(first), "last": number_of(last)}
            log.warning("batches_evicted", stream=stream, batches=len(lost), **ends, hint=hint)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Number and bytes of each segment that is not a spare."""
        return [(segment.number, segment.size) for segment in self._segments.segments]

    @property
    def has_spare(self) -> bool:
        """Whether an empty segment waits to be used again."""
        return self._segments.has_spare

    @property
    def used_bytes(self) -> int:
        """Bytes in segment files, spares included."""
        return self._segments.used_bytes

    def evict_oldest(self) -> None:
        """Give up the records of the oldest segment, which becomes a spare or goes."""
        self.evict(self._segments.segments[0])

    def discard_spares(self) -> bool:
        """Delete empty segments; whether there were any."""
        return self._segments.discard_spares()

    def reserve(self) -> None:
        """Have a segment before anything needs it: it is recycled from then on, whatever else fills the disk."""
        if not self._segments.has_reusable and self._next_step(full=False) is Step.CREATE:
            try:
                self._segments.create()
            except OSError as error:
                if error.errno not in _FULL:
                    raise

    def _writable(self, length: int) -> Segment | None:
        """A segment with room for the payload: the last one, the spare, a new one, or the evicted oldest."""
        segment = self._segments.writable(length)
        if segment is not None:
            return segment
        self._segments.seal()
        if self._index.changed:
            self._index.save()
        else:
            self._segments.reclaim()
        full = False
        while True:
            step = self._next_step(full=full)
            if step is Step.RECYCLE:
                return self._segments.recycle()
            if step is Step.GIVE_UP:
                return None
            if step is Step.EVICT:
                self._shared.evict_one(self)
                continue
            try:
                return self._segments.create()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                full = True

    def _next_step(self, *, full: bool) -> Step:
        return retention.next_step(
            self._shared.layout,
            spare=self._segments.has_spare,
            used_bytes=self._shared.used_bytes,
            evictable=self._shared.can_evict(self),
            free_bytes=0 if full else self._disk.free_bytes(self._directory),
            min_free_bytes=self._shared.min_free_bytes,
        )

    def _make_way(self) -> None:
        """Give room back to a file system that refuses even a write in place."""
        if not self._segments.discard_spares() and self._shared.can_evict(self):
            self._shared.evict_one(self)
            self._segments.discard_spares()


def _head(record: SpooledBatch, segment: Segment) -> Head:
    return Head(
        segment=segment.number,
        sequence=record.sequence,
        begin_ns=record.begin_ns,
        end_ns=record.end_ns,
        frames=record.frames,
        offset=segment.end,
        length=len(record.payload),
        checksum=crc32(record.payload),
        catalog=record.catalog,
        stream=record.stream,
    )
