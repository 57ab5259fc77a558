# SPDX-License-Identifier: Apache-2.0
"""Writes columns, each in the way that is likely to be the shortest; `columns.py` describes the ways.

A column that seldom changes is judged by its number of changes. Of the others each way is tried, on a sample of long
ones: runs of neighbouring rows, spread evenly. The estimate is the order-0 entropy of the numbers' magnitudes, plus the
bits within the magnitude.

Limits: all columns are processed at once, in chunks that bound the temporary memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.columns import POOLS, EncodedColumns, Kind, differences, shortest, spare_bits
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


BUSY_SHARE = 1 / 8
"""A column that changes with so many of its rows is tried out."""
SPARSE_CHANGES_MAX, SPARSE_SHARE_MAX = 8, 1 / 32
"""One that changes more often than the one, and than with the other of its rows, is not written as sparse."""
SAMPLE_RUNS, SAMPLE_RUN_ROWS = 8, 24
SAMPLED_ROWS_MIN = 256
"""A column with fewer rows is looked at as a whole."""
LEANING_GAIN_MIN = 1 / 32
"""What leaning has to save: less is noise, and the column beside has to be read first."""
_LOOKED_MAX = max(SAMPLED_ROWS_MIN, SAMPLE_RUNS * SAMPLE_RUN_ROWS)
_N_LOG2_N = np.arange(_LOOKED_MAX + 1) * np.log2(np.maximum(np.arange(_LOOKED_MAX + 1), 1))
_MAGNITUDE = np.maximum((np.arange(1 << 12) & 0x7FF) - 1022, 0)
"""Of a float64 by its first twelve bits: the sign and the exponent."""
_STEPWISE = (Kind.DELTA, Kind.DELTA2, Kind.BESIDE, Kind.AGAINST)


def choose(
    values: NDArray[np.uint64],
    delta: NDArray[np.int64],
    start: NDArray[np.int64],
    bits: NDArray[np.uint8],
    beside: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The kind of each of C columns, none of them constant, and the bits that a row is likely to need.

    Args:
        values: uint64 (V,), the columns end to end; delta int64 (V,), what each is more than the one before it.
        start: int64 (C+1,), where each column begins and the last ends.
        bits: uint8 (C,), 1…64.
        beside: int64 (C,), the column beside each, of as many rows; itself where there is none.

    Returns:
        uint8 (C,) and float64 (C,).

    """
    first, counts = start[:-1], start[1:] - start[:-1]
    changes = np.add.reduceat(delta != 0, first, dtype=np.int64)
    is_sparse = (changes <= SPARSE_CHANGES_MAX) | (changes <= counts * SPARSE_SHARE_MAX)
    kind = np.where(is_sparse, Kind.SPARSE, Kind.DELTA).astype(np.uint8)
    row_bits = changes / counts
    busy = (changes >= counts * BUSY_SHARE).nonzero()[0]
    if len(busy):
        kind[busy], row_bits[busy] = _tried(values, delta, start, bits, beside, busy)
    # Linear: the differences are one from the second row on.
    bent = np.zeros(len(delta), np.bool_)
    np.not_equal(delta[1:], delta[:-1], out=bent[1:])
    bent[first] = False
    bent[np.minimum(first + 1, start[1:] - 1)] = False
    kind[~np.logical_or.reduceat(bent, first)] = Kind.LINEAR
    return kind, row_bits


def _tried(
    values: NDArray[np.uint64],
    delta: NDArray[np.int64],
    start: NDArray[np.int64],
    bits: NDArray[np.uint8],
    beside: NDArray[np.int64],
    busy: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The kind of each busy column, and the bits that a row is likely to need."""
    first, bits = start.take(busy), bits.take(busy)
    at, begin = _sample(first, start.take(busy + 1) - first)
    looked = begin[1:] - begin[:-1]
    ways = np.empty((len(_STEPWISE), len(at)), np.int64)
    step = delta.take(at, out=ways[0])
    before = delta.take(at - 1)
    before[begin[:-1]] = 0
    there = delta.take(at + (start.take(beside.take(busy)) - first).repeat(looked))
    np.subtract(step, before, out=ways[1])
    np.subtract(step, there, out=ways[2])
    np.add(step, there, out=ways[3])
    shortest(ways[1:].view(np.uint64), spare_bits(bits).repeat(looked))
    costs = np.empty((len(_STEPWISE) + 1, len(busy)))
    costs[:-1] = _entropy(_magnitude(ways), looked)
    costs[2:4] /= 1 - LEANING_GAIN_MIN
    costs[2:4, beside.take(busy) == busy] = np.inf
    costs[-1] = _direct_cost(values.take(at), looked, bits)
    kinds = np.array([*_STEPWISE, Kind.DIRECT], np.uint8)
    return kinds.take(costs.argmin(axis=0)), costs.min(axis=0) / looked


def _sample(first: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places that are looked at, column by column, and where each column's begin: int64 (n,), (C+1,).

    The first row of a column is not: it has no difference.
    """
    sampled = counts >= SAMPLED_ROWS_MIN
    pieces = np.where(sampled, SAMPLE_RUNS, 1)
    begin = starts(pieces)
    rows = np.where(sampled, SAMPLE_RUN_ROWS, counts - 1)
    # The last run ends with the column.
    number: NDArray[np.int64] = np.arange(begin[-1]) - begin[:-1].repeat(pieces)
    offset = (counts - 1 - rows).repeat(pieces) * number // (SAMPLE_RUNS - 1)
    return runs((first + 1).repeat(pieces) + offset, rows.repeat(pieces)), starts(rows * pieces)


def _direct_cost(values: NDArray[np.uint64], counts: NDArray[np.int64], bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Bits for the numbers as they are: the entropy of numbers of up to 8 bits, of magnitudes of longer ones."""
    cost: NDArray[np.float64] = np.multiply(counts, bits, dtype=np.float64)
    is_short = bits <= 8
    if is_short.any():
        symbols, of_short = values.compress(is_short.repeat(counts)).view(np.int64), counts.compress(is_short)
        cost[is_short] = _symbols_entropy(symbols[None], of_short, 1 << 8)[0]
    if not is_short.all():
        is_long = ~is_short
        size, of_long = _magnitude(values.compress(is_long.repeat(counts))), counts.compress(is_long)
        signs = np.add.reduceat(size > 0, of_long.cumsum() - of_long, dtype=np.int64)
        cost[is_long] = np.minimum(cost.compress(is_long), _entropy(size[None], of_long)[0] - signs)
    return cost


def _entropy(size: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits for numbers of these magnitudes: the magnitudes' entropy, what is below the leading one, and a sign.

    Args:
        size: int64 (n, V), in each line columns end to end.
        counts: int64 (C,), of each column's numbers; none is 0.

    Returns:
        float64 (n, C).

    """
    below = np.add.reduceat(size, counts.cumsum() - counts, axis=1)
    return _symbols_entropy(size, counts, int(size.max()) + 1) + below


def _symbols_entropy(symbols: NDArray[np.int64], counts: NDArray[np.int64], alphabet: int) -> NDArray[np.float64]:
    """Bits for these symbols of each column by their order-0 entropy; shapes as of `_entropy`."""
    lines, columns = len(symbols), len(counts)
    cells = np.arange(0, columns * alphabet, alphabet).repeat(counts) + symbols
    cells += np.arange(0, lines * columns * alphabet, columns * alphabet)[:, None]
    histogram = np.bincount(cells.ravel(), minlength=lines * columns * alphabet).reshape(lines, columns, alphabet)
    entropy: NDArray[np.float64] = _N_LOG2_N.take(counts) - _N_LOG2_N.take(histogram).sum(axis=2)
    return entropy


def _magnitude(numbers: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits of the absolute value up to the leading one: 0 for 0, 1 for 1, 2 for 2 and 3; at most 65.

    Read off the exponent of a float64 (IEEE 754), whose rounding may make 2**k of numbers just below it.
    """
    exponent = numbers.astype(np.float64).view(np.uint64)
    exponent >>= np.uint64(52)
    magnitude: NDArray[np.int64] = _MAGNITUDE.take(exponent.view(np.int64))
    return magnitude
