# SPDX-License-Identifier: Apache-2.0
"""Rules and triggers against the DBC files: what would never do what it says is told by its key, with advice."""

from __future__ import annotations

from typing import Any

import pytest

from agent.collect.conditions.binding import Directory
from agent.collect.config_check import doubtful, violations
from agent.config import AgentConfig, BusConfig, CollectConfig, Config, TriggerConfig, VehicleConfig
from agent.model import MessageDefinition, SignalDefinition
from agent.units import Duration, Size

BRAKE = MessageDefinition(
    "can0",
    0x100,
    "BRAKE",
    8,
    (SignalDefinition("BrakePressure", 0, 12, scale=0.1, unit="bar"), SignalDefinition("Gear", 16, 3)),
    cycle_ms=10,
)
DIRECTORY = Directory([BRAKE])


def config(*, keep_unknown: bool = False, ring: str = "16MiB", **given: Any) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="can0", interface="simulator", keep_unknown=keep_unknown),),
        agent=AgentConfig(ring=Size.parse(ring)),
        **given,
    )


def trigger(when: str = "BrakePressure > 80", **given: Any) -> TriggerConfig:
    return TriggerConfig(name="hard", when=when, **given)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"bus": "can1"}, 'collect[#1].bus: there is no bus "can1"; did you mean "can0"?'),
        ({"message": "BREAK"}, 'collect[#1].message: the DBC files have no message "BREAK"; did you mean "BRAKE"?'),
        ({"message": ("BRAKE", "GPS_*")}, 'collect[#1].message: the DBC files have no message "GPS_*"'),
        (
            {"signal": "BrakePresure"},
            'collect[#1].signal: these messages have no signal "BrakePresure"; did you mean "BrakePressure"?',
        ),
        (
            {"signal": "BREAK.*"},
            'collect[#1].signal: these messages have no signal "BREAK.*"',
        ),
        ({"message": "0x1A0"}, 'collect[#1].message: the DBC files have no message "0x1A0"'),
    ],
)
def test_a_rule_that_names_nothing_is_refused_with_the_nearest_name(rule: dict[str, Any], told: str) -> None:
    assert [f"{key}: {text}" for key, text in violations(config(collect=(CollectConfig(**rule),)), DIRECTORY)] == [told]


@pytest.mark.parametrize(
    "rule",
    [{}, {"message": "BR*", "signal": ("Gear", "Brake*")}, {"signal": ("BRAKE.*", "can0.BRAKE.Gear")}, {"keep": False}],
)
def test_a_rule_that_names_something_is_sound(rule: dict[str, Any]) -> None:
    assert not list(violations(config(collect=(CollectConfig(**rule),)), DIRECTORY))


def test_a_rule_may_name_raw_frames_where_they_are_kept() -> None:
    rules = (CollectConfig(message="0x1A0", signal="byte3"),)
    assert not list(violations(config(collect=rules, keep_unknown=True), DIRECTORY))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"when": "BrakePresure > 80"}, 'no signal "BrakePresure"; did you mean "BrakePressure"?, at character 1'),
        ({"when": "BrakePressure > 80 [kPa]"}, '"kPa" does not fit: BrakePressure is in "bar"; accepted: [bar]'),
        ({"when": "BrakePressure > 900"}, '"BrakePressure > 900" can never be true: '),
        ({"when": "BrakePressure >"}, "at character 16"),
        (
            {"when": "BrakePressure > 1e10000"},
            "a number out of range; accepted: up to 400 digits, and exponents from -400",
        ),
        ({"when": "BrakePressure > 1e-10000"}, "a number out of range; accepted: up to 400 digits"),
        ({"until": "Gear == 9"}, '"Gear == 9" can never be true: '),
        ({"record": "Steer*"}, 'no signal "Steer*"'),
        ({"record": ("BRAKE.Gear", "can0.BRAKE.Gaer")}, 'did you mean "can0.BRAKE.Gear"?'),
    ],
)
def test_a_trigger_that_could_never_fire_or_record_is_refused(given: dict[str, Any], told: str) -> None:
    (found,) = violations(config(triggers=(trigger(**given),)), DIRECTORY)
    key = next(iter(set(given) - {"when"} or set(given)))
    assert found[0] == f"trigger[hard].{key}"
    assert told in found[1]


@pytest.mark.parametrize(
    ("given", "key", "told"),
    [
        ({"when": "BrakePressure >= 0"}, "when", "the event comes once, with the first frames"),
        ({"when": "BrakePressure < 5 or BrakePressure >= 5"}, "when", "the event comes once, with the first frames"),
        ({"when": "not BrakePressure > 900"}, "when", "the event comes once, with the first frames"),
        ({"when": "Gear >= 0", "until": "Gear == 1"}, "when", "the event comes again as soon as until is true"),
        ({"until": "Gear >= 0"}, "until", "the event may come again with every frame"),
    ],
)
def test_a_condition_that_is_always_true_is_doubtful(given: dict[str, Any], key: str, told: str) -> None:
    configured = config(triggers=(trigger(**given),))
    assert not list(violations(configured, DIRECTORY))
    assert list(doubtful(configured, DIRECTORY)) == [(f"trigger[hard].{key}", f'"{given[key]}" is always true: {told}')]


@pytest.mark.parametrize(
    "given",
    [
        {"when": "BrakePressure >= 0", "stale_after": Duration.parse("5s")},
        {"when": "BrakePressure > 0"},
        {"when": "BrakePressure >= 0 and Gear == 1"},
        {"when": "not changed(Gear)"},
        {"when": "not rising(Gear >= 3)"},
    ],
)
def test_a_condition_that_can_be_false_is_not_doubtful(given: dict[str, Any]) -> None:
    assert not list(doubtful(config(triggers=(trigger(**given),)), DIRECTORY))


def test_a_window_beyond_the_ring_is_doubtful_and_names_a_ring_that_would_do() -> None:
    triggers = (trigger(before=Duration.parse("1m")),)
    assert not list(doubtful(config(triggers=triggers, ring="256KiB"), DIRECTORY))
    (found,) = doubtful(config(triggers=triggers, ring="64KiB"), DIRECTORY)
    assert found[0] == "trigger[hard].before"
    assert found[1].startswith('"1m" is more than the 21 s that agent.ring holds')
    assert found[1].endswith('agent.ring = "1MiB" would do')


NO_PRESSURE = CollectConfig(signal="BrakePressure", keep=False)


def doubts(*rules: CollectConfig, record: str | tuple[str, ...], keep_unknown: bool = False) -> list[str]:
    collect = (CollectConfig(), *rules)
    given = config(collect=collect, triggers=(trigger(record=record),), keep_unknown=keep_unknown)
    assert not list(violations(given, DIRECTORY))
    return [f"{key}: {text}" for key, text in doubtful(given, DIRECTORY)]


@pytest.mark.parametrize("name", ["BrakePressure", "BRAKE.BrakePressure", "can0.BRAKE.BrakePressure"])
def test_trigger_that_names_what_a_rule_forbids_is_doubtful(name: str) -> None:
    why = "records what keep = false forbids, for it is named: can0.BRAKE.BrakePressure"
    assert doubts(NO_PRESSURE, record=("*", name)) == [f'trigger[hard].record: "{name}" {why}']


def test_trigger_that_names_a_forbidden_raw_byte_is_doubtful() -> None:
    (told,) = doubts(CollectConfig(message="0x1A0", keep=False), record="0x1A0.byte3", keep_unknown=True)
    assert told.endswith("for it is named: can0.0x1A0.byte3")


def test_pattern_of_which_rules_forbid_everything_is_doubtful() -> None:
    why = "records nothing: keep = false forbids all of it, but for signals that are named"
    assert doubts(NO_PRESSURE, record="Brake*") == [f'trigger[hard].record: "Brake*" {why}']


def test_pattern_of_which_rules_forbid_a_part_is_sound() -> None:
    assert not doubts(NO_PRESSURE, record="*")
    assert not doubts(NO_PRESSURE, CollectConfig(signal="BrakePressure"), record="BrakePressure")


def test_signal_with_bits_of_a_forbidden_one_is_doubtful() -> None:
    parts = (SignalDefinition("Code", 0, 8), SignalDefinition("Word", 0, 16), SignalDefinition("Other", 16, 8))
    directory = Directory([MessageDefinition("can0", 0x100, "LOCK", 8, parts)])
    rules = (CollectConfig(), CollectConfig(signal="Code", keep=False))
    told = "can0.LOCK.Word is kept and has bits of Code, which keep = false forbids"
    assert list(doubtful(config(collect=rules), directory)) == [("collect", told)]
