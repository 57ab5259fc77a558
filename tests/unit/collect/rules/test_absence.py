# SPDX-License-Identifier: Apache-2.0
"""A cyclic message that stops is told of, when it stops and when it starts again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.collect.block_view import BlockView
from agent.collect.rebased_time import RebasedClock
from agent.collect.rules.absence import AbsenceMonitor, AbsenceTimeout, stopped_after_ns
from agent.collect.signal_index import SignalIndex
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import Event, EventKind, FrameBlock, MessageDefinition, SignalDefinition

MS = 10**6
MESSAGES = tuple(
    MessageDefinition("can0", can_id, name, 8, (SignalDefinition("X", 0, 8),), cycle_ms=cycle_ms)
    for can_id, name, cycle_ms in ((1, "FAST", 10), (2, "SLOW", 500), (3, "SPORADIC", 0))
)


@pytest.mark.parametrize(("cycle_ms", "silence_ms"), [(0, 0), (1, 100), (20, 100), (40, 120), (1000, 3000)])
def test_three_cycles_are_a_stop_but_nothing_under_a_tenth_of_a_second(cycle_ms: int, silence_ms: int) -> None:
    message = MessageDefinition("can0", 1, "M", 8, (), cycle_ms=cycle_ms)
    assert stopped_after_ns(message) == silence_ms * MS
    assert stopped_after_ns(replace(message, cyclic=False)) == 0


def block(frames: list[tuple[int, int]]) -> FrameBlock:
    zeros = np.zeros(len(frames), np.uint8)
    return FrameBlock(
        np.array([at_ms * MS for at_ms, _ in frames], np.int64),
        zeros,
        np.array([can_id for _, can_id in frames], np.uint32),
        np.full(len(frames), 8, np.uint8),
        zeros,
        np.zeros((len(frames), 8), np.uint8),
    )


def events(blocks: list[list[tuple[int, int]]], *, expected: bool = True) -> list[Event]:
    decoder = Decoder(Plan(("can0",), MESSAGES))
    signal_index, clock = SignalIndex(decoder.plan), RebasedClock(1)
    silences = AbsenceMonitor(
        signal_index,
        lambda stream_key: AbsenceTimeout(stopped_after_ns(MESSAGES[int(signal_index.message[stream_key])]), expected),
    )
    found = []
    for frames in map(block, blocks):
        found += silences.observe(
            BlockView(signal_index, frames, decoder.decode(frames).signals, *clock.advance(frames)), clock.now
        )[1]
    return found


@pytest.mark.parametrize("blocks", [1, 5])
def test_absence_marks_the_last_frame_and_the_first_one_after_it(blocks: int) -> None:
    frames = [(at, 2) for at in range(0, 3000, 500)] + [(at, 3) for at in (0, 2900)]
    frames += [(at, 1) for at in range(0, 200, 10)] + [(at, 1) for at in range(1000, 3000, 10)]
    frames.sort()
    cut = [
        frames[begin : begin + -(-len(frames) // blocks)] for begin in range(0, len(frames), -(-len(frames) // blocks))
    ]
    assert [(event.kind, event.time_ns, event.subject) for event in events(cut)] == [
        (EventKind.ABSENT, 190 * MS, "can0.FAST"),
        (EventKind.BACK, 1000 * MS, "can0.FAST"),
    ]


def test_a_silence_of_half_a_century_in_a_log_is_one_like_any_other() -> None:
    years = 54 * 365 * 24 * 3_600_000
    assert [(event.kind, event.time_ns) for event in events([[(0, 1), (10, 1)], [(years, 1)]])] == [
        (EventKind.ABSENT, 10 * MS),
        (EventKind.BACK, years * MS),
    ]


def test_message_without_cycle_time_or_a_little_late_is_not_absent() -> None:
    assert events([[(0, 3), (0, 1), (0, 2)], [(95, 1), (100, 2)], [(190, 1), (1500, 2), (1500, 3)]]) == [
        Event(EventKind.ABSENT, 190 * MS, "can0.FAST", 1)
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 3000])
def test_a_message_that_does_not_keep_its_cycle_is_reported_less_and_less(size: int) -> None:
    frames = [(at, can_id) for at in range(0, 60_000, 400) for can_id in (1, 3)]
    blocks = [frames[begin : begin + size] for begin in range(0, len(frames), size)]
    told = events(blocks)
    assert [event.kind for event in told] == [EventKind.ABSENT, EventKind.BACK] * 17  # of 150
    assert [event.time_ns for event in told] == [event.time_ns for event in events([frames])]


def test_what_a_rule_says_is_kept_to_however_often_a_message_stops() -> None:
    frames = [(at, can_id) for at in range(0, 40_000, 400) for can_id in (1, 3)]
    assert len(events([frames], expected=False)) == 198


@pytest.mark.parametrize("size", [1, 3, 3000])
def test_who_is_given_more_time_while_it_is_silent_is_back_all_the_same(size: int) -> None:
    frames = [(at + late, can_id) for at in range(0, 2700, 180) for late, can_id in ((0, 1), (150, 3))]
    blocks = [frames[begin : begin + size] for begin in range(0, len(frames), size)]
    assert [event.kind for event in events(blocks)] == [EventKind.ABSENT, EventKind.BACK] * 9


def test_stops_more_than_a_minute_apart_give_nobody_more_time() -> None:
    frames = [(at + drive * 63_000, 2) for drive in range(12) for at in range(0, 61_001, 500)]
    assert [event.kind for event in events([frames])] == [EventKind.ABSENT, EventKind.BACK] * 11


def test_stops_far_apart_are_all_reported() -> None:
    frames = [(at + burst * 70_000, 1) for burst in range(20) for at in range(0, 500, 10)]
    assert len(events([[*frames, (20 * 70_000, 3)]])) == 39
