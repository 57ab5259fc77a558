# SPDX-License-Identifier: Apache-2.0
"""What is recorded of the time before an event, beside what was recorded around others."""

from __future__ import annotations

from collections import Counter

import pytest

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.collect.triggers.windows import WINDOWS_MAX
from agent.config.collecting import TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.units import Duration
from tests.support.collect_car import MESSAGES, MS, START, Frame, block, drive, plan
from tests.support.collect_reference import samples

SHORT = TriggerConfig(
    name="short",
    when="SPEED > 50 and SPEED < 500",
    before=Duration.parse("0s"),
    after=Duration.parse("200ms"),
    record="SPEED",
)
LONG = TriggerConfig(name="long", when="SPEED > 1000", before=Duration.parse("10m"), record="SPEED")
FAST, FASTEST = 200, 4000


@pytest.mark.parametrize(("shorts", "twice"), [(3, 0), (WINDOWS_MAX, 0), (WINDOWS_MAX + 2, 2)])
def test_sample_in_anothers_remembered_window_is_not_recorded_again(shorts: int, twice: int) -> None:
    decoder = Decoder(plan())
    collector = Collector(
        decoder.plan,
        RuleBook.of([]),
        triggers=[Trigger.of(each, Directory(MESSAGES)) for each in (SHORT, LONG)],
        decode=lambda frames: decoder.decode(frames).signals,
        ring_bytes=1 << 20,
    )
    recorded: Counter[int] = Counter()
    speeds = [(1000 * second + late, FAST if not late else 0) for second in range(shorts) for late in (0, 500)]
    for at_ms, speed in [*speeds, (1000 * shorts, FASTEST)]:
        frames = block([Frame(START + at_ms * MS, 0, 0x100, drive(speed))])
        kept = collector.process(frames, decoder.decode(frames).signals)
        for each in kept.blocks.get(Priority.CRITICAL, []):
            recorded.update((time_ns - START) // MS for *_, time_ns, _ in samples(each))
    assert sorted(recorded) == [at_ms for at_ms, _ in speeds] + [1000 * shorts]
    assert [at_ms for at_ms, count in sorted(recorded.items()) if count > 1] == [1000 * n for n in range(twice)]
