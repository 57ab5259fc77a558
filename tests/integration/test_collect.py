# SPDX-License-Identifier: Apache-2.0
"""Rules and a trigger in a real configuration, from the simulated car through a real broker to the receiver."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.model import SealedBatch
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.spool.store import Spool, SpoolOptions
from tests.support import samples
from tests.support.mosquitto import running
from tests.support.processes import VEHICLE, Agent, Receiver
from tests.support.proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.batch.codec import Batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CONFIG = f"""
[vehicle]
id = "{VEHICLE}"
[[bus]]
name = "car"
interface = "simulator"
[[collect]]
message = "ENGINE_SPEED"
signal = "ENGINE_RPM"
every = "500ms"
[[collect]]
message = ["BRAKE_PRESSURE", "TRANSMISSION"]
on_change = true
priority = "bulk"
[[trigger]]
name = "revolutions"
when = "ENGINE_RPM > 0 and ENGINE_SPEED.COUNTER == 3"
at_most_every = "3s"
before = "1s"
after = "500ms"
record = "ENGINE_SPEED.*"
[batch]
interval = "500ms"
[spool]
path = "spool"
limit = "64MiB"
min_free = "0B"
journal_interval = "100ms"
[mqtt]
broker = "BROKER"
[agent]
shutdown_grace = "GRACE"
[log]
level = "debug"
format = "json"
"""
BEFORE_S, AFTER_S, CYCLE_S = 1.0, 0.5, 0.01
EVENTS = 3
HOUR_BATCHES = 360
MS = 10**6


def of_class(batches: Sequence[Batch], name: str) -> list[Batch]:
    return [batch for batch in batches if batch.id.stream.startswith(f"{name}-")]


def times_s(batches: Sequence[Batch], can_id: int) -> list[float]:
    """Times of a message's frames."""
    found = [group.time_ns / 1e9 for batch in batches for group in batch.groups if group.can_id == can_id]
    return sorted(np.concatenate([np.empty(0), *found]).tolist())


async def test_rules_and_a_trigger_from_the_car_to_the_receiver(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, Receiver(tmp_path).running(broker) as receiver:
        agent = Agent(tmp_path, CONFIG.replace("BROKER", broker.url()).replace("GRACE", "30s"))
        try:
            await agent.start()
            await agent.said("agent_started")
            await receiver.has(lambda _: sum(len(batch.events) for batch in receiver.batches()) >= EVENTS)
            assert await agent.stop() == 0
        finally:
            await agent.close()
        (stopped,) = agent.events("agent_stopped")
        await receiver.has(lambda files: len(files) >= stopped["batches"])
    batches = receiver.batches()
    assert len(batches) == stopped["batches"]
    for stream in {batch.id.stream for batch in batches}:
        numbers = [batch.id.sequence for batch in batches if batch.id.stream == stream]
        assert numbers == list(range(len(numbers)))
    assert sum(batch.frames for batch in of_class(batches, "normal")) == stopped["frames"]
    assert not sum(batch.frames for batch in of_class(batches, "critical") + of_class(batches, "bulk"))
    assert not [gap for batch in batches for gap in batch.gaps]

    events = [event for batch in of_class(batches, "critical") for event in batch.events]
    assert len(events) >= EVENTS
    assert {event.subject for event in events} == {"revolutions"}
    recorded = times_s(of_class(batches, "critical"), 192)
    for event in events[1:-1]:  # the first may lack time before it, the last time after it
        event_s = event.time_ns / 1e9
        window = [each for each in recorded if event_s - BEFORE_S - 0.001 <= each <= event_s + AFTER_S + 0.001]
        assert abs(len(window) - (BEFORE_S + AFTER_S) / CYCLE_S) <= 3, "frames of the window are missing"
        assert max(np.diff(window)) < 3 * CYCLE_S

    kept = times_s(of_class(batches, "normal"), 192)
    assert min(np.diff(kept[:-1])) > 0.4  # the last one closes an interval that was not over
    assert {group.can_id for batch in of_class(batches, "bulk") for group in batch.groups} == {224, 208}

    out = tmp_path / "out.jsonl"
    summary = export(Inventory([receiver.out]), "jsonl", out)
    assert summary.events == len(events)
    assert sum('"event": "triggered"' in line for line in out.read_text().splitlines()) == len(events)
    assert receiver.summary["events"] == len(events)


def an_hour_of_bulk(folder: Path) -> None:
    """A batch of 20 KB every ten seconds, none of them sent."""
    spool = Spool.open(folder / "spool" / "bulk", SpoolOptions(64 << 20))
    dice = random.Random(1)
    for sequence in range(HOUR_BATCHES):
        begin_ns = samples.START + sequence * 10_000 * MS
        frames = [samples.modes(begin_ns + 3 * row * MS, 2, dice.randbytes(4)) for row in range(3000)]
        payload = samples.batch(sequence, frames, vehicle=VEHICLE, stream=spool.stream)
        assert len(payload) > 12_000
        spool.append(SealedBatch(payload, catalog="", begin_ns=begin_ns, end_ns=frames[-1][0], frames=len(frames)))
    spool.close()


async def test_what_is_critical_arrives_before_an_older_backlog_of_bulk_over_a_slow_link(tmp_path: Path) -> None:
    an_hour_of_bulk(tmp_path)
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port, buffer_bytes=8192) as proxy,
        Receiver(tmp_path).running(broker) as receiver,
    ):
        proxy.bytes_per_s = 20_000
        url = f"mqtt://127.0.0.1:{proxy.port}"
        agent = Agent(tmp_path, CONFIG.replace("BROKER", url).replace("GRACE", "0s"))
        try:
            await agent.start()
            await receiver.has(lambda files: any(stream.startswith("bulk-") for stream, _ in files))
            await receiver.has(lambda files: any(stream.startswith("critical-") for stream, _ in files))
            sealed = [line for line in agent.events("batch_sealed") if line["stream"].startswith("critical-")]
            sent = [line for line in agent.events("batch_acknowledged") if line["stream"].startswith("bulk-")]
            assert sealed
            assert len(sent) < HOUR_BATCHES / 4, "bulk went first"
            status = await agent.stop()
            assert status == 0
        finally:
            await agent.close()
