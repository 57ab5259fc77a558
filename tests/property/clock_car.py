# SPDX-License-Identifier: Apache-2.0
"""The small car's agent on a unit whose clock is set now and then, and what a receiver makes of its batches.

Frames come at times since boot and bear the wall clock of their moment. They are drained a block at a time, and the
clocks are read `lag_ns` later: what comes in between waits for the next block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from agent.batch.catalog import Catalog
from agent.batch.codec import decode_batch
from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import priorities_in_use, reporting_priority
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.model import RAW_SIGNALS
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from agent.receiver.clock_correction import ClockCorrection
from tests.property.clock_history import BLOCK_NS, BOOT, INTERVAL_NS, MS, RIGHT_NS, Unit
from tests.support.collect_car import BUSES, MESSAGES, Frame, block, plan
from tests.unit.pipeline.test_packer import ListStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.batch.codec import Batch
    from agent.config.collecting import CollectConfig, TriggerConfig

CATALOG = Catalog(BUSES, MESSAGES)


@dataclass
class UnitClock:
    """The unit's clocks at some time since boot."""

    unit: Unit
    at_ns: int = 0

    def wall_ns(self) -> int:
        return self.unit.wall(self.at_ns)

    def monotonic_ns(self) -> int:
        return self.at_ns

    def boot_id(self) -> str:
        return BOOT

    def wall_trusted(self) -> bool:
        return self.unit.read(self.at_ns).trusted


@dataclass
class Arrived:
    """What the receiver has, in the order of true time; times in ns since boot.

    samples   class, bus, arbitration id word, signal, time, raw value
    events    class, kind, subject, time
    """

    samples: list[tuple[str, int, int, str, int, int]] = field(default_factory=list)
    events: list[tuple[str, str, str, int]] = field(default_factory=list)

    def take(self, name: str, batch: Batch) -> None:
        for group in batch.groups:
            signals = RAW_SIGNALS if group.message < 0 else MESSAGES[group.message].signals
            for signal, column in group.columns.items():
                times = (group.time_ns[group.rows(signal)] - RIGHT_NS).tolist()
                lane = name, group.bus, group.can_id, signals[signal].name
                self.samples += [(*lane, at, raw) for at, raw in zip(times, column.tolist(), strict=True)]
        self.events += [(name, event.kind, event.subject, event.time_ns - RIGHT_NS) for event in batch.events]
        self.samples.sort()
        self.events.sort()


def arrived(
    unit: Unit, frames: Sequence[Frame], lag_ns: int, rules: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]
) -> Arrived:
    """Of frames by their times since boot."""
    clock, decoder, directory = UnitClock(unit), Decoder(plan()), Directory(MESSAGES)
    home = reporting_priority(rules, triggers)
    stores: dict[Priority, ListStore] = {
        name: ListStore(f"{name}-1", has_journal=False) for name in priorities_in_use(rules, triggers)
    }
    streams = {
        name: Stream(
            CATALOG,
            store,
            StreamSettings("car-1", MS, 1, SealLimits(INTERVAL_NS, 48 << 10), name is Priority.CRITICAL),
            clock,
        )
        for name, store in stores.items()
    }
    collector = Collector(
        decoder.plan,
        RuleBook.of(rules),
        home,
        [Trigger.of(trigger, directory) for trigger in triggers],
        lambda frames: decoder.decode(frames).signals,
        1 << 20,
    )
    packer = Packer(decoder, streams, home, collector)
    for begin, end in _blocks(frames):
        clock.at_ns = frames[end - 1].time_ns + lag_ns
        stamped = [Frame(unit.wall(each.time_ns), each.bus, each.can_id, each.data) for each in frames[begin:end]]
        packer.process(block(stamped))
    packer.seal()
    return _placed(
        {name: [decode_batch(each.payload, CATALOG) for each in store.batches] for name, store in stores.items()}
    )


def _placed(batches: dict[Priority, list[Batch]]) -> Arrived:
    placing, found = ClockCorrection(), Arrived()
    for batch in (batch for each in batches.values() for batch in each):
        placing.learn("car-1", batch.clock)
    for name, each in batches.items():
        for batch in each:
            found.take(str(name), placing.correct(batch).batch)
    return found


def _blocks(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    cuts = [0]
    for place, frame in enumerate(frames):
        if frame.time_ns - frames[cuts[-1]].time_ns >= BLOCK_NS:
            cuts.append(place)
    return list(pairwise([*cuts, len(frames)]))
