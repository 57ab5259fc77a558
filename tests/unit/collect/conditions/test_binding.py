# SPDX-License-Identifier: Apache-2.0
"""Conditions tied to the signals of the DBC files: what names and units in them stand for."""

from __future__ import annotations

import pytest

from agent.collect.conditions.binding import Directory, bind
from agent.collect.conditions.parser import parse_condition
from agent.collect.conditions.syntax import AllOf, AnyOf, Condition, ExpressionError, InRange
from agent.model import MessageDefinition, SignalDefinition

CHOICES = ((0, "Off"), (1, "On"), (2, "Reserved"), (3, "Reserved"))
SIGNALS = (
    SignalDefinition("Mode", 0, 2, choices=CHOICES),
    SignalDefinition("Power", 8, 16, unit="MW"),
    SignalDefinition("Speed", 24, 16, unit="km / h"),
)
DIRECTORY = Directory([MessageDefinition("can0", 0x100, "MODES", 8, SIGNALS)])


def bound(text: str) -> Condition:
    return bind(parse_condition(text), DIRECTORY)


def keys(condition: Condition) -> list[tuple[int, bool]]:
    """Of each part the one key that it looks for, and whether it is to be that."""
    assert isinstance(condition, AllOf | AnyOf)
    return [(part.low, part.inside) for part in condition.parts if isinstance(part, InRange)]


def test_a_name_that_several_raw_values_have_means_any_of_them() -> None:
    for text in ('Mode == "Reserved"', '"Reserved" == Mode'):
        equal = bound(text)
        assert isinstance(equal, AnyOf)
        assert keys(equal) == [(2, True), (3, True)]
    other = bound('Mode != "Reserved"')
    assert isinstance(other, AllOf)
    assert keys(other) == [(2, False), (3, False)]
    assert isinstance(bound('Mode == "On"'), InRange)


def test_a_name_that_several_raw_values_have_is_neither_more_nor_less_than_anything() -> None:
    assert isinstance(bound('Mode < "On"'), InRange)
    with pytest.raises(ExpressionError, match='"Reserved" stands for the raw values 2, 3; accepted: == or !='):
        bound('Mode < "Reserved"')


@pytest.mark.parametrize("text", ["Power > 1 [MW]", "Power > 1", "Speed > 1 [km/h]", "abs(Power - 5 [MW]) > 1 [MW]"])
def test_a_unit_is_the_signals_own_whatever_the_spaces_in_it(text: str) -> None:
    bound(text)


@pytest.mark.parametrize(
    "text",
    ["Power > 1 [mW]", "Power + 5 [kW] > 9", "5 [kW] - Power > 9", "Speed > 2 * (Power + 5 [kW])", "-Power < 1 [W]"],
)
def test_another_unit_is_refused_be_it_by_its_case_alone_and_wherever_it_stands(text: str) -> None:
    with pytest.raises(ExpressionError, match=r'does not fit: Power is in "MW"; accepted: \[MW\]'):
        bound(text)
