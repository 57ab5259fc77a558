# SPDX-License-Identifier: Apache-2.0
"""What the multiplexors of a message select, as flat tables: one look at all its signals finds those of a frame.

A multiplexor is known by its name. One of more than `MULTIPLEXOR_BITS_MAX` bits is decoded as a plain signal; what it
would select is absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.model import SignalDefinition

MULTIPLEXOR_BITS_MAX = 40
_VALUE_MAX = (1 << 62) - 1


class Selection:
    """Of one message, by index of its signals."""

    def __init__(self, signals: Sequence[SignalDefinition]) -> None:
        self._signals = signals
        self._always = np.array([signal.selected_by is None for signal in signals], np.bool_)
        names = dict.fromkeys(signal.selected_by for signal in signals if signal.selected_by is not None)
        self._number = {name: number for number, name in enumerate(names)}
        ranges = [
            (index, self._number[signal.selected_by], max(low, 0), min(high, _VALUE_MAX))
            for index, signal in enumerate(signals)
            if signal.selected_by is not None
            for low, high in signal.selected_when
            if low <= _VALUE_MAX
        ]
        self._signal, self._selector, self._low, self._high = np.array(ranges, np.int64).reshape(-1, 4).T
        self._multiplexors = np.array(
            [i for i, s in enumerate(signals) if s.multiplexor and s.length <= MULTIPLEXOR_BITS_MAX], np.int64
        )

    def present(self, values: Mapping[str, int]) -> NDArray[np.bool_]:
        """bool (signals,): those of a frame of whose multiplexors these values have been read, and no others."""
        here = self._always.copy()
        if values:
            read = np.full(len(self._number), -1, np.int64)
            for name, value in values.items():
                if name in self._number:
                    read[self._number[name]] = value
            of_range = read.take(self._selector)
            here[self._signal.compress((self._low <= of_range) & (of_range <= self._high))] = True
        return here

    def unread(self, here: NDArray[np.bool_], values: Mapping[str, int]) -> SignalDefinition | None:
        """The first multiplexor that is present and has not been read; None where there is none."""
        for index in self._multiplexors.compress(here.take(self._multiplexors)).tolist():
            signal: SignalDefinition = self._signals[index]
            if signal.name not in values:
                return signal
        return None

    def selects(self, here: NDArray[np.bool_], values: Mapping[str, int]) -> bool:
        """Whether each of the multiplexors read selects a signal that is present."""
        chosen = here.take(self._signal)
        selecting = set(self._selector.compress(chosen).tolist())
        return all(self._number.get(name) in selecting for name in values)
