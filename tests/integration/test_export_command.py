# SPDX-License-Identifier: Apache-2.0
"""`canferry export` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.samples import MS, START, batch, steer, store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
COMMAND = (sys.executable, "-m", "agent", "export")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True)


def test_frames_go_to_stdout_and_the_account_to_stderr(tmp_path: Path) -> None:
    store(tmp_path, 1, batch(1, [steer(START, 3)]))

    done = run(tmp_path, "--format", "jsonl")

    assert done.returncode == 0
    assert json.loads(done.stdout)["signals"]["ANGLE"] == -1.5
    assert done.stderr.splitlines() == [
        "gap: car-1: earlier, batch 0 of normal-1, between an unknown time and 2023-11-14 22:13:20",
        "car-1: 1 frames, 1 batches, 0 duplicates dropped, 1 gaps",
    ]


def test_the_summary_is_one_json_object(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 3)]))

    done = run(tmp_path, "--format", "csv", "--out", tmp_path / "out.csv", "--json")

    assert json.loads(done.stdout) == {
        "vehicle": "car-1",
        "frames": 1,
        "batches": 1,
        "duplicates_dropped": 0,
        "acknowledged_left_out": 0,
        "ids_reused": 0,
        "frames_unknown": 0,
        "events": 0,
        "corrections": [],
        "gaps": [],
        "problems": [],
    }


def test_a_closed_pipe_is_no_noise(tmp_path: Path) -> None:
    for number in range(20):
        frames = [steer(START + (1000 * number + n) * MS, n) for n in range(1000)]
        store(tmp_path, number, batch(number, frames))

    process = subprocess.Popen([*COMMAND, tmp_path, "--format", "jsonl"], stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait()

    assert errors == b""


def test_errors_are_one_line_with_the_contracts_status(tmp_path: Path) -> None:
    path = store(tmp_path, 0, batch(0, [steer(START, 3)]))
    junk = tmp_path / "junk.batch.zst"
    junk.write_bytes(b"junk")
    cases: list[tuple[list[str | Path], int, str]] = [
        ([tmp_path / "nowhere", "--format", "jsonl"], 2, "nowhere"),
        ([path, "--format", "parquet"], 2, "--out FILE"),
        ([path, "--format", "parquet", "--layout", "wide"], 2, "--out DIR"),
        ([path, "--format", "csv", "--partition"], 2, "--partition is for parquet"),
        ([path, "--format", "parquet", "--partition", "--out", tmp_path], 2, "new or empty"),
        ([path, "--format", "jsonl", "--out", tmp_path / "no" / "x"], 2, "no folder"),
        ([path, "--format", "xls"], 2, "xls"),
        ([junk, "--format", "jsonl"], 1, "junk.batch.zst"),
    ]

    for arguments, status, text in cases:
        done = run(*arguments)
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (status, 1, ""), done.stderr
        assert text in done.stderr


def test_a_bad_file_among_good_ones_is_status_one(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 3)]))
    (tmp_path / "junk.batch.zst").write_bytes(b"junk")

    done = run(tmp_path, "--format", "jsonl")

    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "junk.batch.zst" in done.stderr


def test_a_missing_library_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 3)]))
    hide = (
        "import importlib.util, sys; find = importlib.util.find_spec; "
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pyarrow' else find(name, *rest); "
        "from agent.cli import main; sys.exit(main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", hide, "export", tmp_path, "--format", "parquet", "--out", tmp_path / "x"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'canferry[export]'" in done.stderr
