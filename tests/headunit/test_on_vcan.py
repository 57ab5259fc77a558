# SPDX-License-Identifier: Apache-2.0
"""The tests of `vcan/`, SocketCanSource on real interfaces: run where there is SocketCAN, each reported here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.headunit.inside import Result, names_inside, repeat, run_inside

INSIDE = Path(__file__).with_name("vcan")
BOOT_AND_RUN_S = 600


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """By test inside."""
    return run_inside(request, INSIDE, tmp_path_factory.mktemp("vcan"), test_s=100, all_s=BOOT_AND_RUN_S)


@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", names_inside(INSIDE))
def test_on_vcan(name: str, results: dict[str, Result]) -> None:
    repeat(name, results)
