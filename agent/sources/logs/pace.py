# SPDX-License-Identifier: Apache-2.0
"""How far a log has gone on at each of its frames, for those who play it as it was recorded.

Promise: what a clock was set by takes no time. A frame whose time goes on from none of the latest ones, by up to an
hour, is the first of another clock, and follows the frame before it at once; so are times that go back and forth
between clocks each played at their own pace. A pause of the bus of more than an hour is left out as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKWARD_NS_MAX = 1_000_000_000
"""Frames of buses that were read apart may be in disorder by this much."""
PAUSE_NS_MAX = 3600 * 10**9
CLOCKS_MAX = 4


class LogPace:
    """Follows the times of a log's frames, in the order recorded."""

    def __init__(self) -> None:
        self._clocks: list[tuple[int, int]] = []  # latest time, and the time of the log's beginning; the newest first
        self._elapsed_ns = 0

    def elapsed_ns(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each frame, how long after the log's first one it is due."""
        if not len(time_ns):
            return time_ns
        elapsed = self._of_one_clock(time_ns)
        if elapsed is None:
            elapsed = np.array([self._go_on(each) for each in time_ns.tolist()], np.int64)
        self._elapsed_ns = max(self._elapsed_ns, int(elapsed.max()))
        return elapsed

    def _of_one_clock(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where all frames go on from the clock that the latest one went by."""
        if not self._clocks:
            return None
        latest_ns, begin_ns = self._clocks[0]
        latest = np.maximum.accumulate(np.append(latest_ns, time_ns))
        steps = time_ns - latest[:-1]
        if int(steps.max()) >= PAUSE_NS_MAX or int(steps.min()) < -BACKWARD_NS_MAX:
            return None
        self._clocks[0] = int(latest[-1]), begin_ns
        return time_ns - begin_ns

    def _go_on(self, time_ns: int) -> int:
        for number, (latest_ns, begin_ns) in enumerate(self._clocks):
            if -BACKWARD_NS_MAX <= time_ns - latest_ns < PAUSE_NS_MAX:
                del self._clocks[number]
                self._clocks.insert(0, (max(latest_ns, time_ns), begin_ns))
                break
        else:
            self._clocks = [(time_ns, time_ns - self._elapsed_ns), *self._clocks[: CLOCKS_MAX - 1]]
        elapsed_ns = time_ns - self._clocks[0][1]
        self._elapsed_ns = max(self._elapsed_ns, elapsed_ns)
        return elapsed_ns
