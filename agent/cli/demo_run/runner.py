# SPDX-License-Identifier: Apache-2.0
"""Starts broker, link, receiver and agent, plays the scenario on them, compares, and ends all of them.

Promise: the agent's packer counts what is reported as sent. What is reported as received was decoded from what the
receiver stored. Nothing else passes between the two. Cancelled at any moment, all parts end in good order.
Limits: all run in one event loop. After the drive the agent has `scenario.GRACE_S` to send what is left, the receiver
`RECEIVE_TIMEOUT_S` from one batch to the next.
Failure: what makes the agent or the receiver fail is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from agent.cli.demo_run.cloud import Cloud
from agent.cli.demo_run.network import CellularLink, EmbeddedBroker
from agent.cli.demo_run.outcome import Outcome
from agent.cli.demo_run.view import DemoStatus, LinkPhase
from agent.daemon import daemon

if TYPE_CHECKING:
    from pathlib import Path

    from agent.cli.demo_run.scenario import Scenario
    from agent.cli.demo_run.view import LogCapture, View
    from agent.daemon.daemon import Gauges
    from agent.uplink.status import LinkState

REFRESH_S = 0.1
RATE_OVER_S = 1.5
FADING_S_MAX = 1.5
RECEIVE_TIMEOUT_S = 3.0


async def play(scenario: Scenario, view: View, log_capture: LogCapture, folder: Path) -> tuple[Outcome, list[str]]:
    """The outcome, and the gaps by name."""
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
        runner = Runner(scenario, view, log_capture, link, cloud, await started)
        watching = tasks.create_task(runner.watch(), name="watch")
        await runner.drive()
        stop.set()
        await agent
        await cloud.caught_up(runner.agent.counters.samples, RECEIVE_TIMEOUT_S)
        runner.update_status()
        watching.cancel()
        receiving.cancel()
    return runner.outcome(), cloud.gaps()


class Runner:
    """One run of the scenario, from the moment at which the agent runs."""

    def __init__(
        self, scenario: Scenario, view: View, log_capture: LogCapture, link: CellularLink, cloud: Cloud, agent: Gauges
    ) -> None:
        self.agent = agent
        self._scenario, self._link, self._cloud = scenario, link, cloud
        self._view, self._log_capture = view, log_capture
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._driven_s = self._outage_s = 0.0
        self._restored_at = self._reconnected_at = self._drained_at = -1.0
        self._recent: deque[tuple[float, int]] = deque()
        self._backlog_max = 0
        self._phase, self._phase_since = LinkPhase.CONNECTING, 0.0

    async def drive(self) -> None:
        """Play the scenario; returns when the drive is over."""
        scenario, view = self._scenario, self._view
        view.report(0, "the car drives off")
        if scenario.outage_s:
            await self._until(scenario.cut_at_s)
            cut_at = self._elapsed_s()
            view.report(cut_at, f"the cellular link is cut for {scenario.outage_s:g} s; the agent keeps on recording")
            await self._link.cut(min(FADING_S_MAX, scenario.outage_s / 2))
            await self._until(cut_at + scenario.outage_s)
            self.update_status()
            self._link.restore()
            self._restored_at = self._elapsed_s()
            self._outage_s = self._restored_at - cut_at
            view.report(self._restored_at, "the cellular link is back")
        await self._until(scenario.seconds)
        self._driven_s = self._elapsed_s()
        view.report(self._driven_s, "the drive is over; what is left is sealed and sent")

    async def watch(self) -> None:
        """Update the view several times a second until cancelled."""
        while True:
            self.update_status()
            await asyncio.sleep(REFRESH_S)

    def update_status(self) -> None:
        """Read the counters and show them."""
        counters, state, received = self.agent.counters, self.agent.link(), self._cloud.received
        now = self._elapsed_s()
        backlog_bytes = max(0, counters.batch_bytes - state.acknowledged_bytes)
        backlog_batches = max(0, counters.batches - state.acknowledged_batches)
        self._backlog_max = max(self._backlog_max, backlog_bytes)
        self._report_changes(now, state, backlog_batches)
        self._view.update(
            DemoStatus(
                scenario=self._scenario,
                elapsed_s=now,
                link=self._phase,
                phase_s=now - self._phase_since,
                frames=counters.frames,
                samples=counters.samples,
                frames_per_s=self._frames_per_s(now, counters.frames),
                backlog_batches=backlog_batches,
                backlog_bytes=backlog_bytes,
                backlog_bytes_max=self._backlog_max,
                acknowledged_batches=state.acknowledged_batches,
                acknowledged_bytes=state.acknowledged_bytes,
                received_batches=received.batches,
                received_samples=received.samples,
                duplicates=received.duplicates,
                latency_s=received.latencies_s[-1] if received.latencies_s else 0.0,
                log_line=self._log_capture.last,
            )
        )

    def outcome(self) -> Outcome:
        """What was sent and received."""
        counters, received = self.agent.counters, self._cloud.received
        return Outcome(
            seconds=self._driven_s,
            frames=counters.frames,
            frames_received=received.frames,
            samples_sent=counters.samples,
            samples_received=received.samples,
            duplicates_dropped=received.duplicates,
            gaps=len(self._cloud.gaps()),
            outage_s=self._outage_s,
            backlog_bytes_max=self._backlog_max,
            batches=counters.batches,
            batches_received=received.batches,
            batch_bytes=counters.batch_bytes,
            json_bytes=received.json_bytes,
            received_bytes=received.batch_bytes,
            link_bytes=self._link.bytes_sent,
            latency_s=received.latency_s,
            latency_s_max=max(received.latencies_s, default=0.0),
            reconnect_s=self._since_restored(self._reconnected_at),
            drained_s=self._since_restored(self._drained_at),
        )

    def _report_changes(self, now: float, state: LinkState, backlog_batches: int) -> None:
        """Report what has changed since the last update."""
        connected = state.connected
        phase = LinkPhase.UP if connected else LinkPhase.CONNECTING
        if self._driven_s and not connected:
            phase = LinkPhase.CLOSED
        elif not self._link.up:
            phase = LinkPhase.CUT
        if phase is not self._phase:
            self._phase, self._phase_since = phase, now
        if self._restored_at < 0 or not connected:
            return
        if self._reconnected_at < 0:
            self._reconnected_at = now
            self._view.report(now, f"the agent is connected again; {backlog_batches} batches are waiting")
        elif self._drained_at < 0 and backlog_batches <= state.in_flight_batches:
            self._drained_at = now
            self._view.report(now, "the backlog is gone")

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
