# SPDX-License-Identifier: Apache-2.0
"""What collecting makes of frames that are wrong, and of messages that stop: events, and frames that are not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from agent.collect.collector import Collector, Kept
from agent.collect.conditions.binding import Directory
from agent.collect.integrity.protection import protections_of
from agent.collect.integrity.verify import REPORTED_EVERY_NS
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.integrity import IntegrityConfig
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import ClockReading, Event, EventKind, FrameBlock, MessageDefinition, SignalDefinition
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import SignalBlock

MS = 10**6
SIGNALS = (SignalDefinition("CHECKSUM", 0, 8), SignalDefinition("COUNTER", 8, 4), SignalDefinition("X", 16, 8))
MESSAGES = (
    MessageDefinition("can0", 0x100, "BRAKE", 3, SIGNALS, cycle_ms=100),
    MessageDefinition("can0", 0x300, "DOOR", 1, (SignalDefinition("OPEN", 0, 8),), cycle_ms=100, cyclic=False),
)
COUNTED = IntegrityConfig(message="BRAKE", counter="COUNTER", counter_max=15, checksum="CHECKSUM", kind="sum")
DROPPED = IntegrityConfig(message="BRAKE", counter="COUNTER", checksum="CHECKSUM", kind="sum", drop=True)


def brake(counter: int, *, off: int = 0) -> bytes:
    return bytes([counter + 7 + off, counter, 7])


class Car:
    """Frames of BRAKE by time in ms, and what is kept of them."""

    def __init__(
        self,
        *configs: IntegrityConfig,
        rules: Sequence[CollectConfig] = (),
        triggers: Sequence[TriggerConfig] = (),
    ) -> None:
        self.decoder = Decoder(Plan(("can0",), MESSAGES))
        protections = protections_of(MESSAGES, configs)
        found = [Trigger.of(each, Directory(MESSAGES)) for each in triggers]
        self.collector = Collector(
            self.decoder.plan,
            RuleBook.of(rules),
            triggers=found,
            decode=self.decode,
            ring_bytes=1 << 20,
            protections=protections,
        )

    def decode(self, frames: FrameBlock) -> SignalBlock:
        return self.decoder.decode(frames).signals

    def take(self, *frames: tuple[int, bytes], can_id: int = 0x100, reading: ClockReading | None = None) -> Kept:
        data = np.zeros((len(frames), 8), np.uint8)
        for row, (_, payload) in enumerate(frames):
            data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
        zeros = np.zeros(len(frames), np.uint8)
        block = FrameBlock(
            np.array([at_ms * MS for at_ms, _ in frames], np.int64),
            zeros,
            np.full(len(frames), can_id, np.uint32),
            np.array([len(payload) for _, payload in frames], np.uint8),
            zeros,
            data,
        )
        return self.collector.process(block, self.decode(block), reading)


def events(kept: Kept) -> list[Event]:
    return [event for of_class in kept.events.values() for event in of_class]


def counters(kept: Kept) -> list[int]:
    """The values of COUNTER that are kept."""
    return [
        int(value)
        for blocks in kept.blocks.values()
        for block in blocks
        for column in np.flatnonzero(block.column_signal == 1).tolist()
        for value in block.values[block.column_start[column] : block.column_start[column + 1]]
    ]


def test_wrong_frames_are_reported_and_kept() -> None:
    kept = Car(COUNTED).take((0, brake(0)), (10, brake(1, off=1)), (20, brake(5)))
    assert events(kept) == [
        Event(EventKind.WRONG, 10 * MS, "can0.BRAKE", 0x100, "1 frame"),
        Event(EventKind.MISSING, 20 * MS, "can0.BRAKE", 0x100, "3 frames"),
    ]
    assert counters(kept) == [0, 1, 5]


def test_wrong_frames_are_dropped_where_it_says_so_by_rules_and_without() -> None:
    for rules in ([], [CollectConfig(message="BRAKE")]):
        car = Car(DROPPED, rules=rules)
        kept = car.take((0, brake(0)), (10, brake(1, off=1)), (20, brake(2)))
        assert counters(kept) == [0, 2]
        assert [event.kind for event in events(kept)] == [EventKind.WRONG]
        assert counters(car.take((30, brake(3, off=9)))) == []
        assert counters(car.take((40, brake(4)))) == [4]


def test_a_frame_whose_checksum_is_right_is_not_dropped_for_its_counter() -> None:
    kept = Car(replace(DROPPED, counter_max=3)).take((0, brake(3)), (10, brake(4)), (20, brake(5, off=1)))
    assert counters(kept) == [3, 4]
    assert [(event.kind, event.detail) for event in events(kept)] == [(EventKind.WRONG, "2 frames")]


@pytest.mark.parametrize("size", [1, 10, 100])
def test_frames_that_are_dropped_tell_the_time_be_there_no_others(size: int) -> None:
    rule = CollectConfig(message="DOOR", every=Duration.parse("1s"), stale_after=Duration.parse("2s"))
    trigger = TriggerConfig(name="open", when="OPEN > 100")
    car = Car(DROPPED, rules=[rule], triggers=[trigger])
    car.take((0, b"\7"), can_id=0x300)
    frames = [(at_ms, brake(0, off=1)) for at_ms in range(100, 10_000, 100)]
    kept = [car.take(*frames[begin : begin + size]) for begin in range(0, len(frames), size)]
    assert [list(block.values) for each in kept for blocks in each.blocks.values() for block in blocks] == [[7]]
    told = [event for each in kept for event in events(each) if event.kind != EventKind.WRONG]
    assert told == [Event(EventKind.ABSENT, 0, "can0.DOOR", 0x300)]


def test_dropped_frames_leave_the_intervals_of_the_others_unchanged() -> None:
    right = [(3_700_000, brake(0)), (100, brake(1)), (900, brake(2)), (1300, brake(3)), (2500, brake(4))]
    wrong = {1: (150, brake(9, off=1)), 3: (1400, brake(9, off=1))}

    def kept(*, damaged: bool) -> list[list[int]]:
        car = Car(DROPPED, rules=[CollectConfig(signal="COUNTER", every=Duration.parse("1s"))])
        blocks = [[frame, *([wrong[n]] if damaged and n in wrong else [])] for n, frame in enumerate(right)]
        return [counters(car.take(*each)) for each in blocks]

    assert kept(damaged=True) == kept(damaged=False) == [[], [], [], [2], [3]]


def test_integrity_events_before_a_clock_step_are_restamped() -> None:
    car, hour = Car(COUNTED), 3_600_000
    readings = [
        ClockReading(b"boot", (at_ms + wrong_by) * MS, at_ms * MS, trusted=not wrong_by)
        for at_ms, wrong_by in ((1100, -1000), (1350, -1000), (2000, hour))
    ]
    car.take((100, brake(0, off=1)), reading=readings[0])
    assert events(car.take((350, brake(1, off=1)), reading=readings[1])) == []
    car.take((hour + 2000, brake(2)), reading=readings[2])
    assert [event.time_ns for event in events(car.collector.flush())] == [(hour + 1350) * MS]


def test_what_goes_on_being_wrong_is_reported_once_a_minute_with_how_many() -> None:
    car = Car(COUNTED)
    told = [event for n in range(520) for event in events(car.take((n * 250, brake(n % 16, off=1))))]
    assert [(event.kind, event.detail) for event in told] == [
        (EventKind.WRONG, "1 frame"),
        (EventKind.WRONG, "240 frames"),
        (EventKind.WRONG, "240 frames"),
    ]
    assert [event.time_ns for event in told] == [0, 250 * MS, REPORTED_EVERY_NS + 250 * MS]
    assert [event.detail for event in events(car.collector.flush())] == ["39 frames"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_times_after_which_a_message_is_stale_the_shortest_counts(order: int) -> None:
    times = {"CHECKSUM": "2s", "COUNTER": "5s", "X": "10s"}
    rules = [CollectConfig(signal=signal, stale_after=Duration.parse(time)) for signal, time in times.items()]
    car = Car(rules=rules[::order])
    car.take((0, brake(0)))
    assert events(car.take((2000, b"\1"), can_id=0x300)) == []
    (absent,) = events(car.take((2001, b"\1"), can_id=0x300))
    assert (absent.kind, absent.time_ns) == (EventKind.ABSENT, 0)


def test_a_cyclic_message_is_reported_when_it_stops_and_starts() -> None:
    car = Car()
    for at_ms in range(0, 500, 100):
        assert events(car.take((at_ms, brake(0)))) == []
    assert events(car.take((700, b"\1"), can_id=0x300)) == []
    (absent,) = events(car.take((701, b"\1"), can_id=0x300))
    assert (absent.kind, absent.time_ns, absent.subject) == (EventKind.ABSENT, 400 * MS, "can0.BRAKE")
    (back,) = events(car.take((5000, brake(0))))
    assert (back.kind, back.time_ns) == (EventKind.BACK, 5000 * MS)
