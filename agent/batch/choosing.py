# SPDX-License-Identifier: Apache-2.0
"""Which way of writing a column is likely to be the shortest.

A column that seldom changes is told by how often it does. Of the others each way is tried, on a sample of those that
are long: runs of neighbouring rows, spread evenly. What a way takes is estimated as the order-0 entropy of its numbers'
magnitudes, and the bits within the magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.batch.columns import Kind
from agent.batch.differences import shortest, spare_bits
from agent.blocks import runs, starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
