# SPDX-License-Identifier: Apache-2.0
"""Agent, broker and receiver killed in turn while a tenth of all writes fail: each frame arrives once, or in a gap.

A bus that lives on (feeder.py), one agent, a real broker, `canferry receive`. The disks of agent and receiver refuse a
tenth of all writes, with ENOSPC or EIO, from the agent's very first start on; whatever ends is started again. In the
end the disks are well, all that waits is sent, and what `canferry export` makes of the received files is compared with
what the feeder says it sent: a frame arrived once, with its value, or lies in a gap that `receive` names.
CANFERRY_KILLS says how often in all (12 unless set).

What the broker has acknowledged and not delivered is its own loss: its kill is preceded by a cut of the agent's link
and by the delivery of all that it has, to a receiver whose disk is well for so long.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.faults.faulty import Supervised, preloaded
from tests.faults.fed_bus import FedBus, fed_bus, udp_drops
from tests.support import feeder
from tests.support.mosquitto import Mosquitto, running
from tests.support.processes import ROOT, START_S, lines_of
from tests.support.proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from numpy.typing import NDArray

KILLS = int(os.environ.get("CANFERRY_KILLS", "12"))
FAILING_PER_MILLE = 100
RATE = 300.0
VEHICLE = "car-1"
QUIET_S = 1.0
ON_ITS_WAY_NS = 20_000_000
"""A frame's own time is when it was received: so much later than it was sent, at most."""
RULES = """
[[collect]]
message = "MESSAGE0"
priority = "critical"
[[collect]]
message = ["MESSAGE1", "MESSAGE2", "MESSAGE3"]
"""


@dataclass
class Scene:
    """Everything that runs."""

    folder: Path
    broker: Mosquitto
    proxy: TcpProxy
    agent: Supervised
    receiver: Supervised
    bus: FedBus
    transport_drops: int = 0

    @property
    def received(self) -> Path:
        return self.folder / "received"

    def lines(self) -> list[dict[str, Any]]:
        """What the agent's processes have said."""
        return lines_of(self.agent.log)


@asynccontextmanager
async def scene(folder: Path, seed: int) -> AsyncIterator[Scene]:
    """The bus is fed and the broker runs; agent and receiver are not started yet."""
    config = ["persistence true", f"persistence_location {folder}/", "max_queued_messages 0"]
    make: dict[str, Any] = {"library": preloaded(folder), "per_mille": FAILING_PER_MILLE, "seed": seed}
    (folder / "car.dbc").write_text(feeder.database())
    async with (
        fed_bus(folder, RATE) as bus,
        running(folder / "broker", config=config) as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
    ):
        file = folder / "agent.toml"
        file.write_text(bus.config(VEHICLE, f"mqtt://127.0.0.1:{proxy.port}") + RULES)
        spool, received = folder / "spool", folder / "received"
        receive = ["receive", "--broker", broker.url(), "--out", str(received), "--client-id", "cloud", "--json"]
        agent = Supervised(["run", "--config", str(file)], folder / "agent.log", Path(os.devnull), root=spool, **make)
        receiver = Supervised(receive, folder / "receive.log", folder / "summary.json", root=received, **make)
        try:
            yield Scene(folder, broker, proxy, agent, receiver, bus)
        finally:
            await agent.close()
            await receiver.close()


async def kill_in_turn(scene: Scene, chance: random.Random) -> None:
    """Each of the three, at random moments."""
    for number in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 2.0))
        if number % 3 == 0:
            process = scene.agent.process
            if process is not None and process.returncode is None:
                scene.transport_drops += udp_drops(process.pid)
            scene.agent.kill()
        elif number % 3 == 1:
            scene.receiver.kill()
        else:
            await kill_the_broker(scene)


async def kill_the_broker(scene: Scene) -> None:
    """When it has nothing left that it has acknowledged; meanwhile the receiver's disk is well, or that takes long."""
    scene.proxy.refuse = True
    scene.proxy.cut()
    scene.receiver.per_mille = 0
    scene.receiver.kill()
    await delivered(scene)
    await scene.broker.kill()
    scene.receiver.per_mille = FAILING_PER_MILLE
    scene.receiver.kill()
    await scene.broker.start()
    await subscribed(scene)
    scene.proxy.refuse = False


async def subscribed(scene: Scene) -> None:
    """The receiver is, so that no batch finds nobody, and waits a minute for that."""
    async with asyncio.timeout(240):
        while "Sending SUBACK to cloud" not in scene.broker.log.rpartition("Sending CONNACK to cloud")[2]:
            await asyncio.sleep(0.05)


async def delivered(scene: Scene) -> None:
    """The agent is cut off, and the receiver has had nothing more to take for a while, in one and the same process."""
    async with asyncio.timeout(240):
        while True:
            process, size = scene.receiver.process, len(scene.broker.log)
            await asyncio.sleep(QUIET_S)
            lives = process is not None and process is scene.receiver.process and process.returncode is None
            if lives and len(scene.broker.log) == size and taken(scene.broker.log):
                return


def taken(log: str) -> bool:
    """Whether the receiver is subscribed, as the end of the broker's log says, and has acknowledged all it was sent."""
    session = log.rpartition("Sending CONNACK to cloud")[2]
    return "Sending SUBACK to cloud" in session and session.count("Sending PUBLISH to cloud") == session.count(
        "Received PUBACK from cloud"
    )


async def end_well(scene: Scene) -> None:
    """The disks are well again; all that waits is sent, and received."""
    scene.agent.per_mille = scene.receiver.per_mille = 0
    begun = scene.broker.log.count("Sending CONNACK to cloud")
    scene.receiver.kill()
    async with asyncio.timeout(START_S):
        while scene.broker.log.count("Sending CONNACK to cloud") == begun:
            await asyncio.sleep(0.05)
    await subscribed(scene)
    scene.agent.kill()
    starts = scene.agent.starts
    async with asyncio.timeout(START_S):
        while not any(line["event"] == "link_up" for line in scene.lines()[-20:]) or scene.agent.starts == starts:
            await asyncio.sleep(0.1)
    await asyncio.sleep(3.0)
    assert await scene.agent.stop() == 0, scene.agent.log.read_text()[-2000:]
    stopped = scene.lines()[-1]
    assert (stopped["event"], stopped["spooled"]) == ("agent_stopped", 0)
    await delivered(scene)
    assert await scene.receiver.stop() == 0, scene.receiver.log.read_text()[-2000:]


@dataclass
class Outcome:
    """What arrived, as `export` gives it, and what `receive` names."""

    counts: NDArray[np.int64]
    values: NDArray[np.int64]
    gaps: list[dict[str, Any]]


def outcome(scene: Scene) -> Outcome:
    exported = scene.folder / "exported.jsonl"
    command = ["-m", "agent", "export", str(scene.received), "--format", "jsonl", "--out", str(exported)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["signals"] for line in exported.read_text().splitlines()]
    counts = np.array([int(row["COUNT"]) for row in rows], np.int64)
    values = np.array([int(row["VALUE"]) for row in rows], np.int64)
    order = np.argsort(counts, kind="stable")
    summary = json.loads((scene.folder / "summary.json").read_text())
    return Outcome(counts[order], values[order], summary["gaps"])


def untold(scene: Scene, found: Outcome, first_ns: int, last_ns: int) -> NDArray[np.int64]:
    """Counts of frames sent between these times that neither arrived nor lie in a named gap."""
    fed = scene.bus.fed()
    sent = np.flatnonzero((fed >= first_ns) & (fed <= last_ns))
    missing = np.setdiff1d(sent, found.counts)
    told = np.zeros(len(missing), np.bool_)
    for gap in found.gaps:
        told |= (fed[missing] >= gap["begin_ns"] - ON_ITS_WAY_NS) & (fed[missing] <= gap["end_ns"])
    return missing[~told]


def event_times_ns(scene: Scene, event: str) -> list[int]:
    return [
        int(datetime.fromisoformat(line["timestamp"]).timestamp() * 1e9)
        for line in scene.lines()
        if line["event"] == event
    ]


@pytest.mark.timeout(300 + 20 * KILLS)
async def test_each_frame_arrives_once_or_in_a_named_gap_over_kills_and_failing_writes(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    async with scene(tmp_path, seed) as stage, asyncio.TaskGroup() as group:
        group.create_task(stage.receiver.run(), name="receiver")
        group.create_task(stage.agent.run(), name="agent")
        await kill_in_turn(stage, random.Random(seed))
        await end_well(stage)
    found = outcome(stage)
    first_ns, last_ns = event_times_ns(stage, "bus_up")[0], event_times_ns(stage, "agent_stopped")[-1]
    lost = untold(stage, found, first_ns, last_ns - 1_500_000_000)
    ends = {name: len(each.ends) for name, each in (("agent", stage.agent), ("receiver", stage.receiver))}
    record_property(
        "figures",
        f"seed {seed}: {KILLS} kills, starts {ends}; {len(stage.bus.fed())} frames sent, {len(found.counts)} arrived, "
        f"{len(found.gaps)} gaps, {stage.transport_drops} lost by the test's own bus, {len(lost)} not named",
    )
    assert len(np.unique(found.counts)) == len(found.counts), "a frame arrived twice"
    assert (found.values == [feeder.value(int(number)) for number in found.counts]).all()
    assert len(lost) <= stage.transport_drops, f"{len(lost)} frames are in no gap: {lost[:20]}"
    assert len(found.counts) > len(stage.bus.fed()) // 10
