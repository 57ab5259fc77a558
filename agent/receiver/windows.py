# SPDX-License-Identifier: Apache-2.0
"""Batches joined with their catalogs, and cut into windows of time that follow one another.

A `WindowPart` is some rows of one group of a batch. A window is the parts of all batches in one range of time. Writers
therefore sort within a window only.

Promise: each row lies in exactly one window; windows ascend. The parts of a window are ordered by stream, sequence and
group, so that a stable sort by time keeps the order of a message's frames.
Limits: a window aims at `ROWS` rows; the decoded batches kept between windows at `KEPT_ROWS`. Batches that all lie at
one time (a clock that starts in 1970) are decoded again for each window.
Failure: a batch that does not fit its catalog raises `BatchError`. The loader reports a batch that it cannot load.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import BatchError
from agent.model import EXTENDED, EXTENDED_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch, Group
    from agent.model import BatchId, MessageDefinition

UNKNOWN = -1
"""`Group.message` of raw frames that no definition names; its signals are the payload's bytes."""


@dataclass(frozen=True, slots=True)
class WindowPart:
    """Rows of one group.

    bus       name of the bus
    message   None for raw frames of an unknown id
    rows      int64 (n,), ascending row numbers of the group
    """

    group: Group
    bus: str
    message: MessageDefinition | None
    rows: NDArray[np.int64]

    @property
    def can_id(self) -> int:
        """The 11- or 29-bit identifier without flags."""
        return self.group.can_id & EXTENDED_MASK

    @property
    def extended(self) -> bool:
        """Whether the identifier has 29 bits."""
        return bool(self.group.can_id & EXTENDED)

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """Times of the rows, int64 (n,)."""
        return self.group.time_ns[self.rows]

    def shaped(self) -> Iterator[Shaped]:
        """The rows by the signals that they carry, in order of appearance of the shape."""
        shape = self.group.shape[self.rows]
        if not len(shape):
            return
        if shape[0] == shape[-1] and (shape == shape[0]).all():
            yield Shaped(self, np.arange(len(shape)), self.group.shapes[int(shape[0])])
            return
        for number in np.unique(shape).tolist():
            yield Shaped(self, np.flatnonzero(shape == number), self.group.shapes[number])


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows of a part that carry the same signals; `index` counts within the part."""

    part: WindowPart
    index: NDArray[np.int64]
    signals: tuple[int, ...]

    def raw(self, signal: int) -> NDArray[np.uint64]:
        """Field bits of one of the `signals`, uint64, one for each of `index`."""
        group, rows = self.part.group, self.part.rows[self.index]
        column = group.columns[signal]
        if len(column) == len(group.time_ns):
            return column[rows]
        return column[np.searchsorted(group.rows(signal), rows)]


def batch_parts(batch: Batch, catalog: Catalog) -> list[WindowPart]:
    """Every group of a batch as a part of all its rows; raises `BatchError` where the two do not fit."""
    return [
        WindowPart(
            group,
            _bus(group, catalog),
            _message(group, catalog),
            np.arange(len(group.time_ns), dtype=np.int64),
        )
        for group in batch.groups
    ]


def cut(parts: list[WindowPart], low_ns: int, high_ns: int) -> list[WindowPart]:
    """The rows of each part with low_ns <= time < high_ns; parts without any are left out."""
    pieces = []
    for part in parts:
        times = part.time_ns
        inside = (times >= low_ns) & (times < high_ns)
        if not inside.any():
            continue
        if inside.all():
            pieces.append(part)
        else:
            pieces.append(WindowPart(part.group, part.bus, part.message, part.rows[inside]))
    return pieces


def _bus(group: Group, catalog: Catalog) -> str:
    if not 0 <= group.bus < len(catalog.buses):
        raise BatchError(f"bus {group.bus} is not in catalog {catalog.hash}, which has {len(catalog.buses)}")
    return catalog.buses[group.bus]


def _message(group: Group, catalog: Catalog) -> MessageDefinition | None:
    if group.message == UNKNOWN:
        message, signals = None, 64
    elif 0 <= group.message < len(catalog.messages):
        message = catalog.messages[group.message]
        signals = len(message.signals)
    else:
        raise BatchError(f"message {group.message} is not in catalog {catalog.hash}")
    if any(not 0 <= signal < signals for shape in group.shapes for signal in shape):
        name = message.name if message else "an unknown frame"
        raise BatchError(f"a signal of {name} is not in catalog {catalog.hash}")
    return message


ROWS = 20_000
KEPT_ROWS = 200_000
JUMP_NS = 600 * 10**9
"""Frames of a batch further apart than this are separate time ranges: the clock was set in between."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time in which a batch has frames; both ends are frames' times."""

    id: BatchId
    begin_ns: int
    end_ns: int
    rows: int

    def rows_within(self, low_ns: int, high_ns: int) -> float:
        """How many rows lie in low_ns <= time < high_ns, were they evenly spread."""
        span = self.end_ns - self.begin_ns + 1
        return self.rows * max(0, min(high_ns, self.end_ns + 1) - max(low_ns, self.begin_ns)) / span


def time_ranges(batch_id: BatchId, times: Sequence[NDArray[np.int64]]) -> list[TimeRange]:
    """The time ranges in which a batch's groups have frames."""
    joined = np.sort(np.concatenate([np.empty(0, np.int64), *times]))
    if not len(joined):
        return []
    pieces = np.split(joined, np.flatnonzero(np.diff(joined) > JUMP_NS) + 1)
    return [TimeRange(batch_id, int(piece[0]), int(piece[-1]), len(piece)) for piece in pieces]


def windows(
    found: Sequence[TimeRange], load: Callable[[BatchId], list[WindowPart]], *, rows: int = ROWS
) -> Iterator[list[WindowPart]]:
    """Parts by ascending, disjoint windows of time; `load` gives a batch's parts, none where it is gone."""
    cache = _BatchCache(load, max(KEPT_ROWS, rows))
    waiting = sorted(found, key=lambda time_range: time_range.begin_ns)
    active: list[TimeRange] = []
    fresh = 0
    for number, time_range in enumerate(waiting):
        active.append(time_range)
        fresh += time_range.rows
        last = number + 1 == len(waiting)
        if last or fresh >= rows:
            high = max(each.end_ns for each in active) + 1 if last else waiting[number + 1].begin_ns
            yield from _emit(active, high, cache, rows)
            active = [_rest(each, high) for each in active if each.end_ns >= high]
            fresh = 0


def _emit(active: list[TimeRange], high_ns: int, cache: _BatchCache, rows: int) -> Iterator[list[WindowPart]]:
    low = min(each.begin_ns for each in active)
    if high_ns <= low:
        return
    amount = sum(each.rows_within(low, high_ns) for each in active)
    pieces = min(math.ceil(amount / rows) or 1, high_ns - low)
    edges = [low + (high_ns - low) * piece // pieces for piece in range(pieces)] + [high_ns]
    for begin, end in pairwise(edges):
        ids = sorted({each.id for each in active if each.begin_ns < end and each.end_ns >= begin})
        parts = [part for batch_id in ids for part in cut(cache.parts(batch_id), begin, end)]
        if parts:
            yield parts


def _rest(time_range: TimeRange, low_ns: int) -> TimeRange:
    if time_range.begin_ns >= low_ns:
        return time_range
    rows = math.ceil(time_range.rows_within(low_ns, time_range.end_ns + 1))
    return TimeRange(time_range.id, low_ns, time_range.end_ns, rows)


class _BatchCache:
    """The batches used last, decoded, up to a number of rows."""

    def __init__(self, load: Callable[[BatchId], list[WindowPart]], rows_max: int) -> None:
        self._load = load
        self._rows_max = rows_max
        self._rows = 0
        self._kept: OrderedDict[BatchId, list[WindowPart]] = OrderedDict()

    def parts(self, batch_id: BatchId) -> list[WindowPart]:
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


def _rows(parts: list[WindowPart]) -> int:
    return sum(len(part.rows) for part in parts)
