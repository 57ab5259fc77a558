# SPDX-License-Identifier: Apache-2.0
"""The tests of `agent/`, the whole agent on real interfaces: run where there is SocketCAN, each reported here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.headunit.inside import Result, names_inside, repeat, run_inside

INSIDE = Path(__file__).with_name("agent")
BOOT_AND_RUN_S = 1200


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """By test inside."""
    return run_inside(request, INSIDE, tmp_path_factory.mktemp("agent"), test_s=280, all_s=BOOT_AND_RUN_S)


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("name", names_inside(INSIDE))
def test_agent_on_vcan(name: str, results: dict[str, Result]) -> None:
    repeat(name, results)
