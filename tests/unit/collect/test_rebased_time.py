# SPDX-License-Identifier: Apache-2.0
"""Steady time: whatever is done to a clock, and whatever one bus's adapter stamps, time passes on all buses alike."""

from __future__ import annotations

import numpy as np
import pytest

from agent.collect.rebased_time import AHEAD_NS_MAX, RebasedClock
from agent.model import ClockReading, FrameBlock
from agent.system.clock import WAITED_NS_MAX

MS, S = 10**6, 10**9
NOW = 1_800_000_000 * S
BOOTED = NOW - 100 * S
HOUR = 3600 * S
IN_1970 = -BOOTED


def block(*frames: tuple[int, int]) -> FrameBlock:
    """Frames of these buses and times."""
    zeros = np.zeros(len(frames), np.uint8)
    buses = np.array([bus for bus, _ in frames], np.uint8)
    times = np.array([time for _, time in frames], np.int64)
    return FrameBlock(times, buses, zeros.astype(np.uint32), zeros, zeros, np.zeros((len(frames), 8), np.uint8))


class Live:
    """Takes blocks, each read a second after the one before; times are seconds of rebased time."""

    def __init__(self, error_ns: int = 0) -> None:
        self.clock = RebasedClock(2)
        self.error_ns = error_ns
        self.start_ns = NOW + error_ns
        self.seconds = 0

    def take(self, *frames: tuple[int, float]) -> list[float]:
        """Frames that a bus's adapter stamps so many seconds after the reading before."""
        now_ns = NOW + self.seconds * S
        self.seconds += 1
        self.clock.update(ClockReading(b"boot", now_ns + S + self.error_ns, now_ns + S - BOOTED, trusted=False))
        stamped = [(bus, now_ns + self.error_ns + round(after * S)) for bus, after in frames]
        rebased, ahead = self.clock.advance(block(*stamped))
        if ahead is not None:
            assert [time + ahead for _, time in stamped] == rebased.tolist()
        return [float((each - self.start_ns) / S) for each in rebased.tolist()]

    def set_clock(self, error_ns: int) -> None:
        self.error_ns = error_ns


@pytest.mark.parametrize("first", [IN_1970, HOUR, -HOUR, 0])
@pytest.mark.parametrize("then", [0, 2 * HOUR, -HOUR, 30 * S])
def test_a_clock_that_is_set_does_nothing_to_it(first: int, then: int) -> None:
    live = Live(first)
    assert live.take((0, 0.25), (1, 0.5)) == [0.25, 0.5]
    live.set_clock(then)
    assert live.take((0, 0.25), (0, 0.5)) == [1.25, 1.5]
    live.set_clock(0)
    assert live.take((0, 0.25), (1, 0.5), (1, 0.25)) == [2.25, 2.5, 2.5]
    assert [(each - live.start_ns) / S for each in live.clock.now.tolist()] == [2.25, 2.5]


def test_an_update_returns_once_by_how_much_the_clock_was_set() -> None:
    clock = RebasedClock(1)
    readings = [ClockReading(b"boot", NOW + error, NOW - BOOTED, trusted=False) for error in (0, 9 * MS, HOUR, HOUR, 0)]
    assert [clock.update(reading) for reading in readings] == [0, 0, HOUR, 0, -HOUR]


def test_bus_first_received_after_a_clock_step_shares_the_rebased_time() -> None:
    live = Live(HOUR)
    live.take((0, 0.5))
    live.set_clock(0)
    assert live.take((0, 0.25), (1, 0.5)) == [1.25, 1.5]


@pytest.mark.parametrize("apart_s", [3600.0, -3600.0, 3.0])
def test_an_adapter_that_stamps_by_a_clock_of_its_own_is_brought_to_the_units(apart_s: float) -> None:
    live = Live()
    live.take((0, 0.9), (1, apart_s + 0.5), (1, apart_s + 1))
    assert live.take((0, 0.9), (1, apart_s + 0.2), (1, apart_s + 0.6)) == [1.9, 1.2, 1.6]
    live.set_clock(HOUR)  # the adapter's is not
    assert live.take((0, 0.9), (1, apart_s - 3600 + 0.5), (1, apart_s - 3600 + 1)) == [2.9, 2.5, 3]


def test_a_single_stamp_from_the_future_is_of_now_and_leaves_no_trace() -> None:
    live = Live()
    assert live.take((0, 0.1), (0, 7200.0), (1, 0.2), (0, 0.3)) == [0.1, 1, 0.2, 1]
    assert live.take((1, 9000.0)) == [2]
    assert live.take((0, 0.1), (1, 0.2)) == [2.1, 2.2]
    assert live.take((1, 6.0)) == [4]
    assert live.take((0, 0.3), (1, 0.2)) == [4.3, 4.2]


@pytest.mark.parametrize("bogus_s", [-7200.0, 7200.0])
def test_a_bus_that_is_first_heard_with_a_bogus_stamp_is_none_the_worse(bogus_s: float) -> None:
    live = Live()
    assert live.take((1, bogus_s)) == [1]
    assert live.take((0, 0.1), (1, 0.2)) == [1.1, 1.2]


def test_a_frame_that_is_a_little_late_is_of_the_latest_time_of_its_bus() -> None:
    live = Live()
    live.take((0, 0.5), (1, 0.6))
    assert live.take((0, -0.7), (0, 0.2), (1, -0.1)) == [0.5, 1.2, 0.9]


def test_frames_that_waited_and_adapters_a_little_off_are_left_as_they_are() -> None:
    live = Live()
    late, ahead = -WAITED_NS_MAX / S, AHEAD_NS_MAX / S
    live.take((0, 0.5))
    assert live.take((1, late), (0, 1 + ahead)) == [1 + late, 2 + ahead]


def test_a_suspend_passes() -> None:
    live = Live()
    live.take((0, 0.5))
    live.seconds += 8 * 3600
    assert live.take((0, -7.5 * 3600), (0, 0.5), (1, 0.6)) == [1 + 0.5 * 3600, 28801.5, 28801.6]


def log(*frames: tuple[int, float]) -> list[float]:
    """Steady times of a log in one block, and of one frame a block, which are the same."""
    whole, piecewise = RebasedClock(2), RebasedClock(2)
    stamped = [(bus, round(at * S)) for bus, at in frames]
    rebased, _ = whole.advance(block(*stamped))
    assert rebased.tolist() == [int(piecewise.advance(block(each))[0][0]) for each in stamped]
    return [each / S for each in rebased.tolist()]


def test_a_logs_clock_that_was_set_back_goes_on_for_all_buses() -> None:
    assert log((0, 3700), (1, 3700.5), (0, 100), (0, 101), (1, 101.5), (0, 50), (1, 51)) == [
        3700,
        3700.5,
        3700,
        3701,
        3701.5,
        3701,
        3702,
    ]


def test_a_bus_of_a_log_that_is_first_heard_after_its_clock_was_set_back_keeps_step() -> None:
    assert log((0, 3700), (0, 100), (1, 101)) == [3700, 3700, 3701]


def test_a_logs_frames_may_be_a_second_late() -> None:
    assert log((0, 10), (0, 9), (1, 3), (0, 9.5), (0, 11)) == [10, 10, 3, 10, 11]


def test_a_logs_clock_that_was_set_forward_takes_it_along() -> None:
    assert log((0, 10), (0, 1_700_000_000), (1, 1_700_000_001)) == [10, 1_700_000_000, 1_700_000_001]


@pytest.mark.parametrize("apart", [-HOUR, IN_1970])
def test_log_of_two_clocks_on_one_bus_runs_on_by_both(apart: int) -> None:
    clock = RebasedClock(1)
    times = [NOW + n // 2 * MS + n % 2 * apart for n in range(4000)]
    rebased = np.concatenate(
        [clock.advance(block(*((0, time) for time in times[at : at + 7])))[0] for at in range(0, 4000, 7)]
    )
    assert rebased.tolist() == [NOW + n // 2 * MS for n in range(4000)]
