# SPDX-License-Identifier: Apache-2.0
"""Which batches of one stream have been received: runs of sequence numbers, with the times at their ends.

Memory: four integers per run; a stream without holes is one run, however long it is.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """Batches `first` to `last`, opened and sealed between these times."""

    first: int
    last: int
    begin_ns: int
    end_ns: int


class SequenceRanges:
    """Runs in ascending order, never touching each other."""

    def __init__(self, spans: Iterable[SequenceRange] = ()) -> None:
        self._spans: list[SequenceRange] = []
        for span in spans:
            self.add(span)

    def __contains__(self, sequence: int) -> bool:
        place = bisect_right(self._spans, sequence, key=lambda span: span.first) - 1
        return place >= 0 and sequence <= self._spans[place].last

    def __iter__(self) -> Iterator[SequenceRange]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: SequenceRange) -> None:
        """Add batches; what is there already stays."""
        left = bisect_right(self._spans, span.first, key=lambda each: each.first)
        if left and self._spans[left - 1].last + 1 >= span.first:
            left -= 1
        right = bisect_right(self._spans, span.last + 1, key=lambda each: each.first)
        joined = [*self._spans[left:right], span]
        self._spans[left:right] = [
            SequenceRange(
                min(each.first for each in joined),
                max(each.last for each in joined),
                min(joined, key=lambda each: each.first).begin_ns,
                max(joined, key=lambda each: each.last).end_ns,
            )
        ]

    def holes(self, first: int = 0) -> list[SequenceRange]:
        """What is missing from `first` to the last one received; its times are those of the batches beside it, or 0."""
        holes = []
        end_ns = 0
        for span in self._spans:
            if span.first > first:
                holes.append(SequenceRange(first, span.first - 1, end_ns, span.begin_ns))
            first, end_ns = max(first, span.last + 1), span.end_ns
        return holes

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The first and last number of each run between these that is not here."""
        left = bisect_right(self._spans, first, key=lambda each: each.last + 1)
        right = bisect_right(self._spans, last, key=lambda each: each.first)
        pieces = []
        for span in self._spans[left:right]:
            if span.first > first:
                pieces.append((first, span.first - 1))
            first = span.last + 1
        return [*pieces, (first, last)] if first <= last else pieces
