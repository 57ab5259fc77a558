# SPDX-License-Identifier: Apache-2.0
"""Writing columns, each in the way that is likely to be the shortest; the ways are told in `columns.py`.

Everything runs over all columns at once, in chunks that bound the temporary memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.choosing import choose
from agent.batch.columns import POOLS, EncodedColumns, Kind
from agent.batch.differences import differences, shortest, spare_bits
from agent.batch.wire import zigzag
from agent.blocks import runs, starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_VALUES = 131_072
"""Columns are encoded in runs of about this many values, with at most two dozen temporaries of 8 bytes each."""
_WIDE = POOLS - 1
_POOL_BITS = (3.5, 5.0)


def encode_columns(values: NDArray[np.uint64], start: NDArray[np.int64], bits: NDArray[np.uint8]) -> EncodedColumns:
    """Write columns, none of them empty.

    Args:
        values: uint64 (V,), the columns end to end; each number below two to the power of its column's bits.
        start: int64 (C+1,), where each column begins and the last ends.
        bits: uint8 (C,), 1…64.

    """
    parts = []
    first = 0
    while first < len(bits):
        last = int(np.searchsorted(start, start[first] + CHUNK_VALUES, side="right")) - 1
        last = min(max(last, first + 1), len(bits))
        begin, end = int(start[first]), int(start[last])
        parts.append(_encode(values[begin:end], start[first : last + 1] - begin, bits[first:last]))
        first = last
    return _join(parts)


def _encode(values: NDArray[np.uint64], start: NDArray[np.int64], bits: NDArray[np.uint8]) -> EncodedColumns:
    # Most columns of a car are constant: find them by the cheapest means, and do the rest for the others only.
    differs = np.empty(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    differs[start[:-1]] = False
    changing = np.flatnonzero(np.diff(np.searchsorted(np.flatnonzero(differs), start)))
    columns = _Changing.of(values, start, bits, changing)
    kind = np.full(len(bits), Kind.CONSTANT, np.uint8)
    kind[changing] = columns.kind | columns.pool << 4
    return EncodedColumns(
        kind,
        values[start[:-1]],
        columns.delta[columns.start[:-1][columns.kind == Kind.LINEAR] + 1],
        *columns.sparse(),
        columns.pools(),
    )


@dataclass(frozen=True, slots=True)
class _Changing:
    """The columns that are not constant, and what has been decided for each.

    delta    int64 (V,), difference to the number before · numbers: uint64 (V,), what is written, if it goes to a pool
    """

    delta: NDArray[np.int64]
    numbers: NDArray[np.uint64]
    start: NDArray[np.int64]
    kind: NDArray[np.uint8]
    pool: NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        values: NDArray[np.uint64],
        start: NDArray[np.int64],
        bits: NDArray[np.uint8],
        changing: NDArray[np.intp],
    ) -> _Changing:
        """Decide how the columns `changing` are written."""
        counts = np.diff(start)[changing]
        begin = starts(counts)
        values = values.take(runs(start.take(changing), counts))
        if not len(changing):
            none = np.empty(0, np.uint8)
            return cls(values.view(np.int64), values, begin, none, none)
        bits = bits[changing]
        spare = spare_bits(bits)
        delta = differences(values, begin, spare.repeat(counts))
        beside = _beside(counts)
        kind, row_bits = choose(values, delta, begin, bits, beside)
        numbers = _numbers(values, delta, begin, kind, beside, spare)
        pool = np.searchsorted(_POOL_BITS, row_bits).astype(np.uint8)
        pool[np.maximum.reduceat(numbers, begin[:-1]) > 0xFF] = _WIDE
        pool[kind < Kind.DELTA] = 0
        return cls(delta, numbers, begin, kind, pool)

    def sparse(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How many changes each sparse column has; the gap to and the delta of each change."""
        columns = (self.kind == Kind.SPARSE).nonzero()[0]
        begin, counts = self.start.take(columns), self.start.take(columns + 1) - self.start.take(columns)
        rows = runs(begin, counts)
        changed = self.delta.take(rows).nonzero()[0]
        rows = rows.take(changed)
        # As many changes as come before a column's end, less those before its begin.
        ends = changed.searchsorted(counts.cumsum())
        changes = np.diff(ends, prepend=0)
        gap = np.diff(rows, prepend=0)
        leading = ends - changes
        gap[leading] = rows.take(leading) - begin
        return changes, gap, self.delta.take(rows)

    def pools(self) -> tuple[NDArray[np.uint64], ...]:
        """The numbers of all columns that are written to pools, by pool."""
        counts = np.diff(self.start)
        written = np.flatnonzero(self.kind >= Kind.DELTA)
        written = written[np.argsort(self.pool[written], kind="stable")]
        # A column of differences has one number fewer than rows: its first value is written apart.
        apart = self.kind[written] != Kind.DIRECT
        counts = counts[written] - apart
        of_pool = np.searchsorted(self.pool[written], np.arange(1, POOLS))
        numbers = self.numbers.take(runs(self.start[written] + apart, counts))
        return tuple(np.split(numbers, starts(counts)[of_pool]))


def _beside(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column beside each, itself where there is none. counts: rows of each column."""
    order = counts.argsort(kind="stable")
    beside = np.arange(len(counts))
    alike = (np.diff(counts.take(order)) == 0).nonzero()[0]
    beside[order.take(alike + 1)] = order.take(alike)
    return beside


def _numbers(
    values: NDArray[np.uint64],
    delta: NDArray[np.int64],
    start: NDArray[np.int64],
    kind: NDArray[np.uint8],
    beside: NDArray[np.int64],
    spare: NDArray[np.int64],
) -> NDArray[np.uint64]:
    """uint64 (V,): what is written of each column, whether it is written to a pool or not."""
    signed = delta.copy()
    counts = start[1:] - start[:-1]
    for each in (Kind.DELTA2, Kind.BESIDE, Kind.AGAINST):
        columns = (kind == each).nonzero()[0]
        rows = counts.take(columns) - 1  # but for the first, which has no difference
        at = runs(start.take(columns) + 1, rows)
        if each == Kind.DELTA2:
            other = delta.take(at - 1)
        else:
            other = delta.take(runs(start.take(beside.take(columns)) + 1, rows))
        less = delta.take(at) + other if each == Kind.AGAINST else delta.take(at) - other
        signed[at] = shortest(less.view(np.uint64), spare.take(columns).repeat(rows))
    numbers = zigzag(signed)
    direct = (kind == Kind.DIRECT).nonzero()[0]
    at = runs(start.take(direct), counts.take(direct))
    numbers[at] = values.take(at)
    return numbers


def _join(parts: list[EncodedColumns]) -> EncodedColumns:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        none, signed = np.empty(0, np.uint64), np.empty(0, np.int64)
        return EncodedColumns(np.empty(0, np.uint8), none, signed, signed, signed, signed, (none,) * POOLS)
    return EncodedColumns(
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.linear_step for part in parts]),
        np.concatenate([part.sparse_changes for part in parts]),
        np.concatenate([part.sparse_gap for part in parts]),
        np.concatenate([part.sparse_delta for part in parts]),
        tuple(np.concatenate([part.pools[number] for part in parts]) for number in range(POOLS)),
    )
