# SPDX-License-Identifier: Apache-2.0
"""How far signals may go, and until when, before a trigger has to be asked again whether it has anything to do.

What is certain of a condition over some bounds (`screen`) is certain over all bounds within them, and if until a later
time, then also before that. So where a trigger has nothing to do in a block, time is let go on and the bounds of its
signals are widened as far as that stays certain, and it is left alone for as long as its signals stay within. One
comparison of all bounds finds the triggers that are to be asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.steady_clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent.collect.conditions.bounds import Bounds, Glance

_SHARES = (1, 8, 64)
"""Bounds are widened by the whole of the room there is, or else by the first of these parts of it that goes."""
_AHEAD_NS = (1 << 60, 10_000_000_000, 1_000_000_000, 300_000_000, 100_000_000)
"""Time is let go on by the first of these that goes."""


class Calm:
    """The bounds within which each trigger has nothing to do; none at first.

    Args:
        signals: of each trigger, as `screen.Screen` counts them.
        watched: of those, the ones that may not change at all.
        bits: of each signal.

    """

    def __init__(self, signals: Sequence[Iterable[int]], watched: Sequence[set[int]], bits: Sequence[int]) -> None:
        pairs = [(trigger, signal) for trigger, each in enumerate(signals) for signal in sorted(each)]
        self._bits = bits
        self._trigger = np.array([trigger for trigger, _ in pairs], np.int64)
        self._signal = np.array([signal for _, signal in pairs], np.int64)
        self._still = np.array([signal in watched[trigger] for trigger, signal in pairs], np.bool_)
        self._low = np.empty(len(pairs), np.uint64)
        self._high = np.empty(len(pairs), np.uint64)
        self._until = np.full(len(signals), NEVER)
        self._step = [0] * len(signals)  # the one of `_AHEAD_NS` that went last, past the end where none did

    def left(self, glance: Glance) -> list[int]:
        """The triggers of which a signal is not within its bounds, or that have none any more; ascending."""
        signal = self._signal
        outside = glance.stirred.take(signal)
        outside &= self._still
        outside |= glance.low.take(signal) < self._low
        outside |= glance.high.take(signal) > self._high
        asked = self._until < glance.view.span[1]
        asked[self._trigger.compress(outside)] = True
        return asked.nonzero()[0].tolist()

    def forget(self, trigger: int) -> None:
        """It has been at work: what was certain before need not be so now."""
        self._until[trigger] = NEVER

    def learn(self, trigger: int, bounds: Bounds, is_at_rest: Callable[[Bounds], bool]) -> None:
        """Widen bounds over which a trigger is at rest, if it is for a while."""
        low, high = bounds.low.copy(), bounds.high.copy()
        first, self._step[trigger] = max(0, self._step[trigger] - 1), len(_AHEAD_NS)
        for step in range(first, len(_AHEAD_NS)):
            wider = replace(bounds, low=low, high=high, end=bounds.end + _AHEAD_NS[step], is_ahead=True)
            if is_at_rest(wider):
                break
        else:
            return
        self._step[trigger] = step
        pairs = (self._trigger == trigger).nonzero()[0]
        for signal in self._signal.take(pairs).tolist():
            least, greatest = low[signal], high[signal]
            if least > greatest:
                continue  # it has not come yet: when it does, that is news
            room = (1 << self._bits[signal]) - 1 - greatest
            for share in _SHARES:
                low[signal] = least - least // share
                if is_at_rest(wider):
                    break
                low[signal] = least
            for share in _SHARES:
                high[signal] = greatest + room // share
                if is_at_rest(wider):
                    break
                high[signal] = greatest
        self._low[pairs] = np.array([low[signal] for signal in self._signal.take(pairs).tolist()], np.uint64)
        self._high[pairs] = np.array([high[signal] for signal in self._signal.take(pairs).tolist()], np.uint64)
        self._until[trigger] = wider.end
