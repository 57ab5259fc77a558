# SPDX-License-Identifier: Apache-2.0
"""Where a batch or a block ends by the times of its frames: a clock that was set, an interval that is over."""

from __future__ import annotations

import numpy as np
import pytest

from agent.model import FrameBlock
from agent.sources.logs.cutting import Cutter
from agent.system.bus_clocks import BusClocks, BusSpan, spans_of

S = 1_000_000_000
A, B = 0, 1


def ends(*heard: tuple[int, float], interval_s: float = 10) -> list[int]:
    """Which of the frames (bus, time), counted from 0, end what is open before them."""
    clocks = BusClocks(round(interval_s * S))
    found = []
    for number, (bus, time_s) in enumerate(heard):
        span = BusSpan(bus, round(time_s * S), round(time_s * S))
        if clocks.ends([span]):
            clocks.clear()
            found.append(number)
        clocks.update([span])
        clocks.include()
    return found


@pytest.mark.parametrize("ahead_s", [-3600, -5, -1.5, 1.5, 5, 3600, 1.7e9])
def test_buses_by_two_clocks_end_no_more_than_each_alone(ahead_s: float) -> None:
    frames = [(bus, n / 2 + bus * ahead_s) for n in range(200) for bus in (A, B)]
    alone = [ends(*(each for each in frames if each[0] == bus)) for bus in (A, B)]
    assert [len(each) for each in alone] == [9, 9]
    assert len(ends(*frames)) <= 12


def test_clock_set_back_ends_what_is_open_once_for_all_buses() -> None:
    assert ends((A, 100), (B, 100.1), (A, 50), (B, 50.1), (A, 50.2)) == [2]


def test_clock_set_forward_ends_what_is_open_once_for_all_buses() -> None:
    assert ends((A, 100), (B, 100.1), (A, 3700), (B, 3700.1), (A, 3700.2)) == [2]


def test_bus_that_was_silent_ends_the_interval_of_the_others() -> None:
    assert ends((B, 0), (A, 0), (A, 9.9), (B, 10)) == [3]
    assert ends((A, 0), (A, 4), (B, 10)) == [2]


def test_disorder_between_buses_of_a_second_ends_nothing() -> None:
    assert ends((A, 5), (B, 4), (A, 5.1), (B, 4.1)) == []


def test_clock_that_a_bus_returns_to_was_not_set() -> None:
    assert ends((A, 0), (A, 1000), (A, 0.1), (A, 1000.1), (A, 0.2)) == [1]


def block(*frames: tuple[int, float]) -> FrameBlock:
    buses, times = (
        np.array([each[0] for each in frames], np.uint8),
        np.array([each[1] * S for each in frames], np.int64),
    )
    zeros = np.zeros(len(frames), np.uint8)
    return FrameBlock(times, buses, zeros.astype(np.uint32), zeros, zeros, np.zeros((len(frames), 8), np.uint8))


def test_spans_are_apart_by_bus_and_by_clock() -> None:
    assert spans_of(block((A, 5), (B, 7), (A, 100), (A, 4.5), (A, 100.5))) == (
        BusSpan(A, 9 * S // 2, 5 * S),
        BusSpan(A, 100 * S, 201 * S // 2),
        BusSpan(B, 7 * S, 7 * S),
    )


def test_blocks_of_two_clocks_are_as_long_as_those_of_one() -> None:
    cutter = Cutter(40_000, S)
    frames = block(*((bus, n / 100 + bus * 12345) for n in range(1000) for bus in (A, B)))
    blocks = [len(each) for each in cutter.cut(frames)]
    assert len(blocks) <= 11
    assert sum(blocks) + len(cutter.rest()) == 2000


def test_block_ends_exactly_where_the_clock_was_set() -> None:
    cutter = Cutter(40_000, S)
    frames = block((A, 10), (B, 10.1), (A, 10.2), (A, 5), (B, 5.1), (A, 5.2), (A, 7000), (B, 7000.1))
    assert [len(each) for each in cutter.cut(frames)] == [3, 3]
    assert len(cutter.rest()) == 2
