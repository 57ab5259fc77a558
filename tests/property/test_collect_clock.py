# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a unit's clock, rules and triggers keep what they would have kept had it been right all along,
and the receiver has it where it belongs.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.receiver.clock_correction import RESOLUTION_NS
from agent.units import Duration
from tests.property.clock_car import arrived
from tests.property.clock_history import MS, RIGHT_NS, SECOND, Set, Unit
from tests.support.collect_car import ENGINES, Frame, drive

HOUR = 3600 * SECOND
SUSPENDED = 8 * HOUR
BEGIN = 60 * SECOND
LASTS_FRAMES = 40
"""What the clock is set to is read while it lasts."""
ERRORS_NS = st.sampled_from((-RIGHT_NS, HOUR, -HOUR, 30 * SECOND, -30 * SECOND, 0))
LAGS_NS = st.sampled_from((0, 30 * MS, 600 * MS))


def d(text: str) -> Duration:
    return Duration.parse(text)


RULES = (
    CollectConfig(signal="SPEED", every=d("10s"), value="max"),
    CollectConfig(signal="SPEED", every=d("10s"), value="mean", priority=Priority.BULK),
    CollectConfig(signal="GEAR", every=d("1s")),
    CollectConfig(signal="SLOPE", every=d("10s"), value="first", priority=Priority.BULK),
    CollectConfig(signal="COUNTER", every=d("10s"), value="min", on_change=True, deadband=1.0),
    CollectConfig(message="MODES", every=d("1s"), stale_after=d("2s")),
    CollectConfig(message="ENGINE", on_change=True, stale_after=d("3s"), priority=Priority.BULK),
)
TRIGGERS = (
    TriggerConfig(name="fast", when="SPEED > 50", before=d("5s"), after=d("3s"), record=("*",)),
    TriggerConfig(name="both", when="SPEED > 50 and TORQUE > 100", stale_after=d("2s"), before=d("1s"), after=d("1s")),
    TriggerConfig(name="held", when="SPEED > 10", hold=d("4s"), at_most_every=d("10s"), before=d("8s")),
    TriggerConfig(name="busy", when="count(ENGINE over 5s) > 4 and max(SPEED over 3s) > 20", record=("TORQUE",)),
)


@st.composite
def drives(draw: st.DrawFn) -> list[Frame]:
    """One bus that is heard throughout, one of its messages now and then; another that is silent for a while, or that
    is first heard on the way. By times since boot.
    """
    seconds, random = draw(st.integers(8, 40)), np.random.default_rng(draw(st.integers(0, 99)))
    speeds = np.repeat(random.choice((0, 30, 60, 150, 250), seconds), random.integers(1, 6, seconds))
    pause = draw(st.integers(0, seconds)), draw(st.integers(0, seconds))
    stop = draw(st.integers(0, seconds)), draw(st.integers(0, seconds))
    frames = []
    for tick in range(seconds * 5):
        at, second = BEGIN + tick * 200 * MS, tick // 5
        payload = drive(int(speeds[second]), slope=tick % 5, gear=second % 3, counter=int(random.integers(0, 200)))
        frames.append(Frame(at, 0, 0x100, payload))
        if not stop[0] <= second < stop[1]:
            frames.append(Frame(at + 3 * MS, 0, 0x200, bytes((1, tick % 3, tick % 7))))
        if tick % 2 and not pause[0] <= second < pause[1]:
            torque = np.float32(random.choice((0, 50, 200))).tobytes()
            frames.append(Frame(at + 100 * MS, 1, ENGINES[0], torque))
    asleep = draw(st.none() | st.integers(1, len(frames) - 1))
    return [
        Frame(each.time_ns + SUSPENDED * (asleep is not None and place >= asleep), each.bus, each.can_id, each.data)
        for place, each in enumerate(frames)
    ]


@st.composite
def units(draw: st.DrawFn, frames: list[Frame]) -> Unit:
    """A clock that is set a few times while frames come, once to what is right and trusted."""
    places = [0]
    for place in sorted(draw(st.sets(st.integers(0, len(frames) - LASTS_FRAMES), min_size=1, max_size=4))):
        places += [place] if place - places[-1] >= LASTS_FRAMES else []
    places = places[1:] or places
    right = draw(st.integers(0, len(places) - 1))
    sets = [
        Set(frames[place].time_ns + MS, 0 if number == right else draw(ERRORS_NS), trusted=number == right)
        for number, place in enumerate(places)
    ]
    return Unit((Set(0, draw(ERRORS_NS)), *sets))


cases = st.tuples(
    drives().flatmap(lambda frames: st.tuples(st.just(frames), units(frames))),
    LAGS_NS,
    st.lists(st.sampled_from(RULES), unique=True, min_size=1),
    st.lists(st.sampled_from(TRIGGERS), unique=True),
)
RIGHT = Unit((Set(0, 0, trusted=True),))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases)
def test_what_arrives_is_what_would_have_with_a_clock_that_was_right_all_along(
    case: tuple[tuple[list[Frame], Unit], int, list[CollectConfig], list[TriggerConfig]],
) -> None:
    (frames, unit), lag_ns, rules, triggers = case
    expected = arrived(RIGHT, frames, lag_ns, rules, triggers)
    found = arrived(unit, frames, lag_ns, rules, triggers)
    assert [(*each[:4], each[5]) for each in found.samples] == [(*each[:4], each[5]) for each in expected.samples]
    assert [each[:3] for each in found.events] == [each[:3] for each in expected.events]
    times = [[each[4] for each in of.samples] + [each[3] for each in of.events] for of in (found, expected)]
    off = np.abs(np.diff(np.array(times, np.int64), axis=0))
    assert not (off > RESOLUTION_NS + MS).any(), off.max()
