# SPDX-License-Identifier: Apache-2.0
"""A bus on which somebody sends what no car does, through decoder, collector and stream: ``python -m
tests.faults.hostile KIND [rules]`` prints what its blocks cost beside those of an ordinary bus.

A block is 0.7 s of 4,000 frames/s. First come ordinary ones; from then on the process may take `MORE_BYTES` more
address space than it has, and ends with a MemoryError where it wants more.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.catalog import Catalog
from agent.collect.collector import Collector
from agent.collect.rules.rules import RuleBook
from agent.config.collecting import CollectConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, FrameBlock, MessageDefinition, SealedBatch, SignalDefinition
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from agent.pipeline.traffic import TrafficStatistics
from agent.system import process
from agent.system.clock import LogClock
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.model import Gap

FRAMES, BLOCK_NS = 2_800, 700_000_000
ORDINARY_BLOCKS, HOSTILE_BLOCKS = 20, 30
MORE_BYTES = 90 << 20
VALUES = 2_000
SECOND = Duration.parse("1s")
RULES = (
    CollectConfig(every=SECOND),
    CollectConfig(every=Duration.parse("10s"), value="mean"),
    CollectConfig(on_change=True, priority=Priority.BULK),
    CollectConfig(signal="byte?", every=Duration.parse("10s"), value="max", stale_after=SECOND),
)


def messages() -> list[MessageDefinition]:
    """Forty plain ones, one with two thousand multiplexor values, one with two multiplexors, twenty of J1939."""
    eight = tuple(SignalDefinition(f"S{n}", 8 * n, 8) for n in range(8))
    many = [SignalDefinition("MODE", 0, 11, multiplexor=True)]
    many += [
        SignalDefinition(f"V{value}_{n}", 16 + 16 * n, 16, selected_by="MODE", selected_when=((value, value),))
        for value in range(VALUES)
        for n in range(2)
    ]
    two = [SignalDefinition("ONE", 0, 16, multiplexor=True), SignalDefinition("TWO", 16, 16, multiplexor=True)]
    two += [
        SignalDefinition(f"{name}{n}", 32 + place, 8, selected_by=name, selected_when=((n << 8, (n << 8) + 255),))
        for place, name in ((0, "ONE"), (16, "TWO"))
        for n in range(256)
    ]
    return [
        *(MessageDefinition("can0", 0x100 + n, f"PLAIN{n}", 8, eight) for n in range(40)),
        MessageDefinition("can0", 0x300, "MANY", 8, tuple(many)),
        MessageDefinition("can0", 0x301, "TWO", 8, tuple(two)),
        *(MessageDefinition("can0", 0x18FE0000 | n << 8 | EXTENDED, f"J{n}", 8, eight, True) for n in range(20)),
    ]


class Bus:
    """Its frames, block after block; a tenth of them are ordinary."""

    def __init__(self) -> None:
        self._dice = np.random.default_rng(5)
        self._time_ns = 1_700_000_000 * 10**9

    def block(self, kind: str) -> FrameBlock:
        dice = self._dice
        ids = 0x100 + dice.integers(0, 40, FRAMES)
        length = 64 if kind == "raw_fd" else 8
        data = dice.integers(0, 256, (FRAMES, length), dtype=np.uint8)
        if kind == "ordinary":
            data &= 3
        else:
            hostile = dice.random(FRAMES) < 0.9
            ids[hostile] = self._ids(kind)[hostile]
        time_ns = self._time_ns + np.arange(FRAMES) * BLOCK_NS // FRAMES
        self._time_ns += BLOCK_NS
        none = np.zeros(FRAMES, np.uint8)
        return FrameBlock(time_ns, none, ids.astype(np.uint32), np.full(FRAMES, length, np.uint8), none, data)

    def _ids(self, kind: str) -> np.ndarray:
        dice = self._dice
        if kind in ("multiplexor", "multiplexors"):
            return np.full(FRAMES, 0x300 if kind == "multiplexor" else 0x301)
        if kind == "j1939":
            pgn, rest = dice.integers(0, 20, FRAMES), dice.integers(0, 1 << 11, FRAMES)
            return 0x00FE0000 | pgn << 8 | rest & 0xFF | rest >> 8 << 26 | EXTENDED
        return dice.integers(0, 1 << 29, FRAMES) | EXTENDED


class Nowhere:
    """A store that keeps nothing."""

    stream, has_journal, next_sequence, largest = "stream", True, 0, 0

    def append_entry(self, entry: bytes) -> bool:
        return bool(entry)

    def add_gap(self, gap: Gap) -> None:
        raise AssertionError(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        return ()

    def append(self, batches: Sequence[SealedBatch]) -> None:
        self.next_sequence += len(batches)
        self.largest = max(self.largest, *(len(batch.payload) for batch in batches))


def agent(*, with_rules: bool, keep_unknown: bool) -> tuple[Packer, Nowhere]:
    plan = Plan(("can0",), messages(), keep_unknown=frozenset({"can0"} if keep_unknown else ()))
    decoder, store = Decoder(plan), Nowhere()
    settings = StreamSettings("car", 1_000, 8, SealLimits(10 * 10**9, 48 << 10))
    clock = LogClock()
    streams = {
        Priority.NORMAL: Stream(Catalog(plan.buses, plan.messages), store, settings, clock),
        Priority.BULK: Stream(Catalog(plan.buses, plan.messages), store, settings, clock),
    }
    collector = Collector(plan, RuleBook.of(RULES), decode=decoder.decode_again) if with_rules else None
    return Packer(decoder, streams, Priority.NORMAL, collector, traffic=TrafficStatistics(1)), store


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def cost_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main(kind: str, rules: str = "") -> None:
    process.configure_allocator()
    packer, store = agent(with_rules=bool(rules), keep_unknown=kind.startswith("raw"))
    bus = Bus()
    ordinary = [cost_s(lambda: packer.process(bus.block("ordinary"))) for _ in range(ORDINARY_BLOCKS)]
    limit_memory()
    before = packer.counters.frames
    hostile = [cost_s(lambda: packer.process(bus.block(kind))) for _ in range(HOSTILE_BLOCKS)]
    packer.seal()
    counters = packer.counters
    found = {
        "ratio": statistics.mean(hostile) / statistics.mean(ordinary),
        "worst_ratio": max(hostile) / statistics.mean(ordinary),
        "share": statistics.mean(hostile) / (BLOCK_NS / 1e9),
        "frames": counters.frames - before,
        "accounted": counters.frames_decoded + counters.frames_unknown - before,
        "ordinary_decoded": counters.frames_decoded - before,
        "decode_errors": counters.decode_errors,
        "largest_bytes": store.largest,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
