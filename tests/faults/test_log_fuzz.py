# SPDX-License-Identifier: Apache-2.0
"""Whatever becomes of a recorded log, reading it ends: with frames or with one line, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.log_fuzz import SECONDS_MAX
from tests.support.blf_files import blf, can_object, container
from tests.support.log_drives import FORMATS
from tests.support.mf4_files import Frame, logger_file

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
VARIANTS = 2000
RSS_BYTES_MAX = 300 << 20


@pytest.mark.parametrize("name", [*FORMATS, "BLF, uncompressed", "MF4 of a logger"])
def test_a_damaged_log_ends_with_frames_or_one_line(name: str, tmp_path: Path) -> None:
    if name in FORMATS:
        sample = tmp_path / f"sample{FORMATS[name].suffix}"
        FORMATS[name].write(sample, FORMATS[name].moments * 8)
    elif name.startswith("BLF"):
        sample = tmp_path / "sample.blf"
        content = b"".join(can_object(number, number, bytes(8)) for number in range(60))
        pieces = [container(content[at : at + 500], method=0) for at in range(0, len(content), 500)]
        sample.write_bytes(blf([b""] * 60, containers=pieces))
    else:
        sample = tmp_path / "sample.mf4"
        sample.write_bytes(logger_file([Frame(number, 1, number, bytes(number % 9)) for number in range(60)]))
    command = [sys.executable, "-m", "tests.faults.log_fuzz", str(sample), str(tmp_path), str(VARIANTS), "14"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert told["failures"] == []
    assert told["frames"] + told["errors"] == VARIANTS
    assert told["slowest_s"] < SECONDS_MAX
    assert told["rss_bytes"] < RSS_BYTES_MAX
