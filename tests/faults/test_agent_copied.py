# SPDX-License-Identifier: Apache-2.0
"""The spool of a real agent is put back from a copy: nothing that it sends afterwards is taken for a duplicate."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.mosquitto import running
from tests.support.processes import SIMULATED, Agent, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mosquitto import Mosquitto

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def drive(agent: Agent, receiver: Receiver, batches: int) -> None:
    """From start to stop; so many batches more have arrived."""
    goal = len(receiver.files()) + batches
    await agent.start()
    await receiver.has(lambda arrived: len(arrived) >= goal)
    assert await agent.stop() == 0


async def test_a_spool_put_back_from_a_copy_loses_no_batch(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, Receiver(tmp_path).running(broker) as receiver:
        agent = agent_of(tmp_path, broker)
        await drive(agent, receiver, 3)
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
        await drive(agent, receiver, 5)
        shutil.rmtree(tmp_path / "spool")
        shutil.copytree(tmp_path / "copy", tmp_path / "spool")
        await drive(agent, receiver, 8)
        await agent.close()
        sealed = Counter((line["stream"], line["sequence"]) for line in agent.events("batch_sealed"))
        assert max(sealed.values()) == 1, "a number was given out twice"
        await receiver.has(lambda arrived: set(sealed) <= arrived)
    assert len({stream for stream, _ in sealed}) == 2
    assert [gap["kind"] for gap in receiver.summary["gaps"]] == ["interrupted"], "of what was open, if anything"
    assert [line["event"] for line in agent.events("spool_replaced")] == ["spool_replaced"]


def agent_of(folder: Path, broker: Mosquitto) -> Agent:
    return Agent(folder, SIMULATED.replace("BROKER", broker.url()))
