# SPDX-License-Identifier: Apache-2.0
"""Kernel filters from rules: only where nothing that is kept would be missed for them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.collect.rules.kernel_filter import kernel_filters
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
    MessageDefinition("can0", 0x102, "BRAKE", 8, SIGNALS, cycle_ms=20),
    MessageDefinition("can0", 0x103, "SLOW", 8, SIGNALS, cycle_ms=2000),
    MessageDefinition("can0", 0x104, "ON_EVENT", 8, SIGNALS, cycle_ms=100, cyclic=False),
]
SECOND = Duration.parse("1s")


def filters(*rules: CollectConfig, keep_unknown: bool = False, **given: Any) -> dict[str, list[tuple[int, int]]]:
    bus = BusConfig(name="can0", interface="socketcan", channel="can0", keep_unknown=keep_unknown)
    return kernel_filters(Config(vehicle=VehicleConfig(id="car"), buses=(bus,), collect=rules, **given), MESSAGES)


def ids(*rules: CollectConfig) -> set[int] | None:
    """The arbitration id words that are let through; None: all."""
    found = filters(*rules)
    return {can_id for can_id, _ in found["can0"]} if found else None


def test_only_what_is_kept_is_let_through() -> None:
    assert filters(CollectConfig(message=("DRIVE", "BRAKE"))) == {"can0": [(0x100, 0x7FF), (0x102, 0x7FF)]}
    assert filters(CollectConfig(), CollectConfig(message=("[A-O]*", "SLOW"), keep=False)) == {
        "can0": [(0x18FEF200 | EXTENDED, 0x1FFF_FFFF)]
    }


def test_a_parameter_group_is_let_through_from_any_source_and_to_any_destination() -> None:
    assert filters(CollectConfig(message=("CRUISE", "DIRECTED", "DRIVE"))) == {
        "can0": [(0x100, 0x7FF), (0x18FEF100 | EXTENDED, 0x03FF_FF00), (0x18EF0021 | EXTENDED, 0x03FF_0000)]
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


def test_a_bus_must_still_tell_the_time_where_an_interval_needs_it() -> None:
    assert ids(CollectConfig(message="DOORS", on_change=True)) == {0x101}
    assert ids(CollectConfig(message="DOORS", every=SECOND)) is None
    assert ids(CollectConfig(message=("DOORS", "DRIVE", "BRAKE"), every=SECOND)) == {0x100, 0x101, 0x102}


def test_a_message_that_is_not_sent_all_the_time_tells_no_time() -> None:
    assert ids(CollectConfig(message="ON_EVENT")) == {0x104}
    assert ids(CollectConfig(message="ON_EVENT", every=SECOND)) is None
    assert ids(CollectConfig(message="ON_EVENT", stale_after=SECOND)) is None
    assert ids(CollectConfig(message=("ON_EVENT", "DRIVE"), stale_after=SECOND)) is None


def test_of_a_message_that_may_stop_another_one_tells_that_it_has() -> None:
    assert ids(CollectConfig(message="DOORS", stale_after=SECOND)) is None
    assert ids(CollectConfig(message="DRIVE")) is None
    assert ids(CollectConfig(message="SLOW")) is None
    assert ids(CollectConfig(message=("SLOW", "DRIVE"))) is None
    assert ids(CollectConfig(message=("SLOW", "DRIVE", "BRAKE"))) == {0x100, 0x102, 0x103}
