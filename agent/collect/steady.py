# SPDX-License-Identifier: Apache-2.0
"""The clock that rules and triggers go by: the frames' own time, made so that it never goes back.

A bus's *steady* time is the latest time that its frames have had so far. Where a frame is more than a second older
than that, the clock was set back: steady time stands still for an instant and goes on from there, so that nothing
is silenced until the old time comes round again, and nothing is repeated. A clock that is set forward takes steady
time with it. What is kept bears its frame's own time; steady time is never seen outside.

Promise: a frame's steady time depends on the frames of its bus before it, and not on how they came in blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.collect.open_batch import BACKWARD_NS_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import FrameBlock

NEVER = -(1 << 62)
"""Before all times: the steady time of a bus that has not been heard."""


class SteadyClock:
    """The steady time of each bus."""

    def __init__(self, buses: int) -> None:
        self._latest = np.full(buses, NEVER, np.int64)
        self._shift = np.zeros(buses, np.int64)
        self._is_shifted = False
        self._newest = NEVER

    @property
    def now(self) -> NDArray[np.int64]:
        """int64 (buses,): the steady time of each, `NEVER` where it has not been heard."""
        return self._latest + self._shift if self._is_shifted else self._latest.copy()

    def advance(self, frames: FrameBlock) -> NDArray[np.int64]:
        """int64 (n,): the steady time of each frame, in the order received; their own times, where they run on."""
        time, bus = frames.time_ns, frames.bus
        if not len(time):
            return time
        if time[0] >= self._newest and not (time[1:] < time[:-1]).any():
            self._latest[bus] = time  # of a bus that is named twice the last one counts
            self._newest = int(time[-1])
            return time + self._shift.take(bus) if self._is_shifted else time
        steady = np.empty_like(time)
        for index in np.bincount(bus).nonzero()[0].tolist():
            at = (bus == index).nonzero()[0]
            steady[at] = self._advance_bus(index, time[at])
        self._newest = int(self._latest.max())
        return steady

    def _advance_bus(self, bus: int, time: NDArray[np.int64]) -> NDArray[np.int64]:
        steady = np.empty_like(time)
        begin = 0
        while begin < len(time):
            latest = np.maximum.accumulate(np.concatenate([self._latest[bus : bus + 1], time[begin:]]))
            back = (time[begin:] < latest[:-1] - BACKWARD_NS_MAX).nonzero()[0]
            end = begin + int(back[0]) if len(back) else len(time)
            steady[begin:end] = latest[1 : end - begin + 1] + self._shift[bus]
            self._latest[bus] = latest[end - begin]
            if end < len(time):
                self._is_shifted = True
                self._shift[bus] += self._latest[bus] - time[end]
                self._latest[bus] = time[end]
            begin = end
        return steady
