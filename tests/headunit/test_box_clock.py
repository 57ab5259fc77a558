# SPDX-License-Identifier: Apache-2.0
"""A clock that begins in 1970, is set, and steps back, and a unit that is suspended."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.headunit.box.headunit import HeadUnit
    from tests.headunit.box.scenario import Scenario

pytestmark = pytest.mark.timeout(900)

HOUR_S = 3600
YEAR_NS = 365 * 86_400 * 10**9


def test_a_clock_that_starts_in_1970_and_is_then_set_silences_and_loses_nothing(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    unit.car.rate(0)
    unit.car.told()
    service.stop()
    uptime_s = float(unit.run("cat /proc/uptime").split()[0])  # before which a kernel sets no clock
    with clock_set(unit, uptime_s + 60):
        service.start()
        scenario.drive()
        first = unit.car.told()
        assert "error clock_wrong (clock): " in unit.run("canferry status || test $? = 1")
    scenario.drive()
    scenario.settle()
    assert unit.car.times[scenario.begin : first].min() < YEAR_NS
    assert scenario.new_gaps() == []


def test_a_clock_that_steps_back_an_hour_silences_and_loses_nothing(scenario: Scenario) -> None:
    with clock_set(scenario.unit, time.time() - HOUR_S):
        scenario.drive()
    scenario.drive()
    scenario.settle()
    assert scenario.new_gaps() == []


@contextmanager
def clock_set(unit: HeadUnit, at_s: float) -> Iterator[None]:
    """The wall clock inside is this, and right again in the end."""
    unit.run(f"date --set @{at_s:.3f}")
    try:
        yield
    finally:
        unit.run(f"date --set @{time.time():.3f}")
