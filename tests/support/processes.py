# SPDX-License-Identifier: Apache-2.0
"""`canferry run` and `canferry receive` as real processes, their logs read as they are written."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from agent.batch.codec import Batch
    from tests.support.mosquitto import Mosquitto

ROOT = Path(__file__).parents[2]
VEHICLE = "car-1"
START_S = 180.0

Line = dict[str, Any]


async def spawn(*arguments: str, log: Path, out: Path | None = None) -> asyncio.subprocess.Process:
    """A Python process in the project's folder; stderr is appended to `log`."""
    with log.open("ab") as err, (out or Path(os.devnull)).open("wb") as stdout:
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=stdout, stderr=err)


SIMULATED = f"""
[vehicle]
id = "{VEHICLE}"
[[bus]]
name = "car"
interface = "simulator"
[batch]
interval = "500ms"
[spool]
path = "spool"
min_free = "0B"
journal_interval = "100ms"
[mqtt]
broker = "BROKER"
[agent]
shutdown_grace = "30s"
[log]
level = "debug"
format = "json"
"""
"""A simulated car's configuration, but for the broker's address."""


class Agent:
    """One vehicle's agent, started again and again. `lines` are those of the process at hand.

    `program`: what Python runs, with the command line of canferry behind it.
    """

    def __init__(self, folder: Path, config: str, *, program: Sequence[str] = ("-m", "agent")) -> None:
        self.folder = folder
        self.program = program
        self.config = folder / "agent.toml"
        self.config.write_text(config)
        self.starts = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """Of the newest process."""
        return self.folder / f"agent-{self.starts:04d}.log"

    def lines(self) -> list[Line]:
        """What the newest process has said."""
        return lines_of(self.log)

    def events(self, *names: str) -> list[Line]:
        """All lines of these names, of all processes."""
        every = [line for path in sorted(self.folder.glob("agent-*.log")) for line in lines_of(path)]
        return [line for line in every if line["event"] in names]

    async def start(self) -> None:
        """Begin the process; what it needs to be ready is awaited with `said`."""
        self.starts += 1
        self.process = await spawn(*self.program, "run", "--config", str(self.config), log=self.log)

    async def said(self, event: str, timeout_s: float = START_S, **fields: object) -> Line:
        """Wait until the newest process says this."""
        assert self.process is not None
        async with asyncio.timeout(timeout_s):
            while True:
                ended = self.process.returncode is not None
                for line in self.lines():
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                assert not ended, f"ended with {self.process.returncode}: {self.log.read_text()}"
                await asyncio.sleep(0.02)

    async def kill(self) -> int:
        """SIGKILL; the wall clock just before, ns."""
        assert self.process is not None
        at_ns = time.time_ns()
        self.process.kill()
        await self.process.wait()
        return at_ns

    async def stop(self, timeout_s: float = START_S) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    async def close(self) -> None:
        """End what runs."""
        if self.process is not None and self.process.returncode is None:
            await self.kill()


def lines_of(path: Path) -> list[Line]:
    """Whole lines that are events; a killed process may leave half of one."""
    lines = []
    for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "event" in line:
            lines.append(line)
    return lines


class Receiver:
    """`canferry receive --out`, and what it has written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "received"
        self.summary: Line = {}

    def files(self, vehicle: str = VEHICLE) -> dict[tuple[str, int], Path]:
        """A vehicle's batch files by stream and sequence."""
        paths = (self.out / vehicle).glob("*/*.batch.zst")
        return {(path.parent.name, int(path.name.partition(".")[0])): path for path in paths}

    def batches(self, vehicle: str = VEHICLE) -> list[Batch]:
        """A vehicle's batches, by stream and sequence."""
        folder = self.out / vehicle / "catalogs"
        catalogs = [decode_catalog(path.read_bytes()) for path in folder.glob("*.zst")]
        by_hash = {catalog.hash: catalog for catalog in catalogs}
        payloads = [path.read_bytes() for _, path in sorted(self.files(vehicle).items())]
        return [decode_batch(payload, by_hash[decode_batch(payload).catalog]) for payload in payloads]

    async def has(
        self, condition: Callable[[set[tuple[str, int]]], bool], timeout_s: float = 60.0, vehicle: str = VEHICLE
    ) -> None:
        """Wait until the (stream, sequence) that have arrived of a vehicle are enough."""
        async with asyncio.timeout(timeout_s):
            while not condition(set(self.files(vehicle))):
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self, broker: Mosquitto) -> AsyncIterator[Receiver]:
        """Subscribed inside; ended in good order, and its summary read, at the end."""
        subscribed = broker.log.count("Sending SUBACK")
        summary, log = self.folder / "summary.json", self.folder / "receive.log"
        arguments = ["--broker", broker.url(), "--out", str(self.out), "--json"]
        process = await spawn("-m", "agent", "receive", *arguments, log=log, out=summary)
        try:
            async with asyncio.timeout(START_S):
                while broker.log.count("Sending SUBACK") == subscribed:
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield self
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(START_S):
                assert await process.wait() == 0, log.read_text()
            self.summary = json.loads(summary.read_text())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def holes(sequences: Sequence[int]) -> list[int]:
    """Numbers below the highest that are missing."""
    return sorted(set(range(max(sequences, default=-1) + 1)) - set(sequences))
