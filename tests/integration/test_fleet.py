# SPDX-License-Identifier: Apache-2.0
"""Fifty cars with real batches come to one broker at once: nothing is lost, nothing comes twice."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.fleet import measure
from tests.conftest import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CARS, SECONDS = 50, 20.0


@pytest.mark.recordings
@pytest.mark.timeout(300)
def test_a_fleet_at_one_broker_loses_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    log = tmp_path / "mustang.log"
    log.write_bytes(lzma.decompress((RECORDINGS / "mustang_drive.log.xz").read_bytes()))
    found = measure(log, RECORDINGS / "mustang.dbc", CARS, SECONDS)
    record_property("figures", ", ".join(f"{name} {value:g}" for name, value in found.items()))
    assert found["batches_sent"] == found["batches_received"] >= 2 * CARS
    assert found["frames_sent"] == found["frames_received"]
    assert found["batches_left"] == found["gaps"] == 0
