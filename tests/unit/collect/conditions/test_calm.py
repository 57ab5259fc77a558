# SPDX-License-Identifier: Apache-2.0
"""How often a trigger is asked whether it has anything to do, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.names import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.trigger import Trigger
from agent.config.collecting import TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, MessageDefinition, SignalDefinition
from agent.units import Duration
from tests.support.collect_car import MESSAGES, MS, START, Frame, block, drive, plan

if TYPE_CHECKING:
    from agent.collect.conditions.syntax import Outlook
    from agent.model import FrameBlock, SignalBlock


def asked(
    when: str, speeds: list[int], gears: list[int] | None = None, stale: str | None = None, apart_ns: int = MS
) -> list[int]:
    """The blocks, of one frame each, in which the trigger was asked."""
    found: list[int] = []
    has_nothing_to_do = Trigger.has_nothing_to_do
    decoder = Decoder(plan())

    def decode(frames: FrameBlock) -> SignalBlock:
        return decoder.decode(frames).signals

    config = TriggerConfig(name="t", when=when, stale_after=Duration.parse(stale) if stale else None)
    trigger = Trigger.of(config, Directory(MESSAGES))
    collector = Collector(decoder.plan, RuleBook.of([]), Priority.NORMAL, [trigger], decode, 1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        for number, speed in enumerate(speeds):

            def ask(trigger: Trigger, when: Outlook, until: Outlook, number: int = number) -> bool:
                found.append(number)
                return has_nothing_to_do(trigger, when, until)

            patch.setattr(Trigger, "has_nothing_to_do", ask)
            frames = block(
                [Frame(START + number * apart_ns, 0, 0x100, drive(speed, gear=gears[number] if gears else 0))]
            )
            collector.take(frames, decode(frames))
    return sorted(set(found))


def test_a_trigger_is_left_alone_until_a_signal_leaves_the_bounds_it_was_at_rest_within() -> None:
    assert asked("SPEED > 50", [0, 1, 2, 60, 0, 4, 60]) == [0]
    assert asked("SPEED > 50", [0, 1, 2, 101, 102, 103, 0]) == [0, 3, 4, 6]  # it fires, is at rest again, is over


def test_bounds_are_widened_on_both_sides() -> None:
    assert asked("SPEED >= 0", [60, 30, 4095, 0, 4095]) == [0, 1]  # before the first it was not known


def test_a_change_is_seen_within_the_bounds() -> None:
    assert asked("changed(GEAR)", [0] * 6, [1, 1, 1, 2, 2, 2]) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("when", "stale", "expected"),
    [
        ("SPEED < 50", "1s", [0, 1, 5, 9]),
        ("count(DRIVE over 1s) >= 2", None, [0, 1, 2, 4, 8]),
        ("count(DRIVE over 1s) > 99", None, list(range(10))),  # more of them may come at any time
    ],
)
def test_what_time_may_change_is_left_alone_until_it_may(when: str, stale: str | None, expected: list[int]) -> None:
    assert asked(when, [0] * 10, stale=stale, apart_ns=100 * MS) == expected


def test_what_cannot_be_true_whatever_the_age_is_left_alone() -> None:
    assert asked("SPEED > 50", [0] * 4, stale="1s") == [0]
    assert asked("max(SPEED over 1s) > 50", [0] * 4) == [0]


def test_a_trigger_is_asked_again_when_another_sender_carries_its_signal() -> None:
    senders = [0x18FEF100 | EXTENDED, 0x18FEF117 | EXTENDED]
    engine = MessageDefinition("can0", senders[0], "ENGINE", 1, (SignalDefinition("SPEED", 0, 8),), j1939=True)
    decoder = Decoder(Plan(("can0",), (engine,)))

    def decode(frames: FrameBlock) -> SignalBlock:
        return decoder.decode(frames).signals

    trigger = Trigger.of(TriggerConfig(name="t", when="SPEED > 50"), Directory((engine,)))
    collector = Collector(decoder.plan, RuleBook.of([]), Priority.NORMAL, [trigger], decode, 1 << 20)
    fired = []
    for number, (sender, speed) in enumerate([(0, 1), (0, 1), (0, 1), (1, 60), (1, 60), (0, 1), (1, 60)]):
        frames = block([Frame(START + number * MS, 0, senders[sender], bytes([speed]))])
        if collector.take(frames, decode(frames)).events:
            fired.append(number)
    assert fired == [3, 6]
