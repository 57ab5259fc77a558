# SPDX-License-Identifier: Apache-2.0
"""Columns of integers in few bytes: choosing, for each column, how it is written; and reading it back.

A column is a sequence of unsigned numbers of 1 to 64 bits. All arithmetic is modulo two to the power of its
bits, so that a counter that wraps is a straight line, and a difference is taken the short way round: of 8 bits,
from 250 to 3 is +9. Differences are written in ZigZag (0, -1, 1, -2 … as 0, 1, 2, 3 …).

    kind        what is written                                   how it is read
    0 constant  first                                             first, for ever
    1 linear    first, step                                       first + i * step
    2 sparse    first, changes, then a gap and a delta each       first; after `gap` rows more, add `delta`
    3 delta     first, n - 1 differences                          cumulative sum
    4 delta2    first, n - 1 differences of differences           cumulative sum of the cumulative sum
    5 direct    n numbers                                         as they are

Kinds 3 to 5 take their numbers from one of five pools, each column the next n - 1 (n) of them. A number of pools
0 to 3 is one byte; of pool 4, a varint. Which of the four is decided by the bits a number is likely to need
(up to 1, 3, 5, and more), for no other reason than that each pool is a zstd block of its own and so has an
entropy code of its own: 2 to 4 % of the whole batch.

The shortest kind is chosen by an estimate: the order-0 entropy of the numbers' magnitudes, plus the bits within
the magnitude. Everything runs over all columns at once, in chunks that bound the temporary memory.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.wire import unzigzag, zigzag
from agent.errors import BatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_VALUES = 131_072
"""Columns are encoded in runs of about this many values; a dozen temporaries of 8 bytes each live at a time."""
POOLS = 5
_WIDE = 4
_POOL_BITS = (1.0, 3.0, 5.0)
_SPARSE_OVERHEAD = 1.3
"""Sparse numbers, few and in blocks of their own, compress a little worse than the estimate says."""


class Kind(enum.IntEnum):
    """How a column is written."""

    CONSTANT = 0
    LINEAR = 1
    SPARSE = 2
    DELTA = 3
    DELTA2 = 4
    DIRECT = 5


@dataclass(frozen=True, slots=True)
class EncodedColumns:
    """All columns of a batch, C of them.

    kind            uint8  (C,)  `Kind` in the low, pool in the high four bits
    first           uint64 (C,)
    linear_step     int64, one for each linear column
    sparse_changes  int64, one for each sparse column; sparse_gap, sparse_delta int64, one for each change
    pools           unsigned, five arrays
    """

    kind: NDArray[np.uint8]
    first: NDArray[np.uint64]
    linear_step: NDArray[np.int64]
    sparse_changes: NDArray[np.int64]
    sparse_gap: NDArray[np.int64]
    sparse_delta: NDArray[np.int64]
    pools: tuple[NDArray[np.unsignedinteger], ...]


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
    """The columns that are not constant, and what has been decided for each."""

    values: NDArray[np.uint64]
    delta: NDArray[np.int64]
    delta2: NDArray[np.int64]
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
        begin = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=begin[1:])
        values = values.take(np.arange(begin[-1]) + np.repeat(start[changing] - begin[:-1], counts))
        if not len(changing):
            none = np.empty(0, np.uint8)
            return cls(values, values.view(np.int64), values.view(np.int64), begin, none, none)
        half, mask = (np.repeat(modulus, counts) for modulus in _moduli(bits[changing]))
        delta = _differences(values, begin, half, mask)
        delta2 = _differences(delta.view(np.uint64), begin, half, mask)
        kind, cost, wide = _choose(values, delta, delta2, begin, bits[changing])
        pool = np.searchsorted(_POOL_BITS, cost / counts).astype(np.uint8)
        pool[wide] = _WIDE
        pool[kind < Kind.DELTA] = 0
        return cls(values, delta, delta2, begin, kind, pool)

    def sparse(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How many changes each sparse column has; the gap to and the delta of each change."""
        counts = np.diff(self.start)
        chosen = self.kind == Kind.SPARSE
        at = np.flatnonzero(np.repeat(chosen, counts) & (self.delta != 0))
        column = np.searchsorted(self.start, at, side="right") - 1
        gap = np.diff(at, prepend=0)
        leading = np.flatnonzero(np.diff(column, prepend=-1))
        gap[leading] = at[leading] - self.start[column[leading]]
        changes = np.bincount(column, minlength=len(counts))[chosen]
        return changes.astype(np.int64), gap, self.delta[at]

    def pools(self) -> tuple[NDArray[np.uint64], ...]:
        """The numbers of all delta, delta2 and direct columns, by pool."""
        counts = np.diff(self.start)
        twice = np.repeat(self.kind == Kind.DELTA2, counts)
        direct = np.repeat(self.kind == Kind.DIRECT, counts)
        numbers = np.where(direct, self.values, zigzag(np.where(twice, self.delta2, self.delta)))
        written = np.flatnonzero(self.kind >= Kind.DELTA)
        written = written[np.argsort(self.pool[written], kind="stable")]
        # A column of differences has one number fewer than rows: its first value is written apart.
        apart = self.kind[written] != Kind.DIRECT
        counts = counts[written] - apart
        end = np.cumsum(counts)
        places = np.arange(end[-1] if len(end) else 0) + np.repeat(self.start[written] + apart - end + counts, counts)
        of_pool = np.searchsorted(self.pool[written], np.arange(1, POOLS))
        return tuple(np.split(numbers.take(places), np.concatenate([[0], end])[of_pool]))


def _choose(
    values: NDArray[np.uint64],
    delta: NDArray[np.int64],
    delta2: NDArray[np.int64],
    start: NDArray[np.int64],
    bits: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """The kind of each column, its estimated cost in bits, and whether a byte may be too short for its numbers."""
    first, counts = start[:-1], np.diff(start)
    column = np.repeat(np.arange(len(counts)), counts)
    size, size2 = _magnitude(delta), _magnitude(delta2)
    changes = np.add.reduceat(delta != 0, first, dtype=np.int64)
    written = np.add.reduceat(size, first) + changes
    costs = np.stack(
        [
            (changes * (np.log2(counts / changes) + 1.5) + written) * _SPARSE_OVERHEAD,
            _entropy(size, column, start, signs=True),
            _entropy(size2, column, start, signs=True),
            _direct_cost(values, counts, bits),
        ]
    )
    kind = (np.argmin(costs, axis=0) + Kind.SPARSE).astype(np.uint8)
    cost: NDArray[np.float64] = costs.min(axis=0)
    # Linear: the second differences are zero from the third row on.
    bent = delta2 != 0
    bent[np.minimum(first + 1, start[1:] - 1)] = False
    kind[np.diff(np.searchsorted(np.flatnonzero(bent), start)) == 0] = Kind.LINEAR
    # In ZigZag, what has seven bits takes a byte.
    wide = np.where(kind == Kind.DELTA2, np.maximum.reduceat(size2, first), np.maximum.reduceat(size, first)) > 7
    return kind, cost, np.where(kind == Kind.DIRECT, np.maximum.reduceat(values, first) > 0xFF, wide)


def _direct_cost(values: NDArray[np.uint64], counts: NDArray[np.int64], bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Bits for the numbers as they are: the entropy of numbers of up to 8 bits, of magnitudes of longer ones."""
    cost: NDArray[np.float64] = np.multiply(counts, bits, dtype=np.float64)
    for short in (True, False):
        chosen = (bits <= 8) == short
        of_chosen = counts[chosen]
        if not len(of_chosen):
            continue
        numbers = values[np.repeat(chosen, counts)]
        column = np.repeat(np.arange(len(of_chosen)), of_chosen)
        if short:
            symbols = column << 8
            symbols += numbers.view(np.int64)
            cost[chosen] = _histogram_entropy(np.bincount(symbols, minlength=len(of_chosen) << 8), of_chosen)
        else:
            start = np.concatenate([[0], np.cumsum(of_chosen)])
            entropy = _entropy(_magnitude(numbers), column, start, signs=False)
            cost[chosen] = np.minimum(cost[chosen], entropy)
    return cost


def _entropy(
    size: NDArray[np.int64], column: NDArray[np.intp], start: NDArray[np.int64], *, signs: bool
) -> NDArray[np.float64]:
    """Bits for numbers of these magnitudes: the magnitudes' entropy, what is below the leading one, and a sign."""
    counts, classes = np.diff(start), int(size.max()) + 1
    symbols = column * classes
    symbols += size
    below = np.add.reduceat(size if signs else np.maximum(size - 1, 0), start[:-1])
    histogram = np.bincount(symbols, minlength=len(counts) * classes)
    return _histogram_entropy(histogram, counts) + below


def _histogram_entropy(histogram: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits in all for the symbols of each column: histogram has as many numbers for each, whose sums are `counts`."""
    met = np.flatnonzero(histogram)
    times = histogram.take(met)
    columns = met // (len(histogram) // len(counts))
    saved = np.bincount(columns, weights=times * np.log2(times), minlength=len(counts)).astype(np.float64)
    entropy: NDArray[np.float64] = counts * np.log2(counts) - saved
    return entropy


def _magnitude(numbers: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits of the absolute value up to the leading one: 0 for 0, 1 for 1, 2 for 2 and 3; at most 65.

    Read off the exponent of a float64 (IEEE 754), whose rounding may make 2**k of numbers just below it.
    """
    exponent = numbers.astype(np.float64).view(np.int64)
    exponent >>= 52
    exponent &= 0x7FF
    exponent -= 1022
    return np.maximum(exponent, 0, out=exponent)


def _moduli(bits: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Half of the modulus, and the modulus less one."""
    half = np.uint64(1) << (bits - np.uint8(1)).astype(np.uint64)
    return half, half - np.uint64(1) + half


def _differences(
    numbers: NDArray[np.uint64], start: NDArray[np.int64], half: NDArray[np.uint64], mask: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Each number less the one before it in its column (of the first: 0), modulo (mask + 1), around zero."""
    difference = np.empty_like(numbers)
    np.subtract(numbers[1:], numbers[:-1], out=difference[1:])
    difference[start[:-1]] = 0
    difference += half
    difference &= mask
    difference -= half
    return difference.view(np.int64)


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


class ColumnReader:
    """Reads columns back, in the order in which they were written.

    Raises:
        BatchError: the numbers do not fit the columns that are asked for.

    """

    def __init__(self, encoded: EncodedColumns) -> None:
        if len(encoded.kind) != len(encoded.first):
            raise BatchError("column tables differ in length")
        self._encoded = encoded
        self._column = 0
        self._pool = [0] * POOLS
        self._at = {"linear_step": 0, "sparse_changes": 0, "sparse_gap": 0}

    def read(self, count: int, bits: int) -> NDArray[np.uint64]:
        """The next column: uint64 (count,), each below two to the power of `bits`."""
        if self._column >= len(self._encoded.kind):
            raise BatchError("column_kind ends early")
        if not count:
            raise BatchError("a column without rows")
        kind, pool = int(self._encoded.kind[self._column]) & 0xF, int(self._encoded.kind[self._column]) >> 4
        first = self._encoded.first[self._column]
        self._column += 1
        mask = np.uint64((1 << bits) - 1)
        if kind == Kind.CONSTANT:
            return np.full(count, first & mask)
        if kind == Kind.DIRECT:
            return self._from_pool(pool, count) & mask
        column = np.zeros(count, np.uint64)
        if kind == Kind.LINEAR:
            column[1:] = np.uint64(self._one("linear_step") & 0xFFFF_FFFF_FFFF_FFFF)
        elif kind == Kind.SPARSE:
            gaps, deltas = self._changes()
            rows = np.cumsum(gaps)
            if not ((gaps > 0).all() and rows[-1:].sum() < count):
                raise BatchError("a sparse column changes outside its rows")
            column[rows] = deltas.view(np.uint64)
        elif kind in (Kind.DELTA, Kind.DELTA2):
            column[1:] = unzigzag(self._from_pool(pool, count - 1)).view(np.uint64)
            if kind == Kind.DELTA2:
                np.cumsum(column, out=column)
        else:
            raise BatchError(f"column kind {kind} is unknown; known are 0 to {max(Kind)}")
        column[0] = first
        return np.cumsum(column, out=column) & mask

    def expect_nothing_left(self) -> None:
        """Every number has found its column."""
        ends = [len(pool) for pool in self._encoded.pools]
        left = any(at != len(getattr(self._encoded, name)) for name, at in self._at.items())
        if self._column != len(self._encoded.kind) or self._pool != ends or left:
            raise BatchError("numbers are left over")

    def _one(self, name: str) -> int:
        array, at = getattr(self._encoded, name), self._at[name]
        if at >= len(array):
            raise BatchError(f"{name} ends early")
        self._at[name] = at + 1
        return int(array[at])

    def _changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        count, at = self._one("sparse_changes"), self._at["sparse_gap"]
        self._at["sparse_gap"] = end = at + count
        if end > min(len(self._encoded.sparse_gap), len(self._encoded.sparse_delta)):
            raise BatchError("sparse_gap ends early")
        return self._encoded.sparse_gap[at:end], self._encoded.sparse_delta[at:end]

    def _from_pool(self, pool: int, count: int) -> NDArray[np.uint64]:
        if pool >= POOLS:
            raise BatchError(f"pool {pool} is unknown; known are 0 to {POOLS - 1}")
        begin = self._pool[pool]
        self._pool[pool] = end = begin + count
        if end > len(self._encoded.pools[pool]):
            raise BatchError(f"pool{pool} ends early")
        return self._encoded.pools[pool][begin:end].astype(np.uint64)
