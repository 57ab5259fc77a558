# SPDX-License-Identifier: Apache-2.0
"""What fifty rules and twenty triggers cost on a recorded drive, beside the decoding of its frames.

    python tests/benchmarks/collect.py [--rounds 7] [--block-ms 100] [--json]

Measured: the time of each `Collector.take` of a decoded block, and of the `Decoder.decode` that makes it; rounds of the
two alternate, so that whatever else the machine does meets both. Of each block the median of the rounds counts, so that
a pause of the machine, which is longer than many blocks, does not; printed is their sum, by frame. The ring's memory is
what its arrays take when it is full, against its setting.

The rules are of all kinds: whole messages, at most so often (last, first, min, max, mean), on change with a dead band,
stale, taken back. The conditions are of all kinds too; most hold rarely, as an engineer's would, and what they record
is decoded and cut within the time that is measured.
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

from agent.config.priorities import Priority

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.collect.triggers.windows import Ring
from agent.config import CollectConfig, TriggerConfig
from agent.decode.decoder import Decoder
from agent.decode.loading import load_databases
from agent.decode.plan import Plan
from agent.model import FrameBlock
from agent.sources.replay import read_log
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.collect.rules.rules import Value
    from agent.model import SignalBlock

DATA = Path(__file__).parents[3] / "shared" / "data"
RING_BYTES = 2 << 20
VALUES: tuple[Value, ...] = ("last", "first", "min", "max", "mean")


def duration(text: str) -> Duration:
    return Duration.parse(text)


def rules() -> list[CollectConfig]:
    """Fifty."""
    tracks = [
        CollectConfig(message=f"TRACK_A_{number}", signal="LONG_DIST", every=duration("500ms"), value=value)
        for number, value in enumerate(VALUES * 3)
    ]
    far = [
        CollectConfig(message=f"TRACK_B_{number}", every=duration("1s"), priority=Priority.BULK) for number in range(16)
    ]
    names = ("STEER_ANGLE", "STEER_RATE", "YAW_RATE", "ACCEL_X", "BRAKE_FORCE", "BRAKE_AMOUNT", "SPEED", "GAS_PEDAL*")
    changes = [CollectConfig(signal=name, on_change=True, deadband=0.5) for name in names]
    summaries = [
        CollectConfig(signal=f"WHEEL_SPEED_{wheel}", every=duration("2s"), value=value, priority=Priority.CRITICAL)
        for wheel, value in zip(("RL", "FR", "FL", "RR"), VALUES[1:], strict=True)
    ]
    return [
        CollectConfig(every=duration("10s"), priority=Priority.BULK, ttl=duration("48h")),
        *tracks,
        *far,
        *changes,
        *summaries,
        CollectConfig(message="STEER_TORQUE_SENSOR"),
        CollectConfig(signal="GEAR", on_change=True, stale_after=duration("5s"), priority=Priority.CRITICAL),
        CollectConfig(signal=("*FAULT*", "*ERROR*"), on_change=True, priority=Priority.CRITICAL),
        CollectConfig(message="ESP_CONTROL", every=duration("1s"), on_change=True),
        CollectConfig(signal=("CHECKSUM", "COUNTER"), keep=False),
        CollectConfig(message="PCM_CRUISE*", stale_after=duration("2s")),
    ]


def triggers() -> list[TriggerConfig]:
    """Twenty."""
    wheels = ["FR", "FL", "RR", "RL"]
    conditions = [
        "abs(STEER_ANGLE_SENSOR.STEER_ANGLE) > 90",
        "BRAKE_FORCE > 400 [N] and SPEED > 30 [km/h]",
        "rising(GAS_PEDAL.GAS_PEDAL > 0.5)",
        "mean(SPEED over 5s) > 120",
        "max(STEER_RATE over 2s) > 300",
        "min(ACCEL_X over 1s) < -5",
        "count(STEER_ANGLE_SENSOR over 1s) < 50",
        "changed(GEAR_PACKET.GEAR)",
        "YAW_RATE > 40 or YAW_RATE < -40",
        "SPEED > 100 and not GAS_PEDAL.GAS_PEDAL > 0.05",
        *(f"WHEEL_SPEED_{wheel} - SPEED > 20" for wheel in wheels),
        *(f"TRACK_A_{number}.LONG_DIST < 5 and SPEED > 50" for number in range(6)),
    ]
    return [
        TriggerConfig(
            name=f"event{number}",
            when=condition,
            at_most_every=duration("10s"),
            before=duration("5s"),
            after=duration("2s"),
            record=("SPEED", "WHEEL_SPEED_*", "STEER_*", "BRAKE_*"),
        )
        for number, condition in enumerate(conditions)
    ]


def cut(frames: FrameBlock, span_ms: int) -> list[FrameBlock]:
    span = (frames.time_ns - frames.time_ns[0]) // (span_ms * 1_000_000)
    cuts = [0, *(np.flatnonzero(np.diff(span)) + 1).tolist(), len(frames)]
    return [frames.slice(begin, end) for begin, end in pairwise(cuts)]


def timed(work: Iterable[object]) -> list[int]:
    """Nanoseconds that each step took."""
    marks = [time.perf_counter_ns(), *(time.perf_counter_ns() for _ in work)]
    return [end - begin for begin, end in pairwise(marks)]


def us_per_frame(rounds: list[list[int]], frames: int) -> float:
    """The sum of the blocks' medians."""
    return float(np.median(np.array(rounds), axis=0).sum()) / frames / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block-ms", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    buses = {"can0": DATA / "rav4_powertrain.dbc", "can1": DATA / "rav4_radar.dbc"}
    messages = load_databases(list(buses.items()), j1939={}).messages
    plan, directory = Plan(list(buses), messages), Directory(messages)
    with read_log(DATA / "rav4_highway.log.xz", buses={name: index for index, name in enumerate(buses)}) as found:
        frames = FrameBlock.concatenate(list(found))
    blocks = cut(frames, args.block_ms)
    decoder = Decoder(plan)
    decoded: list[SignalBlock] = [decoder.decode(block).signals for block in blocks]

    def fresh() -> Collector:
        made = [Trigger.of(trigger, directory) for trigger in triggers()]
        return Collector(
            plan, RuleBook.of(rules()), Priority.NORMAL, made, lambda frames: decoder.decode(frames).signals, RING_BYTES
        )

    def collect(collector: Collector) -> Iterator[None]:
        for block, signals in zip(blocks, decoded, strict=True):
            kept = collector.take(block, signals)
            events.append(sum(map(len, kept.events.values())))
            yield

    events: list[int] = []
    collecting, decoding = [], []
    for _ in range(args.rounds):
        decoding.append(timed(decoder.decode(block) for block in blocks))
        collecting.append(timed(collect(fresh())))
    collect_us, decode_us = us_per_frame(collecting, len(frames)), us_per_frame(decoding, len(frames))
    ring = Ring(RING_BYTES)
    for block in blocks:
        ring.append(block, block.time_ns)
    result = {
        "frames": len(frames),
        "rules": len(rules()),
        "triggers": len(triggers()),
        "events": sum(events) // args.rounds,
        "block_ms": args.block_ms,
        "frames_a_block": round(len(frames) / len(blocks), 1),
        "collect_us_per_frame": round(collect_us, 3),
        "decode_us_per_frame": round(decode_us, 3),
        "collect_to_decode": round(collect_us / decode_us, 2),
        "ring_bytes_of_setting": round(ring.size_bytes / RING_BYTES, 4),
    }
    print(json.dumps(result) if args.json else "\n".join(f"{name:<24}{value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
