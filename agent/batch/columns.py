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

Columns are written by `column_writer.py`, each in the way that is likely to be the shortest (`choosing.py`), and read
by `column_reader.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
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
