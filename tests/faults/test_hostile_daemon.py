# SPDX-License-Identifier: Apache-2.0
"""`canferry run` on a bus on which somebody sends what no car does, at 4,000 frames/s.

Each bus is a log that the daemon plays at its own pace. All of them run side by side, for the same seconds: what a
hostile one costs is compared with an ordinary car's, and both with the time that has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.model import EXTENDED, MessageDefinition
from tests.faults.hostile import BLOCK_NS, Bus, messages
from tests.support.mosquitto import Mosquitto, running
from tests.support.processes import START_S

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
TRAFFIC_S, MEASURED_S, SETTLE_S = 16, 8.0, 2.0
FRAMES_S = 4_000
WATCHDOG_S = 6.0
SHARE_MAX, RATIO_MAX = 0.5, 20.0
RSS_MAX_KB = 150 << 10
RULES = """
[[collect]]
every = "1s"
[[collect]]
every = "10s"
value = "mean"
[[collect]]
on_change = true
priority = "bulk"
[[trigger]]
name = "selected"
when = "MANY.MODE > 1000 and MANY.V1500_0 > 3"
at_most_every = "1s"
before = "5s"
after = "1s"
[[trigger]]
name = "plain"
when = "changed(PLAIN1.S0) and PLAIN2.S1 > 2"
at_most_every = "1s"
before = "5s"
after = "1s"
"""
CONFIG = """
[vehicle]
id = "{kind}"
[[bus]]
name = "can0"
interface = "replay"
channel = "{kind}.log"
dbc = ["plain.dbc"]
j1939 = false
keep_unknown = {keep_unknown}
[spool]
path = "{kind}.spool"
min_free = "0B"
[mqtt]
broker = "{broker}"
no_subscribers = "accept"
[agent]
socket = ""
"""
KINDS = {"ordinary": RULES, "multiplexor": RULES, "j1939": RULES, "raw": ""}
"""Rules and triggers of each kind of bus."""


def database(definitions: list[MessageDefinition]) -> str:
    """A DBC file of messages with at most one multiplexor, each of whose signals one value selects."""
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: CAR"]
    for message in definitions:
        lines.append(f"BO_ {message.can_id} {message.name}: {message.length} CAR")
        for field in message.signals:
            mark = " M" if field.multiplexor else f" m{field.selected_when[0][0]}" if field.selected_by else ""
            lines.append(f' SG_ {field.name}{mark} : {field.start}|{field.length}@1+ (1,0) [0|0] "" CAR')
        lines.append("")
    return "\n".join(lines)


def traffic(kind: str) -> Iterator[str]:
    """The lines of a log."""
    bus = Bus()
    for _ in range(TRAFFIC_S * 10**9 // BLOCK_NS):
        block = bus.block(kind)
        for time_ns, can_id, data in zip(block.time_ns.tolist(), block.can_id.tolist(), block.data, strict=True):
            written = f"{can_id & ~EXTENDED:08X}" if can_id & EXTENDED else f"{can_id:03X}"
            yield f"({time_ns / 1e9:.6f}) can0 {written}#{data.tobytes().hex()}\n"


@dataclass
class Agent:
    """A daemon, and when it fed its watchdog."""

    kind: str
    process: asyncio.subprocess.Process
    notices: socket.socket
    fed_s: list[float]
    status: str = ""

    async def listen(self, until: str = "") -> None:
        """To what it tells the service manager; for ever, unless `until` something."""
        loop = asyncio.get_running_loop()
        while True:
            told = (await loop.sock_recv(self.notices, 4096)).decode()
            if "WATCHDOG=1" in told:
                self.fed_s.append(time.monotonic())
            if told.startswith("STATUS="):
                self.status = told
            if until and until in told:
                return

    async def is_ready(self) -> None:
        """Wait until it is, unless it ends before."""
        ready, ended = asyncio.create_task(self.listen("READY=1")), asyncio.create_task(self.process.wait())
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        assert ready.done(), f"{self.kind} ended with {self.process.returncode}"
        ended.cancel()

    def busy_s(self) -> float:
        """Processor time so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9

    def rss_max_kb(self) -> int:
        """The most memory that was resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])


async def start(folder: Path, kind: str, broker: Mosquitto) -> Agent:
    (folder / f"{kind}.log").write_text("".join(traffic(kind)))
    keeps = str(kind == "raw").lower()
    config = CONFIG.format(kind=kind, keep_unknown=keeps, broker=broker.url())
    if kind == "j1939":
        config = config.replace("j1939 = false", "j1939 = true").replace("plain.dbc", "j1939.dbc")
    (folder / f"{kind}.toml").write_text(config + KINDS[kind])
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(folder / f"{kind}.notify"))
    notices.setblocking(False)
    environment = os.environ | {
        "NOTIFY_SOCKET": str(folder / f"{kind}.notify"),
        "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    arguments = ("-m", "agent", "run", "--config", f"{kind}.toml")
    with (folder / f"{kind}.err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=folder, env=environment, stdout=err, stderr=err
        )
    return Agent(kind, process, notices, [])


async def measured(agent: Agent) -> tuple[float, float]:
    """Its processor time for a second of traffic, and its longest time without feeding the watchdog."""
    async with asyncio.timeout(START_S):
        await agent.is_ready()
    listening = asyncio.create_task(agent.listen())
    await asyncio.sleep(SETTLE_S)
    begun_s, busy_s = time.monotonic(), agent.busy_s()
    await asyncio.sleep(MEASURED_S)
    ended_s = time.monotonic()
    share = (agent.busy_s() - busy_s) / (ended_s - begun_s)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    fed_s = [each for each in agent.fed_s if each < ended_s]
    return share, max(b - a for a, b in zip(fed_s, [*fed_s[1:], ended_s], strict=True))


async def test_hostile_bus_leaves_a_daemon_half_a_core_and_its_watchdog_fed(tmp_path: Path) -> None:
    definitions = [each for each in messages() if each.name != "TWO"]
    extended = [each for each in definitions if each.can_id & EXTENDED]
    (tmp_path / "plain.dbc").write_text(database([each for each in definitions if each not in extended]))
    (tmp_path / "j1939.dbc").write_text(database(definitions))
    async with running(tmp_path) as broker:
        agents = [await start(tmp_path, kind, broker) for kind in KINDS]
        try:
            found = dict(zip(KINDS, await asyncio.gather(*map(measured, agents)), strict=True))
            for agent in agents:
                frames = int(agent.status.partition("; ")[2].partition(" frames")[0])
                assert frames > 0.8 * MEASURED_S * FRAMES_S, (agent.kind, agent.status)
                assert agent.rss_max_kb() <= RSS_MAX_KB, (agent.kind, agent.rss_max_kb())
        finally:
            for agent in agents:
                with contextlib.suppress(ProcessLookupError):
                    agent.process.kill()
                await agent.process.wait()
                agent.notices.close()
    print({kind: (round(share, 3), round(unfed_s, 1)) for kind, (share, unfed_s) in found.items()})
    ordinary, _ = found["ordinary"]
    for kind, (share, unfed_s) in found.items():
        assert share <= SHARE_MAX, (kind, found)
        assert share <= RATIO_MAX * ordinary, (kind, found)
        assert unfed_s < WATCHDOG_S, (kind, found)
