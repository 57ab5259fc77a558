# SPDX-License-Identifier: Apache-2.0
"""What a running agent tells of itself: gathered of its parts, also while one of them hangs."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import inspect_config
from agent.config.priorities import Priority
from agent.daemon import status
from agent.daemon.assembly import Worker, load_decoding, make_packer
from agent.daemon.status import StatusWriter
from agent.live.protocol import VERSION, Answer, decode_answer, define, encode
from agent.model import FrameBlock, SourceCounters
from agent.pipeline.storage import Storage
from agent.pipeline.traffic import TrafficStatistics
from agent.sources.simulator import SimulatorSource
from agent.system.clock import SystemClock
from agent.system.liveness import LivenessDeadline
from agent.system.log import Logging
from agent.uplink.send_policy import Unlimited
from agent.uplink.status import LinkState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "simulator"
[[bus]]
name = "body"
interface = "slcan"
channel = "/dev/ttyUSB0"
bitrate = 250000
keep_unknown = true
[mqtt]
broker = "mqtt://localhost"
[spool]
path = "spool"
limit = "8MiB"
[[collect]]
message = "ENGINE_*"
[[collect]]
bus = "body"
"""


class Turning(SystemClock):
    """The simulated car drives as fast as the test wants."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


class Adapter:
    """A bus of python-can as the figures see it."""

    exhausted = False
    drain_within_s = 1.0

    def drain(self) -> FrameBlock:
        return FrameBlock.empty()

    def wake(self, _heard: object, /) -> bool:
        return False

    def counters(self) -> SourceCounters:
        return SourceCounters(dropped=7, error_frames={"body": 3}, remote_frames={"body": 2})

    def states(self) -> dict[str, str]:
        return {"body": "down"}


class Run:
    """Storage, packer and sources of a configuration, and their figures."""

    def __init__(self, folder: Path) -> None:
        path = folder / "agent.toml"
        path.write_text(CONFIG)
        config, problems = inspect_config(path)
        assert config is not None, problems
        self.config, self.clock, self.worker = config, Turning(), Worker()
        self.decoding = load_decoding(config)
        self.storage = Storage.open(config)
        self.traffic = TrafficStatistics(2)
        self.packer = make_packer(config, self.decoding, self.storage.stores, self.clock, traffic=self.traffic)
        self.source = SimulatorSource(0, "car", clock=self.clock)
        self.deadline = LivenessDeadline("uplink")
        self.logging = Logging(stream=io.StringIO())
        self.figures = StatusWriter(
            config=self.config,
            catalog=self.decoding.catalog,
            content=self.decoding.content,
            filtered=frozenset({"body"}),
            sources=[self.source, Adapter()],
            counters=self.packer.counters,
            traffic=self.traffic,
            storage=self.storage,
            call=self.worker.call,
            link=lambda: LinkState(broker="localhost:1883", last_error="no route", trouble="unreachable"),
            deadlines=[self.deadline],
            clock=self.clock,
            logging=self.logging,
            started_s=time.monotonic() - 60,
        )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.worker.close()
    run.storage.close(clean=True)


async def test_a_snapshot_gathers_buses_spool_link_and_rules(running: Run) -> None:
    async with running.source:
        running.clock.ahead_ns += 3 * 10**9
        frames = running.source.drain()
        await running.worker.call(running.packer.process, frames)
        await running.worker.call(running.packer.seal)
        running.logging.recent(None, "", {"event": "link_refused", "level": "warning", "reason": "no route"})
        told = await running.figures.status()
    car, body = told.buses
    assert (car.state, car.frames, car.known, car.messages) == ("up", len(frames), len(frames), 24)
    assert (body.state, body.frames, body.bitrate, body.dropped, body.error_frames) == ("down", 0, 250_000, 7, 3)
    assert (car.filtered, body.filtered, body.keep_unknown, body.remote_frames) == (False, True, True, 2)
    (normal,) = told.spool.priorities
    assert (normal.name, normal.batches, normal.samples) == ("normal", 1, running.packer.counters.samples)
    assert normal.size_bytes == normal.sealed_bytes == running.packer.counters.batch_bytes > 0
    assert (normal.acknowledged, normal.acknowledged_ns, normal.acknowledged_end_ns) == (0, 0, 0)
    assert (told.spool.limit_bytes, told.spool.min_free_bytes) == (8 << 20, 64 << 20)
    assert told.spool.free_bytes > 0
    assert (told.link.trouble, told.link.last_error) == ("unreachable", "no route")
    assert [(rule.number, rule.messages > 0, rule.seen == rule.messages) for rule in told.rules] == [
        (1, True, True),
        (2, False, True),
    ]
    assert told.up_s >= 60 > told.reloaded_s
    assert [line.event for line in told.log_lines] == ["link_refused"]
    assert told.late == {}
    assert decode_answer(encode(Answer(version=VERSION, snapshot=told))).snapshot == told


async def test_when_a_class_was_last_acknowledged_is_told(running: Run) -> None:
    async with running.source:
        running.clock.ahead_ns += 3 * 10**9
        await running.worker.call(running.packer.process, running.source.drain())
        await running.worker.call(running.packer.seal)
    spool = running.storage.stores[Priority.NORMAL].spool
    (record,) = spool.oldest()
    await running.worker.call(spool.acknowledge, record.sequence)
    before_ns = running.clock.wall_ns()
    (normal,) = (await running.figures.status()).spool.priorities
    assert (normal.batches, normal.acknowledged, normal.acknowledged_end_ns) == (0, 1, record.end_ns)
    assert 0 <= running.clock.wall_ns() - normal.acknowledged_ns < 60 * 10**9
    assert normal.acknowledged_ns <= before_ns + 10**8


async def test_what_the_network_says_and_holds_back_is_told(running: Run) -> None:
    class Spent(Unlimited):
        def wait_s(self, *, critical: bool) -> float:
            return 0.0 if critical else 900.0

    running.figures.network, running.figures.policy = ["modem home", "data plan"], Spent()
    told = await running.figures.status()
    assert (told.network, told.link.held_s) == (("modem home", "data plan"), 900.0)


async def test_while_the_worker_hangs_the_rest_is_told(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "WORKER_S", 0.05)
    before = await until_answered(running)
    gate = threading.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(running.worker.call(gate.wait))
        await asyncio.sleep(0)
        told = await running.figures.status()
        gate.set()
    assert told.late == {status.WORKER: 0.05}
    assert told.spool == before
    assert told.buses[1].state == "down"


async def until_answered(running: Run) -> Any:
    """The spool as it is told when the worker answers."""
    while True:
        told = await running.figures.status()
        if not told.late:
            return told.spool


async def test_a_stage_that_is_late_is_named(running: Run) -> None:
    running.deadline.extend(-5.0)
    late = (await running.figures.status()).late
    assert late["uplink"] >= 5


def test_definitions_are_those_of_the_configuration(running: Run) -> None:
    told = running.figures.definitions()
    assert told == define(running.config, running.decoding.catalog.messages, running.decoding.content)
    assert told.catalog_bytes == running.decoding.content
    assert [bus.name for bus in told.buses] == ["car", "body"]
    assert told.collect == running.config.collect
