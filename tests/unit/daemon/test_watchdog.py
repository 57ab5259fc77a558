# SPDX-License-Identifier: Apache-2.0
"""The watchdog is fed while parts are changed, for as long as that may take, and not a moment more."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from agent.daemon import watchdog
from agent.daemon.watchdog import ReloadWatchdog
from agent.errors import SpoolError
from agent.system.systemd_notify import ServiceManager

EXTENSION = "EXTEND_TIMEOUT_USEC=9000"


class Manager(ServiceManager):
    """Hears what it is told; wants to be fed every 3 ms."""

    def __init__(self) -> None:
        super().__init__({"WATCHDOG_USEC": "9000"})
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    def tell(self, *lines: str) -> None:
        for line in lines:
            self.heard.put_nowait(line)

    async def hears(self, count: int) -> list[str]:
        async with asyncio.timeout(10):
            return [await self.heard.get() for _ in range(count)]


async def test_it_is_fed_from_the_first_moment_to_the_end_of_the_change_and_in_the_next() -> None:
    manager = Manager()
    change = ReloadWatchdog(manager)
    async with change.fed_for():
        assert await manager.hears(4) == [EXTENSION, "WATCHDOG=1"] * 2
        change.end()
        while await manager.hears(1) != ["READY=1"]:
            pass
        await asyncio.sleep(10 * manager.look_s)
        assert manager.heard.empty()
        change.begin()
        assert await manager.hears(4) == [EXTENSION, "WATCHDOG=1"] * 2


async def test_a_change_that_hangs_is_not_fed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "RELOAD_MAX_S", -60.0)
    manager = Manager()
    with capture_logs() as logs:
        async with ReloadWatchdog(manager).fed_for(), asyncio.timeout(10):
            while len(logs) < 2:
                await asyncio.sleep(manager.look_s)
    assert (logs[0]["event"], logs[0]["stage"], logs[0]["late_s"]) == ("stage_stalled", "reload", 60)
    assert manager.heard.empty()


async def test_an_error_within_stays_the_one_that_it_is() -> None:
    with pytest.raises(SpoolError):
        async with ReloadWatchdog(Manager()).fed_for():
            raise SpoolError("the disk is full")
