# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a file of definitions, reading it costs time and memory in proportion to its size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.hostile_dbc import HOSTILE, TOML, ordinary

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
OWN_BYTES = 32 * MEGABYTE
"""What a process takes that has imported the loader, numpy included."""
MEMORY = {1: 100 * MEGABYTE, 10: 400 * MEGABYTE}
"""By the megabytes of a file."""
TIMES_MAX = 8.0
"""As long as an ordinary file of the same size, which takes a quarter of a second a megabyte."""

CHILD = """
import resource, sys, time
from pathlib import Path
from agent.config import inspect_config
from agent.decode.loading import load_databases
from agent.errors import DatabaseError

def seconds(path):
    begin = time.process_time()
    try:
        if path.endswith(".toml"):
            inspect_config(Path(path))
        else:
            load_databases([("can0", Path(path))])
    except DatabaseError as error:
        assert f"{path}: line " in str(error), error
    return time.process_time() - begin

mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = mapped + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(*[seconds(path) for path in sys.argv[2:]])
"""


def times(tmp_path: Path, text: str, megabytes: int, suffix: str = ".dbc") -> float:
    """How many times as long as an ordinary file's a file's reading takes; both fit into the memory."""
    hostile, plain = tmp_path / f"hostile{suffix}", tmp_path / "plain.dbc"
    hostile.write_text(text[: megabytes * MEGABYTE], encoding="utf-8")
    plain.write_text(ordinary(hostile.stat().st_size))
    command = [sys.executable, "-c", CHILD, str(MEMORY[megabytes] - OWN_BYTES), str(hostile), str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = map(float, done.stdout.split())
    return first / second


@pytest.mark.parametrize("name", HOSTILE)
def test_a_dbc_file_of_a_megabyte_is_read_or_refused_in_bounds(tmp_path: Path, name: str) -> None:
    assert times(tmp_path, HOSTILE[name](MEGABYTE), 1) < TIMES_MAX


@pytest.mark.parametrize(
    "name", ["wide_tree", "one_name", "messages", "wide_text", "many values", "lines that mean nothing"]
)
def test_a_dbc_file_of_ten_megabytes_is_read_or_refused_in_bounds(tmp_path: Path, name: str) -> None:
    assert times(tmp_path, HOSTILE[name](10 * MEGABYTE), 10) < TIMES_MAX


@pytest.mark.parametrize("name", TOML)
def test_a_configuration_file_is_read_or_refused_in_bounds(tmp_path: Path, name: str) -> None:
    assert times(tmp_path, TOML[name](MEGABYTE), 1, ".toml") < TIMES_MAX
    assert times(tmp_path, TOML[name](MEGABYTE // 4), 1, ".toml") < 4 * TIMES_MAX  # no line is too long
