# SPDX-License-Identifier: Apache-2.0
"""Conditions that can never be true, and why."""

from __future__ import annotations

import pytest

from agent.collect.conditions.binding import Directory, bind
from agent.collect.conditions.parser import parse_condition
from agent.collect.conditions.static_check import impossible
from tests.support.collect_car import MESSAGES

EXCLUDED = "the comparisons of SPEED exclude one another"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SPEED > 5 and SPEED < 3", (EXCLUDED, 20)),
        ("SPEED > 5 and (GEAR == 1 and SPEED == 5)", (EXCLUDED, 35)),
        ("not (SPEED <= 5 or SPEED >= 5.5)", (EXCLUDED, 25)),
        ("SPEED == 5 and SPEED != 5", (EXCLUDED, 21)),
        ("GEAR == 1 or SPEED > 5 and SPEED < 3", None),
        ("SPEED > 5 and SPEED < 6", None),
    ],
)
def test_comparisons_of_one_signal_that_exclude_one_another_are_found(
    text: str, reason: tuple[str, int] | None
) -> None:
    assert impossible(bind(parse_condition(text), Directory(MESSAGES))) == reason
