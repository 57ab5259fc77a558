# SPDX-License-Identifier: Apache-2.0
"""A unit whose clock is set while it drives: nothing is silenced, nothing repeated, no time is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.model import ClockReading
from agent.units import Duration
from tests.support.collect_car import MESSAGES, MS, START, Frame, S, block, drive, plan
from tests.support.collect_reference import samples

if TYPE_CHECKING:
    from agent.model import Event

SET_AT = 5
IN_1970 = 10 * S - START
STALE = CollectConfig(signal="SPEED", stale_after=Duration.parse("2s"))
errors = pytest.mark.parametrize("error_ns", [IN_1970, 3600 * S, -3600 * S, 0])


def driven(error_ns: int, *triggers: TriggerConfig) -> tuple[list[Event], int]:
    """Ten seconds at ten frames a second: fast from the fifth on, when the clock is set right; two shifts of gear.

    The events, and how many samples of the speed are kept critical.
    """
    decoder = Decoder(plan())
    made = [Trigger.of(each, Directory(MESSAGES)) for each in triggers]
    collector = Collector(
        decoder.plan,
        RuleBook.of([STALE]),
        Priority.NORMAL,
        made,
        lambda frames: decoder.decode(frames).signals,
        1 << 20,
    )
    events: list[Event] = []
    critical = 0
    for second in range(10):
        error = error_ns if second < SET_AT else 0
        payload = drive(200 if second >= SET_AT else 0, gear=second // 3)
        frames = block([Frame(START + error + second * S + place * 100 * MS, 0, 0x100, payload) for place in range(10)])
        reading = ClockReading(b"boot", START + (second + 1) * S + error, 60 * S + second * S, trusted=not error)
        kept = collector.process(frames, decoder.decode(frames).signals, reading)
        events += [event for told in kept.events.values() for event in told]
        found = [each for signals in kept.blocks.get(Priority.CRITICAL, []) for each in samples(signals)]
        critical += sum(signal == "SPEED" for _, _, signal, _, _ in found)
    return events, critical


@errors
def test_a_set_clock_reports_no_absence(error_ns: int) -> None:
    assert driven(error_ns) == ([], 0)


@errors
def test_a_triggers_window_is_as_long_as_it_says(error_ns: int) -> None:
    window = TriggerConfig(name="fast", when="SPEED > 50", before=Duration.parse("1s"), after=Duration.parse("2s"))
    events, samples_kept = driven(error_ns, window)
    assert [event.subject for event in events] == ["fast"]
    assert samples_kept == 10 + 1 + 20


@errors
@pytest.mark.parametrize(("hold", "fires"), [("1h", 0), ("3s", 1)])
def test_what_is_to_hold_for_a_while_holds_for_so_long(error_ns: int, hold: str, fires: int) -> None:
    events, _ = driven(error_ns, TriggerConfig(name="slow", when="SLOPE > 0", hold=Duration.parse(hold)))
    assert len(events) == fires


@errors
def test_events_come_no_more_often_than_they_may(error_ns: int) -> None:
    often = TriggerConfig(name="often", when="changed(GEAR)", at_most_every=Duration.parse("10m"))
    assert len(driven(error_ns, often)[0]) == 1
