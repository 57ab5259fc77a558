# SPDX-License-Identifier: Apache-2.0
"""Hours of driving against a broker that changes its mind each minute: nothing is lost, and status names the cause.

The daemon in this process, on a loop and a clock that are `SPEED` times as fast, with the simulated car; a scripted
broker whose minutes are drawn at random. What the broker acknowledges as success arrives at the inbox; what it
acknowledges without meaning it (nobody subscribed) does not. In the end everything that was sealed has arrived once,
or lies in a gap that was told. CANFERRY_MINUTES says how many minutes (20 unless set; 120 are the two hours).
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from agent.config import load_config
from agent.daemon import daemon
from agent.errors import AgentError
from agent.live.client import ask_once
from agent.live.diagnosis import diagnose
from agent.model import GapKind
from agent.receiver.batch_receiver import BatchReceiver
from tests.faults.fast_time import FastClock, FastLoop, pass_fast
from tests.faults.whole import VEHICLE, Received
from tests.support.scripted import ACCEPT, ScriptedBroker, connack, disconnect, puback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.scripted import Connect, Publish

MINUTES = int(os.environ.get("CANFERRY_MINUTES", "20"))
SPEED = 20.0
MINUTE_S, MOOD_S_MAX = 60.0, 300.0
"""A busy machine may keep the agent, whose time passes so fast, from learning within a minute what the broker does."""
SMALL_BYTES = 4096
CONFIG = """
[vehicle]
id = "{vehicle}"
[[bus]]
name = "car"
interface = "simulator"
[spool]
path = "spool"
limit = "256MiB"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
backoff_max = "20s"
heartbeat = "1m"
[agent]
socket = "{socket}"
shutdown_grace = "10m"
[log]
format = "json"
"""


@dataclass(frozen=True)
class Mood:
    """How the broker behaves for a minute, and the codes of which status has to name one; where batches can be made
    so that they go nevertheless, that they do is as good."""

    name: str
    codes: frozenset[str] = frozenset()
    drops: bool = False
    can_be_met: bool = False


WELL = Mood("well")
MOODS = (
    Mood("forbids", frozenset({"broker_refuses"})),
    Mood("no subscriber", frozenset({"no_subscribers"})),
    Mood("small packets", frozenset({"batch_over_limit"}), drops=True, can_be_met=True),
    Mood("3.1.1 only", frozenset({"broker_version"}), drops=True),
    Mood("quota", frozenset({"broker_quota"})),
    Mood("silence", frozenset({"broker_unreachable"})),
    Mood("restarts", frozenset({"broker_unreachable"}), drops=True),
    Mood("refuses all as invalid", frozenset({"batches_rejected"})),
)


@dataclass
class Fickle:
    """What the broker does at the moment, and what it holds back."""

    inbox: BatchReceiver
    mood: Mood = WELL
    held: list[bytes] = field(default_factory=list)

    def admit(self, connect: Connect) -> str:
        return "restarts" if self.mood.name == "restarts" else ""

    def connack(self, level: int) -> bytes | None:
        if self.mood.name == "silence":
            return None
        if self.mood.name == "3.1.1 only":
            return b"\x20\x02\x00\x01" if level == 5 else b"\x20\x02\x00\x00"
        if self.mood.name == "small packets" and level == 5:
            return connack(0, b"\x27" + SMALL_BYTES.to_bytes(4, "big"))
        return ACCEPT if level == 5 else b"\x20\x02\x00\x00"

    def answer(self, publish: Publish) -> bytes | None:
        codes = {"forbids": 0x87, "no subscriber": 0x10, "quota": 0x97, "refuses all as invalid": 0x99}
        if self.mood.name == "silence":
            return None
        if self.mood.name == "small packets" and publish.size_bytes > SMALL_BYTES:
            return disconnect(0x95)
        if publish.topic.endswith("/status"):
            return puback(publish)
        if (code := codes.get(self.mood.name)) is not None:
            return puback(publish, code)
        self.inbox.accept(publish.payload, vehicle=VEHICLE)
        return puback(publish)


@dataclass
class Minute:
    """One of them, and what status said in it."""

    mood: Mood
    seen: set[str] = field(default_factory=set)
    acknowledged: int = 0

    @property
    def is_named(self) -> bool:
        met = self.mood.can_be_met and self.acknowledged > 0
        return met or not self.mood.codes or bool(self.mood.codes & self.seen)


async def look(socket: Path, minute: Minute, gauges: daemon.Gauges) -> None:
    """Ask the agent every five seconds how it goes: for a minute, and on until it names the cause, where it is slow."""
    loop = asyncio.get_running_loop()
    begun, before = loop.time(), gauges.link().acknowledged_batches
    while (passed := loop.time() - begun) < MINUTE_S or (passed < MOOD_S_MAX and not minute.is_named):
        try:
            answer = await asyncio.to_thread(ask_once, socket, "status")
        except AgentError:
            continue
        assert answer.snapshot is not None
        minute.seen |= {finding.code for finding in diagnose(answer.snapshot)}
        minute.acknowledged = gauges.link().acknowledged_batches - before
        await asyncio.sleep(5.0)


async def drive(tmp_path: Path, chance: random.Random) -> tuple[daemon.Gauges, list[Minute]]:
    fickle = Fickle(BatchReceiver(tmp_path / "out"))
    socket = tmp_path / "agent.sock"
    broker = ScriptedBroker(answer=fickle.answer, connack=fickle.connack, admit=fickle.admit)
    minutes: list[Minute] = []
    async with broker:
        file = tmp_path / "agent.toml"
        file.write_text(CONFIG.format(vehicle=VEHICLE, port=broker.port, socket=socket))
        stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            daemon.run(load_config(file), clock=FastClock(SPEED), stop=stop, observe=started.set_result), name="daemon"
        )
        gauges: daemon.Gauges = await started
        while not gauges.link().acknowledged_batches:
            await asyncio.sleep(1.0)
        for number in range(MINUTES):
            fickle.mood = chance.choice(MOODS) if number % 3 else WELL
            minute = Minute(fickle.mood)
            minutes.append(minute)
            if fickle.mood.drops:
                broker.cut()
            await look(socket, minute, gauges)
        fickle.mood = WELL
        broker.cut()
        while gauges.link().trouble or not gauges.link().connected:
            await asyncio.sleep(1.0)
        stop.set()
        await task
    return gauges, minutes


@pytest.mark.timeout(300 + 4 * MINUTES)
def test_hours_with_a_fickle_broker_lose_nothing_and_status_names_each_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    loop = FastLoop(SPEED)
    pass_fast(monkeypatch, SPEED)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        gauges, minutes = runner.run(drive(tmp_path, random.Random(seed)))
    counters = gauges.counters
    received = Received.within(tmp_path / "out")
    gaps = BatchReceiver(tmp_path / "out").report()
    named = sum(max(gap.frames, 0) for gap in gaps if gap.kind != GapKind.DROPPED)  # those never came so far
    unnamed = [minute.mood.name for minute in minutes if not minute.is_named]
    record_property(
        "figures",
        f"seed {seed}: {len(minutes)} minutes, {counters.batches} batches with {counters.frames} frames sealed; "
        f"{received.batches} with {received.frames} received, {len(gaps)} gaps with {named} frames",
    )
    assert received.frames + named == counters.frames, gaps
    assert unnamed == [], [(minute.mood.name, minute.seen) for minute in minutes if not minute.is_named]
