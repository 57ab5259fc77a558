# SPDX-License-Identifier: Apache-2.0
"""Whatever few bytes claim, a process with little memory reads or refuses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.batch.catalog import CATALOG_BYTES_MAX, decode_catalog, encode_catalog
from agent.batch.codec import decode_batch
from agent.batch.decoder import BATCH_BYTES_MAX
from agent.batch.frame import decompress
from tests.support.hostile_batches import (
    BATCHES,
    CATALOG,
    CATALOGS,
    cost_s,
    ordinary_batch,
    ordinary_catalog,
    packed,
)

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


def least_s(read: Callable[[], object]) -> float:
    return min(cost_s(read) for _ in range(3))


def ordinary_s(payload: bytes, read: Callable[[], object], limit: int) -> float:
    """What as many ordinary bytes cost as one payload may hold."""
    return least_s(read) * limit / len(decompress(payload, limit))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_dearest_batch_costs_at_most_six_times_as_many_ordinary_bytes() -> None:
    catalog = ordinary_catalog()
    ordinary = ordinary_batch(catalog)
    most_s = 6 * ordinary_s(ordinary, lambda: decode_batch(ordinary, catalog), BATCH_BYTES_MAX)
    for name, make in BATCHES.items():
        payload = packed(make())
        assert least_s(lambda payload=payload: decode_batch(payload, CATALOG)) < most_s, name  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_dearest_catalog_costs_at_most_as_many_ordinary_bytes() -> None:
    ordinary = encode_catalog(ordinary_catalog())
    most_s = ordinary_s(ordinary, lambda: decode_catalog(ordinary), CATALOG_BYTES_MAX)
    for name, make in CATALOGS.items():
        payload = packed(make())
        assert least_s(lambda payload=payload: decode_catalog(payload)) < most_s, name  # type: ignore[misc]
