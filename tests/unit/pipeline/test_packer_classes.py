# SPDX-License-Identifier: Apache-2.0
"""Frames to stored batches with rules and triggers: each class its own stream, one of them home."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from agent.batch.catalog import Catalog
from agent.batch.codec import decode_batch
from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config import CollectConfig, TriggerConfig
from agent.config.collecting import priorities_in_use, reporting_priority
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import FrameBlock, Gap, GapKind, MessageDefinition, SignalDefinition
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from agent.units import Duration
from tests.unit.pipeline.test_packer import T0_NS, ListStore, S, StoppedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.batch.codec import Batch
    from agent.model import SealedBatch

DRIVE = MessageDefinition("can0", 0x100, "DRIVE", 2, (SignalDefinition("SPEED", 0, 8), SignalDefinition("GEAR", 8, 8)))
CATALOG = Catalog(("can0",), (DRIVE,))
SLOW = CollectConfig(signal="SPEED", every=Duration.parse("1s"), priority=Priority.BULK)
FAST = CollectConfig(signal="GEAR")
NORMAL_AND_BULK: tuple[tuple[Priority, int], ...] = ((Priority.NORMAL, 30), (Priority.BULK, 3))
HARD = TriggerConfig(name="hard", when="SPEED > 200", before=Duration.parse("2s"), after=Duration.parse("1s"))


class Car:
    """A packer with rules, and a store for each class."""

    def __init__(self, rules: Sequence[CollectConfig], triggers: Sequence[TriggerConfig] = ()) -> None:
        self.rules, self.triggers = rules, triggers
        used = priorities_in_use(rules, triggers)
        self.stores: dict[Priority, ListStore] = {name: ListStore(f"{name}-1") for name in used}
        self.wire()

    def wire(self, collector: Collector | None = None) -> None:
        """To the stores as they are."""
        rules, triggers = self.rules, self.triggers
        home = reporting_priority(rules, triggers)
        streams = {name: Stream(CATALOG, store, settings(name), StoppedClock()) for name, store in self.stores.items()}
        decoder, directory = Decoder(Plan(CATALOG.buses, CATALOG.messages)), Directory(CATALOG.messages)
        self.collector = collector or Collector(
            decoder.plan,
            RuleBook.of(rules),
            home,
            [Trigger.of(trigger, directory) for trigger in triggers],
            lambda frames: decoder.decode(frames).signals,
            1 << 20,
        )
        self.packer = Packer(decoder, streams, home, self.collector)

    def batches(self, name: Priority) -> list[Batch]:
        return [decode_batch(each.payload, CATALOG) for each in self.stores[name].batches]

    def values(self, name: Priority, signal: int) -> list[int]:
        groups = [group for batch in self.batches(name) for group in batch.groups]
        return [int(value) for group in groups if signal in group.columns for value in group.columns[signal]]


def settings(name: Priority) -> StreamSettings:
    return StreamSettings(
        "car-1", 1_000_000, 3, SealLimits(10 * S, 48 << 10), seals_each_block=name is Priority.CRITICAL
    )


def frames(begin_s: float, speeds: Sequence[int], *, every_s: float = 0.1, can_id: int = 0x100) -> FrameBlock:
    rows = len(speeds)
    data = np.zeros((rows, 8), np.uint8)
    data[:, 0], data[:, 1] = speeds, np.arange(rows)
    return FrameBlock(
        T0_NS + ((begin_s + np.arange(rows) * every_s) * S).astype(np.int64),
        np.zeros(rows, np.uint8),
        np.full(rows, can_id, np.uint32),
        np.full(rows, 2, np.uint8),
        np.zeros(rows, np.uint8),
        data,
    )


class Killed(BaseException):
    """The process ends here."""


@dataclass
class LastStore(ListStore):
    """Ends the process at its n-th note."""

    left: int = 0

    def append_entry(self, entry: bytes) -> bool:
        if not self.left:
            raise Killed
        self.left -= 1
        return super().append_entry(entry)


@pytest.mark.parametrize("name", [Priority.NORMAL, Priority.BULK])
def test_what_the_reporting_stream_has_journaled_every_other_has(name: Priority) -> None:
    car = Car([replace(SLOW, every=None), FAST])
    car.stores[name] = LastStore(f"{name}-1", left=3)
    car.wire()
    with contextlib.suppress(Killed):
        for second in range(9):
            car.packer.process(frames(second, range(10)))
    noted = {each: [decode_batch(entry, CATALOG) for entry in store.entries] for each, store in car.stores.items()}
    home_ns = max(batch.sealed_ns for batch in noted[Priority.NORMAL])
    assert home_ns <= max(batch.sealed_ns for batch in noted[Priority.BULK])
    assert len(noted[name]) == 3


def test_each_priority_gets_what_its_rules_keep_and_one_reports_the_frames() -> None:
    car = Car([SLOW, FAST])
    for second in range(3):
        car.packer.process(frames(second, range(10 * second, 10 * second + 10)))
        car.packer.process(frames(second + 0.95, [0], can_id=0x7FF))
    car.packer.seal()
    assert car.values(Priority.BULK, 0) == [9, 19, 29]
    assert car.values(Priority.NORMAL, 1) == list(range(10)) * 3
    assert [batch.frames for batch in car.batches(Priority.NORMAL)] == [33]
    assert [count.frames for batch in car.batches(Priority.NORMAL) for count in batch.unknown] == [3]
    assert [batch.frames for batch in car.batches(Priority.BULK)] == [0]
    assert car.stores[Priority.BULK].batches[0].frames == 3
    assert car.packer.counters.as_dict() == {
        "frames": 33,
        "frames_decoded": 30,
        "frames_unknown": 3,
        "decode_errors": 0,
        "samples": 33,
        "batches": 2,
        "batch_bytes": sum(len(store.batches[0].payload) for store in car.stores.values()),
        "gaps": 0,
        "priorities": {
            str(each): {
                "samples": n,
                "events": 0,
                "batches": 1,
                "batch_bytes": len(car.stores[each].batches[0].payload),
            }
            for each, n in NORMAL_AND_BULK
        },
    }


def test_what_a_trigger_records_is_stored_with_its_event_before_the_next_block() -> None:
    car = Car([SLOW, FAST], [HARD])
    car.packer.process(frames(0, range(30)))
    assert not car.stores[Priority.CRITICAL].batches
    car.packer.process(frames(3, [250, *range(9)]))
    (batch,) = car.batches(Priority.CRITICAL)
    assert [(event.kind, event.subject, event.time_ns) for event in batch.events] == [
        ("triggered", "hard", T0_NS + 3 * S)
    ]
    assert sorted(car.values(Priority.CRITICAL, 0)) == sorted([*range(10, 30), 250, *range(9)])
    assert batch.opened_ns == T0_NS + S
    assert batch.sealed_ns == T0_NS + int(3.9 * S)
    car.packer.process(frames(4, [5, 6]))
    car.packer.process(frames(6, [7]))
    assert sorted(car.values(Priority.CRITICAL, 0))[-1] == 250
    assert len(car.batches(Priority.CRITICAL)) == 2


def test_samples_that_were_put_by_do_not_end_the_batch_that_they_come_into() -> None:
    least = CollectConfig(signal="SPEED", every=Duration.parse("5s"), value="min")
    car = Car([least, FAST])
    for second in range(9):
        car.packer.process(frames(second, [second] * 10))
    assert not car.stores[Priority.NORMAL].batches
    car.packer.seal()
    assert len(car.batches(Priority.NORMAL)) == 1
    assert car.values(Priority.NORMAL, 0) == [0, 5]


def test_a_priority_without_new_samples_is_sealed_when_its_interval_is_over() -> None:
    car = Car([CollectConfig(signal="SPEED", on_change=True, priority=Priority.BULK), FAST])
    car.packer.process(frames(0, [1] * 10))
    for second in range(1, 12):
        car.packer.process(frames(second, [1] * 10))
    assert car.values(Priority.BULK, 0) == [1]


def test_what_each_priority_has_journaled_becomes_its_open_batch_again() -> None:
    car, reborn = Car([SLOW, FAST]), Car([SLOW, FAST])
    for second in range(3):
        car.packer.process(frames(second, range(10)))
    for name, store in car.stores.items():
        assert store.entries
        reborn.packer.recover(name, [decode_batch(entry, CATALOG) for entry in store.entries], CATALOG)
    assert reborn.values(Priority.NORMAL, 1) == list(range(10)) * 3
    assert reborn.values(Priority.BULK, 0) == [9, 9]
    assert [batch.frames for batch in reborn.batches(Priority.NORMAL)] == [30]


def test_the_last_of_an_open_interval_arrives_when_the_buses_fall_silent() -> None:
    car = Car([CollectConfig(signal="SPEED", every=Duration.parse("1h"))])
    car.packer.process(frames(0, [1, 2, 3]))
    car.packer.seal()
    assert car.values(Priority.NORMAL, 0) == [3]
    assert not car.packer.has_open_batch
    car.packer.process(frames(1, [4]))
    assert car.packer.has_open_batch


def test_next_packer_of_a_collector_gets_what_is_held_back() -> None:
    car = Car([CollectConfig(signal="SPEED", every=Duration.parse("1h"), value="max")])
    car.packer.process(frames(0, [1, 9, 3]))
    first, collector = car.packer, car.collector
    first.hand_over()
    first.seal()
    assert not first.has_open_batch
    assert car.values(Priority.NORMAL, 0) == []
    car.wire(collector)
    assert car.packer.has_open_batch, "it is sealed even if nothing comes any more"
    car.packer.process(frames(1, [4]))
    car.packer.seal()
    assert car.values(Priority.NORMAL, 0) == [9]


def test_gaps_without_frames_go_with_the_next_batch_of_the_reporting_stream() -> None:
    car = Car([SLOW, FAST], [HARD])
    car.stores[Priority.CRITICAL].add_gap(Gap(GapKind.EVICTED, 1, 2, 3, "critical-1", 0, 4))
    car.packer.process(frames(0, [1] * 10))
    assert not car.stores[Priority.CRITICAL].batches
    car.packer.process(frames(11, [1] * 10))
    (batch,) = car.batches(Priority.CRITICAL)
    assert (batch.frames, batch.groups) == (0, ())
    assert [gap.kind for gap in batch.gaps] == [GapKind.EVICTED]


def test_gaps_of_a_priority_used_no_more_are_reported_without_rules_too() -> None:
    store, leftover = ListStore("normal-1"), ListStore("bulk-1")
    stores: dict[Priority, ListStore] = {Priority.NORMAL: store, Priority.BULK: leftover}
    streams = {name: Stream(CATALOG, each, settings(name), StoppedClock()) for name, each in stores.items()}
    packer = Packer(Decoder(Plan(CATALOG.buses, CATALOG.messages)), streams)
    for each in stores.values():
        each.add_gap(Gap(GapKind.EVICTED, 1, 2, 3, each.stream, 0, 4))
    packer.process(frames(0, [1] * 10))
    assert not leftover.batches
    packer.process(frames(11, [1] * 10))
    told = [[gap.stream for gap in decode_batch(batch.payload).gaps] for batch in (*store.batches, *leftover.batches)]
    assert told == [["normal-1"], ["bulk-1"]]


def test_a_gap_of_the_reporting_stream_waits_for_its_next_batch() -> None:
    class Evicting(ListStore):
        def append(self, batches: Sequence[SealedBatch]) -> None:
            super().append(batches)
            self.add_gap(Gap(GapKind.EVICTED, 1, 2, 3, self.stream, 0, 4))

    for rules in ([], [FAST]):
        car = Car(rules)
        car.stores[Priority.NORMAL] = Evicting("normal-1")
        car.wire()
        for second in range(31):
            car.packer.process(frames(second, [1] * 10))
        assert [len(batch.gaps) for batch in car.batches(Priority.NORMAL)] == [0, 1, 1]


@pytest.mark.parametrize("cuts", [(30,), (7, 23, 30), tuple(range(1, 31))])
def test_what_is_kept_does_not_depend_on_how_the_frames_come(cuts: tuple[int, ...]) -> None:
    car = Car([SLOW, FAST], [HARD])
    drive = frames(0, [*range(12), 250, *range(17)])
    for begin, end in zip((0, *cuts), cuts, strict=False):
        car.packer.process(drive.slice(begin, end))
    car.packer.seal()
    assert car.values(Priority.BULK, 0) == [9, 16]  # the last of the second between is critical already
    assert sorted(car.values(Priority.CRITICAL, 0)) == sorted([*range(12), 250, *range(10)])


def test_a_block_of_unknown_frames_alone_is_counted_without_rules_as_with_them() -> None:
    for rules in ([], [FAST]):
        car = Car(rules)
        car.packer.process(frames(0, range(10), can_id=0x555))
        car.packer.process(frames(1, range(10)))
        car.packer.seal()
        (batch,) = car.batches(Priority.NORMAL)
        assert batch.frames == 20
        assert car.values(Priority.NORMAL, 1) == list(range(10))
