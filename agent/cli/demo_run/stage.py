# SPDX-License-Identifier: Apache-2.0
"""Puts broker, link, receiver and agent up, plays the scenario on them, compares, and takes all of it down.

Promise: what is reported as sent was counted by the agent's packer, what is reported as received was decoded from
what the receiver stored; nothing in between tells the one from the other. Cancelled at any moment, all ends in
good order.
Limits: all in one event loop; after the drive the agent has `scenario.GRACE_S` to send what is left, the receiver
`PATIENCE_S` from one batch to the next.
Failure: what makes the agent or the receiver fail is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from agent.cli.demo_run.broker import EmbeddedBroker
from agent.cli.demo_run.cellular import CellularLink
from agent.cli.demo_run.cloud import Cloud
from agent.cli.demo_run.outcome import Outcome
from agent.cli.demo_run.show import LinkView, Snapshot
from agent.daemon import daemon

if TYPE_CHECKING:
    from pathlib import Path

    from agent.cli.demo_run.scenario import Scenario
    from agent.cli.demo_run.show import Show
    from agent.cli.demo_run.voice import Voice
    from agent.daemon.daemon import Gauges
    from agent.uplink.status import LinkState

REFRESH_S = 0.1
RATE_OVER_S = 1.5
FADING_S_MAX = 1.5
PATIENCE_S = 3.0


async def play(scenario: Scenario, show: Show, voice: Voice, folder: Path) -> tuple[Outcome, list[str]]:
    """The whole of it; what came of it, and the gaps by name."""
    async with (
        EmbeddedBroker() as broker,
        CellularLink(broker.port) as link,
        Cloud(folder / "cloud", broker.port) as cloud,
        asyncio.TaskGroup() as tasks,
    ):
        receiving = tasks.create_task(cloud.run(), name="cloud")
        stop = asyncio.Event()
        started: asyncio.Future[Gauges] = asyncio.get_running_loop().create_future()
        config = scenario.config(folder / "car", link.port)
        agent = tasks.create_task(daemon.run(config, stop=stop, observe=started.set_result), name="agent")
        stage = Stage(scenario, show, voice, link, cloud, await started)
        watching = tasks.create_task(stage.watch(), name="watch")
        await stage.drive()
        stop.set()
        await agent
        await cloud.caught_up(stage.gauges.counters.samples, PATIENCE_S)
        stage.look()
        watching.cancel()
        receiving.cancel()
    return stage.outcome(), cloud.gaps()


class Stage:
    """One performance, from the moment at which the agent runs."""

    def __init__(
        self, scenario: Scenario, show: Show, voice: Voice, link: CellularLink, cloud: Cloud, gauges: Gauges
    ) -> None:
        self.gauges = gauges
        self._scenario, self._show, self._voice, self._link, self._cloud = scenario, show, voice, link, cloud
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._driven_s = self._outage_s = 0.0
        self._restored_at = self._reconnected_at = self._drained_at = -1.0
        self._recent: deque[tuple[float, int]] = deque()
        self._backlog_max = 0
        self._view, self._view_since = LinkView.CONNECTING, 0.0

    async def drive(self) -> None:
        """Play the scenario; returns when the drive is over."""
        scenario, show = self._scenario, self._show
        show.tell(0, "the car drives off")
        if scenario.outage_s:
            await self._until(scenario.cut_at_s)
            cut_at = self._elapsed_s()
            show.tell(cut_at, f"the cellular link is cut for {scenario.outage_s:g} s; the agent keeps on recording")
            await self._link.cut(min(FADING_S_MAX, scenario.outage_s / 2))
            await self._until(cut_at + scenario.outage_s)
            self.look()
            self._link.restore()
            self._restored_at = self._elapsed_s()
            self._outage_s = self._restored_at - cut_at
            show.tell(self._restored_at, "the cellular link is back")
        await self._until(scenario.seconds)
        self._driven_s = self._elapsed_s()
        show.tell(self._driven_s, "the drive is over; what is left is sealed and sent")

    async def watch(self) -> None:
        """Look several times a second until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(REFRESH_S)

    def look(self) -> None:
        """Take notice of how things are, and show it."""
        counters, state, tally = self.gauges.counters, self.gauges.link(), self._cloud.tally
        now = self._elapsed_s()
        backlog_bytes = max(0, counters.batch_bytes - state.acknowledged_bytes)
        backlog_batches = max(0, counters.batches - state.acknowledged_batches)
        self._backlog_max = max(self._backlog_max, backlog_bytes)
        self._notice(now, state, backlog_batches)
        self._show.update(
            Snapshot(
                scenario=self._scenario,
                elapsed_s=now,
                link=self._view,
                phase_s=now - self._view_since,
                frames=counters.frames,
                samples=counters.samples,
                frames_per_s=self._frames_per_s(now, counters.frames),
                backlog_batches=backlog_batches,
                backlog_bytes=backlog_bytes,
                backlog_bytes_max=self._backlog_max,
                acknowledged_batches=state.acknowledged_batches,
                acknowledged_bytes=state.acknowledged_bytes,
                received_batches=tally.batches,
                received_samples=tally.samples,
                duplicates=tally.duplicates,
                latency_s=tally.latencies_s[-1] if tally.latencies_s else 0.0,
                said=self._voice.last,
            )
        )

    def outcome(self) -> Outcome:
        """What came of it."""
        counters, tally = self.gauges.counters, self._cloud.tally
        return Outcome(
            seconds=self._driven_s,
            frames=counters.frames,
            frames_received=tally.frames,
            samples_sent=counters.samples,
            samples_received=tally.samples,
            duplicates_dropped=tally.duplicates,
            gaps=len(self._cloud.gaps()),
            outage_s=self._outage_s,
            backlog_bytes_max=self._backlog_max,
            batches=counters.batches,
            batches_received=tally.batches,
            batch_bytes=counters.batch_bytes,
            json_bytes=tally.json_bytes,
            received_bytes=tally.batch_bytes,
            link_bytes=self._link.bytes_sent,
            latency_s=tally.latency_s,
            latency_s_max=max(tally.latencies_s, default=0.0),
            reconnect_s=self._since_restored(self._reconnected_at),
            drained_s=self._since_restored(self._drained_at),
        )

    def _notice(self, now: float, state: LinkState, backlog_batches: int) -> None:
        """Tell of what has changed since the last look."""
        connected = state.connected
        view = LinkView.UP if connected else LinkView.CONNECTING
        if self._driven_s and not connected:
            view = LinkView.CLOSED
        elif not self._link.up:
            view = LinkView.CUT
        if view is not self._view:
            self._view, self._view_since = view, now
        if self._restored_at < 0 or not connected:
            return
        if self._reconnected_at < 0:
            self._reconnected_at = now
            self._show.tell(now, f"the agent is connected again; {backlog_batches} batches are waiting")
        elif self._drained_at < 0 and backlog_batches <= state.in_flight_batches:
            self._drained_at = now
            self._show.tell(now, "the backlog is gone")

    def _frames_per_s(self, now: float, frames: int) -> float:
        self._recent.append((now, frames))
        while len(self._recent) > 2 and now - self._recent[0][0] > RATE_OVER_S:
            self._recent.popleft()
        (begin, before), (end, after) = self._recent[0], self._recent[-1]
        return (after - before) / (end - begin) if end > begin else 0.0

    def _since_restored(self, at: float) -> float:
        return at - self._restored_at if 0 <= self._restored_at <= at else -1.0

    def _elapsed_s(self) -> float:
        return self._loop.time() - self._begun

    async def _until(self, elapsed_s: float) -> None:
        await asyncio.sleep(max(0.0, elapsed_s - self._elapsed_s()))
