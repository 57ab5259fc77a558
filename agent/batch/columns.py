# SPDX-License-Identifier: Apache-2.0
"""Columns of integers in few bytes: the ways in which one is written.

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
    6 beside    first, n - 1 numbers                              cumulative sum of the number plus the difference
                                                                  of the column beside, row by row
    7 against   first, n - 1 numbers                              the same, less that difference

The column *beside* one is the latest before it that has as many rows and is not constant: the other wheel of an
axle, the sum of bytes that a checksum is, the message that its unit sends in the same breath.

Kinds 3 to 7 take their numbers from one of five pools, each column the next n - 1 (n) of them. A number of pools
0 to 3 is one byte; of pool 4, a varint. Which of the four is the writer's choice. It goes by the bits that a number is
likely to need (up to 3.5, 5, and more: three do), for no other reason than that each pool is a zstd block of its own
and so has an entropy code of its own: 1 to 2 % of the whole batch.

Columns are written by `column_writer.py`, each in the way that is likely to be the shortest, and read here, in
the order in which they were written. A long constant column takes no memory: its rows are one number, and read-only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.batch.wire import unzigzag
from agent.errors import BatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

POOLS = 5


class Kind(enum.IntEnum):
    """How a column is written."""

    CONSTANT = 0
    LINEAR = 1
    SPARSE = 2
    DELTA = 3
    DELTA2 = 4
    DIRECT = 5
    BESIDE = 6
    AGAINST = 7


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


def spare_bits(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many bits of 64 are not used: what `shortest` shifts by."""
    return np.int64(64) - bits


def shortest(numbers: NDArray[np.uint64], spare: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers modulo two to the power of their bits, around zero; in place."""
    signed = numbers.view(np.int64)
    signed <<= spare
    signed >>= spare
    return signed


def differences(numbers: NDArray[np.uint64], start: NDArray[np.int64], spare: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number less the one before it in its column, of the first: 0. start: int64 (C+1,), of the columns."""
    difference = np.empty_like(numbers)
    np.subtract(numbers[1:], numbers[:-1], out=difference[1:])
    difference[start[:-1]] = 0
    return shortest(difference, spare)


NUMBERS_MAX = 8 << 20
"""Of all columns that are not constant; a line is told in a few bytes, however long it is."""


_WRITTEN_OUT_MAX = 4096


def constant(number: np.unsignedinteger[Any], count: int) -> NDArray[Any]:
    """A column of one number."""
    return np.full(count, number) if count <= _WRITTEN_OUT_MAX else np.broadcast_to(number, count)


class ColumnReader:
    """Reads columns back, in the order in which they were written.

    Raises:
        BatchError: the numbers do not fit the columns that are asked for.

    """

    def __init__(self, encoded: EncodedColumns) -> None:
        if len(encoded.kind) != len(encoded.first):
            raise BatchError("column tables differ in length")
        self._encoded = encoded
        self._column = self._numbers = 0
        self._pool = [0] * POOLS
        self._at = {"linear_step": 0, "sparse_changes": 0, "sparse_gap": 0}
        self._latest: dict[int, tuple[NDArray[np.uint64], int]] = {}  # by rows: one that is not constant, and its bits

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
            return constant(first & mask, count)
        self._numbers += count
        if self._numbers > NUMBERS_MAX:
            raise BatchError(f"claims more than {NUMBERS_MAX} numbers")
        if kind == Kind.DIRECT:
            column = self._from_pool(pool, count)
        else:
            column = np.zeros(count, np.uint64)
            column[1:] = self._steps(kind, pool, count)
            column[0] = first
            np.cumsum(column, out=column)
        column &= mask
        self._latest[count] = column, bits
        return column

    def _steps(self, kind: int, pool: int, count: int) -> NDArray[np.uint64]:
        """What each number is more than the one before it, modulo two to the power of 64 at least."""
        if kind == Kind.LINEAR:
            return np.full(count - 1, self._one("linear_step")).view(np.uint64)
        if kind == Kind.SPARSE:
            return self._changes(count)[1:]
        if kind > max(Kind):
            raise BatchError(f"column kind {kind} is unknown; known are 0 to {max(Kind)}")
        numbers = unzigzag(self._from_pool(pool, count - 1)).view(np.uint64)
        if kind == Kind.DELTA2:
            return np.cumsum(numbers)
        if kind == Kind.BESIDE:
            return numbers + self._steps_beside(count)
        if kind == Kind.AGAINST:
            return numbers - self._steps_beside(count)
        return numbers

    def _steps_beside(self, count: int) -> NDArray[np.uint64]:
        """The differences of the column beside."""
        if count not in self._latest:
            raise BatchError("a column leans on one that is not there")
        column, bits = self._latest[count]
        steps = differences(column, np.array([0, count]), spare_bits(np.array([bits], np.uint8)))
        return steps[1:].view(np.uint64)

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

    def _changes(self, count: int) -> NDArray[np.uint64]:
        """uint64 (count,): the differences of the next sparse column, 0 where nothing changes."""
        changes, at = self._one("sparse_changes"), self._at["sparse_gap"]
        self._at["sparse_gap"] = end = at + changes
        if end > min(len(self._encoded.sparse_gap), len(self._encoded.sparse_delta)):
            raise BatchError("sparse_gap ends early")
        gaps, rows = self._encoded.sparse_gap[at:end], np.cumsum(self._encoded.sparse_gap[at:end])
        if not ((gaps > 0).all() and rows[-1:].sum() < count):
            raise BatchError("a sparse column changes outside its rows")
        steps = np.zeros(count, np.uint64)
        steps[rows] = self._encoded.sparse_delta[at:end].view(np.uint64)
        return steps

    def _from_pool(self, pool: int, count: int) -> NDArray[np.uint64]:
        if pool >= POOLS:
            raise BatchError(f"pool {pool} is unknown; known are 0 to {POOLS - 1}")
        begin = self._pool[pool]
        self._pool[pool] = end = begin + count
        if end > len(self._encoded.pools[pool]):
            raise BatchError(f"pool{pool} ends early")
        return self._encoded.pools[pool][begin:end].astype(np.uint64)
