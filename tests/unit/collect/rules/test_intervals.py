# SPDX-License-Identifier: Apache-2.0
"""Rules that keep the least, greatest or mean value of an interval that lies in many blocks."""

from __future__ import annotations

import pytest

from agent.config.collecting import CollectConfig
from agent.config.priorities import Priority
from agent.units import Duration
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


@pytest.mark.parametrize("size", [1, 10, 30])
def test_a_sample_that_several_intervals_choose_is_kept_once_per_priority(size: int) -> None:
    speeds = [place % 10 for place in range(100)]
    speeds[49] = 200  # the last of its second, and the greatest of all
    rules = [
        CollectConfig(message="DRIVE", signal="SPEED", every=SECOND),
        CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse("10s"), value="max"),
        CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse("2s"), value="mean"),
    ]
    assert kept(rules, speeds, size) == sorted(
        [("normal", 100 * last, speeds[last]) for last in range(9, 100, 10)]
        + [("normal", 1900 + 2000 * two, 14 if two == 2 else 4) for two in range(5)]
    )


@pytest.mark.parametrize("size", [1, 10, 30])
@pytest.mark.parametrize(
    ("each", "every_other", "expected"),
    [
        (Priority.BULK, Priority.CRITICAL, [("bulk", 900, 9), ("bulk", 1900, 5), ("critical", 900, 9)]),
        (Priority.CRITICAL, Priority.BULK, [("critical", 900, 9), ("critical", 1900, 5)]),
    ],
)
def test_what_an_interval_chooses_later_is_kept_if_its_priority_is_higher(
    size: int, each: Priority, every_other: Priority, expected: list[tuple[str, int, int]]
) -> None:
    rules = [
        CollectConfig(message="DRIVE", signal="SPEED", every=SECOND, priority=each),
        CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse("2s"), value="max", priority=every_other),
    ]
    speeds = [0] * 20
    speeds[9], speeds[19] = 9, 5
    assert kept(rules, speeds, size) == expected


def test_the_latest_sample_is_not_kept_again_by_an_interval_that_is_over_later() -> None:
    car = Car(*(CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse(every)) for every in ("2s", "5s")))
    assert car.take((0, 1), (1900, 2)) == []
    assert car.take_other_message(2000) == [("normal", 1900, 2)]
    assert car.take_other_message(5000) == []
    assert car.flush() == []


def test_of_intervals_over_together_the_highest_priority_keeps_the_sample() -> None:
    rules = [
        CollectConfig(message="DRIVE", signal="SPEED", every=SECOND, value="max", priority=Priority.BULK),
        CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse("2s"), priority=Priority.NORMAL),
        CollectConfig(
            message="DRIVE", signal="SPEED", every=Duration.parse("5s"), value="max", priority=Priority.CRITICAL
        ),
    ]
    assert kept(rules, [0, 1, 2], 1) == [("critical", 200, 2)]


def kept(rules: list[CollectConfig], speeds: list[int], size: int) -> list[tuple[str, int, int]]:
    """What is kept of speeds that come each 100 ms, in blocks of a size."""
    car = Car(*rules)
    frames = [(100 * place, speed) for place, speed in enumerate(speeds)]
    found = [each for begin in range(0, len(frames), size) for each in car.take(*frames[begin : begin + size])]
    return sorted(found + car.flush())
