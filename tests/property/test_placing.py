# SPDX-License-Identifier: Apache-2.0
"""Whatever was done to a unit's clock, after the receiver no frame is missing, out of order, or at a wrong time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.receiver.clock_correction import RESOLUTION_NS, ClockCorrection
from tests.property.clock_history import (
    BLOCK_NS,
    INTERVAL_NS,
    MS,
    RIGHT_NS,
    SECOND,
    Set,
    Taken,
    Unit,
    as_batch,
    batches,
    sealed_late,
)

if TYPE_CHECKING:
    from agent.batch.codec import Batch

HOUR = 3600 * SECOND
IN_1970 = -RIGHT_NS
SUSPENDED = 8 * HOUR
LASTS_NS = 2 * BLOCK_NS
GREAT_ERRORS_NS = st.sampled_from((IN_1970, HOUR, -HOUR))
ERRORS_NS = GREAT_ERRORS_NS | st.sampled_from((1500 * MS, -1500 * MS, 30 * SECOND, -30 * SECOND, 0))
PERIODS_NS = st.sampled_from((MS, 10 * MS, 100 * MS, 400 * MS, 3 * SECOND))


@st.composite
def drives(
    draw: st.DrawFn, errors_ns: st.SearchStrategy[int], lasts_ns: int, *, suspends: bool = True
) -> tuple[Unit, list[int]]:
    """A clock that was set a few times, once to what is right and trusted; frames in bursts, with suspends.

    lasts_ns   what the clock is set to lasts longer: until the agent has read it
    """
    periods_ns = PERIODS_NS | st.just(SUSPENDED) if suspends else PERIODS_NS
    received, at = [], 60 * SECOND
    for period, count in draw(st.lists(st.tuples(periods_ns, st.integers(1, 40)), min_size=1, max_size=8)):
        for _ in range(min(count, 2) if period == SUSPENDED else count):
            received.append(at)
            at += period
    sets = [Set(0, draw(errors_ns))]
    right = draw(st.integers(0, len(received) - 1))
    for index in sorted({right, *draw(st.lists(st.integers(0, len(received) - 1), max_size=4))}):
        error = 0 if index == right else draw(errors_ns)
        if index == right:
            sets = [each for each in sets if received[index] - each.at_ns > lasts_ns]
        if index == right or (received[index] - sets[-1].at_ns > lasts_ns and error != sets[-1].error_ns):
            sets.append(Set(received[index], error, trusted=index == right))
    return Unit(tuple(sets)), received


def assert_placed(batches_made: list[tuple[list[int], Batch]], received: list[int], learnt: list[Batch]) -> None:
    """Each batch's frames, by their numbers, are at their times to within the resolution; of each message in order."""
    placing = ClockCorrection()
    for batch in learnt:
        placing.learn("car-1", batch.clock)
    last = [0, 0]
    for numbers, batch in batches_made:
        for lane, group in enumerate(placing.correct(batch).batch.groups):
            truth = np.array([RIGHT_NS + received[number] for number in numbers[lane::2]], np.int64)
            off = np.abs(group.time_ns - truth)
            assert (off <= RESOLUTION_NS + MS).all(), off.max()
            times = [last[lane], *group.time_ns.tolist()]
            assert times == sorted(times)
            last[lane] = times[-1]


@settings(max_examples=60, deadline=None)
@given(drives(ERRORS_NS, LASTS_NS))
def test_every_frame_is_placed_where_it_should_have_been(drive: tuple[Unit, list[int]]) -> None:
    unit, received = drive
    taken = batches(unit, received)
    made = [(each.numbers, as_batch(unit, received, each, number)) for number, each in enumerate(taken)]
    assert sorted(number for each in taken for number in each.numbers) == list(range(len(received)))
    assert_placed(made, received, [batch for _, batch in made])


@settings(max_examples=60, deadline=None)
@given(drives(GREAT_ERRORS_NS, LASTS_NS), st.data())
def test_a_triggers_window_over_a_step_of_the_clock_is_placed_too(
    drive: tuple[Unit, list[int]], data: st.DataObject
) -> None:
    unit, received = drive
    taken = batches(unit, received)
    made = [as_batch(unit, received, each, number) for number, each in enumerate(taken)]
    event = data.draw(st.integers(0, len(taken) - 1))
    last = taken[event].numbers[-1]
    window = [number for number in range(last + 1) if received[last] - received[number] <= 30 * SECOND]
    recorded = as_batch(unit, received, Taken(window, taken[event].reading), 0, stream="critical-1")
    assert_placed([(window, recorded)], received, made)


@settings(max_examples=60, deadline=None)
@given(drives(GREAT_ERRORS_NS, 3 * INTERVAL_NS, suspends=False))
def test_batches_read_while_sealed_are_placed_by_others_that_know_the_clock(
    drive: tuple[Unit, list[int]],
) -> None:
    unit, received = drive
    late = sealed_late(unit, received)
    made = [(each.numbers, as_batch(unit, received, each, number)) for number, each in enumerate(late)]
    known = [
        Taken([0], unit.read(at_ns))
        for each in unit.sets
        for at_ns in (each.at_ns - INTERVAL_NS, each.at_ns + INTERVAL_NS)
        if at_ns > 0
    ]
    others = [as_batch(unit, received, each, number, stream="bulk-1") for number, each in enumerate(known)]
    assert_placed(made, received, [*others, *(batch for _, batch in made)])
