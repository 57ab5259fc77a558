# SPDX-License-Identifier: Apache-2.0
"""A log of NMEA 2000 with a DBC file that does not say it is: every command matches by PGN when told, and says how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = "09F11201#FF507AFF7FFF7FFD"
LOG = f"(1.000000) can0 {HEADING}\n(1.100000) can0 09F10D01#00F8FF7F5FB8FFFF\n(3.000000) can0 {HEADING}\n"
DBC = 'BO_ 2582713086 Heading: 8 X\n SG_ heading : 8|16@1+ (0.0001,0) [0|0] "rad" X\n'
HINT = "1 29-bit identifier fits a message by PGN alone, 2 frames (0x9F11201 is PGN 127250, as Heading): --j1939"


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    (tmp_path / "drive.log").write_text(LOG)
    (tmp_path / "boat.dbc").write_text(DBC)
    return tmp_path


def canferry(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", *arguments]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def test_replay_matches_by_pgn_when_told(drive: Path) -> None:
    arguments = ["replay", "drive.log", "--dbc", "boat.dbc", "--json", "--out"]
    plain = canferry(drive, *arguments, "plain")
    assert json.loads(plain.stdout)["frames_decoded"] == 0
    assert HINT in plain.stderr
    assert "right DBC file" not in plain.stderr
    told = canferry(drive, *arguments, "told", "--j1939")
    assert (json.loads(told.stdout)["frames_decoded"], told.stderr) == (2, "")


def test_bench_and_report_match_by_pgn_when_told(drive: Path) -> None:
    plain = canferry(drive, "bench", "drive.log", "--dbc", "boat.dbc")
    assert plain.returncode == 1
    assert HINT in plain.stderr
    told = canferry(drive, "bench", "drive.log", "--dbc", "boat.dbc", "--j1939", "--json")
    assert json.loads(told.stdout)["frames_decoded"] == 2
    report = ["report", "drive.log", "--dbc", "boat.dbc", "--html", "drive.html", "--json"]
    assert HINT in canferry(drive, *report).stderr
    assert json.loads(canferry(drive, *report, "--j1939").stdout)["frames"] == 2


def test_check_takes_it_beside_dbc_files_only(drive: Path) -> None:
    two = DBC + DBC.replace("2582713086", "2582713087").replace("Heading", "Other")
    (drive / "boat.dbc").write_text(two)
    assert "PGN 127250" not in canferry(drive, "check", "--dbc", "boat.dbc").stdout
    assert "PGN 127250 is that of Heading too" in canferry(drive, "check", "--dbc", "boat.dbc", "--j1939").stdout
    refused = canferry(drive, "check", "--j1939", "--config", "agent.toml")
    assert (refused.returncode, "j1939" in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)
