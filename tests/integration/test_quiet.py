# SPDX-License-Identifier: Apache-2.0
"""In good order the log is a few lines a minute, however many batches there are: minutes of a drive in seconds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.config import load_config
from agent.daemon.replay import replay
from agent.sources.simulator import Drive
from tests.support.mosquitto import running

if TYPE_CHECKING:
    from pathlib import Path

DRIVE_S = 240
LINES_A_MINUTE_MAX = 3
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "simulator"
[[collect]]
[[collect]]
signal = "*SPEED*"
priority = "critical"
[mqtt]
broker = "{broker}"
no_subscribers = "accept"
"""


@pytest.mark.slow
async def test_a_drive_of_minutes_is_a_few_lines_of_log(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        (tmp_path / "agent.toml").write_text(CONFIG.format(broker=broker.url()))
        with capture_logs() as lines:
            packer = await replay(load_config(tmp_path / "agent.toml"), itertools.islice(Drive(), DRIVE_S))
    said = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert packer.counters.batches > DRIVE_S, "critical batches are sealed each second"
    assert "batches_acknowledged" in said
    assert len(said) <= LINES_A_MINUTE_MAX * DRIVE_S / 60, said
