# SPDX-License-Identifier: Apache-2.0
"""What ``[[integrity]]`` may say, by itself and of the DBC files' messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.collect.integrity.protection import protection_violations, protections_of
from agent.config.integrity import IntegrityConfig, integrity_violations
from agent.model import MessageDefinition, SignalDefinition

COUNTER = SignalDefinition("COUNTER", 8, 4)
CHECKSUM = SignalDefinition("CHECKSUM", 0, 8)
MESSAGES = (
    MessageDefinition("can0", 1, "BRAKE", 8, (CHECKSUM, COUNTER, SignalDefinition("PRESSURE", 16, 12))),
    MessageDefinition("can0", 2, "STEER", 8, (SignalDefinition("ANGLE", 0, 32, is_float=True), COUNTER)),
    MessageDefinition("can1", 3, "BRAKE", 8, (SignalDefinition("CHECKSUM", 4, 8),)),
)


def section(**keys: Any) -> IntegrityConfig:
    return IntegrityConfig(**({"message": "BRAKE"} | keys))


def keys_broken(config: IntegrityConfig) -> list[str]:
    return [key.removeprefix("integrity[#1].") for key, _ in integrity_violations([config])]


@pytest.mark.parametrize(
    ("keys", "violations"),
    [
        ({}, ["counter"]),
        ({"counter": "C"}, []),
        ({"counter": "C", "counter_max": 14}, []),
        ({"checksum": "S"}, ["kind"]),
        ({"checksum": "S", "kind": "xor", "start": 3, "with_id": True, "with_length": True, "drop": True}, []),
        ({"checksum": "S", "kind": "xor", "counter_max": 3}, ["counter_max"]),
        ({"counter": "C", "kind": "sum"}, ["kind"]),
        ({"counter": "C", "drop": True}, ["drop"]),
        ({"checksum": "S", "kind": "crc8-h2f"}, []),
        ({"checksum": "S", "kind": "crc8-h2f", "start": 3}, ["start"]),
        ({"checksum": "S", "kind": "crc8-sae-j1850", "with_id": True}, ["with_id"]),
        ({"checksum": "S", "kind": "e2e-1"}, ["data_id"]),
        ({"checksum": "S", "kind": "e2e-1", "data_id": 0}, []),
        ({"checksum": "S", "kind": "e2e-1", "data_id": 0, "data_id_mode": "alternating"}, ["counter"]),
        ({"checksum": "S", "kind": "sum", "data_id": 7}, ["data_id"]),
        ({"checksum": "S", "kind": "sum", "data_id_mode": "low"}, ["data_id_mode"]),
        ({"checksum": "S", "kind": "sum", "data_ids": (1,)}, ["data_ids"]),
        ({"checksum": "S", "counter": "C", "kind": "e2e-2", "data_ids": tuple(range(16))}, []),
        ({"checksum": "S", "counter": "C", "kind": "e2e-2", "data_ids": tuple(range(15))}, ["data_ids"]),
        ({"checksum": "S", "kind": "e2e-2"}, ["data_ids", "counter"]),
    ],
)
def test_keys_that_do_not_go_together_are_named(keys: dict[str, Any], violations: list[str]) -> None:
    assert keys_broken(section(**keys)) == violations


def violations(**keys: Any) -> list[str]:
    return [f"{key} {text}" for key, text in protection_violations(MESSAGES, [section(**keys)])]


def test_a_message_that_no_file_has_is_named_with_the_nearest_one() -> None:
    assert violations(message="BREAK", counter="COUNTER") == [
        'integrity[#1].message the DBC files have no such message; did you mean "BRAKE"?'
    ]
    assert violations(bus="can7", counter="COUNTER") == [
        'integrity[#1].message the DBC files have no such message; did you mean "BRAKE"?'
    ]


def test_a_signal_that_none_of_its_messages_has_is_named_with_the_nearest_one() -> None:
    assert violations(counter="CONTER") == [
        'integrity[#1].counter no message that it names has a signal "CONTER"; did you mean "COUNTER"?'
    ]


def test_a_signal_that_cannot_be_what_it_is_said_to_be_is_named_with_the_reason() -> None:
    assert violations(message="STEER", counter="ANGLE") == [
        "integrity[#1].counter can0.STEER.ANGLE cannot count; accepted: a whole number of at most 32 bits"
    ]
    assert violations(counter="COUNTER", counter_max=16) == [
        "integrity[#1].counter can0.BRAKE.COUNTER has 4 bits, too few for counter_max = 16"
    ]
    assert violations(bus="can1", checksum="CHECKSUM", kind="crc8-h2f") == [
        'integrity[#1].checksum can1.BRAKE.CHECKSUM is not one whole byte, as "crc8-h2f" is'
    ]
    assert violations(bus="can1", checksum="CHECKSUM", kind="sum") == []
    assert violations(bus="can0", checksum="PRESSURE", kind="sum") == []


def test_message_protection_is_the_last_sections_or_none_without_its_signals() -> None:
    everything = section(message="*", counter="COUNTER")
    brakes = section(message="BRAKE", counter="COUNTER", checksum="CHECKSUM", kind="e2e-1", data_id=1)
    protections = protections_of(MESSAGES, [everything, brakes])
    assert {
        index: (protection.counter, protection.counter_max, protection.checksum)
        for index, protection in protections.items()
    } == {
        0: (1, 14, 0),
        1: (1, 15, -1),
        2: (-1, 0, 0),
    }
    assert protections_of(MESSAGES, []) == {}


def test_a_counter_that_the_dbc_file_declares_needs_no_section_and_gives_way_to_one() -> None:
    declared = replace(COUNTER, counter=True)
    messages = (replace(MESSAGES[0], signals=(CHECKSUM, declared)), MESSAGES[1])
    assert {index: (each.counter, each.counter_max) for index, each in protections_of(messages, []).items()} == {
        0: (1, 15)
    }
    section_for_it = section(counter="COUNTER", counter_max=9)
    assert [each.counter_max for each in protections_of(messages, [section_for_it]).values()] == [9]
