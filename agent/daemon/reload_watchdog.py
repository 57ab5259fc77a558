# SPDX-License-Identifier: Apache-2.0
"""What goes on between one configuration and the next, and before the first: parts are closed, built and opened.

Promise: as long as that takes the service manager's watchdog is fed, and the manager told to wait on, longer than it is
configured to (EXTEND_TIMEOUT_USEC): finding out what lies in a spool of some GiB, on a slow disk, takes minutes.
Limit: `CHANGE_MAX_S`; what takes longer hangs, and is not fed for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.system.liveness import LivenessDeadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.system.systemd_notify import ServiceManager

CHANGE_MAX_S = 600.0
EXTENSION_LOOKS = 3
"""So many looks later at most it hears of it again."""


class ReloadWatchdog:
    """The change that goes on, if one does; the first does from the beginning."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._deadline = LivenessDeadline("change")
        self._going_on = asyncio.Event()
        self.begin()

    def begin(self) -> None:
        """From now on parts are closed and opened."""
        self._deadline.extend(CHANGE_MAX_S)
        self._going_on.set()

    def end(self) -> None:
        """All of them are open; who watches them feeds the watchdog."""
        self._deadline.end()
        self._going_on.clear()
        self._manager.ready()

    @contextlib.asynccontextmanager
    async def fed_for(self) -> AsyncIterator[None]:
        """The watchdog is fed within, where a change goes on. An error from within stays the one that it is."""
        feeding = asyncio.create_task(self._feed(), name="watchdog")
        try:
            yield
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _feed(self) -> None:
        look_s = self._manager.look_s
        while True:
            await self._going_on.wait()
            if self._deadline.late_s():
                self._deadline.log_late()
            else:
                self._manager.extend(EXTENSION_LOOKS * look_s)
                self._manager.alive()
            await asyncio.sleep(look_s)
