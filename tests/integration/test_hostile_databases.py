# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a KCD, SYM or ARXML file, reading it takes no more time and memory than its size allows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.hostile_databases import HOSTILE
from tests.integration.hostile_dbc import ordinary

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
MEMORY_KIB = {1: 100_000, 10: 400_000}
"""Of both processes together, less what the agent takes that has imported the loader; by the megabytes of a file."""
TIMES_MAX = 12.0
"""As long as an ordinary DBC file of the same size, which takes a quarter of a second a megabyte. The reading
process is ended at about 7 times; on a busy machine both sides of the ratio vary."""

CHILD = """
import json, resource, sys, time
from pathlib import Path
from agent.decode.loading import load_databases
from agent.errors import DatabaseError

def kib(who):
    return resource.getrusage(who).ru_maxrss

def seconds():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime

before = kib(resource.RUSAGE_SELF)
took, said = [], []
for path in sys.argv[1:]:
    begin = seconds()
    try:
        loaded = load_databases([("can0", Path(path))])
        said.append(f"{len(loaded.messages)} messages, {len(loaded.problems)} problems")
        del loaded
    except DatabaseError as error:
        assert str(error).startswith(f"{path}: "), error
        assert chr(10) not in str(error), error
        assert "Traceback" not in str(error), error
        said.append(str(error).removeprefix(path))
    took.append(seconds() - begin)
    memory = kib(resource.RUSAGE_SELF) - before + kib(resource.RUSAGE_CHILDREN)
    if len(took) == 1:
        first = memory
print(json.dumps([took[0] / took[1], first, said[0]]))
"""


def cost(tmp_path: Path, name: str, megabytes: int) -> tuple[float, int, str]:
    """How many times as long as an ordinary file's its reading takes, the memory in KiB, and what came of it."""
    suffix, make = HOSTILE[name]
    hostile, plain = tmp_path / f"hostile.{suffix}", tmp_path / "plain.dbc"
    hostile.write_text(make(megabytes * MEGABYTE), encoding="utf-8")
    plain.write_text(ordinary(megabytes * MEGABYTE))
    command = [sys.executable, "-c", CHILD, str(hostile), str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    times, kib, said = json.loads(done.stdout)
    return times, kib, said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_database_of_a_megabyte_is_read_or_refused_in_bounds(tmp_path: Path, name: str) -> None:
    times, kib, said = cost(tmp_path, name, 1)
    assert times < TIMES_MAX, said
    assert kib < MEMORY_KIB[1], said


@pytest.mark.parametrize("name", ["deep", "empty_elements", "short_messages", "enum_of_all", "quotes", "clusters"])
def test_a_database_of_ten_megabytes_is_read_or_refused_in_bounds(tmp_path: Path, name: str) -> None:
    times, kib, said = cost(tmp_path, name, 10)
    assert times < TIMES_MAX, said
    assert kib < MEMORY_KIB[10], said
