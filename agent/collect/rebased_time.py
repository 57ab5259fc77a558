# SPDX-License-Identifier: Apache-2.0
"""The clock that rules and triggers go by: the frames' own time, as if nobody had set a clock.

Rebased time is what the unit's wall clock would say had nobody set it since the start, on all buses alike: a frame's
own time, put back by what the clock readings tell that the wall clock was set forward. What is kept bears its frame's
own time; rebased time is never seen outside.

An adapter may stamp frames by a clock of its own, and a stamp may be anything. The readings bound when a block's
frames came: between the reading before and its own. A bus all of whose frames lie elsewhere is brought to the time of
the reading, and goes on from there by its own clock. A single frame that lies elsewhere gets the time of the reading.
So no bus holds up the rules of others, nor hurries them on.

A recorded log has no readings. There a frame that is more than a second older than the latest of its bus means that
the clock was set back: rebased time stands still for an instant and goes on from there, on all buses. A clock that is
set forward takes rebased time with it. Frames that jump forward to where a clock that they have left must be by now
are by that clock again: the log has frames by two clocks, and nobody has set either.

Promise: a bus's rebased time never goes back. A frame's depends on the frames before it, not on how they came in
blocks, but for frames that cannot have come when the readings say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.system.bus_clocks import BACKWARD_NS_MAX
from agent.system.clock import STEP_NS_MIN, WAITED_NS_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import ClockReading, FrameBlock

NEVER = -(1 << 62)
"""Before all times: the rebased time of a bus that has not been heard."""
AHEAD_NS_MAX = BACKWARD_NS_MAX
"""An adapter's clock may be so much ahead of the unit's without being brought to it."""
LEFT_MAX = 4
"""So many clocks that a log's frames have left are remembered."""


class RebasedClock:
    """The rebased time of each bus."""

    def __init__(self, buses: int) -> None:
        self._latest = np.full(buses, NEVER, np.int64)
        self._newest = NEVER
        self._ahead = 0  # of the frames' own times
        self._left: list[int] = []  # how much a log's clocks were ahead that its frames have left, the latest last
        self._ahead_of: dict[int, int] = {}  # of those of a bus, when they did not run on with the others' last
        self._reading: ClockReading | None = None
        self._offset_ns = 0  # wall clock less monotonic one, since it was set
        self._came = NEVER, -NEVER

    @property
    def now(self) -> NDArray[np.int64]:
        """int64 (buses,): the rebased time of each, `NEVER` where it has not been heard."""
        return self._latest.copy()

    def update(self, reading: ClockReading) -> int:
        """Update with the reading taken when the next frames had come; by how much the wall clock was set, mostly 0."""
        before = self._reading
        if reading == before:
            return 0
        self._reading = reading
        if before is None:
            before, self._offset_ns = reading, reading.offset_ns
        step = reading.offset_ns - self._offset_ns
        step = step if abs(step) > STEP_NS_MIN else 0
        self._offset_ns += step
        self._ahead -= step
        start = self._offset_ns + self._ahead
        self._came = before.monotonic_ns + start, reading.monotonic_ns + start
        return step

    def advance(self, frames: FrameBlock) -> tuple[NDArray[np.int64], int | None]:
        """int64 (n,): the rebased time of each frame, in the order received; and by how much they are ahead of the
        frames' own, where that is the same for all and they run on.
        """
        time, bus = frames.time_ns, frames.bus
        if not len(time):
            return time, 0
        ahead, (begin, end) = self._ahead, self._came
        first, last = int(time[0]) + ahead, int(time[-1]) + ahead
        if (
            max(self._newest, begin - WAITED_NS_MAX) <= first
            and last <= end + AHEAD_NS_MAX
            and not (self._left and last - self._newest > WAITED_NS_MAX)
            and not (time[1:] < time[:-1]).any()
        ):
            rebased = time + ahead if ahead else time
            self._latest[bus] = rebased  # of a bus that is named twice the last one counts
            self._newest = last
            return rebased, ahead
        rebased = self._of_log(time, bus) if self._reading is None else self._of_buses(time, bus)
        self._newest = int(self._latest.max())
        return rebased, None

    def _of_buses(self, time: NDArray[np.int64], bus: NDArray[np.uint8]) -> NDArray[np.int64]:
        """By the readings, each bus for itself."""
        rebased = np.empty_like(time)
        for index in np.bincount(bus).nonzero()[0].tolist():
            at = (bus == index).nonzero()[0]
            own = self._brought(index, time[at])
            own[0] = max(int(own[0]), int(self._latest[index]))
            rebased[at] = own = np.maximum.accumulate(own)
            self._latest[index] = own[-1]
        return rebased

    def _brought(self, bus: int, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of a bus's frames in a block, brought to where they can have come."""
        begin, end = self._came
        least, greatest = begin - WAITED_NS_MAX, end + AHEAD_NS_MAX
        for ahead in (self._ahead, self._ahead_of.get(bus, self._ahead), end - int(time.max())):
            own = time + ahead
            if ((least <= own) & (own <= greatest)).any():
                break
        self._ahead_of[bus] = ahead
        return np.where(own > greatest, end, np.maximum(own, least))

    def _of_log(self, time: NDArray[np.int64], bus: NDArray[np.uint8]) -> NDArray[np.int64]:
        """By the frames themselves; all at once where no clock changes, frame by frame else."""
        rebased = time + self._ahead
        newest = int(rebased.max())
        if self._left and newest - self._newest > WAITED_NS_MAX:
            return self._frame_by_frame(time, bus)
        latest = self._latest.copy()
        for index in np.bincount(bus).nonzero()[0].tolist():
            at = (bus == index).nonzero()[0]
            run = np.maximum.accumulate(np.concatenate([latest[index : index + 1], rebased[at]]))
            if (rebased[at] < run[:-1] - BACKWARD_NS_MAX).any():
                return self._frame_by_frame(time, bus)
            rebased[at], latest[index] = run[1:], run[-1]
        self._latest = latest
        return rebased

    def _frame_by_frame(self, time: NDArray[np.int64], bus: NDArray[np.uint8]) -> NDArray[np.int64]:
        rebased, latest, newest = [], self._latest.tolist(), self._newest
        for time_ns, index in zip(time.tolist(), bus.tolist(), strict=True):
            own, before = time_ns + self._ahead, latest[index]
            if own < before - BACKWARD_NS_MAX:
                self._leave(time_ns, before, before - time_ns)
            elif self._left and own - newest > WAITED_NS_MAX:
                self._leave(time_ns, newest, self._ahead)
            own = max(time_ns + self._ahead, before)
            rebased.append(own)
            latest[index], newest = own, max(newest, own)
        self._latest = np.array(latest, np.int64)
        return np.array(rebased, np.int64)

    def _leave(self, time_ns: int, now_ns: int, ahead: int) -> None:
        """Go on by a clock that was left, if it says about what it is now; else by one so much ahead."""
        near = [left for left in self._left if abs(time_ns + left - now_ns) <= WAITED_NS_MAX]
        if near:
            ahead = min(near, key=lambda left: abs(time_ns + left - now_ns))
            self._left.remove(ahead)
        if ahead != self._ahead:
            self._left = [*self._left[1 - LEFT_MAX :], self._ahead]
            self._ahead = ahead
