# SPDX-License-Identifier: Apache-2.0
"""Rules that keep the least, greatest or mean value of an interval that lies in many blocks."""

from __future__ import annotations

import pytest

from agent.config.collecting import CollectConfig
from tests.unit.collect.driving import SECOND, Car

SPEEDS = [5, 3, 9, 3, 7]
VALUES = {"min": (100, 3), "max": (200, 9), "mean": (400, 5)}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1], [2, 2, 1], [1, 3, 1], [5]])
def test_an_interval_takes_in_what_comes_block_by_block(value: str, sizes: list[int]) -> None:
    car = Car(CollectConfig(message="DRIVE", signal="SPEED", every=SECOND, value=value))  # type: ignore[arg-type]
    frames = [(100 * place, speed) for place, speed in enumerate(SPEEDS)]
    for size in sizes:
        assert car.take(*frames[:size]) == []
        frames = frames[size:]
    assert car.take((1000, 1)) == [("normal", *VALUES[value])]
    assert car.take((1100, 2)) == []
    time_ms = {"min": 1000, "max": 1100, "mean": 1100}[value]
    assert car.flush() == [("normal", time_ms, 2 if value != "min" else 1)]


@pytest.mark.parametrize("value", ["min", "max"])
def test_an_extreme_that_was_kept_at_once_is_not_kept_again(value: str) -> None:
    changes = CollectConfig(message="DRIVE", signal="SPEED", on_change=True)
    rule = CollectConfig(message="DRIVE", signal="SPEED", every=SECOND, value=value)  # type: ignore[arg-type]
    car = Car(changes, rule)
    for place, speed in enumerate(SPEEDS):
        assert car.take((100 * place, speed)) == [("normal", 100 * place, speed)]
    assert car.take((1000, 7)) == []
