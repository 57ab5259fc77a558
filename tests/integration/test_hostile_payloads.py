# SPDX-License-Identifier: Apache-2.0
"""Whatever few bytes claim, a process with little memory reads or refuses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.hostile_batches import BATCHES, CATALOGS, packed

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
TAKEN = {
    "batch as many events as can be",
    "batch rows of nothing",
    "batch lines",
    "batch pools",
    "batch sparse changes",
    "batch groups",
    "catalog as many signals as can be",
    "catalog choices",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "payloads"), [("batch", BATCHES), ("catalog", CATALOGS)])
def test_whatever_is_claimed_is_read_or_refused_within_256_mb(
    kind: str, payloads: dict[str, Callable[[], bytes]], tmp_path: Path
) -> None:
    for name, make in payloads.items():
        (tmp_path / f"{kind} {name}").write_bytes(packed(make()))
    command = [sys.executable, "-m", "tests.support.hostile_batches", str(tmp_path)]

    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    said = dict(line.split(": ", 1) for line in told.stdout.splitlines())
    assert (set(said), told.stderr) == ({f"{kind} {name}" for name in payloads}, "")
    assert {name for name, what in said.items() if what == "taken"} == {name for name in TAKEN if name.startswith(kind)}
    assert not [name for name, what in said.items() if "died" in what or len(what) > 200]
