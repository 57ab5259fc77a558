# SPDX-License-Identifier: Apache-2.0
"""What stands for a run of samples of one signal: the least, the greatest, the mean."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from agent.physical import key_offset, numeric, reads_as_float

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import SignalDefinition

Sum = tuple[Fraction | int, int]
"""The exact sum of some samples, and how many they are: of keys, or of the floats that they stand for."""
NOTHING: Sum = (0, 0)
_FLOATS = {16: (np.float16, np.uint16), 32: (np.float32, np.uint32), 64: (np.float64, np.uint64)}


def float_keys(definition: SignalDefinition, raw: NDArray[np.uint64], *, falling: bool) -> NDArray[np.uint64]:
    """Numbers in the order of the floats that raw values stand for, or falling; what is no number comes last."""
    sign, ones = np.uint64(1 << definition.length - 1), np.uint64((1 << definition.length) - 1)
    keys = np.where(raw & sign, raw ^ ones, raw | sign)
    return np.where(np.isnan(numeric(definition, raw)), ones, keys ^ ones if falling else keys)


def sum_of(definition: SignalDefinition, keys: NDArray[np.uint64]) -> Sum:
    """The sum of some samples, as their keys; of floats, those that are no finite number are left out."""
    if reads_as_float(definition):
        numbers = numeric(definition, keys)
        finite = numbers[np.isfinite(numbers)].tolist()
        return sum(map(Fraction, finite), Fraction(0)), len(finite)
    return sum(keys.tolist()), len(keys)


def mean(total: Sum, definition: SignalDefinition) -> int | None:
    """The raw value nearest to the mean, the even one of two; None of no samples."""
    amount, samples = total
    if not samples:
        return None
    if reads_as_float(definition):
        floating, bits = _FLOATS[definition.length]
        return int(np.array([float(Fraction(amount) / samples)], floating).view(bits)[0])
    assert isinstance(amount, int)
    key, rest = divmod(amount, samples)
    sign = key_offset(definition)
    is_odd = (key - sign) & 1
    return (key + (2 * rest + is_odd > samples)) ^ sign
