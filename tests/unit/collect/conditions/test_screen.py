# SPDX-License-Identifier: Apache-2.0
"""What is told of a condition from the bounds within which its signals stayed, at the very edges of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.names import Directory
from agent.collect.conditions.screen import ALWAYS_TRUE, NEVER_TRUE, UNCERTAIN
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.trigger import Trigger
from agent.config.collecting import TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.units import Duration
from tests.support.collect_car import ENGINES, MESSAGES, START, Frame, S, block, drive, plan

if TYPE_CHECKING:
    from agent.collect.conditions.syntax import Outlook
    from agent.model import FrameBlock, SignalBlock

FLAT, STEEP = {"slope": -1}, {"slope": 2}
SLOW, FAST = {"speed": 100}, {"speed": 200}


def outlook(
    when: str,
    held: dict[str, int] | None,
    came: list[dict[str, int]],
    *,
    later_ns: int = S,
    apart_ns: int = 0,
    last: Frame | None = None,
    stale: str | None = None,
) -> Outlook | None:
    """Of a block in which these came, a second after what is held; None where the condition was not asked for one."""
    seen: list[Outlook] = []

    def look(_: Trigger, when: Outlook, __: Outlook) -> bool:
        seen.append(when)
        return False

    stale_after = Duration.parse(stale) if stale else None
    trigger = Trigger.of(TriggerConfig(name="t", when=when, stale_after=stale_after), Directory(MESSAGES))
    decoder = Decoder(plan())

    def decode(frames: FrameBlock) -> SignalBlock:
        return decoder.decode(frames).signals

    collector = Collector(decoder.plan, RuleBook.of([]), Priority.NORMAL, [trigger], decode, 1 << 20)
    before = [Frame(START, 0, 0x100, drive(**held))] if held is not None else [Frame(START, 1, ENGINES[0], bytes(4))]
    now = [Frame(START + later_ns + place * apart_ns, 0, 0x100, drive(**each)) for place, each in enumerate(came)]
    now += [last] if last else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trigger, "has_nothing_to_do", look)
        for frames in (block(before), block(now)):
            seen.clear()
            collector.take(frames, decode(frames))
    return seen[0] if seen else None


@pytest.mark.parametrize(
    ("when", "held", "came", "expected"),
    [
        ("SPEED > 50", SLOW, [SLOW], NEVER_TRUE),
        ("SPEED > 50", SLOW, [{"speed": 101}], UNCERTAIN),
        ("SPEED > 50", {"speed": 101}, [FAST], ALWAYS_TRUE),
        ("SPEED > 50", None, [FAST], UNCERTAIN),
        ("SPEED >= 50", SLOW, [FAST], ALWAYS_TRUE),
        ("SPEED < 50", SLOW, [FAST], NEVER_TRUE),
        ("SPEED <= 50", FAST, [SLOW], UNCERTAIN),
        ("SPEED == 50", SLOW, [SLOW], ALWAYS_TRUE),
        ("SPEED == 50", SLOW, [FAST], UNCERTAIN),
        ("SPEED == 50", FAST, [{"speed": 101}], NEVER_TRUE),
        ("SPEED != 50", SLOW, [SLOW], NEVER_TRUE),
        ("SPEED != 50", FAST, [{"speed": 101}], ALWAYS_TRUE),
        ("not SPEED > 50", SLOW, [SLOW], ALWAYS_TRUE),
        ("SLOPE < 0", STEEP, [STEEP], ALWAYS_TRUE),  # -2 x 2 + 1
        ("SLOPE < 0", FLAT, [FLAT], NEVER_TRUE),
        ("SLOPE < 0", FLAT, [STEEP], UNCERTAIN),
        ("abs(SLOPE) >= 3", FLAT, [STEEP], UNCERTAIN),  # 3 and -3, and 0 between them
        ("abs(SLOPE) >= 3", STEEP, [STEEP], ALWAYS_TRUE),
        ("SPEED - COUNTER > 49", {"speed": 100, "counter": 1}, [{"speed": 100, "counter": 1}], NEVER_TRUE),
        ("SPEED - COUNTER >= 49", {"speed": 100, "counter": 1}, [{"speed": 100, "counter": 1}], ALWAYS_TRUE),
        ("SPEED * SLOPE < 0", FAST | STEEP, [SLOW | STEEP], ALWAYS_TRUE),
        ("SPEED * SLOPE < 0", FAST | STEEP, [SLOW | FLAT], UNCERTAIN),
        ("SPEED / COUNTER > 1", FAST, [FAST], UNCERTAIN),
        ("SPEED > 50 and COUNTER > 0", FAST, [FAST], NEVER_TRUE),
        ("SPEED > 50 or COUNTER > 0", FAST, [FAST], ALWAYS_TRUE),
        ("SPEED > 50 or COUNTER > 0", SLOW, [{"speed": 100, "counter": 1}], UNCERTAIN),
        ("changed(GEAR)", {"gear": 1}, [{"gear": 1}], NEVER_TRUE),
        ("changed(GEAR)", {"gear": 1}, [{"gear": 2}, {"gear": 1}], UNCERTAIN),
        ("not changed(GEAR)", {"gear": 1}, [{"gear": 1}], ALWAYS_TRUE),
        ("rising(SPEED > 50)", SLOW, [SLOW], NEVER_TRUE),
        ("rising(SPEED > 50)", FAST, [{"speed": 101}], NEVER_TRUE),
        ("rising(SPEED > 50)", SLOW, [FAST], UNCERTAIN),
        ("rising(SPEED > 50)", None, [SLOW], UNCERTAIN),  # that it is known from now on is to be remembered
        ("falling(SPEED > 50)", FAST, [SLOW], UNCERTAIN),
        ("rising(SPEED > 50) or COUNTER == 0", FAST, [SLOW], UNCERTAIN),  # there is something to remember
        ("KIND == 0", FAST, [FAST], NEVER_TRUE),
    ],
)
def test_it_is_certain_exactly_where_the_bounds_say_so(
    when: str, held: dict[str, int] | None, came: list[dict[str, int]], expected: Outlook
) -> None:
    assert outlook(when, held, came) == expected


@pytest.mark.parametrize(
    ("when", "later_ns", "came", "expected"),
    [
        ("max(SPEED over 1s) > 60", S - 1, [FAST], ALWAYS_TRUE),
        ("max(SPEED over 1s) > 60", S, [FAST], UNCERTAIN),  # what was held is out of the span
        ("max(SPEED over 1s) > 60", S - 1, [SLOW], UNCERTAIN),
        ("max(SPEED over 1s) > 100", S - 1, [SLOW], NEVER_TRUE),
        ("min(SPEED over 1s) < 50", S - 1, [SLOW], NEVER_TRUE),
        ("mean(SPEED over 1s) > 100", S - 1, [SLOW], UNCERTAIN),  # by as much as a mean may be rounded
        ("mean(SPEED over 1s) > 101", S - 1, [SLOW], NEVER_TRUE),
        ("mean(SPEED over 1s) > 49", S - 1, [SLOW], ALWAYS_TRUE),
        ("mean(SPEED over 1s) > SPEED", S - 1, [SLOW], UNCERTAIN),
        ("mean(SPEED over 1s) > SPEED + 51", S - 1, [SLOW], NEVER_TRUE),
        ("count(DRIVE over 1s) >= 1", S - 1, [SLOW], ALWAYS_TRUE),
        ("count(DRIVE over 1s) >= 1", S, [SLOW], UNCERTAIN),
        ("count(DRIVE over 1s) > 2", S - 1, [SLOW], NEVER_TRUE),
        ("count(DRIVE over 1s) >= 2", S - 1, [SLOW], UNCERTAIN),
    ],
)
def test_spans_of_time_reach_back_to_what_was_held(
    when: str, later_ns: int, came: list[dict[str, int]], expected: Outlook
) -> None:
    assert outlook(when, FAST, came, later_ns=later_ns) == expected


def test_a_value_that_may_be_stale_is_never_certain_to_be_known() -> None:
    assert outlook("SPEED > 50", FAST, [FAST], stale="1s") == ALWAYS_TRUE
    assert outlook("SPEED > 50", FAST, [FAST], later_ns=S + 1, stale="1s") == UNCERTAIN
    assert outlook("SPEED < 50", FAST, [FAST], later_ns=S + 1, stale="1s") == NEVER_TRUE


def test_floats_and_what_several_identifiers_carry_are_always_looked_at() -> None:
    assert outlook("TORQUE > 1", FAST, [FAST]) is None
    assert outlook("SPEED > 50 and TORQUE > 1", SLOW, [SLOW]) is None


@pytest.mark.parametrize(
    ("when", "later_ns", "apart_ns", "came", "expected"),
    [
        ("count(DRIVE over 1s) > 2", S, S // 2, 5, NEVER_TRUE),
        ("count(DRIVE over 1s) > 2", S, S // 2 - 1, 5, UNCERTAIN),
        ("count(DRIVE over 1s) >= 1", S // 2, S - 1, 5, ALWAYS_TRUE),
        ("count(DRIVE over 1s) >= 1", S // 2, S, 5, UNCERTAIN),
        ("count(DRIVE over 1s) >= 2", S // 2, S - 1, 5, UNCERTAIN),
    ],
)
def test_frames_are_counted_within_a_block_that_is_longer_than_the_span(
    when: str, later_ns: int, apart_ns: int, came: int, expected: Outlook
) -> None:
    assert outlook(when, SLOW, [SLOW] * came, later_ns=later_ns, apart_ns=apart_ns) == expected


def test_a_count_may_have_fallen_by_the_time_that_another_message_comes() -> None:
    modes = Frame(START + 3 * S, 0, 0x200, bytes(3))
    when = "count(DRIVE over 1s) >= 1 or KIND == 9"
    assert outlook(when, SLOW, [SLOW], later_ns=S // 2) == ALWAYS_TRUE
    assert outlook(when, SLOW, [SLOW], later_ns=S // 2, last=modes) == UNCERTAIN


def test_a_count_may_have_fallen_between_two_frames_of_a_block() -> None:
    last = Frame(START + 2 * S + S // 4, 0, 0x100, drive(**SLOW))
    when = "count(DRIVE over 1s) >= 1 or KIND == 9"
    assert outlook(when, SLOW, [SLOW] * 2, later_ns=S // 2, apart_ns=S // 2, last=last) == UNCERTAIN
    assert outlook(when, SLOW, [SLOW] * 3, later_ns=S // 2, apart_ns=S // 2, last=last) == ALWAYS_TRUE
