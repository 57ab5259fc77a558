# SPDX-License-Identifier: Apache-2.0
"""`canferry demo` as a process, all of it real: car, agent, broker, link, receiver."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import running_command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
DRIVE = ("demo", "--seconds", "6", "--outage", "2")

LOSING = """
import sys
from agent import cli
from agent.cli.demo_run import cloud
from agent.receiver.batch_receiver import Accepted, BatchReceiver, Verdict

class LosingReceiver(BatchReceiver):
    lost = 0
    def accept_some(self, arrived):
        accepted = super().accept_some(arrived)
        for place, each in enumerate(accepted):
            if each.verdict is Verdict.BATCH and not self.lost:
                self.lost = 1
                accepted[place] = Accepted(Verdict.REJECTED)
        return accepted

cloud.BatchReceiver = LosingReceiver
sys.exit(cli.main(["demo", "--seconds", "3", "--outage", "0"]))
"""


async def test_a_drive_with_an_outage_arrives_whole(tmp_path: Path) -> None:
    async with running_command(*DRIVE, "--json", environment={"TMPDIR": str(tmp_path)}) as process:
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    result = json.loads(out)
    assert result["samples_lost"] == 0
    assert result["samples_sent"] == result["samples_received"] > 10_000
    assert result["frames"] > 3_000
    assert result["gaps"] == 0
    assert result["outage_s"] >= 2
    assert result["seconds"] >= 6
    assert result["backlog_bytes_max"] > 0
    assert 0 < result["bytes_per_frame"] < 10
    assert result["bytes_ratio_json"] > 20
    lines = err.decode().splitlines()
    assert all(line.lstrip()[0].isdigit() for line in lines), err.decode()
    assert any("is cut" in line for line in lines)
    assert any("is back" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


async def test_the_status_is_1_when_the_receiver_misses_a_batch(tmp_path: Path) -> None:
    async with running_command(program=("-c", LOSING), environment={"TMPDIR": str(tmp_path)}) as process:
        out, _ = await process.communicate()
    assert process.returncode == 1
    assert "samples are missing" in out.decode()


async def test_an_interrupted_demo_ends_quietly_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = ("demo", "--seconds", "30", "--outage", "28")
    async with running_command(*command, environment={"TMPDIR": str(tmp_path)}) as process:
        assert process.stderr is not None
        while b"is cut" not in (line := await process.stderr.readline()):
            assert line, "ended early"
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []
