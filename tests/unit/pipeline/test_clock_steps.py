# SPDX-License-Identifier: Apache-2.0
"""Where the clock was set within a block, its frames are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from agent.model import ClockReading, FrameBlock
from agent.pipeline.clock_steps import ClockSteps, split_at_step
from agent.system.clock import STEP_NS_MIN, WAITED_NS_MAX, was_stepped

MS = 10**6
SECOND = 10**9
HOUR = 3600 * SECOND
YEARS = 50 * 365 * 24 * HOUR
NOW = 1_800_000_000 * SECOND
BEFORE = ClockReading(b"boot", NOW, 100 * SECOND, trusted=False)


def after(step_ns: int, passed_ns: int = 700 * MS) -> ClockReading:
    return ClockReading(b"boot", NOW + passed_ns + step_ns, BEFORE.monotonic_ns + passed_ns, trusted=True)


def block(times_ns: list[int]) -> FrameBlock:
    """Frames whose arbitration ids count them."""
    count = len(times_ns)
    zeros = np.zeros(count, np.uint8)
    numbers = np.arange(count, dtype=np.uint32)
    return FrameBlock(np.array(times_ns, np.int64), zeros, numbers, zeros, zeros, np.zeros((count, 8), np.uint8))


def numbers(frames: FrameBlock) -> list[int]:
    return [int(can_id) for can_id in frames.can_id]


def test_a_clock_that_was_not_set_leaves_the_block_whole() -> None:
    frames = block([NOW + 10 * MS, NOW + HOUR])
    assert not was_stepped(BEFORE, after(STEP_NS_MIN))
    assert split_at_step(frames, BEFORE, after(STEP_NS_MIN)) == [(frames, after(STEP_NS_MIN))]


@pytest.mark.parametrize("step_ns", [HOUR, -HOUR, 1500 * MS, -1500 * MS, YEARS, -YEARS])
def test_frames_before_and_after_the_step_go_with_the_reading_of_their_time(step_ns: int) -> None:
    frames = block([NOW + 100 * MS, NOW + 200 * MS, NOW + 300 * MS + step_ns, NOW + 400 * MS + step_ns])

    (old, old_reading), (new, new_reading) = split_at_step(frames, BEFORE, after(step_ns))

    assert (numbers(old), numbers(new)) == ([0, 1], [2, 3])
    assert old_reading == ClockReading(b"boot", NOW + 200 * MS, BEFORE.monotonic_ns + 200 * MS, trusted=False)
    assert new_reading == after(step_ns)


def test_buses_that_were_read_one_after_the_other_are_each_told_apart() -> None:
    frames = block([NOW + 100 * MS, NOW + 300 * MS + HOUR, NOW + 150 * MS, NOW + 350 * MS + HOUR])
    (old, _), (new, _) = split_at_step(frames, BEFORE, after(HOUR))
    assert (numbers(old), numbers(new)) == ([0, 2], [1, 3])


@pytest.mark.parametrize("step_ns", [HOUR, -HOUR])
def test_a_block_of_one_side_stays_whole_and_goes_with_that_sides_reading(step_ns: int) -> None:
    old, new = block([NOW + 600 * MS]), block([NOW + 600 * MS + step_ns])
    assert split_at_step(old, BEFORE, after(step_ns)) == [
        (old, ClockReading(b"boot", NOW + 600 * MS, BEFORE.monotonic_ns + 600 * MS, trusted=False))
    ]
    assert split_at_step(new, BEFORE, after(step_ns)) == [(new, after(step_ns))]


def test_a_bus_that_was_silent_for_long_before_the_step_is_told_apart_as_well() -> None:
    passed = 8 * HOUR
    frames = block([NOW + passed - 300 * MS, NOW + passed - 100 * MS + HOUR])
    (old, reading), (new, _) = split_at_step(frames, BEFORE, after(HOUR, passed))
    assert (numbers(old), numbers(new)) == ([0], [1])
    assert reading.monotonic_ns == BEFORE.monotonic_ns + passed - 300 * MS


def test_the_old_frames_reading_is_before_the_new_ones_whatever_an_adapter_stamps() -> None:
    frames = block([NOW + 800 * MS, NOW + 600 * MS + HOUR])
    (_, old_reading), (_, new_reading) = split_at_step(frames, BEFORE, after(HOUR))
    assert BEFORE.monotonic_ns <= old_reading.monotonic_ns < new_reading.monotonic_ns
    assert old_reading.offset_ns == BEFORE.offset_ns


@pytest.mark.parametrize("step_ns", [HOUR, -HOUR, YEARS])
def test_frames_that_waited_while_the_clock_was_set_are_told_apart_for_a_while(step_ns: int) -> None:
    clock = ClockSteps(BEFORE)
    (_, reading), *more = clock.split(block([NOW + 600 * MS + step_ns]), after(step_ns))
    assert (reading, more) == (after(step_ns), [])
    waited, passed = block([NOW + 500 * MS, NOW + 900 * MS + step_ns]), 1400 * MS
    (old, old_reading), (new, new_reading) = clock.split(waited, after(step_ns, passed))
    assert (numbers(old), numbers(new)) == ([0], [1])
    assert (old_reading.offset_ns, new_reading) == (BEFORE.offset_ns, after(step_ns, passed))
    passed += WAITED_NS_MAX
    late = block([NOW + 500 * MS, NOW + passed + step_ns])
    assert clock.split(late, after(step_ns, passed)) == [(late, after(step_ns, passed))]


def test_frames_after_a_small_clock_step_are_not_taken_for_waiting_ones() -> None:
    clock, step = ClockSteps(BEFORE), 300 * MS
    clock.split(block([NOW + 600 * MS + step]), after(step))
    frames = block([NOW + 800 * MS + step])
    assert clock.split(frames, after(step, 1700 * MS)) == [(frames, after(step, 1700 * MS))]


def test_a_block_that_comes_first_may_be_from_before_the_clock_was_set() -> None:
    (old, _), (new, _) = ClockSteps(BEFORE).split(block([NOW + 100 * MS, NOW + 200 * MS + HOUR]), after(HOUR))
    assert (numbers(old), numbers(new)) == ([0], [1])
