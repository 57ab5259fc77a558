# SPDX-License-Identifier: Apache-2.0
"""What fifty rules and twenty triggers cost on a recorded drive, beside the decoding of its frames.

    python tests/benchmarks/collect.py [--rounds 9] [--block-frames 2800] [--json]

Blocks are of 2,800 frames, as the daemon has them of buses with 4,000 frames/s: 0.7 s. The bound is 2 µs a frame.

Measured: the time of each `Collector.process` of a decoded block, and of the `Decoder.decode` that makes it; rounds of
the two alternate, so that whatever else the machine does meets both. Of each block the median of the rounds counts, so
that a pause of the machine does not; printed is their sum, by frame. The ring's memory is what its arrays take when it
is full, against its setting.

Rules and triggers are those of `rav4.toml`; what triggers record is decoded and cut within the time that is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.collect.triggers.windows import Ring
from agent.config import load_config
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.loading import load_databases
from agent.decode.plan import Plan
from agent.model import FrameBlock
from agent.sources.replay import read_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.model import SignalBlock

DATA = Path(__file__).parents[3] / "shared" / "data"
CONFIGURATION = Path(__file__).with_name("rav4.toml")


def cut(frames: FrameBlock, size: int) -> list[FrameBlock]:
    return [frames.slice(begin, min(begin + size, len(frames))) for begin in range(0, len(frames), size)]


def timed(work: Iterable[object]) -> list[int]:
    """Nanoseconds that each step took."""
    marks = [time.perf_counter_ns(), *(time.perf_counter_ns() for _ in work)]
    return [end - begin for begin, end in pairwise(marks)]


def us_per_frame(rounds: list[list[int]], frames: int) -> float:
    """The sum of the blocks' medians."""
    return float(np.median(np.array(rounds), axis=0).sum()) / frames / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block-frames", type=int, default=2800)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    config = load_config(CONFIGURATION)
    ring_bytes = config.agent.ring
    buses = {bus.name: index for index, bus in enumerate(config.buses)}
    messages = load_databases([(bus.name, bus.dbc[0]) for bus in config.buses], j1939={}).messages
    plan, directory = Plan(list(buses), messages), Directory(messages)
    with read_log(DATA / "rav4_highway.log.xz", buses=buses) as found:
        frames = FrameBlock.concatenate(list(found))
    blocks = cut(frames, args.block_frames)
    decoder = Decoder(plan)
    decoded: list[SignalBlock] = [decoder.decode(block).signals for block in blocks]

    def fresh() -> Collector:
        made = [Trigger.of(trigger, directory) for trigger in config.triggers]
        return Collector(
            plan,
            RuleBook.of(config.collect),
            Priority.NORMAL,
            made,
            lambda frames: decoder.decode(frames).signals,
            ring_bytes,
        )

    def collect(collector: Collector) -> Iterator[None]:
        for block, signals in zip(blocks, decoded, strict=True):
            kept = collector.process(block, signals)
            events.append(sum(map(len, kept.events.values())))
            yield

    events: list[int] = []
    collecting, decoding = [], []
    for _ in range(args.rounds):
        decoding.append(timed(decoder.decode(block) for block in blocks))
        collecting.append(timed(collect(fresh())))
    collect_us, decode_us = us_per_frame(collecting, len(frames)), us_per_frame(decoding, len(frames))
    ring = Ring(ring_bytes)
    for block in blocks:
        ring.append(block, block.time_ns)
    result = {
        "frames": len(frames),
        "rules": len(config.collect),
        "triggers": len(config.triggers),
        "events": sum(events) // args.rounds,
        "block_frames": args.block_frames,
        "collect_us_per_frame": round(collect_us, 3),
        "decode_us_per_frame": round(decode_us, 3),
        "collect_to_decode": round(collect_us / decode_us, 2),
        "ring_bytes_of_setting": round(ring.size_bytes / ring_bytes, 4),
    }
    print(json.dumps(result) if args.json else "\n".join(f"{name:<24}{value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
