# SPDX-License-Identifier: Apache-2.0
"""Clock steps: which frames of a block came before the wall clock was set, and which after.

A batch bears one clock reading, which holds for all its frames. So the clocks are read with each block of frames. Where
wall and monotonic clock have moved against each other since the block before, the block is split by its frames' times,
and the later frames open a new batch. For `WAITED_NS_MAX` after the step, frames that had waited meanwhile are split
off still.

Limits: a step that is shorter than a block may leave frames of that block on the wrong side of it, off by the step; one
that is shorter than `WAITED_NS_MAX` those that had waited.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.system.clock import WAITED_NS_MAX, was_stepped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import ClockReading, FrameBlock

FUTURE_WEIGHT = 10
"""A frame is so much less likely to come from the future than from as far in the past."""


class ClockSteps:
    """The reading of now, and for a while the one from before the last step. `reading`: older than the first frame."""

    def __init__(self, reading: ClockReading) -> None:
        self._latest = reading
        self._before: ClockReading | None = None
        self._stepped_ns = 0

    def split(self, frames: FrameBlock, reading: ClockReading) -> list[tuple[FrameBlock, ClockReading]]:
        """As `split_at_step`. `reading`: taken when the last of the frames was there."""
        latest, self._latest = self._latest, reading
        if was_stepped(latest, reading):
            self._before, self._stepped_ns = latest, reading.monotonic_ns
        elif self._before is not None and not self._may_have_waited(self._before, reading):
            self._before = None
        return split_at_step(frames, self._before or reading, reading)

    def _may_have_waited(self, before: ClockReading, reading: ClockReading) -> bool:
        """Whether a frame may still come of before, and cannot be taken for one of now."""
        is_long = abs(reading.offset_ns - before.offset_ns) > WAITED_NS_MAX
        return is_long and reading.monotonic_ns - self._stepped_ns < WAITED_NS_MAX


def split_at_step(
    frames: FrameBlock, before: ClockReading, after: ClockReading
) -> list[tuple[FrameBlock, ClockReading]]:
    """The frames with the reading that holds for them; in two parts, where the clock was set while they came.

    frames   some; each part has them in the order received
    before   taken with the block before
    after    taken when the last of the frames was there
    """
    if not was_stepped(before, after):
        return [(frames, after)]
    old_age_ns = after.monotonic_ns + before.offset_ns - frames.time_ns
    earlier = _unlikely(old_age_ns) < _unlikely(after.wall_ns - frames.time_ns)
    if not earlier.any():
        return [(frames, after)]
    last = _later(before, after.monotonic_ns - max(int(old_age_ns[earlier].min()), 1))
    if earlier.all():
        return [(frames, last)]
    return [(frames.chosen(earlier), last), (frames.chosen(~earlier), after)]


def _later(reading: ClockReading, monotonic_ns: int) -> ClockReading:
    """What the clocks would have read then, had nobody set them; not before they were read."""
    passed_ns = max(monotonic_ns - reading.monotonic_ns, 0)
    return replace(reading, wall_ns=reading.wall_ns + passed_ns, monotonic_ns=reading.monotonic_ns + passed_ns)


def _unlikely(age_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longer a frame would have waited, the less likely; not come yet is the least, but adapters' clocks differ."""
    return np.where(age_ns < 0, -age_ns, age_ns // FUTURE_WEIGHT)
