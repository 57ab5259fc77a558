# SPDX-License-Identifier: Apache-2.0
"""Differences of unsigned numbers of a few bits, taken the short way round: of 8 bits, from 250 to 3 is +9."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
