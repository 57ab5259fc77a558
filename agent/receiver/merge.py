# SPDX-License-Identifier: Apache-2.0
"""Batches of a vehicle to windows of time that follow each other, whatever the batches overlap.

Promise: every row comes in exactly one window; windows ascend; within a window parts are ordered by stream, sequence
and group, so that a stable sort by time keeps the frames of one message in their order.
Limits: a window aims at `ROWS` rows and the decoded batches kept between windows at `KEPT_ROWS`; batches that all
lie at the same time (a clock that starts in 1970 at every start) are decoded anew for each window, not kept.
Failure: a batch that cannot be loaded any more is left out by the loader, which reports it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.receiver.windows import Part, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.model import BatchId

ROWS = 20_000
KEPT_ROWS = 200_000
JUMP_NS = 600 * 10**9
"""Frames of a batch further apart than this are separate stretches: the clock was set in between."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a batch has frames; both ends are frames' times."""

    id: BatchId
    begin_ns: int
    end_ns: int
    rows: int

    def rows_within(self, low_ns: int, high_ns: int) -> float:
        """How many rows lie in low_ns <= time < high_ns, were they evenly spread."""
        span = self.end_ns - self.begin_ns + 1
        return self.rows * max(0, min(high_ns, self.end_ns + 1) - max(low_ns, self.begin_ns)) / span


def stretches(batch_id: BatchId, times: Sequence[NDArray[np.int64]]) -> list[Stretch]:
    """The stretches of time of a batch's groups."""
    joined = np.sort(np.concatenate([np.empty(0, np.int64), *times]))
    if not len(joined):
        return []
    pieces = np.split(joined, np.flatnonzero(np.diff(joined) > JUMP_NS) + 1)
    return [Stretch(batch_id, int(piece[0]), int(piece[-1]), len(piece)) for piece in pieces]


def windows(
    found: Sequence[Stretch], load: Callable[[BatchId], list[Part]], *, rows: int = ROWS
) -> Iterator[list[Part]]:
    """Parts by ascending, disjoint windows of time; `load` gives a batch's parts, none where it is gone."""
    shelf = _Shelf(load, max(KEPT_ROWS, rows))
    waiting = sorted(found, key=lambda stretch: stretch.begin_ns)
    active: list[Stretch] = []
    fresh = 0
    for number, stretch in enumerate(waiting):
        active.append(stretch)
        fresh += stretch.rows
        last = number + 1 == len(waiting)
        if last or fresh >= rows:
            high = max(each.end_ns for each in active) + 1 if last else waiting[number + 1].begin_ns
            yield from _emit(active, high, shelf, rows)
            active = [_rest(each, high) for each in active if each.end_ns >= high]
            fresh = 0


def _emit(active: list[Stretch], high_ns: int, shelf: _Shelf, rows: int) -> Iterator[list[Part]]:
    low = min(each.begin_ns for each in active)
    if high_ns <= low:
        return
    amount = sum(each.rows_within(low, high_ns) for each in active)
    pieces = min(math.ceil(amount / rows) or 1, high_ns - low)
    edges = [low + (high_ns - low) * piece // pieces for piece in range(pieces)] + [high_ns]
    for begin, end in pairwise(edges):
        ids = sorted({each.id for each in active if each.begin_ns < end and each.end_ns >= begin})
        parts = [part for batch_id in ids for part in cut(shelf.parts(batch_id), begin, end)]
        if parts:
            yield parts


def _rest(stretch: Stretch, low_ns: int) -> Stretch:
    if stretch.begin_ns >= low_ns:
        return stretch
    rows = math.ceil(stretch.rows_within(low_ns, stretch.end_ns + 1))
    return Stretch(stretch.id, low_ns, stretch.end_ns, rows)


class _Shelf:
    """The batches used last, decoded, up to a number of rows."""

    def __init__(self, load: Callable[[BatchId], list[Part]], rows_max: int) -> None:
        self._load = load
        self._rows_max = rows_max
        self._rows = 0
        self._kept: OrderedDict[BatchId, list[Part]] = OrderedDict()

    def parts(self, batch_id: BatchId) -> list[Part]:
        parts = self._kept.get(batch_id)
        if parts is not None:
            self._kept.move_to_end(batch_id)
            return parts
        parts = self._load(batch_id)
        self._kept[batch_id] = parts
        self._rows += _rows(parts)
        while self._rows > self._rows_max and len(self._kept) > 1:
            self._rows -= _rows(self._kept.popitem(last=False)[1])
        return parts


def _rows(parts: list[Part]) -> int:
    return sum(len(part.rows) for part in parts)
