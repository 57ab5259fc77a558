# SPDX-License-Identifier: Apache-2.0
"""Who is remembered where more ids come than there is room for: who comes again; and what was held back of others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.collect import signal_index
from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.decode import ids
from agent.decode.decoder import Decoder
from agent.model import EXTENDED, EventKind, split_group_key
from agent.units import Duration
from tests.support.collect_car import ENGINES, MESSAGES, MS, START, Frame, block, drive, plan
from tests.support.collect_reference import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.collect.collector import Kept

SECOND = Duration.parse("1s")
GUESTS = 20
STRANGERS = 12
"""Of a block."""


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_index, "GUESTS_MAX", GUESTS)
    monkeypatch.setattr(ids, "UNLISTED_MAX", GUESTS)


class Bench:
    """A collector, and all that it keeps."""

    def __init__(self, *rules: CollectConfig, when: str = "") -> None:
        self.decoder = Decoder(plan())
        trigger = TriggerConfig(name="event", when=when, after=SECOND) if when else None
        triggers = [Trigger.of(trigger, Directory(MESSAGES))] if trigger else []
        decode = self.decoder.decode_again
        self.collector = Collector(self.decoder.plan, RuleBook.of(rules), Priority.NORMAL, triggers, decode, 1 << 16)
        self.events: list[str] = []
        self.samples: Counter[tuple[int, str, int, int]] = Counter()

    def take(self, frames: Sequence[Frame]) -> None:
        taken = block(list(frames))
        self._note(self.collector.process(taken, self.decoder.decode(taken).signals))

    def flush(self) -> None:
        self._note(self.collector.flush())

    def _note(self, kept: Kept) -> None:
        self.events += [event.kind for events in kept.events.values() for event in events]
        for each in (each for blocks in kept.blocks.values() for each in blocks):
            for _, can_id, signal, time_ns, raw in samples(each):
                self.samples[can_id, signal, time_ns, raw] += 1


def torque(at_ms: int, can_id: int, value: float) -> Frame:
    return Frame(START + at_ms * MS, 1, can_id, np.float32(value).tobytes())


def strangers(number: int, *, raw: bool) -> list[Frame]:
    """Frames at a block's beginning, of ids that never come again: of ENGINE's group, or of no DBC file."""
    first = number * STRANGERS
    if raw:
        words = [0x1000 + n | EXTENDED for n in range(first, first + STRANGERS)]
        return [Frame(START + number * 100 * MS, 1, word, bytes([number, 1])) for word in words]
    words = [0x00FEF100 | n & 0xFF | (n >> 8) << 26 | EXTENDED for n in range(first, first + STRANGERS)]
    return [torque(number * 100, word, number) for word in words]


def genuine(number: int) -> list[Frame]:
    at_ms = number * 100 + 10
    return [
        torque(at_ms, ENGINES[1], number * 7 % 5),
        Frame(START + at_ms * MS, 0, 0x100, drive(number % 9, number % 5)),
    ]


RULES = [
    CollectConfig(every=SECOND, priority=Priority.BULK),
    CollectConfig(every=SECOND, value="mean"),
    CollectConfig(every=SECOND, value="max", priority=Priority.CRITICAL),
    CollectConfig(every=SECOND, value="first"),
    CollectConfig(on_change=True),
    CollectConfig(on_change=True, deadband=2.0, priority=Priority.CRITICAL),
    CollectConfig(every=SECOND, on_change=True, deadband=1.0),
    CollectConfig(every=SECOND, value="min", stale_after=Duration.parse("300ms")),
]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_on_who_comes_again_are_the_same_among_strangers(rule: CollectConfig, raw: bool) -> None:
    calm, crowded = Bench(rule), Bench(rule)
    for number in range(45):
        calm.take(genuine(number))
        crowded.take([*strangers(number, raw=raw), *genuine(number)])
        assert len(crowded.collector._signal_index.key) <= 2 + GUESTS + STRANGERS
    calm.flush()
    crowded.flush()
    assert {each: count for each, count in crowded.samples.items() if each[0] in (0x100, ENGINES[1])} == calm.samples


@pytest.mark.parametrize("raw", [False, True])
def test_what_an_interval_holds_of_an_id_that_leaves_is_kept(raw: bool) -> None:
    bench = Bench(CollectConfig(every=Duration.parse("1h")))
    sent = set()
    for number in range(40):
        frames = strangers(number, raw=raw)
        sent |= {(frame.can_id, frame.time_ns) for frame in frames}
        bench.take(frames)
    bench.flush()
    assert {(can_id, time_ns) for can_id, _, time_ns, _ in bench.samples} == sent
    assert set(bench.samples.values()) == {1}


def test_value_of_a_sender_that_has_left_holds_for_conditions() -> None:
    bench = Bench(when="TORQUE > 100 and SPEED > 50")
    bench.take([torque(0, ENGINES[0], 200.0)])
    for number in range(1, 20):
        bench.take(strangers(number, raw=True))
    keys = bench.collector._signal_index.key.tolist()
    assert ENGINES[0] not in {split_group_key(key)[2] for key in keys}
    bench.take([Frame(START + 2000 * MS, 0, 0x100, drive(200))])
    assert EventKind.TRIGGERED in bench.events


def test_raw_frames_that_become_longer_are_kept_whole() -> None:
    bench = Bench(CollectConfig(every=Duration.parse("1h")))
    bench.take([Frame(START, 1, 0x700, bytes([1, 2]))])
    long = block([Frame(START + MS, 1, 0x700, bytes(8))])
    data = np.arange(64, dtype=np.uint8).reshape(1, 64)
    wide = type(long)(long.time_ns, long.bus, long.can_id, np.array([64], np.uint8), long.flags, data)
    bench._note(bench.collector.process(wide, bench.decoder.decode(wide).signals))
    bench.flush()
    last = {signal: raw for _, signal, time_ns, raw in bench.samples if time_ns == START + MS}
    assert last == {f"byte{n}": n for n in range(64)}
