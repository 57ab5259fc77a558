# SPDX-License-Identifier: Apache-2.0
"""Rules that keep the last sample of each interval: when it comes, and that it comes once."""

from __future__ import annotations

import pytest

from agent.config.collecting import CollectConfig
from agent.config.priorities import Priority
from tests.unit.collect.driving import SECOND, Car

SPEED = CollectConfig(message="DRIVE", signal="SPEED", every=SECOND)
CHANGES = CollectConfig(message="DRIVE", signal="SPEED", on_change=True)


def test_the_last_sample_comes_with_the_first_frame_beyond_the_interval() -> None:
    car = Car(SPEED)
    assert car.take((0, 1), (400, 2), (800, 3)) == []
    assert car.take((900, 4), (1100, 5), (1200, 6)) == [("normal", 900, 4)]
    assert car.take((1999, 7)) == []
    assert car.take((2000, 8)) == [("normal", 1999, 7)]


def test_a_block_may_hold_many_intervals() -> None:
    car = Car(SPEED)
    assert car.take((500, 1), (1500, 2), (1600, 3), (4500, 4)) == [("normal", 500, 1), ("normal", 1600, 3)]
    assert car.flush() == [("normal", 4500, 4)]


def test_another_bus_ends_nothing() -> None:
    car = Car(SPEED)
    assert car.take((0, 1)) == []
    assert car.take_other_bus(5000) == []
    assert car.take((5100, 2)) == [("normal", 0, 1)]


def test_after_a_silence_an_interval_begins_anew_and_nothing_comes_twice() -> None:
    car = Car(SPEED)
    car.take((0, 1), (100, 2))
    assert car.flush() == [("normal", 100, 2)]
    assert car.flush() == []
    assert car.take((1100, 3)) == []
    assert car.flush() == [("normal", 1100, 3)]
    car.take((1200, 4))
    assert car.take((2000, 5)) == [("normal", 1200, 4)]


@pytest.mark.parametrize(
    ("priority", "expected"), [(Priority.BULK, []), (Priority.NORMAL, []), (Priority.CRITICAL, [("critical", 100, 2)])]
)
@pytest.mark.parametrize("apart", [False, True])
def test_what_was_kept_with_as_high_a_priority_is_not_kept_again(
    priority: Priority, expected: list[tuple[str, int, int]], apart: bool
) -> None:
    car = Car(CHANGES, CollectConfig(message="DRIVE", signal="SPEED", every=SECOND, priority=priority))
    frames = [(0, 1), (100, 2), (1100, 2)]
    found = car.take(*frames[:2]) + car.take(*frames[2:]) if apart else car.take(*frames)
    assert sorted(found) == sorted([("normal", 0, 1), ("normal", 100, 2), *expected])
