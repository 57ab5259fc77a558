# SPDX-License-Identifier: Apache-2.0
"""Paths whose bytes are no UTF-8, as file systems have them: every command takes them, and prints them escaped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.car_dbc import car_dbc

ROOT = Path(__file__).parents[2]
LOG = "(1700000000.000000) can0 18FEF100#0111223344556677\n(1700000000.100000) can0 18FEF100#0211223344556677\n"
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "can0"
interface = "replay"
channel = "drive.log"
dbc = ["car.dbc"]
[spool]
path = "spool"
min_free = "0B"
[mqtt]
broker = "mqtt://127.0.0.1:9"
[agent]
shutdown_grace = "0s"
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One whose name is no UTF-8, with a log, a DBC file and a configuration of names like it."""
    made = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff\xfe"))
    made.mkdir()
    car_dbc(made).rename(made / "car.dbc")
    (made / "drive.log").write_text(LOG)
    (made / "agent.toml").write_text(CONFIG)
    (made / os.fsdecode(b"drive\xff.log")).write_text(LOG)
    (made / os.fsdecode(b"car\xff.dbc")).write_bytes((made / "car.dbc").read_bytes())
    return made


def ran(*arguments: str | Path) -> str:
    """What the command prints; it succeeds, and neither fails nor prints what is no text."""
    command: list[str | bytes] = [sys.executable, "-m", "agent", *map(os.fsencode, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    text, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, errors
    assert "Traceback" not in errors
    return text + errors


def test_every_command_takes_paths_that_are_no_utf_8(folder: Path) -> None:
    log, dbc = folder / os.fsdecode(b"drive\xff.log"), folder / os.fsdecode(b"car\xff.dbc")
    out, page = folder / os.fsdecode(b"out\xff"), folder / os.fsdecode(b"page\xff.html")
    assert "\\udcff" in ran("check", "--dbc", dbc)
    assert json.loads(ran("replay", log, "--dbc", dbc, "--out", out, "--json"))["frames_decoded"] == 2
    assert '"t": 1700000000.1' in ran("export", out, "--format", "jsonl")
    ran("report", log, "--dbc", dbc, "--html", page)
    assert page.stat().st_size > 1000
    ran("bench", log, "--dbc", dbc)
    assert "\\udcff" in ran("explain", "0x18FEF100", "--config", folder / "agent.toml")


def test_configuration_in_a_folder_that_is_no_utf_8_is_run(folder: Path) -> None:
    assert "agent.toml" in ran("check", "--config", folder / "agent.toml", "--offline")
    said = ran("run", "--config", folder / "agent.toml")
    assert "agent_stopped" in said
