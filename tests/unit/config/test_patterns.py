# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from agent.collect.rules.rules import RuleBook
from agent.config import CollectConfig
from agent.config.patterns import SignalPatterns


@pytest.mark.parametrize(
    ("written", "matches"),
    [
        ("Speed", True),
        ("Sp*", True),
        ("*", True),
        ("BRAKE.Speed", True),
        ("BR*.S*", True),
        ("can0.BRAKE.Speed", True),
        ("can?.*.*", True),
        (("Nothing", "BRAKE.*"), True),
        ("speed", False),
        ("BRAKE", False),
        ("B*", False),  # of signals, not of whatever a message that begins so has
        ("can0.*", False),
        ("can1.BRAKE.Speed", False),
    ],
)
def test_a_pattern_is_for_as_many_names_as_it_has_dots(written: str | tuple[str, ...], matches: bool) -> None:
    assert SignalPatterns(written).match("can0", "BRAKE", "Speed") is matches


def test_a_rule_may_name_the_signals_of_one_message() -> None:
    book = RuleBook.of([CollectConfig(signal="BRAKE.*"), CollectConfig(signal="can0.BRAKE.COUNTER", keep=False)])
    kept = [
        (bus, message, signal)
        for bus in ("can0", "can1")
        for message in ("BRAKE", "GEAR")
        for signal in ("Speed", "COUNTER")
        if book.keepers(bus, message, signal)
    ]
    assert kept == [("can0", "BRAKE", "Speed"), ("can1", "BRAKE", "Speed"), ("can1", "BRAKE", "COUNTER")]
