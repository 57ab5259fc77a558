# SPDX-License-Identifier: Apache-2.0
"""What the service manager hears of the agent: that it lives, and one line about how it goes.

While parts run, `watch` feeds the manager's watchdog as long as each stage moves on in its time and the worker answers.
While parts are closed, built and opened, before the first configuration and between two, `ReloadWatchdog` feeds it, and
tells the manager to wait on, longer than it is configured to (EXTEND_TIMEOUT_USEC): finding out what lies in a spool of
some GiB, on a slow disk, takes minutes.

Limit: `RELOAD_MAX_S`; a reload that takes longer hangs, and is not fed for any more.

    can0 up, can1 down; 1234567 frames, 0 dropped, 3 decoded in part; spool 12 batches 340KiB; link up to host:8883

With a modem and a data plan: …; modem home operator 4G -95dBm; data plan 12.0MiB of 200.0MiB, lasts
Where there are several priorities: spool 12 batches 340KiB (critical 0, normal 2 80KiB, bulk 10 260KiB).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.system.liveness import LivenessDeadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from agent.config.priorities import Priority
    from agent.daemon.assembly import Agent
    from agent.daemon.buses import Buses
    from agent.pipeline.packer import PackerCounters
    from agent.pipeline.tick import Pipeline, Source
    from agent.spool.index import StoreStatus
    from agent.system.systemd_notify import ServiceManager
    from agent.uplink.status import LinkState

RELOAD_MAX_S = 600.0
EXTENSION_LOOKS = 3
"""So many looks later at most it hears of it again."""


class ReloadWatchdog:
    """Feeds while a reload goes on; the start counts as the first."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._deadline = LivenessDeadline("reload")
        self._reloading = asyncio.Event()
        self.begin()

    def begin(self) -> None:
        """From now on parts are closed and opened."""
        self._deadline.extend(RELOAD_MAX_S)
        self._reloading.set()

    def end(self) -> None:
        """All of them are open; who watches them feeds the watchdog."""
        self._deadline.end()
        self._reloading.clear()
        self._manager.ready()

    @contextlib.asynccontextmanager
    async def fed_for(self) -> AsyncIterator[None]:
        """The watchdog is fed within, while a reload goes on. An error from within stays the one that it is."""
        feeding = asyncio.create_task(self._feed(), name="watchdog")
        try:
            yield
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _feed(self) -> None:
        look_s = self._manager.look_s
        while True:
            await self._reloading.wait()
            if self._deadline.late_s():
                self._deadline.log_late()
            else:
                self._manager.extend(EXTENSION_LOOKS * look_s)
                self._manager.alive()
            await asyncio.sleep(look_s)


async def watch(
    agent: Agent, pipeline: Pipeline, buses: Buses, manager: ServiceManager, cellular: Sequence[object]
) -> None:
    """Send the service manager the status line, and feed its watchdog while all stages are in time."""
    while True:
        await agent.worker.call(agent.storage.keep_in_place)
        spooled = await agent.worker.call(agent.storage.stats)  # the worker answers, or nobody is fed
        late = [deadline for deadline in (pipeline.deadline, agent.sender.deadline) if deadline.late_s()]
        for deadline in late:
            deadline.log_late()
        manager.status(status_line(buses.sources, buses.counters, spooled, agent.sender.state(), *cellular))
        if not late:
            manager.alive()
        await asyncio.sleep(manager.look_s)


def status_line(
    sources: Sequence[Source],
    counters: PackerCounters,
    spooled: Mapping[Priority, StoreStatus],
    link: LinkState,
    *cellular: object,
) -> str:
    """Buses, frames, spool, link, and the cellular network's lines."""
    states = [f"{name} {state}" for source in sources for name, state in source.states().items()]
    dropped = sum(source.counters().dropped for source in sources)
    frames = f"{counters.frames} frames, {dropped} dropped"
    if counters.decode_errors:
        frames += f", {counters.decode_errors} decoded in part"
    return "; ".join([", ".join(states), frames, _spool(spooled), _link(link), *map(str, cellular)])


def _spool(spooled: Mapping[Priority, StoreStatus]) -> str:
    batches = sum(stats.records for stats in spooled.values())
    size_bytes = sum(stats.payload_bytes for stats in spooled.values())
    stored = f"spool {batches} batches {size_bytes >> 10}KiB"
    if len(spooled) < 2:
        return stored
    priorities = [
        f"{name} {stats.records}" + (f" {stats.payload_bytes >> 10}KiB" if stats.records else "")
        for name, stats in spooled.items()
    ]
    return f"{stored} ({', '.join(priorities)})"


def _link(link: LinkState) -> str:
    if link.connected:
        return f"link up to {link.broker}" + (f", pausing: {link.last_error}" if link.last_error else "")
    return f"no link: {link.last_error or f'{link.broker} is being tried'}"
