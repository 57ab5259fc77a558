# SPDX-License-Identifier: Apache-2.0
"""The simulated car as a source: its frames arrive as time passes, as from a bus.

Promise: `drain` returns every frame that was due since the last call, stamped with the wall clock at opening
plus the time passed since; the same frames for the same seed, however often it is called. Limits: one second
is computed ahead; a caller that comes back after more than `BEHIND_S_MAX` seconds gets the last of them, and
the others count as dropped. Failure: a DBC file that is missing or not the demo's is a `DatabaseError` at
opening.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.config import demo_car_dbc
from agent.errors import DatabaseError
from agent.model import FrameBlock, SourceCounters
from agent.sources.demo_car import FRAME_NS, SECOND_NS, DemoCar

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.system.clock import Clock

BEHIND_S_MAX = 10


class Drive:
    """The car's frames, a block a second, without end; times from 0, and no two frames at once.

    second   the next one
    """

    def __init__(self, seed: int = 1) -> None:
        dbc = demo_car_dbc()
        try:
            self._car = DemoCar(dbc, seed)
        except (OSError, ValueError) as error:
            raise DatabaseError(f"{dbc}: not the simulated car's: {error}") from error
        self.second = 0
        self._last_ns = -FRAME_NS

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FrameBlock:
        """The next second; its first frames wait for the last ones of the second before."""
        block = self._car.second(self.second)
        self.second += 1
        waiting = np.arange(1, len(block) + 1) * FRAME_NS
        times = np.maximum(block.time_ns, self._last_ns + waiting)
        self._last_ns = int(times[-1])
        return FrameBlock(times, block.bus, block.can_id, block.length, block.flags, block.data)

    def skip(self, second: int) -> int:
        """Go on with this one, a later one; how many frames there were before it."""
        skipped: int = self._car.frames_before(second) - self._car.frames_before(self.second)
        self.second = second
        return skipped


class SimulatorSource:
    """One bus of the simulated car; ``index`` is that of the configured bus."""

    def __init__(self, index: int, name: str, *, clock: Clock, seed: int = 1) -> None:
        self._index, self._name, self._clock, self._seed = index, name, clock, seed
        self._pending = FrameBlock.empty()
        self._frames = self._dropped = 0

    async def __aenter__(self) -> Self:
        self._drive = Drive(self._seed)
        self._begin_ns = self._clock.monotonic_ns()
        self._offset_ns = self._clock.wall_ns()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pending = FrameBlock.empty()

    @property
    def exhausted(self) -> bool:
        """A simulated drive never ends."""
        return False

    @property
    def drain_within_s(self) -> float:
        """The car waits."""
        return math.inf

    def states(self) -> dict[str, str]:
        """By bus name: always up."""
        return {self._name: "up"}

    def counters(self) -> SourceCounters:
        """Frames delivered, and those of seconds that nobody fetched in time."""
        return SourceCounters(frames=self._frames, dropped=self._dropped)

    def wake(self, _heard: Callable[[], None] | None, /) -> bool:
        """The car drives while the clock runs."""
        return False

    def drain(self) -> FrameBlock:
        """The frames due since the last call."""
        now_ns = self._clock.monotonic_ns() - self._begin_ns
        self._skip(now_ns // SECOND_NS - BEHIND_S_MAX)
        due: list[FrameBlock] = []
        while True:
            count = int(np.searchsorted(self._pending.time_ns, now_ns, side="right"))
            due.append(self._pending.slice(0, count))
            self._pending = self._pending.slice(count, len(self._pending))
            if len(self._pending) or self._drive.second * SECOND_NS > now_ns:
                break
            self._pending = next(self._drive)
        block = FrameBlock.concatenate(due)
        self._frames += len(block)
        return FrameBlock(
            block.time_ns + self._offset_ns,
            block.bus + np.uint8(self._index),
            block.can_id,
            block.length,
            block.flags,
            block.data,
        )

    def _skip(self, second: int) -> None:
        """Give up what was due before ``second``."""
        if second <= self._drive.second:
            return
        self._dropped += len(self._pending) + self._drive.skip(second)
        self._pending = FrameBlock.empty()
