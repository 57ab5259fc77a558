# SPDX-License-Identifier: Apache-2.0
"""Raw field bits to physical values, exactly as cantools 45 gives them with ``decode_choices=False``.

Promise: the same number, to the last bit, of the same type. Whole scale and offset on a whole raw value stay
Python integers of any size; a float scale is one float64 multiplication and one addition, never fused.
Limits: float fields of 16, 32 and 64 bits, as bitstruct has them; one of any other length, which cantools
cannot unpack, is read as an integer. Bits above the field's length are ignored: foreign bytes stay in range.
Failure: no raw value raises; what overflows a float becomes infinite, as it does in cantools.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import SignalDefinition

_FLOATS: dict[int, tuple[type[np.unsignedinteger[Any]], type[np.floating[Any]]]] = {
    16: (np.uint16, np.float16),
    32: (np.uint32, np.float32),
    64: (np.uint64, np.float64),
}


def physical(signal: SignalDefinition, raw: NDArray[np.uint64]) -> NDArray[Any]:
    """Physical values of raw field bits: float64, int64, uint64, or object where integers outgrow 64 bits.

    ``tolist()`` of the result gives cantools' Python numbers.
    """
    values = numeric(signal, raw)
    scale, offset = signal.scale, signal.offset
    if scale == 1 and offset == 0:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype == np.float64:
            return values * float(scale) + float(offset)
        if _whole(scale) and _whole(offset):
            return _linear(signal, values, int(scale), int(offset))
        if isinstance(scale, int):  # Python multiplies exactly before it adds the float
            return _linear(signal, values, scale, 0).astype(np.float64) + float(offset)
        return values.astype(np.float64) * scale + float(offset)


def numeric(signal: SignalDefinition, raw: NDArray[np.uint64]) -> NDArray[Any]:
    """Raw values as numbers: uint64, int64 where the signal is signed, float64 where it is a float."""
    if reads_as_float(signal):
        bits, floating = _FLOATS[signal.length]
        with np.errstate(invalid="ignore"):  # a signalling NaN is made quiet
            return raw.astype(bits).view(floating).astype(np.float64)
    spare = np.uint64(64 - signal.length)
    shifted = raw << spare
    if signal.signed:
        return shifted.view(np.int64) >> spare.astype(np.int64)
    return shifted >> spare


def names(signal: SignalDefinition, raw: NDArray[np.uint64]) -> list[str | None]:
    """The value table's name of each raw value, None where it has none."""
    if not signal.choices:
        return [None] * len(raw)
    table: dict[Any, str] = dict(signal.choices)
    values = numeric(signal, raw)
    if values.dtype == np.float64:
        return [table.get(int(value)) if np.isfinite(value) else None for value in values.tolist()]
    return [table.get(value) for value in values.tolist()]


def reads_as_float(signal: SignalDefinition) -> bool:
    """Whether the raw value is a float."""
    return signal.is_float and signal.length in _FLOATS


def exact(number: float) -> Fraction:
    """What the digits of a DBC file's number say."""
    return Fraction(repr(number))


def is_counted(signal: SignalDefinition) -> bool:
    """Whether its values are whole steps of a scale, and not floating point."""
    return not reads_as_float(signal) and signal.scale != 0 and math.isfinite(signal.scale)


def key_offset(signal: SignalDefinition) -> int:
    """What is added to the number that a raw value stands for to make it a key.

    The key of a raw value is unsigned, and in the order of the numbers: 2 ** (length - 1) is added where it is signed.
    A float's key is its raw value, in no order.
    """
    return 1 << signal.length - 1 if signal.signed and not reads_as_float(signal) else 0


def _linear(signal: SignalDefinition, values: NDArray[Any], scale: int, offset: int) -> NDArray[Any]:
    low, high = _bounds(signal)
    ends = sorted((low * scale + offset, high * scale + offset))
    steps = [low * scale, high * scale, low, high, scale, offset, *ends]
    if min(steps) >= -(1 << 63) and max(steps) < 1 << 63:
        return values.astype(np.int64) * np.int64(scale) + np.int64(offset)
    return values.astype(object) * scale + offset


def _bounds(signal: SignalDefinition) -> tuple[int, int]:
    if signal.signed:
        return -(1 << signal.length - 1), (1 << signal.length - 1) - 1
    return 0, (1 << signal.length) - 1


def _whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()
