# SPDX-License-Identifier: Apache-2.0
"""Whatever becomes of a recorded log, reading it ends: with frames or with one line, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.log_fuzz import SECONDS_MAX
from tests.integration.log_drives import FORMATS

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
VARIANTS = 2000
RSS_BYTES_MAX = 300 << 20


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_log_ends_with_frames_or_one_line(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    sample = tmp_path / f"sample{kind.suffix}"
    kind.write(sample, kind.moments * 8)
    command = [sys.executable, "-m", "tests.faults.log_fuzz", str(sample), str(tmp_path), str(VARIANTS), "14"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert told["failures"] == []
    assert told["frames"] + told["errors"] == VARIANTS
    assert told["slowest_s"] < SECONDS_MAX
    assert told["rss_bytes"] < RSS_BYTES_MAX
