# SPDX-License-Identifier: Apache-2.0
"""What intervals are closed with, each sample once, however many of them choose it and whenever they are over.

A sample that several intervals choose is kept by the one that is over first, and by a later one only if that is of a
higher class: what has gone out in a lower one cannot be taken back. Of intervals that are over at the same time, and
at a flush of all, the highest class counts. A mean that is what the last sample says is that sample.

Promise: it is the same whether the intervals are over in one block or in several: what a sample was kept with is
remembered with it, in `roster.Latest` and `gate_tables.RuleStateTable`, for as long as an interval may choose it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.select_rows import Samples
from agent.config.priorities import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SUMMARY = -1
"""In place of a number: a mean, which is no sample that came."""


@dataclass(frozen=True, slots=True)
class IntervalResults:
    """Samples that intervals choose; arrays of one length.

    channel   int64 · serial: int64, the sample's number among all that have come, or `SUMMARY`
    place     int64, in the block at hand, -1 of what is no value of it · time_ns int64, raw uint64: of the latter
    priority      uint8, that the rule keeps it with · kept: uint8, that it has been kept with so far
    end       int64, steady time at which the interval is over
    """

    channel: NDArray[np.int64]
    serial: NDArray[np.int64]
    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    raw: NDArray[np.uint64]
    priority: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    end: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[IntervalResults]) -> IntervalResults:
        """All of them."""
        return cls(*map(np.concatenate, zip(*map(_arrays, parts), strict=True))) if len(parts) > 1 else parts[0]

    def at(self, places: NDArray[np.int64]) -> IntervalResults:
        """Some of them."""
        return IntervalResults(*[each.take(places) for each in _arrays(self)])

    def of_higher_priority(self, always: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which are of a higher priority than they have been kept with so far.

        always   uint8 (channels,), the priority that all samples of a channel are kept with
        """
        return (self.priority > self.kept) & ((self.serial < 0) | (self.priority > always.take(self.channel)))

    def once(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these are kept beside one another, by sample and then by priority.

        Of each sample that of the interval that is over first, and those of higher priorities after it.
        """
        serial = self.serial.take(places)
        places = places.take(np.lexsort((~self.priority.take(places), self.end.take(places), serial)))
        serial = self.serial.take(places)
        level = serial * (len(Priority) + 1) + self.priority.take(places)
        stays = np.ones(len(places), np.bool_)
        np.greater(level[1:], np.maximum.accumulate(level)[:-1], out=stays[1:])
        return places.compress(stays)

    def places(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The values of the block at hand, priority by priority."""
        here = self.place >= 0
        priority, place = self.priority.compress(here), self.place.compress(here)
        for each in set(priority.tolist()):
            yield each, place.compress(priority == each)

    def samples(self) -> Samples:
        """Those that are no values of the block at hand."""
        there = (self.place < 0).nonzero()[0]
        return Samples(
            self.channel.take(there), self.time_ns.take(there), self.raw.take(there), self.priority.take(there)
        )


_arrays = attrgetter(*(each.name for each in fields(IntervalResults)))
