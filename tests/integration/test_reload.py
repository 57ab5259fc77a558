# SPDX-License-Identifier: Apache-2.0
"""What SIGHUP does to rules and triggers of a running agent: they go on, where they have not changed."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.model import EventKind
from tests.support.mosquitto import running
from tests.support.processes import SIMULATED, Agent, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from agent.batch.codec import Batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CONFIG = f"""{SIMULATED}
[[collect]]
message = "ENGINE_SPEED"
signal = "COUNTER"
every = "24h"
value = "max"
priority = "bulk"
[[trigger]]
name = "engine_runs"
when = "ENGINE_RPM > 0"
before = "1s"
after = "1h"
record = "ENGINE_SPEED.ENGINE_RPM"
"""
CYCLE_S = 0.01


async def reloaded(folder: Path, old: str, new: str) -> tuple[list[Batch], float]:
    """What arrives of an agent whose configuration changes within a trigger's window; when it did, s since 1970."""
    async with running(folder / "broker") as broker, Receiver(folder).running(broker) as receiver:
        agent = Agent(folder, CONFIG.replace("BROKER", broker.url()))
        try:
            await agent.start()
            await receiver.has(lambda _: bool(triggered(receiver.batches())))
            agent.config.write_text(agent.config.read_text().replace(old, new))
            assert agent.process is not None
            at_s = time.time()
            agent.process.send_signal(signal.SIGHUP)
            await agent.said("agent_reloaded")
            arrived = of_bulk(set(receiver.files()))
            await receiver.has(lambda files: of_bulk(files) >= arrived + 3)
            assert await agent.stop() == 0
        finally:
            await agent.close()
        (stopped,) = agent.events("agent_stopped")
        await receiver.has(lambda files: len(files) >= stopped["batches"])
        assert not agent.events("interruption_found")
        return receiver.batches(), at_s


def of_bulk(files: set[tuple[str, int]]) -> int:
    """How many there are of the class that tells how many frames were received: one each 500 ms."""
    return sum(stream.startswith("bulk-") for stream, _ in files)


def triggered(batches: list[Batch]) -> list[int]:
    """Times of events."""
    return [event.time_ns for batch in batches for event in batch.events if event.kind == EventKind.TRIGGERED]


def times_s(batches: list[Batch], name: str) -> list[float]:
    """Times of the frames of which something was kept in a class."""
    of_class = [batch for batch in batches if batch.id.stream.startswith(f"{name}-")]
    return sorted(time_ns / 1e9 for batch in of_class for group in batch.groups for time_ns in group.time_ns.tolist())


async def test_rules_and_triggers_go_on_over_a_reload_that_does_not_concern_them(tmp_path: Path) -> None:
    batches, at_s = await reloaded(tmp_path, 'interval = "500ms"', 'interval = "400ms"')
    assert len(triggered(batches)) == 1
    recorded = times_s(batches, "critical")
    assert max(recorded) > at_s + 0.5
    assert max(np.diff(recorded)) < 5 * CYCLE_S, "frames of the window are missing"
    assert len(times_s(batches, "bulk")) == 1


async def test_reload_with_other_rules_closes_open_state_and_refires_nothing(tmp_path: Path) -> None:
    batches, at_s = await reloaded(tmp_path, 'value = "max"', 'value = "min"')
    assert len(triggered(batches)) == 1
    assert max(times_s(batches, "critical")) < at_s + 0.5, "its window has ended"
    assert len(times_s(batches, "bulk")) == 2
