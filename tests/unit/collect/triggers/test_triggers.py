# SPDX-License-Identifier: Apache-2.0
"""Triggers on a speed, block by block: when their events come, and what is told with them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import TriggerConfig
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, EventKind, MessageDefinition, SignalDefinition
from agent.units import Duration
from tests.support.collect_car import MESSAGES, MS, START, Frame, block, drive, plan

FAST, SLOW = 200, 0


class Car:
    """Frames of DRIVE with a speed, by time in ms, and the events that they are: time in ms, what is told with it."""

    def __init__(self, when: str = "SPEED > 50", *, armed: bool = True, **given: Any) -> None:
        self.decoder = Decoder(plan())
        triggers = [Trigger.of(TriggerConfig(name="event", when=when, **given), Directory(MESSAGES), armed=armed)]
        self.collector = Collector(
            self.decoder.plan,
            RuleBook.of([]),
            triggers=triggers,
            decode=lambda frames: self.decoder.decode(frames).signals,
            ring_bytes=1 << 20,
        )

    def take(self, *frames: tuple[int, int]) -> list[tuple[int, str]]:
        taken = block([Frame(START + at_ms * MS, 0, 0x100, drive(speed)) for at_ms, speed in frames])
        kept = self.collector.process(taken, self.decoder.decode(taken).signals)
        told = [event for events in kept.events.values() for event in events if event.kind == EventKind.TRIGGERED]
        return [((event.time_ns - START) // MS, event.detail) for event in told]


@pytest.mark.parametrize("size", [1, 4, 100])
def test_event_counts_firings_passed_over_since_the_last_for_any_blocks(size: int) -> None:
    car = Car(at_most_every=Duration.parse("5s"))
    frames = [(1000 * second, FAST if second % 2 else SLOW) for second in range(20)]
    told = [event for begin in range(0, len(frames), size) for event in car.take(*frames[begin : begin + size])]
    window = "recorded from 10s before to 10s after"
    more = f"{window}; 2 events passed over since the last one"
    assert told == [(1000, window), (7000, more), (13000, more), (19000, more)]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("given", [{}, {"until": "SPEED < 20"}, {"hold": Duration.parse("1s")}])
@pytest.mark.parametrize(("armed", "expected"), [(True, [0, 4000]), (False, [4000])])
def test_what_is_true_already_is_an_event_at_the_start_and_none_after_a_reload(
    size: int, given: dict[str, Any], *, armed: bool, expected: list[int]
) -> None:
    car = Car(armed=armed, **given)
    seconds = (FAST, FAST, FAST, SLOW, FAST, FAST)
    frames = [(1000 * second, speed) for second, speed in enumerate(seconds)]
    told = [at for begin in range(0, len(frames), size) for at, _ in car.take(*frames[begin : begin + size])]
    late = 1000 if "hold" in given else 0
    assert told == [at_ms + late for at_ms in expected]


def test_a_moment_is_an_event_after_a_reload_too() -> None:
    car = Car("changed(SPEED)", armed=False)
    assert [at for at, _ in car.take((0, FAST), (100, FAST), (200, SLOW))] == [200]


@pytest.mark.parametrize("size", [1, 100])
def test_what_becomes_true_after_a_reload_is_an_event(size: int) -> None:
    car, frames = Car(armed=False), [(0, SLOW), (100, SLOW), (200, FAST)]
    assert [at for begin in range(0, 3, size) for at, _ in car.take(*frames[begin : begin + size])] == [200]


def test_a_trigger_fires_when_a_second_sender_of_a_j1939_group_carries_its_signal() -> None:
    senders = [0x18FEF100 | EXTENDED, 0x18FEF117 | EXTENDED]
    engine = MessageDefinition("can0", senders[0], "ENGINE", 1, (SignalDefinition("SPEED", 0, 8),), j1939=True)
    decoder = Decoder(Plan(("can0",), (engine,)))
    trigger = Trigger.of(TriggerConfig(name="event", when="SPEED > 50"), Directory((engine,)))
    collector = Collector(
        decoder.plan,
        RuleBook.of([]),
        triggers=[trigger],
        decode=lambda frames: decoder.decode(frames).signals,
        ring_bytes=1 << 20,
    )
    fired = []
    for number, (sender, speed) in enumerate([(0, 1), (0, 1), (0, 1), (1, 60), (1, 60), (0, 1), (1, 60)]):
        frames = block([Frame(START + number * MS, 0, senders[sender], bytes([speed]))])
        if collector.process(frames, decoder.decode(frames).signals).events:
            fired.append(number)
    assert fired == [3, 6]
