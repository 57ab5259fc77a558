# SPDX-License-Identifier: Apache-2.0
"""What a trigger records lies in its window, on every bus."""

from __future__ import annotations

from collections import Counter

import numpy as np

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.units import Duration
from tests.support.collect_car import ENGINES, MESSAGES, MS, START, Frame, S, block, drive, plan
from tests.support.collect_reference import samples

SECOND = Duration.parse("1s")


def recorded(ahead_ns: int) -> Counter[str]:
    """How many samples of two events on the one bus, where the other's clock is ahead of it."""
    decoder = Decoder(plan())
    config = TriggerConfig(name="hot", when="TORQUE > 100", record="*.[TS]*", before=SECOND, after=SECOND)
    trigger = Trigger.of(config, Directory(MESSAGES))
    collector = Collector(
        decoder.plan,
        RuleBook.of([]),
        Priority.NORMAL,
        [trigger],
        lambda frames: decoder.decode(frames).signals,
        1 << 20,
    )
    torque = {place: np.float32(200 if place in (50, 80) else 0).tobytes() for place in range(120)}
    frames = [
        frame
        for place in range(120)
        for frame in (
            Frame(START + place * 100 * MS + ahead_ns, 0, 0x100, drive(place)),
            Frame(START + place * 100 * MS + MS, 1, ENGINES[0], torque[place]),
        )
    ]
    kept = [
        collector.process(each, decoder.decode(each).signals)
        for each in (block(frames[begin : begin + 20]) for begin in range(0, len(frames), 20))
    ]
    blocks = [each for taken in kept for each in taken.blocks.get(Priority.CRITICAL, [])]
    return Counter(signal for each in blocks for _, _, signal, _, _ in samples(each))


def test_a_bus_that_is_ahead_is_recorded_no_more_than_the_others() -> None:
    assert recorded(0) == {"SPEED": 40, "SLOPE": 40, "TORQUE": 42}
    assert recorded(3600 * S) == {"TORQUE": 42}
