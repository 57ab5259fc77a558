# SPDX-License-Identifier: Apache-2.0
"""The whole agent, killed with SIGKILL at random moments: what was sealed arrives once, what is missing is told.

A bus that lives on (feeder.py), agents as processes, a real broker, the real receiver. `AGENTS` vehicles hear the same
bus side by side, each with a spool of its own, and each is killed and started again on its own: while one starts, the
others drive. The last one keeps its messages in three classes. CANFERRY_KILLS says how often in all (12 unless set).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.faults.fed_bus import FedBus, fed_bus, udp_drops
from tests.support import feeder
from tests.support.mosquitto import Mosquitto, running
from tests.support.processes import Agent, Receiver, holes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.batch.codec import Batch

KILLS = int(os.environ.get("CANFERRY_KILLS", "12"))
AGENTS = 3
RATE = 500.0
INTERVAL_S = 1.0
HINDSIGHT_NS = 1_000_000_000
RULES = """
[[collect]]
message = "MESSAGE0"
priority = "critical"
[[collect]]
message = "MESSAGE1"
priority = "bulk"
[[collect]]
message = ["MESSAGE2", "MESSAGE3"]
"""
CLASSES = ((0,), (1,), (2, 3))
"""The messages of each."""


@dataclass
class Drive:
    """What was done to one agent: per kill when it had begun to listen (ns, 0: never) and when it was killed."""

    vehicle: str
    agent: Agent
    receiver: Receiver
    bus: FedBus
    classes: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3),)
    kills: list[tuple[int, int]] = field(default_factory=list)
    transport_drops: int = 0
    stopping_ns: int = 0

    def missing(self, arrived: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts that did not arrive, between the first that did and the last one before the clean stop."""
        sent = int(np.searchsorted(self.bus.fed(), self.stopping_ns))
        return np.setdiff1d(np.arange(arrived[0], arrived[arrived < sent][-1]), arrived)

    def listened_ns(self) -> int:
        """When the newest process began to listen, 0 if it did not get so far."""
        times = [line["timestamp"] for line in self.agent.lines() if line["event"] == "bus_up"]
        return int(datetime.fromisoformat(times[0]).timestamp() * 1e9) if times else 0

    def gaps(self) -> list[dict[str, Any]]:
        """What the receiver says is missing of this vehicle."""
        return [gap for gap in self.receiver.summary["gaps"] if gap["vehicle"] == self.vehicle]


@asynccontextmanager
async def driving(folder: Path, broker: Mosquitto) -> AsyncIterator[list[Drive]]:
    """A bus that is fed, and a receiver; the agents are not started yet."""
    drives: list[Drive] = []
    async with fed_bus(folder, RATE) as bus, Receiver(folder).running(broker) as receiver:
        for number in range(min(AGENTS, KILLS)):
            vehicle = f"car-{number}"
            home = folder / vehicle
            home.mkdir()
            (home / "car.dbc").write_text(feeder.database())
            config = bus.config(vehicle, broker.url())
            if number < AGENTS - 1:
                drives.append(Drive(vehicle, Agent(home, config), receiver, bus))
            else:
                drives.append(Drive(vehicle, Agent(home, config + RULES), receiver, bus, CLASSES))
        try:
            yield drives
        finally:
            for drive in drives:
                await drive.agent.close()


async def drive_and_die(drive: Drive, kills: int, chance: random.Random) -> None:
    """Killed so often; then stopped in good order, after which a start finds nothing to say."""
    await kill_often(drive, kills, chance)
    await stop_and_wait(drive)
    await drive.agent.start()
    await drive.agent.said("agent_started")
    assert await drive.agent.stop() == 0
    assert not [line for line in drive.agent.lines() if line["event"] == "interruption_found"]


async def kill_often(drive: Drive, kills: int, chance: random.Random) -> None:
    """Three of four times when it listens, else at any moment of its start."""
    agent = drive.agent
    for number in range(kills):
        await agent.start()
        if number == 0:
            await agent.said("agent_started")
        elif chance.random() < 0.75:
            await agent.said("bus_up")
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        assert agent.process is not None
        assert agent.process.returncode is None, agent.log.read_text()
        drops = udp_drops(agent.process.pid)
        killed_ns = await agent.kill()
        drive.transport_drops += drops
        drive.kills.append((drive.listened_ns(), killed_ns))


async def stop_and_wait(drive: Drive) -> None:
    """A last process, ended in good order; then all that was ever sealed is to arrive."""
    agent = drive.agent
    await agent.start()
    await agent.said("agent_started")
    await asyncio.sleep(1.0)
    drive.stopping_ns = time.time_ns()
    assert await agent.stop() == 0, agent.log.read_text()
    stopped = agent.lines()[-1]
    assert (stopped["event"], stopped["spooled"]) == ("agent_stopped", 0)
    sealed = {(line["stream"], line["sequence"]) for line in agent.events("batch_sealed")}
    await drive.receiver.has(lambda arrived: sealed <= arrived, vehicle=drive.vehicle)


@dataclass
class Samples:
    """What the receiver has: counts and values of all frames, in the order of their counts."""

    counts: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def of(cls, batches: list[Batch]) -> Samples:
        groups = [group for batch in batches for group in batch.groups]
        counts = np.concatenate([group.columns[0] for group in groups]).astype(np.int64)
        values = np.concatenate([group.columns[1] for group in groups]).astype(np.int64)
        order = np.argsort(counts, kind="stable")
        return cls(counts[order], values[order])

    def of_messages(self, messages: tuple[int, ...]) -> Samples:
        """Those that came with these."""
        chosen = np.isin(self.counts % len(feeder.IDS), messages)
        return Samples(self.counts[chosen], self.values[chosen])


def costs_s(drive: Drive, samples: Samples) -> list[tuple[float, float]]:
    """Of each kill: how old the newest sample that arrived was, beside the newest one that was sent; and for how long
    the machine held everyone up since shortly before that."""
    fed = drive.bus.fed()
    costs = []
    for listened_ns, killed_ns in drive.kills:
        if listened_ns:
            sent = int(np.searchsorted(fed, killed_ns)) - 1
            arrived = int(np.searchsorted(samples.counts, sent, side="right")) - 1
            newest_ns = int(fed[samples.counts[arrived]]) if arrived >= 0 else 0
            since_ns = max(newest_ns, listened_ns)
            held_up_s = drive.bus.held_up_s(since_ns - HINDSIGHT_NS, killed_ns)
            costs.append(((int(fed[sent]) - since_ns) / 1e9, held_up_s))
    return costs


def untold(drive: Drive, samples: Samples) -> list[int]:
    """Counts of frames that neither arrived nor lie in a reported gap."""
    fed = drive.bus.fed()
    missing = drive.missing(samples.counts)
    told = np.zeros(len(missing), np.bool_)
    for gap in drive.gaps():
        if gap["kind"] == "interrupted":
            told |= (fed[missing] >= gap["begin_ns"]) & (fed[missing] <= gap["end_ns"])
    return [int(count) for count in missing[~told]]


@pytest.mark.timeout(180 + 30 * KILLS)
async def test_a_kill_costs_no_sealed_batch_and_at_most_the_journal_interval(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    config = ["persistence true", f"persistence_location {tmp_path}/", "max_queued_messages 0"]
    async with (
        running(tmp_path / "broker", config=config) as broker,
        driving(tmp_path, broker) as drives,
        asyncio.TaskGroup() as group,
    ):
        for number, drive in enumerate(drives):
            kills = KILLS // AGENTS + (number < KILLS % AGENTS)
            group.create_task(drive_and_die(drive, kills, random.Random(seed + number)), name=drive.vehicle)
    for drive in drives:
        batches = drive.receiver.batches(drive.vehicle)
        samples = Samples.of(batches)
        record_property("figures", figures(drive, batches, samples, seed))
        check(drive, batches, samples)


def check(drive: Drive, batches: list[Batch], samples: Samples) -> None:
    """Every sealed batch once, every missing sample in a gap, no kill dearer than the journal's interval."""
    streams = {batch.id.stream for batch in batches}
    assert len(streams) == len(drive.classes)
    told = {(gap["stream"], gap["first_sequence"]) for gap in drive.gaps() if gap["first_sequence"] >= 0}
    for stream in streams:
        missing = holes([batch.id.sequence for batch in batches if batch.id.stream == stream])
        assert {(stream, number) for number in missing} <= told, "a batch is missing and nobody says so"
    assert len(np.unique(samples.counts)) == len(samples.counts), "a sample arrived twice"
    assert (samples.values == [feeder.value(int(number)) for number in samples.counts]).all()
    assert len(untold(drive, samples)) <= drive.transport_drops, "samples are missing outside of the gaps"
    for messages in drive.classes:
        most_s = INTERVAL_S + (len(feeder.IDS) - len(messages)) / RATE  # others' frames are newer
        costs = costs_s(drive, samples.of_messages(messages))
        assert [(cost, held_up_s) for cost, held_up_s in costs if cost > most_s + held_up_s] == []


def figures(drive: Drive, batches: list[Batch], samples: Samples, seed: int) -> str:
    """What happened, for people."""
    costs = costs_s(drive, samples)
    listened = sum(listened_ns > 0 for listened_ns, _ in drive.kills)
    return (
        f"seed {seed}, {drive.vehicle}: {len(drive.kills)} kills, {listened} of them while it listened; "
        f"{len(batches)} batches, {len(drive.gaps())} gaps; {len(samples.counts)} samples arrived, "
        f"{len(drive.missing(samples.counts))} lost in all, {drive.transport_drops} of them by the test's own bus; "
        f"cost of a kill: median {np.median([cost for cost, _ in costs]):.3f} s, worst {max(costs)[0]:.3f} s "
        f"(the machine held everyone up for {max(costs)[1]:.3f} s of it)"
    )
