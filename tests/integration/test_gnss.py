# SPDX-License-Identifier: Apache-2.0
"""A satellite receiver on a serial port, through the whole agent: rules, triggers and the wire take it as any bus."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.mosquitto import running
from tests.support.processes import ROOT, VEHICLE, Agent, Receiver
from tests.support.terminal import Terminal
from tests.unit.sources.gnss.test_nmea import sentence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CONFIG = f"""
[vehicle]
id = "{VEHICLE}"
[[bus]]
name = "gnss"
interface = "gnss"
channel = "DEVICE"
bitrate = 115200
[[collect]]
signal = ["Latitude", "Longitude", "Quality"]
stale_after = "1s"
[[trigger]]
name = "north"
when = "Latitude > 48.2"
before = "1m"
record = "Speed"
[batch]
interval = "1s"
[spool]
path = "spool"
min_free = "0B"
journal_interval = "100ms"
[mqtt]
broker = "BROKER"
[log]
format = "json"
"""


def rmc(second: int, latitude: str, status: str = "A") -> bytes:
    return sentence(f"GNRMC,0600{second:02},{status},{latitude},N,01131.000,E,22.4,84.4,231126,,,{status}")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "ttyUSB1")
    yield terminal
    terminal.unplug()


@asynccontextmanager
async def car(folder: Path, receiver: Terminal) -> AsyncIterator[tuple[Agent, Receiver]]:
    """An agent that listens to the receiver, and the cloud."""
    async with running(folder / "broker") as broker, Receiver(folder).running(broker) as cloud:
        agent = Agent(folder, CONFIG.replace("DEVICE", str(receiver.path)).replace("BROKER", broker.url()))
        await agent.start()
        await agent.said("port_up")
        await agent.said("agent_started")
        try:
            yield agent, cloud
        finally:
            await agent.close()


def exported(cloud: Receiver) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "agent", "export", str(cloud.out), "--format", "jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


async def said_twice(agent: Agent, event: str) -> None:
    async with asyncio.timeout(60):
        while len([line for line in agent.lines() if line["event"] == event]) < 2:
            await asyncio.sleep(0.02)


async def test_a_drive_with_a_tunnel_arrives_in_the_cloud(tmp_path: Path, receiver: Terminal) -> None:
    async with car(tmp_path, receiver) as (agent, cloud):
        await receiver.say(rmc(1, "4807.038") + b"\x80noise$GP" + rmc(2, "4812.060"))
        await agent.said("fix_found")
        await receiver.say(b"".join(rmc(second, "4812.060", "V") for second in range(3, 6)))  # the tunnel
        await agent.said("fix_lost")
        receiver.unplug()
        await agent.said("port_down")
        receiver.plug()
        await said_twice(agent, "port_up")
        await receiver.say(rmc(6, "4815.000"))
        await said_twice(agent, "fix_found")
        assert await agent.stop() == 0
        (stopped,) = agent.events("agent_stopped")
        await cloud.has(lambda files: len(files) >= stopped["batches"])
        lines = exported(cloud)
    told = [(line["message"], signals) for line in lines if (signals := line.get("signals"))]
    places = [signals for message, signals in told if message == "GNSS_POSITION"]
    assert [place["Latitude"] for place in places] == pytest.approx([48.1173, 48.201, 48.25])
    fixes = [signals["Quality"] for message, signals in told if message == "GNSS_FIX"]
    assert fixes == [1, 1, 0, 0, 0, 1]
    events = [(line["event"], line["subject"]) for line in lines if "event" in line]
    assert ("triggered", "north") in events
    assert ("absent", "gnss.GNSS_POSITION") in events
    assert any("Speed" in signals for _, signals in told)
    assert stopped["frames"] == 3 * 5 + 3
    assert stopped["frames_unknown"] == 0
