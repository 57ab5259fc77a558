# SPDX-License-Identifier: Apache-2.0
"""A drive that KCD, SYM and ARXML files describe: replayed and exported, it is what cantools decodes of its frames."""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cantools
import pytest

pytestmark = pytest.mark.timeout(180)
DATA = Path(__file__).parents[1] / "data" / "databases"
COMMAND = Path(sys.executable).parent / "canferry"
FRAMES = 400


def drive(messages: list[Any]) -> list[tuple[Any, bytes]]:
    """Frames of random bytes whose floats are numbers."""
    chosen = random.Random(1)
    frames: list[tuple[Any, bytes]] = []
    while len(frames) < FRAMES:
        message = chosen.choice(messages)
        payload = chosen.randbytes(message.length)
        if all(math.isfinite(float(value)) for value in decoded(message, payload).values()):
            frames.append((message, payload))
    return frames


def decoded(message: Any, payload: bytes) -> dict[str, float]:
    """What cantools decodes; no signal where a multiplexor has a value that selects none."""
    try:
        values: dict[str, float] = message.decode(payload, decode_choices=False)
    except cantools.database.DecodeError:
        return {}
    return values


def line(number: int, message: Any, payload: bytes) -> str:
    can_id = f"{message.frame_id:08X}" if message.is_extended_frame else f"{message.frame_id:03X}"
    return f"({1_700_000_000 + number / 100:.6f}) can0 {can_id}#{'#0' if len(payload) > 8 else ''}{payload.hex()}\n"


def run(*arguments: str | Path) -> str:
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["kcd", "sym", "arxml"])
def test_a_replayed_and_exported_drive_equals_what_cantools_decodes(tmp_path: Path, kind: str) -> None:
    path = DATA / f"drive.{kind}"
    database: Any = cantools.database.load_file(path, encoding="utf-8", strict=False)
    frames = drive(database.messages)
    log = tmp_path / "drive.log"
    log.write_text("".join(line(number, *frame) for number, frame in enumerate(frames)))

    run("replay", log, "--dbc", path, "--out", tmp_path / "batches")
    rows = [json.loads(row) for row in run("export", tmp_path / "batches", "--format", "jsonl").splitlines()]

    assert len(rows) == FRAMES
    rows.sort(key=lambda row: float(row["t"]))
    compared = 0
    for row, (message, payload) in zip(rows, frames, strict=True):
        assert row["message"] == message.name
        expected = decoded(message, payload)
        if expected:
            assert row["signals"].keys() == expected.keys()
            compared += len(expected)
            for name, value in expected.items():
                assert struct.pack("<d", row["signals"][name]) == struct.pack("<d", value), (name, row)
    assert compared > FRAMES


@pytest.mark.parametrize("kind", ["kcd", "sym", "arxml"])
def test_a_file_of_any_kind_is_checked(kind: str) -> None:
    (found,) = json.loads(run("check", "--dbc", DATA / f"drive.{kind}", "--json"))["databases"]
    assert (found["how"], found["skipped"]) == ("as written", 0)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "check", "--dbc", DATA / "drive.cdd"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "a CDD file describes diagnostics (1 data identifiers), no CAN frames" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_modules_that_lie_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    for name in ("cantools", "json", "bitstruct", "textparser", "agent"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'a').write('{name}')\n")
    command: list[str | Path] = [COMMAND, "check", "--dbc", DATA / "drive.sym"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr, (tmp_path / "run").exists()) == (0, "", False)
