# SPDX-License-Identifier: Apache-2.0
"""A drive: two vcan interfaces that are fed, the agent, a broker and the receiver, all of them real processes."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.headunit.agent.traffic import BUSES, NOT_SENT, database
from tests.headunit.vcan.bus import Bus, ip
from tests.support.feeder import FRAMES_MAX
from tests.support.mosquitto import running
from tests.support.processes import START_S, VEHICLE, Agent, Receiver, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 600.0
JOURNAL_INTERVAL_S = 2.0
"""More than a unit has, because all of this shares one slow processor."""
_BUS = """
[[bus]]
name = "{name}"
interface = "socketcan"
channel = "{interface}"
dbc = ["{name}.dbc"]
"""
_CONFIG = """
[vehicle]
id = "{vehicle}"
{buses}
[batch]
interval = "3s"
[spool]
path = "spool"
limit = "64MiB"
segment = "1MiB"
min_free = "0B"
journal_interval = "{journal_interval_s:g}s"
[mqtt]
broker = "{broker}"
backoff_base = "50ms"
backoff_max = "500ms"
[agent]
socket = "{socket}"
shutdown_grace = "30s"
receive_buffer = "{receive_buffer}"
[log]
level = "debug"
format = "json"
"""


@dataclass
class Drive:
    """What runs, and what was fed."""

    folder: Path
    agent: Agent
    receiver: Receiver
    buses: dict[str, Bus]
    feeder: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """The agent listens on return."""
        await self.agent.start()
        await self.agent.said("agent_started")

    async def feed(self) -> None:
        """Frames come on return."""
        arguments = ("-m", "tests.headunit.agent.traffic", str(self.folder / "times"), str(RATE))
        self.feeder = await spawn(*arguments, log=self.folder / "feeder.log")
        async with asyncio.timeout(START_S):
            while not len(self.fed()):
                assert self.feeder.returncode is None, (self.folder / "feeder.log").read_text()
                await asyncio.sleep(0.02)

    async def feed_on(self, frames: int) -> None:
        """So many more have been sent on return, however long that takes."""
        goal = len(self.fed()) + frames
        async with asyncio.timeout(START_S):
            while len(self.fed()) < goal:
                await asyncio.sleep(0.1)

    async def end_feeding(self) -> None:
        """The last frame has been sent on return."""
        assert self.feeder is not None
        self.feeder.send_signal(signal.SIGTERM)
        assert await self.feeder.wait() == 0, (self.folder / "feeder.log").read_text()

    async def stop(self) -> None:
        """End the agent in good order; all that was ever sealed has arrived on return."""
        assert await self.agent.stop() == 0, self.agent.log.read_text()
        stopped = self.agent.lines()[-1]
        assert (stopped["event"], stopped["spooled"]) == ("agent_stopped", 0)
        sealed = {(line["stream"], line["sequence"]) for line in self.agent.events("batch_sealed")}
        await self.receiver.has(lambda arrived: sealed <= arrived)

    def fed(self) -> NDArray[np.int64]:
        """By count: the kernel's time of the frame, ns, or `NOT_SENT`."""
        path = self.folder / "times"
        if not path.exists() or path.stat().st_size < 8 * FRAMES_MAX:
            return np.empty(0, np.int64)
        times = np.memmap(path, np.int64, "r")
        return times[: int(np.searchsorted(times == 0, True))].copy()

    def interface_events(self, bus: str) -> list[str]:
        """What the newest process has said of this bus' interface."""
        lines = [line for line in self.agent.lines() if line["event"].startswith("bus_")]
        return [line["event"] for line in lines if line["bus"] == bus]

    async def noticed(self, bus: str, events: Sequence[str]) -> None:
        """Wait until these, and no other, have been said of the bus' interface."""
        async with asyncio.timeout(START_S):
            while len(self.interface_events(bus)) < len(events):
                await asyncio.sleep(0.05)
        assert self.interface_events(bus) == list(events)

    async def exported(self) -> list[dict[str, Any]]:
        """What `canferry export` makes of all that arrived."""
        out, log = self.folder / "export.jsonl", self.folder / "export.log"
        export = await spawn(
            "-m", "agent", "export", str(self.receiver.out), "--format", "jsonl", "--out", str(out), log=log
        )
        assert await export.wait() == 0, log.read_text()
        return [json.loads(line) for line in out.read_text().splitlines()]

    def gaps(self, kind: str) -> list[dict[str, Any]]:
        """Those of this kind that the receiver reports; to be asked when it has ended."""
        return [gap for gap in self.receiver.summary["gaps"] if gap["kind"] == kind]

    def untold(self, kind: str, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of these frames whose time lies in no gap of this kind."""
        times = self.fed()[counts]
        told = np.zeros(len(counts), np.bool_)
        for gap in self.gaps(kind):
            told |= (gap["begin_ns"] <= times) & (times <= gap["end_ns"])
        return counts[~told]


@asynccontextmanager
async def driving(
    folder: Path, *, interfaces: Sequence[str] = tuple(BUSES), receive_buffer: str = "8MiB"
) -> AsyncIterator[Drive]:
    """A broker, a receiver and the interfaces of these buses; all ended after it, the receiver's summary read."""
    buses = {name: Bus(interface) for name, interface in BUSES.items()}
    for name in BUSES:
        (folder / f"{name}.dbc").write_text(database(name))
    async with running(folder / "broker", config=["max_queued_messages 0"]) as broker:
        config = _CONFIG.format(
            vehicle=VEHICLE,
            buses="".join(_BUS.format(name=name, interface=interface) for name, interface in BUSES.items()),
            journal_interval_s=JOURNAL_INTERVAL_S,
            broker=broker.url(),
            receive_buffer=receive_buffer,
            socket=folder / "agent.sock",
        )
        drive = Drive(folder, Agent(folder, config), Receiver(folder), buses)
        try:
            for name in interfaces:
                buses[name].create()
            async with drive.receiver.running(broker):
                yield drive
        finally:
            await drive.agent.close()
            if drive.feeder is not None and drive.feeder.returncode is None:
                drive.feeder.kill()
                await drive.feeder.wait()
            for interface in BUSES.values():
                ip("link", "delete", interface, check=False)


def sent(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of the frames that were sent."""
    return np.flatnonzero(times != NOT_SENT)
