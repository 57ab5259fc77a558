# SPDX-License-Identifier: Apache-2.0
"""Which sequence numbers are done with: a low watermark and ranges above it.

Live data is sent before backlog, so acknowledgements come out of order: a single cursor would either send
much again after a restart or forget what was never sent. Memory: one pair of integers per run of done
numbers."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
