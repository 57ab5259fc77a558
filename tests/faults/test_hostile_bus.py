# SPDX-License-Identifier: Apache-2.0
"""Whatever is on the bus at 4,000 frames/s: what it costs is a multiple of ordinary frames that leaves the worker time
to spare, memory is bounded, and what is not decoded is counted.

Ordinary frames take about one hundredth of a core, so that a block may take thirty times as much and be done in half
the time that the next one takes to come; the watchdog has seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults.hostile import FRAMES, HOSTILE_BLOCKS

pytestmark = pytest.mark.timeout(120)
RATIO_MAX, WORST_RATIO_MAX = 20, 80
BATCH_BYTES_MAX = 120 << 10


@pytest.mark.parametrize("rules", ["", "rules"])
@pytest.mark.parametrize("kind", ["multiplexor", "multiplexors", "j1939", "raw", "raw_fd", "unknown"])
def test_hostile_bus_costs_bounded_time_and_memory_and_all_is_counted(kind: str, rules: str) -> None:
    command = [sys.executable, "-m", "tests.faults.hostile", kind, *([rules] if rules else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == found["accounted"] == FRAMES * HOSTILE_BLOCKS
    assert found["ratio"] < RATIO_MAX, found
    assert found["worst_ratio"] < WORST_RATIO_MAX, found
    assert found["largest_bytes"] < BATCH_BYTES_MAX, found
    # A tenth is ordinary, and decoded whatever else there is.
    assert found["ordinary_decoded"] > 0.09 * found["frames"]
