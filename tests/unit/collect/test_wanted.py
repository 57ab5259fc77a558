# SPDX-License-Identifier: Apache-2.0
"""Kernel filters from rules: only where nothing that is kept would be missed for them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.collect.wanted import wanted_frames
from agent.config import BusConfig, CollectConfig, Config, TriggerConfig, VehicleConfig
from agent.model import EXTENDED, MessageDefinition, SignalDefinition
from agent.units import Duration

SIGNALS = (SignalDefinition("SPEED", 0, 8),)
MESSAGES = [
    MessageDefinition("can0", 0x100, "DRIVE", 8, SIGNALS, cycle_ms=10),
    MessageDefinition("can0", 0x101, "DOORS", 8, SIGNALS),
    MessageDefinition("can0", 0x18FEF100 | EXTENDED, "CRUISE", 8, SIGNALS, j1939=True, cycle_ms=100),
    MessageDefinition("can0", 0x18EF0021 | EXTENDED, "DIRECTED", 8, SIGNALS, j1939=True),
    MessageDefinition("can0", 0x18FEF200 | EXTENDED, "PLAIN", 8, SIGNALS),
]
SECOND = Duration.parse("1s")


def filters(*rules: CollectConfig, keep_unknown: bool = False, **given: Any) -> dict[str, list[tuple[int, int]]]:
    bus = BusConfig(name="can0", interface="socketcan", channel="can0", keep_unknown=keep_unknown)
    return wanted_frames(Config(vehicle=VehicleConfig(id="car"), buses=(bus,), collect=rules, **given), MESSAGES)


def test_only_what_is_kept_is_let_through() -> None:
    assert filters(CollectConfig(message="DRIVE")) == {"can0": [(0x100, 0x7FF)]}
    assert filters(CollectConfig(), CollectConfig(message=("DRIVE", "CRUISE", "DIRECTED", "DOORS"), keep=False)) == {
        "can0": [(0x18FEF200 | EXTENDED, 0x1FFF_FFFF)]
    }


def test_a_parameter_group_is_let_through_from_any_source_and_to_any_destination() -> None:
    assert filters(CollectConfig(message=("CRUISE", "DIRECTED"))) == {
        "can0": [(0x18FEF100 | EXTENDED, 0x03FF_FF00), (0x18EF0021 | EXTENDED, 0x03FF_0000)]
    }


@pytest.mark.parametrize(
    "everything",
    [
        filters(),
        filters(CollectConfig()),
        filters(CollectConfig(message="DRIVE"), keep_unknown=True),
        filters(CollectConfig(message="DRIVE"), triggers=(TriggerConfig(name="event", when="SPEED > 1"),)),
    ],
)
def test_everything_is_received_where_anything_may_be_needed(everything: dict[str, object]) -> None:
    assert everything == {}


def test_a_bus_must_still_tell_the_time_where_an_interval_or_a_silence_needs_it() -> None:
    assert filters(CollectConfig(message="DOORS", on_change=True)) == {"can0": [(0x101, 0x7FF)]}
    assert not filters(CollectConfig(message="DOORS", every=SECOND))
    assert not filters(CollectConfig(message="DOORS", stale_after=SECOND))
    assert len(filters(CollectConfig(message=("DOORS", "DRIVE"), every=SECOND))["can0"]) == 2
