# SPDX-License-Identifier: Apache-2.0
"""What rules come to: per message and class what is kept, how often, and about how many bytes that takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.collect.conditions.binding import Directory
from agent.collect.rules.forecast import ROW_BYTES, VALUE_BYTES, forecast, table, total
from agent.config import CollectConfig
from agent.config.priorities import Priority
from agent.model import MessageDefinition, SignalDefinition
from agent.units import Duration

SIGNALS = tuple(SignalDefinition(name, place * 8, 8) for place, name in enumerate(("SPEED", "TORQUE", "GEAR")))
DIRECTORY = Directory(
    [
        MessageDefinition("can0", 0x100, "DRIVE", 3, SIGNALS, cycle_ms=10),
        MessageDefinition("can0", 0x101, "DOORS", 3, SIGNALS),
        MessageDefinition("can0", 0x102, "LIGHTS", 3, SIGNALS, cycle_ms=100),
    ]
)
RULES = [
    CollectConfig(message="DRIVE", signal="SPEED", every=Duration.parse("1s")),
    CollectConfig(message="DRIVE", signal=("SPEED", "TORQUE"), priority=Priority.BULK),
    CollectConfig(message="DOORS", on_change=True, priority=Priority.CRITICAL),
]


def test_each_message_is_listed_once_for_each_priority_that_keeps_any_of_it() -> None:
    found = {(each.message, each.priority): each for each in forecast(RULES, DIRECTORY)}
    assert list(found) == [
        ("can0.DRIVE", Priority.NORMAL),
        ("can0.DRIVE", Priority.BULK),
        ("can0.DOORS", Priority.CRITICAL),
    ]
    normal, bulk = found["can0.DRIVE", Priority.NORMAL], found["can0.DRIVE", Priority.BULK]
    assert (normal.kept, normal.signals, normal.how, normal.frames_hour) == (1, 3, "last of each 1s", 3600)
    assert normal.bytes_hour == 3600 * (ROW_BYTES + VALUE_BYTES)
    assert (bulk.kept, bulk.how, bulk.frames_hour) == (2, "all", 360_000)
    assert bulk.bytes_hour == pytest.approx(360_000 * (ROW_BYTES + 2 * VALUE_BYTES))


def test_what_has_no_cycle_time_is_unknown_and_what_only_changes_is_at_most() -> None:
    doors = next(each for each in forecast(RULES, DIRECTORY) if each.message == "can0.DOORS")
    assert doors.frames_hour is doors.bytes_hour is None
    assert doors.at_most


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ({}, "on change"),
        ({"deadband": 0.5}, "on change by more than 0.5"),
        ({"deadband": 2.5, "every": Duration.parse("1s")}, "last of each 1s on change by more than 2.5"),
        ({"every": Duration.parse("1s")}, "last of each 1s on change"),
    ],
)
def test_what_is_kept_on_change_is_listed_with_its_deadband(rule: dict[str, Any], how: str) -> None:
    (doors,) = forecast([CollectConfig(message="DOORS", on_change=True, **rule)], DIRECTORY)
    assert doors.how == how


def test_the_table_lines_up_and_counts_what_is_not_kept() -> None:
    found = list(forecast(RULES, DIRECTORY))
    lines = table(found, 3)
    assert lines[0].split() == ["message", "priority", "signals", "kept", "frames/hour", "bytes/hour"]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "nothing is kept of the other 1 messages"
    assert total(found).startswith("about 217,800 bytes an hour, beside 1")


@pytest.mark.parametrize("width", [64, 76])
def test_on_a_narrow_terminal_rows_are_folded_and_only_names_are_shortened(width: int) -> None:
    found = [
        replace(each, how=f"{each.how}, {'on change beyond a dead band, ' * 3}") for each in forecast(RULES, DIRECTORY)
    ]
    lines = table(found, 2, width)
    assert max(map(len, lines)) <= width
    assert len({len(line) for line in lines if "≤" in line or "hour" in line}) == 1
    text = " ".join(" ".join(lines).split())
    assert all(" ".join(each.how.split()) in text for each in found)
    wide = table(found, 2)
    assert table(found, 2, max(map(len, wide))) == wide


def test_a_name_that_a_narrow_terminal_has_no_room_for_loses_its_beginning() -> None:
    (each, *_) = forecast(RULES, DIRECTORY)
    lines = table([replace(each, message=f"powertrain.{'A_LONG_NAME_' * 3}END")], 1, 60)
    assert max(map(len, lines)) <= 60
    assert lines[2].startswith("…")
    assert lines[2].split()[0].endswith("_END")
