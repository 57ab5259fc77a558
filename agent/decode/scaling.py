# SPDX-License-Identifier: Apache-2.0
"""Raw field bits to physical values, for all columns of a block at once.

The result is a float64 for every value: what conditions, statistics and displays compute with. The exact numbers
of a DBC file, whole ones included, are `batch.physical`'s, column by column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.model import MESSAGE_SHIFT, RAW_SIGNALS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import SignalBlock, SignalDefinition


class Scaling:
    """The scaling of a plan's signals, in tables by message and signal."""

    def __init__(self, plan: Plan) -> None:
        signals: list[SignalDefinition] = [*RAW_SIGNALS]
        self._first = np.zeros(len(plan.messages) + 1, np.int64)
        for index, message in enumerate(plan.messages):
            self._first[index + 1] = len(signals)
            signals += message.signals
        self._scale = np.array([signal.scale for signal in signals], np.float64)
        self._offset = np.array([signal.offset for signal in signals], np.float64)
        # Two's complement: (x ^ m) - m with m = the sign bit; zero leaves unsigned ones as they are.
        signed = [1 << signal.length - 1 if signal.signed and not signal.is_float else 0 for signal in signals]
        self._sign = np.array(signed, np.uint64)
        self._float_bits = np.array([signal.length if signal.is_float else 0 for signal in signals], np.uint8)
        unsigned_long = np.array([signal.length == 64 and not signal.signed for signal in signals], np.bool_)
        self._special = unsigned_long | (self._float_bits > 0)

    def physical(self, block: SignalBlock) -> NDArray[np.float64]:
        """float64 (V,): raw * scale + offset for every value of the block, in the order of its values."""
        row = self._first.take((block.group_key >> MESSAGE_SHIFT).astype(np.int64)).take(block.column_group)
        row += block.column_signal
        counts = np.diff(block.column_start)
        whole, sign = block.values, self._sign.take(row)
        if sign.any():
            each = np.repeat(sign, counts)
            whole = whole ^ each
            whole -= each
        values: NDArray[np.float64] = whole.view(np.int64).astype(np.float64)
        for column in np.flatnonzero(self._special.take(row)).tolist():
            part = slice(block.column_start[column], block.column_start[column + 1])
            values[part] = _special(block.values[part], int(self._float_bits[row[column]]))
        values *= np.repeat(self._scale.take(row), counts)
        values += np.repeat(self._offset.take(row), counts)
        return values


def _special(raw: NDArray[np.uint64], float_bits: int) -> NDArray[np.float64]:
    """Floats of 16, 32 or 64 bits, and whole numbers of 64 bits without a sign."""
    if not float_bits:
        return raw.astype(np.float64)
    unsigned = {16: np.uint16, 32: np.uint32, 64: np.uint64}[float_bits]
    floats = raw.astype(unsigned).view({16: np.float16, 32: np.float32, 64: np.float64}[float_bits])
    return floats.astype(np.float64)
