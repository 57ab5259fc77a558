# SPDX-License-Identifier: Apache-2.0
"""The spool's index: which sequence numbers were given out, which are done with, and what is missing.

Promise: `save` makes all of it last in one write, and only then gives back the segments which nothing needs
any more. So data is never deleted before the decision and its gap are on disk, and a gap never without its
decision.

Failure: an `OSError` of `save` leaves the file at this state or the one before.

Live data is sent before backlog, so acknowledgements come out of order: a single cursor would either send much again
after a restart or forget what was never sent. `SequenceSet` keeps a low watermark and ranges above it; memory: one
pair of integers a range.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING

from agent.model import Gap, GapKind
from agent.spool.gap_ledger import GapLedger
from agent.spool.state import RANGES_MAX, State, StateFile, Stream, stream_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from agent.model import SpooledBatch
    from agent.spool.disk import Disk
    from agent.spool.segment import Segment
    from agent.spool.segment_set import SegmentSet


STREAMS_MAX = 96
"""That still have records; each boot that seals a batch while the link is away adds one."""
SEQUENCES_END = 2**63


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What the spool holds, and what it has done since it was opened.

    records, payload_bytes      not yet acknowledged
    oldest_begin_ns             when the oldest of them begins, 0 where there is none
    disk_bytes, limit_bytes     in segment files, and what all files together may take
    gaps                        recorded and not yet acknowledged
    …_records                   events since the spool was opened
    put_back_files              that somebody had deleted or moved, and that were written anew
    acknowledged_end_ns         when the latest of the acknowledged ones ends, 0 where none was since then
    acknowledged_s              when the last of them was, by the spool's clock
    bytes_written, syncs        asked of the file system, by everything in this directory
    """

    records: int
    payload_bytes: int
    oldest_begin_ns: int
    disk_bytes: int
    limit_bytes: int
    gaps: int
    appended_records: int
    evicted_records: int
    dropped_records: int
    corrupt_records: int
    refused_records: int
    bytes_written: int
    syncs: int
    acknowledged_records: int = 0
    put_back_files: int = 0
    acknowledged_end_ns: int = 0
    acknowledged_s: float = 0.0


class SequenceSet:
    """All numbers below `low`, and inclusive ranges above it, ascending, never touching each other."""

    def __init__(self, low: int = 0, ranges: tuple[tuple[int, int], ...] = ()) -> None:
        self.low = low
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __contains__(self, sequence: int) -> bool:
        if sequence < self.low:
            return True
        place = bisect_right(self._first, sequence) - 1
        return place >= 0 and sequence <= self._last[place]

    def add(self, first: int, last: int | None = None) -> None:
        """Add one number, or the inclusive range."""
        last = first if last is None else last
        if last < self.low or last < first:
            return
        left = bisect_right(self._first, first) - 1
        if left < 0 or self._last[left] + 1 < first:
            left += 1
        right = bisect_right(self._first, last + 1)
        if left < right:
            first, last = min(first, self._first[left]), max(last, self._last[right - 1])
        if first <= self.low:
            self.low = last + 1
            del self._first[:right], self._last[:right]
        else:
            self._first[left:right] = [first]
            self._last[left:right] = [last]

    def next_missing(self, sequence: int) -> int:
        """The smallest number at or above `sequence` which is not in the set."""
        if sequence < self.low:
            sequence = self.low
        place = bisect_right(self._first, sequence) - 1
        return self._last[place] + 1 if place >= 0 and sequence <= self._last[place] else sequence

    def missing(self, end: int) -> Iterator[tuple[int, int]]:
        """Inclusive ranges below `end` that are not in the set, ascending."""
        first = self.low
        for begin, last in self.ranges():
            if begin >= end:
                break
            yield first, begin - 1
            first = last + 1
        if first < end:
            yield first, end - 1

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The inclusive ranges above `low`, ascending."""
        return tuple(zip(self._first, self._last, strict=True))


@dataclass(slots=True)
class SpoolCounters:
    """Events since the spool was opened."""

    appended_records: int = 0
    evicted_records: int = 0
    dropped_records: int = 0
    corrupt_records: int = 0
    refused_records: int = 0
    acknowledged_records: int = 0
    put_back_files: int = 0

    def items(self) -> dict[str, int]:
        """By name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(slots=True)
class SpoolIndex:
    """What is known of every sequence number; of the `streams` the last one is in use.

    changed     something differs from what is on disk
    unsaved     acknowledgements among it
    erases      what is done with is overwritten, once that is on disk
    """

    file: StateFile
    segments: SegmentSet
    ledger: GapLedger = field(default_factory=GapLedger)
    done: SequenceSet = field(default_factory=SequenceSet)
    streams: tuple[Stream, ...] = ()
    next_sequence: int = 0
    unsealed_sequence: int = 0
    changed: bool = False
    unsaved: int = 0
    payload_bytes: int = 0
    counters: SpoolCounters = field(default_factory=SpoolCounters)
    erases: bool = False

    @classmethod
    def open(cls, disk: Disk, path: Path, segments: SegmentSet, *, erases: bool = False) -> SpoolIndex:
        """Open the state file and load what it holds; `streams` is empty where it holds nothing."""
        index = cls(StateFile(disk, path), segments, erases=erases)
        state = index.file.state
        if state is not None:
            index.streams = state.streams
            index.next_sequence, index.unsealed_sequence = state.next_sequence, state.unsealed_sequence
            index.done, index.ledger = SequenceSet(state.low, state.ranges), GapLedger(state.gaps)
        return index

    def save(self) -> None:
        """Make the index last, then erase what is done with, and give back segments without live records."""
        done, ranges = self.done, self.done.ranges()
        all_last = len(ranges) <= RANGES_MAX  # else what is done with may be sent again after a crash
        if not all_last:
            ranges = self._needed(ranges)
        self.file.save(
            State(
                self.streams_in_use(),
                self.next_sequence,
                self.unsealed_sequence,
                done.low,
                ranges,
                self.ledger.entries,
            )
        )
        self.changed, self.unsaved = False, 0
        if self.erases and all_last:
            self.segments.erase(done)
        self.segments.reclaim()

    def stream_of(self, sequence: int) -> Stream:
        """The stream which the number was given out in."""
        return stream_at(self.streams, sequence)

    def number_of(self, sequence: int) -> int:
        """What it is called in its stream, and by the receiver."""
        return sequence - self.stream_of(sequence).base

    def end_of(self, stream: Stream) -> int:
        """The number behind the last one that was, or can be, given out in the stream."""
        return next((other.first for other in self.streams if other.first > stream.first), SEQUENCES_END)

    def give_out(self, sequence: int) -> None:
        """The number is used, and its batch sealed."""
        self.next_sequence = self.unsealed_sequence = sequence + 1
        self.changed = True

    def finish(self, segment: Segment, place: int) -> None:
        """Nothing needs this record any more."""
        self.done.add(segment.sequences[place])
        segment.live -= 1
        segment.stale = True
        self.payload_bytes -= segment.lengths[place]
        self.changed = True

    def report_gap(self, kind: GapKind, segment: Segment, place: int, detail: str) -> None:
        """The record will never arrive: a gap, and those that it carried are pending again."""
        sequence = segment.sequences[place]
        times = segment.begins[place], segment.ends[place]
        stream, number = self.stream_of(sequence).name, self.number_of(sequence)
        self.ledger.add(Gap(kind, *times, segment.frames[place], stream, number, number, detail))
        self.ledger.returned(sequence)
        self.finish(segment, place)

    def forget_cut(self, gap: Gap) -> None:
        """The record that the gap names is in other batches; it stands in the ledger from now on."""
        for stream in self.streams:
            sequence = stream.base + gap.first_sequence
            if stream.name == gap.stream and (found := self.find(sequence)) is not None:
                self.ledger.add(gap)
                self.ledger.returned(sequence)
                self.finish(*found)

    def find(self, sequence: int) -> tuple[Segment, int] | None:
        """The segment that holds the record, and its place there; None where it is done with or unknown."""
        return None if sequence in self.done else self.segments.find(sequence)

    def waiting(self) -> Iterator[tuple[Segment, int]]:
        """All records that are not done with, by segment and place, ascending; none may be finished meanwhile."""
        for segment in self.segments.segments:
            for place, sequence in enumerate(segment.sequences):
                if sequence not in self.done:
                    yield segment, place

    def size_of(self, sequence: int) -> int:
        """Bytes of the record's payload; 0 where it is done with or unknown."""
        found = self.find(sequence)
        return 0 if found is None else found[0].lengths[found[1]]

    def larger(self, size_bytes: int) -> list[int]:
        """The records with a larger payload, ascending."""
        return [segment.sequences[place] for segment, place in self.waiting() if segment.lengths[place] > size_bytes]

    def live(self, sequence: int, held: Collection[str] = ()) -> Iterator[int]:
        """Sequences at or above this one that are not done with; what is done meanwhile is left out, and what is of a
        vehicle that is held back passed over."""
        while True:
            found = self.segments.following(self.done.next_missing(sequence))
            if found is None:
                return
            stream = self.stream_of(found)
            if stream.vehicle in held:
                sequence = self.end_of(stream)
                continue
            if found not in self.done:
                yield found
            sequence = found + 1

    def waiting_of(self, vehicle: str) -> int:
        """How many records of a vehicle are not done with."""
        return sum(self.stream_of(segment.sequences[place]).vehicle == vehicle for segment, place in self.waiting())

    def expire(self, before_ns: int, since_ns: int, detail: str) -> int:
        """Lose the records that end before one time and after another; how many."""
        expired = [
            (segment, place)
            for segment in self.segments.segments
            for place, end_ns in enumerate(segment.ends)
            if since_ns < end_ns < before_ns and segment.sequences[place] not in self.done
        ]
        for segment, place in expired:
            self.report_gap(GapKind.EVICTED, segment, place, detail)
        self.counters.evicted_records += len(expired)
        return len(expired)

    def report_all(self, kind: GapKind, detail: str) -> None:
        """None of the records will arrive."""
        for segment in self.segments.segments:
            segment.sealed = True
        for segment, place in list(self.waiting()):
            self.report_gap(kind, segment, place, detail)

    def report_unreadable(self, first: int, last: int) -> None:
        """Numbers that were given out and of which nothing is found."""
        self.done.add(first, last)
        for begin, end in self._by_stream(first, last):
            numbers = self.number_of(begin), self.number_of(end)
            stream = self.stream_of(begin).name
            self.ledger.add(Gap(GapKind.CORRUPT, 0, 0, -1, stream, *numbers, "no readable head"))
        self.counters.corrupt_records += last - first + 1
        self.changed = True

    def drop(self, record: SpooledBatch, detail: str) -> None:
        """The new batch finds no room: its number is used, and it is missing."""
        sequence = record.sequence
        self.give_out(sequence)
        self.done.add(sequence)
        times = record.begin_ns, record.end_ns
        gap = Gap(GapKind.EVICTED, *times, record.frames, record.stream, record.number, record.number, detail)
        self.ledger.add(gap)
        self.ledger.returned(sequence)
        self.counters.dropped_records += 1

    def streams_in_use(self) -> tuple[Stream, ...]:
        """Those of which a number is not done with, and the last."""
        used = [each for each in self.streams[:-1] if self.done.next_missing(each.first) < self.end_of(each)]
        return (*used, self.streams[-1])[-STREAMS_MAX:]

    def _by_stream(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of an inclusive range that are of one stream each."""
        while first <= last:
            end = min(last, self.end_of(self.stream_of(first)) - 1)
            yield first, end
            first = end + 1

    def _needed(self, ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """As many as fit: those that may name deleted records, then others, which at worst are sent again."""
        needed: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        for first, last in ranges:
            begin, end = self.segments.find(first), self.segments.find(last)
            inside = begin is not None and end is not None and begin[0] is end[0]
            (others if inside else needed).append((first, last))
        return tuple(sorted([*needed, *others][:RANGES_MAX]))


def gaps_between(numbers: list[int], end: int) -> list[tuple[int, int]]:
    """Inclusive ranges below `end` that are not among the ascending numbers."""
    return [(one + 1, other - 1) for one, other in pairwise((-1, *numbers, end)) if one + 1 < other]
