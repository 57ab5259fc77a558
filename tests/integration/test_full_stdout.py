# SPDX-License-Identifier: Apache-2.0
"""What is printed onto a full disk: one line on stderr and exit status 1, whatever the command; /dev/full is one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_live import bench
from tests.integration.test_receive import publish
from tests.support.mosquitto import running
from tests.support.samples import START, batch, catalog, steer, store

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
LINE = "canferry: stdout: No space left on device\n"


async def printed_onto_full(*arguments: str) -> tuple[int | None, str]:
    """Exit status, and what was said on stderr."""
    with FULL.open("wb") as full:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *arguments), stdout=full, stderr=subprocess.PIPE
        )
    _, told = await process.communicate()
    return process.returncode, told.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["tail", "--help"],
        ["export", "{out}", "--format", "jsonl"],
        ["export", "{out}", "--format", "csv"],
        ["check", "--dbc", "{out}/car.dbc"],
        ["check", "--dbc", "{out}/car.dbc", "--json"],
        ["replay", "{out}/car.log", "--dbc", "{out}/car.dbc", "--out", "{out}/batches", "--json"],
        ["bench", "{out}/car.log", "--dbc", "{out}/car.dbc", "--json"],
    ],
)
async def test_a_command_says_so_in_one_line(tmp_path: Path, arguments: Sequence[str]) -> None:
    for number in range(5):  # beyond a buffer's size
        store(tmp_path, number, batch(number, [steer(START + row, 3) for row in range(200)]))
    (tmp_path / "car.dbc").write_text('BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n')
    (tmp_path / "car.log").write_text("(1700000000.000000) car 001#2A\n")

    status, told = await printed_onto_full(*(argument.format(out=tmp_path) for argument in arguments))

    assert (status, told) == (1, LINE)


async def test_the_demo_says_so_after_its_drive() -> None:
    status, told = await printed_onto_full("demo", "--seconds", "3", "--outage", "0", "--json")
    assert (status, told.endswith("\n" + LINE)) == (1, True)
    assert "Traceback" not in told


async def test_asking_a_running_agent_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        await live.status_has("dbc_wrong")
        for command in (["status"], ["status", "--json"], ["tail", "--once"], ["tail", "--json"]):
            assert await printed_onto_full(*command, "--config", str(live.agent.config)) == (1, LINE)


async def test_a_receiver_that_streams_says_so_and_ends(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        subscribed = broker.log.count("Sending SUBACK")
        ended = asyncio.create_task(
            printed_onto_full("receive", "--broker", broker.url(), "--format", "jsonl"), name="receive"
        )
        while broker.log.count("Sending SUBACK") == subscribed:
            await asyncio.sleep(0.02)
        await publish(broker, catalog(), kind="catalog")
        await publish(broker, batch(0, [steer(START, 3)]))
        assert await ended == (1, LINE)
