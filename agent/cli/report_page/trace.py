# SPDX-License-Identifier: Apache-2.0
"""A signal as a plot needs it: the least and the greatest value in each column of time.

A trace on the page is base64 of varints (https://protobuf.dev/programming-guides/encoding), three for each column
that has a value: columns skipped since the last one, the least value less the one before (ZigZag), and the greatest
less the least, in steps from 0 (the least of all) to `LEVELS` (the greatest of all).

Limits: two numbers a column in memory, and `NAMED_MAX` different values of a signal with a value table. Values that are
not finite are counted and not drawn.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.wire import varints, zigzag
from agent.physical import physical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.model import SignalDefinition

LEVELS = 4095
NAMED_MAX = 24


@dataclass(slots=True)
class Trace:
    """What a signal's samples come to.

    samples     all of them
    low, high   float64 (columns,), physical; inf and -inf where a column has none
    seen        physical values that occurred, by their number; None once there were more than `NAMED_MAX`
    """

    signal: SignalDefinition
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    samples: int = 0
    seen: dict[float, None] | None = field(default_factory=dict)

    @classmethod
    def of(cls, signal: SignalDefinition, columns: int) -> Trace:
        """One without samples."""
        return cls(signal, np.full(columns, np.inf), np.full(columns, -np.inf))

    def add(self, raw: NDArray[np.uint64], columns: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Take samples whose columns ascend: `columns` are the different ones, `starts` the first sample of each."""
        values = physical(self.signal, raw).astype(np.float64)
        self.samples += len(values)
        if self.signal.choices and self.seen is not None:
            self.seen |= dict.fromkeys(np.unique(values).tolist())
            if len(self.seen) > NAMED_MAX:
                self.seen = None
        finite = np.isfinite(values)
        below, above = (values, values) if finite.all() else _without(values, finite)
        self.low[columns] = np.minimum(self.low[columns], np.minimum.reduceat(below, starts))
        self.high[columns] = np.maximum(self.high[columns], np.maximum.reduceat(above, starts))

    @property
    def least(self) -> float:
        """Of all finite values; inf where there are none."""
        return float(self.low.min())

    @property
    def most(self) -> float:
        """Likewise; -inf."""
        return float(self.high.max())

    def names(self) -> Sequence[tuple[float, str]]:
        """Values and their names, ascending, where each value that occurred has one; else none."""
        texts = {_value(self.signal, raw): name for raw, name in self.signal.choices}
        if not self.seen or not all(value in texts for value in self.seen):
            return ()
        return [(value, texts[value]) for value in sorted(self.seen)]

    def drawn(self, fold: int) -> str:
        """The columns as the page has them, `fold` of them in one; values with names by their place among these."""
        low, high = _folded(self.low, fold, np.minimum, np.inf), _folded(self.high, fold, np.maximum, -np.inf)
        (filled,) = np.nonzero(low <= high)
        low, high = low[filled], high[filled]
        named = self.names()
        if named:
            places = np.array([value for value, _ in named])
            low, high = (np.searchsorted(places, each) * LEVELS / max(len(named) - 1, 1) for each in (low, high))
        elif self.most > self.least:
            span = self.most / 2 - self.least / 2  # halves, for their difference may be no float
            low, high = ((each / 2 - self.least / 2) / span * LEVELS for each in (low, high))
        floor, ceiling = (np.rint(np.clip(each, 0, LEVELS)).astype(np.int64) for each in (low, high))
        skipped = (np.diff(filled, prepend=-1) - 1).astype(np.uint64)
        moved = zigzag(np.diff(floor, prepend=0))
        numbers = np.stack([skipped, moved, (ceiling - floor).astype(np.uint64)], axis=1)
        return base64.b64encode(varints(numbers.ravel())).decode()


def _without(values: NDArray[np.float64], finite: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.where(finite, values, np.inf), np.where(finite, values, -np.inf)


def _value(signal: SignalDefinition, raw: int) -> float:
    bits = np.array([raw & ((1 << signal.length) - 1)], np.uint64)
    return float(physical(signal, bits)[0])


def _folded(numbers: NDArray[np.float64], fold: int, by: np.ufunc, fill: float) -> NDArray[np.float64]:
    if fold == 1:
        return numbers
    padded = np.concatenate([numbers, np.full(-len(numbers) % fold, fill)])
    folded: NDArray[np.float64] = by.reduce(padded.reshape(-1, fold), axis=1)
    return folded
