# SPDX-License-Identifier: Apache-2.0
"""What `keep = false` forbids is in nothing that leaves the car, unless a trigger names it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.units import Duration
from tests.support.collect_car import ENGINES, MESSAGES, MS, START, Frame, block, drive, plan
from tests.support.collect_reference import samples

SECOND = Duration.parse("1s")
EVERYTHING = CollectConfig(every=SECOND, value="mean", priority=Priority.BULK)
NEVER_SPEED = CollectConfig(signal="SPEED", keep=False)


def sent(*rules: CollectConfig, record: str | tuple[str, ...] = "*") -> Counter[str]:
    """How many samples of each signal go anywhere, of frames before, at and after two events."""
    decoder = Decoder(plan())
    config = TriggerConfig(name="hot", when="TORQUE > 100", record=record, before=SECOND, after=SECOND)
    collector = Collector(
        decoder.plan,
        RuleBook.of(rules),
        triggers=[Trigger.of(config, Directory(MESSAGES))],
        decode=lambda frames: decoder.decode(frames).signals,
        ring_bytes=1 << 20,
    )
    torque = [np.float32(200 if place in (20, 80) else 0).tobytes() for place in range(120)]
    frames = [
        frame
        for place in range(120)
        for frame in (
            Frame(START + place * 50 * MS, 0, 0x100, drive(place, counter=place)),
            Frame(START + place * 50 * MS, 1, 0x700, bytes([place, 255 - place])),
            Frame(START + place * 50 * MS, 1, ENGINES[0], torque[place]),
        )
    ]
    parts = [block(frames[begin : begin + 30]) for begin in range(0, len(frames), 30)]
    kept = [collector.process(part, decoder.decode(part).signals) for part in parts]
    kept.append(collector.flush())
    blocks = [each for taken in kept for of_class in taken.blocks.values() for each in of_class]
    return Counter(signal for each in blocks for _, _, signal, _, _ in samples(each))


@pytest.mark.parametrize("record", ["*", "S*", "DRIVE.*", "*.SPEED", "can?.DRIVE.SPEED", "[S]PEED"])
def test_forbidden_signal_is_in_no_recording_of_a_pattern(record: str) -> None:
    assert sent(EVERYTHING, record=record)["SPEED"]
    assert not sent(EVERYTHING, NEVER_SPEED, record=record)["SPEED"]


def test_other_signals_of_its_frames_are_recorded_as_before() -> None:
    free, forbidden = sent(EVERYTHING), sent(EVERYTHING, NEVER_SPEED)
    assert free.pop("SPEED")
    assert forbidden == free


@pytest.mark.parametrize("record", ["SPEED", "DRIVE.SPEED", "can0.DRIVE.SPEED", ("*", "SPEED")])
def test_forbidden_signal_that_a_trigger_names_is_recorded(record: str | tuple[str, ...]) -> None:
    assert sent(EVERYTHING, NEVER_SPEED, record=record)["SPEED"] == 82


def test_rule_below_takes_a_forbidden_signal_up_again() -> None:
    again = CollectConfig(signal="SPEED", every=Duration.parse("24h"), priority=Priority.BULK)
    assert sent(EVERYTHING, NEVER_SPEED, again, record="SPEED*")["SPEED"] >= 82


@pytest.mark.parametrize(
    "rule",
    [
        CollectConfig(message="0x700", keep=False),
        CollectConfig(signal="0x700.*", keep=False),
        CollectConfig(bus="can1", signal="byte?", keep=False),
    ],
)
def test_bytes_of_forbidden_raw_frames_are_not_recorded(rule: CollectConfig) -> None:
    assert sent(EVERYTHING)["byte1"]
    assert not sent(EVERYTHING, rule)["byte1"]
    assert sent(EVERYTHING, rule, record="0x700.byte1")["byte1"] == 82
    assert not sent(EVERYTHING, rule, record="0x700.byte1")["byte0"]
