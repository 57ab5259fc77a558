# SPDX-License-Identifier: Apache-2.0
"""Memory that is free is not resident, wherever it lies."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import psutil
from agent.system import process

process.configure_allocator()
before = psutil.Process().memory_info().rss
held = [bytes(2000) for _ in range(10_000)]
del held[:-1]
kept = psutil.Process().memory_info().rss - before
process.release_memory()
print(kept, psutil.Process().memory_info().rss - before)
"""


def test_what_is_free_below_a_piece_in_use_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 15_000_000
    assert left < 3_000_000
