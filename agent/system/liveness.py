# SPDX-License-Identifier: Apache-2.0
"""Whether the stages make progress: each says when it will have moved on, and whoever watches looks at the time.

With a `LivenessDeadline` a stage promises to be here again within so many seconds. A stage that rests promises the
length of its rest, one that works the longest that the work may take. A stage that is stuck misses its deadline,
whatever it is stuck in; one that has nothing to do never does.

Times are seconds of CLOCK_MONOTONIC, which stands still while the unit is suspended: nobody is late after a night.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class LivenessDeadline:
    """One stage's; late only between an `extend` whose time has passed and the next."""

    def __init__(self, stage: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.stage = stage
        self._monotonic = monotonic
        self._due_s = math.inf

    def extend(self, within_s: float) -> None:
        """Here we are, and shall be again within this time."""
        self._due_s = self._monotonic() + within_s

    async def wait(self, event: asyncio.Event, wait_s: float, within_s: float) -> None:
        """Wait for an event, no longer than `wait_s`; we shall have moved on `within_s` after that."""
        self.extend(wait_s + within_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await event.wait()

    def end(self) -> None:
        """The stage has ended in good order: nothing more is to be expected."""
        self._due_s = math.inf

    def log_late(self) -> None:
        """Log how late it is."""
        hint = "the watchdog restarts the agent; nothing that was spooled is lost"
        log.error("stage_stalled", stage=self.stage, late_s=round(self.late_s()), hint=hint)

    def late_s(self) -> float:
        """How long ago it should have moved on; 0 while it is in time."""
        return max(0.0, self._monotonic() - self._due_s)
