# SPDX-License-Identifier: Apache-2.0
"""Conditions tied to the signals of the DBC files: what names and units in them stand for."""

from __future__ import annotations

import pytest

from agent.collect.binding import bind
from agent.collect.directory import Directory
from agent.collect.expression import AllOf, AnyOf, Condition, ExpressionError, InRange
from agent.collect.parser import parse_condition
from agent.model import MessageDefinition, SignalDefinition

CHOICES = ((0, "Off"), (1, "On"), (2, "Reserved"), (3, "Reserved"))
SIGNALS = (SignalDefinition("Mode", 0, 2, choices=CHOICES),)
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
