# SPDX-License-Identifier: Apache-2.0
"""Names everything that is missing: gap records of vehicles, and sequence numbers that no record explains.

Promise: each sequence number from 0 to the last one received is received, or lies in exactly one gap. A late batch
closes its gap. A record that is repeated, or repeated after it grew, counts once. The record `ENDED` is no gap: it says
how many batches a stream had.
Limits: `RECORDS_MAX` records a vehicle, the oldest are forgotten first. Four integers for each range of sequence
numbers without a hole. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.model import GapKind
from agent.system.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.model import BatchId, Gap

RECORDS_MAX = 10_000
MISSING = "missing"
"""A hole between received batches that no record explains."""
EARLIER = "earlier"
"""The batches before the first one received: sent before this receiver listened, or not among the files."""


@dataclass(frozen=True, slots=True)
class NamedGap:
    """One gap of one vehicle.

    kind               a `GapKind`, or `MISSING`, or `EARLIER`
    stream, first_sequence, last_sequence   the batches that are missing; "" and -1 where none was sealed
    begin_ns, end_ns   between which times; 0 where unknown
    frames             how many frames, -1 where nobody can know
    """

    vehicle: str
    kind: str
    stream: str
    first_sequence: int
    last_sequence: int
    begin_ns: int
    end_ns: int
    frames: int
    detail: str

    def __str__(self) -> str:
        what = f"{printable(self.vehicle)}: {printable(self.kind)}"
        if self.first_sequence >= 0:
            one = self.first_sequence == self.last_sequence
            numbers = f"{self.first_sequence}" if one else f"{self.first_sequence} to {self.last_sequence}"
            what += f", batch{'' if one else 'es'} {numbers} of {printable(self.stream)}"
        if self.frames >= 0:
            what += f", {self.frames} frames"
        if self.begin_ns or self.end_ns:
            what += f", between {_time(self.begin_ns)} and {_time(self.end_ns)}"
        return what + (f" ({printable(self.detail)})" if self.detail else "")

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


class GapAccount:
    """What has been received and told, of all vehicles."""

    def __init__(self) -> None:
        self.streams: dict[tuple[str, str], SequenceRanges] = {}
        self.records: dict[str, dict[Gap, None]] = {}

    def receive(self, batch_id: BatchId, opened_ns: int, sealed_ns: int, gaps: Iterable[Gap]) -> None:
        """Note a batch and the records it carries."""
        ranges = self.streams.setdefault((batch_id.vehicle, batch_id.stream), SequenceRanges())
        ranges.add(SequenceRange(batch_id.sequence, batch_id.sequence, opened_ns, sealed_ns))
        self.add_records(batch_id.vehicle, gaps)

    def add_records(self, vehicle: str, gaps: Iterable[Gap]) -> None:
        """Note gap records."""
        records = self.records.setdefault(vehicle, {})
        records.update(dict.fromkeys(gaps))
        while len(records) > RECORDS_MAX:
            del records[next(iter(records))]

    def report(self) -> list[NamedGap]:
        """All gaps, by vehicle, then stream, then sequence or time."""
        return name_gaps(self.streams, self.records)


def name_gaps(
    streams: Mapping[tuple[str, str], SequenceRanges], records: Mapping[str, Iterable[Gap]]
) -> list[NamedGap]:
    """Every gap once."""
    named: list[NamedGap] = []
    known = {key: SequenceRanges(ranges) for key, ranges in streams.items()}
    for vehicle, gaps in records.items():
        for gap in _largest_first(gap for gap in gaps if gap.kind != GapKind.ENDED):
            if not _names_batches(gap):
                named.append(_named(vehicle, gap, gap.first_sequence, gap.last_sequence, gap.frames))
                continue
            ranges = known.setdefault((vehicle, gap.stream), SequenceRanges())
            named += _still_missing(vehicle, gap, ranges)
            ranges.add(SequenceRange(gap.first_sequence, gap.last_sequence, gap.begin_ns, gap.end_ns))
    ends = _ends(records)
    for vehicle, stream in ends.keys() - known.keys():
        known[vehicle, stream] = SequenceRanges()
    for (vehicle, stream), ranges in known.items():
        received = streams.get((vehicle, stream))
        end = ends.get((vehicle, stream))
        start = next(iter(received)).first if received else end or 0
        if end is not None and end > max((batches.last for batches in ranges), default=-1):
            ranges.add(SequenceRange(end, end, 0, 0))
        for hole in ranges.holes():
            kind = EARLIER if hole.last < start else MISSING
            named.append(NamedGap(vehicle, kind, stream, hole.first, hole.last, hole.begin_ns, hole.end_ns, -1, ""))
    return sorted(named, key=lambda gap: (gap.vehicle, gap.stream, gap.first_sequence, gap.begin_ns))


def _ends(records: Mapping[str, Iterable[Gap]]) -> dict[tuple[str, str], int]:
    """Of the streams that were left: how many batches they have."""
    ends: dict[tuple[str, str], int] = {}
    for vehicle, gaps in records.items():
        for gap in gaps:
            if gap.kind == GapKind.ENDED and gap.stream:
                ends[vehicle, gap.stream] = max(ends.get((vehicle, gap.stream), 0), gap.last_sequence + 1)
    return ends


def _still_missing(vehicle: str, gap: Gap, known: SequenceRanges) -> list[NamedGap]:
    """The parts of a record's batches that are neither here nor explained by a larger record."""
    pieces = known.missing(gap.first_sequence, gap.last_sequence)
    whole = pieces == [(gap.first_sequence, gap.last_sequence)]
    return [_named(vehicle, gap, first, last, gap.frames if whole else -1) for first, last in pieces]


def _largest_first(records: Iterable[Gap]) -> list[Gap]:
    """Records without those that a larger one of the same kind and place contains: it is the same one, grown."""
    kept: list[Gap] = []
    widest: dict[tuple[str, str], Gap] = {}
    for gap in sorted(set(records), key=_size_order):
        if _names_batches(gap):
            kept.append(gap)
            continue
        wide = widest.get((gap.kind, gap.stream))
        if wide and gap.begin_ns and gap.end_ns <= wide.end_ns and gap.frames <= wide.frames:
            continue
        kept.append(gap)
        if wide is None or gap.end_ns > wide.end_ns:
            widest[gap.kind, gap.stream] = gap
    return kept


def _size_order(gap: Gap) -> tuple[int, int, int, str, str]:
    if _names_batches(gap):
        return (gap.first_sequence - gap.last_sequence, gap.begin_ns, -gap.end_ns, gap.kind, gap.detail)
    return (1, gap.begin_ns, -gap.end_ns, gap.kind, gap.detail)


def _names_batches(gap: Gap) -> bool:
    return bool(gap.stream) and 0 <= gap.first_sequence <= gap.last_sequence


def _named(vehicle: str, gap: Gap, first: int, last: int, frames: int) -> NamedGap:
    return NamedGap(vehicle, str(gap.kind), gap.stream, first, last, gap.begin_ns, gap.end_ns, frames, gap.detail)


def _time(time_ns: int) -> str:
    if not time_ns:
        return "an unknown time"
    try:
        return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """Batches `first` to `last`, opened and sealed between these times."""

    first: int
    last: int
    begin_ns: int
    end_ns: int


class SequenceRanges:
    """Runs in ascending order, never touching each other."""

    def __init__(self, ranges: Iterable[SequenceRange] = ()) -> None:
        self._ranges: list[SequenceRange] = []
        for batches in ranges:
            self.add(batches)

    def __contains__(self, sequence: int) -> bool:
        place = bisect_right(self._ranges, sequence, key=lambda batches: batches.first) - 1
        return place >= 0 and sequence <= self._ranges[place].last

    def __iter__(self) -> Iterator[SequenceRange]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def add(self, batches: SequenceRange) -> None:
        """Add batches; what is there already stays."""
        left = bisect_right(self._ranges, batches.first, key=lambda each: each.first)
        if left and self._ranges[left - 1].last + 1 >= batches.first:
            left -= 1
        right = bisect_right(self._ranges, batches.last + 1, key=lambda each: each.first)
        joined = [*self._ranges[left:right], batches]
        self._ranges[left:right] = [
            SequenceRange(
                min(each.first for each in joined),
                max(each.last for each in joined),
                min(joined, key=lambda each: each.first).begin_ns,
                max(joined, key=lambda each: each.last).end_ns,
            )
        ]

    def holes(self) -> list[SequenceRange]:
        """What is missing from 0 to the last one received; its times are those of the batches beside it, or 0."""
        holes = []
        first = end_ns = 0
        for batches in self._ranges:
            if batches.first > first:
                holes.append(SequenceRange(first, batches.first - 1, end_ns, batches.begin_ns))
            first, end_ns = max(first, batches.last + 1), batches.end_ns
        return holes

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The first and last number of each run between these that is not here."""
        left = bisect_right(self._ranges, first, key=lambda each: each.last + 1)
        right = bisect_right(self._ranges, last, key=lambda each: each.first)
        pieces = []
        for batches in self._ranges[left:right]:
            if batches.first > first:
                pieces.append((first, batches.first - 1))
            first = batches.last + 1
        return [*pieces, (first, last)] if first <= last else pieces
