# SPDX-License-Identifier: Apache-2.0
"""What a multiplexed frame costs to decode beside a plain one with as many signals: ``python -m
tests.benchmarks.multiplexed [--baseline FOLDER] [--runs 9]``.

The plain twin of a block has the same frames, values and signals, but an id of its own for each set of signals that a
multiplexor selects: what is measured is the finding out alone. Blocks are of generated databases, and of the recordings
in ``../shared/data``, in pieces of 0.7 s as the daemon has them, and in pieces of 2,000 frames.

Every figure is µs of processor time a frame, the median of so many runs, each a process of its own. `--baseline` names
a folder with another version of the package, which is run in turn with this one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.decoder import Decoder
from agent.decode.loading import load_databases
from agent.decode.plan import Plan
from agent.model import FrameBlock, MessageDefinition, SignalDefinition
from agent.sources.replay import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
LOGS = {
    "mustang_drive": {"can0": "mustang.dbc"},
    "obd2_gnss_drive": {"can1": "obd2.dbc", "can2": "gnss.dbc"},
}
_TWIN = importlib.util.spec_from_file_location("twin", ROOT / "agent" / "cli" / "plain_twin.py")
assert _TWIN is not None
assert _TWIN.loader is not None
twins = importlib.util.module_from_spec(_TWIN)  # of this version, whichever is measured
_TWIN.loader.exec_module(twins)
FRAMES_MAX = 60_000
PASSES = 5
BLOCK_NS, BLOCK_FRAMES = 700_000_000, 2_000
GENERATED = ((20, 8, 6), (40, 4, 3), (5, 16, 6), (10, 64, 6))
"""Messages, values of the multiplexor of each, signals that one selects."""


def generated(messages: int, values: int, selected: int) -> tuple[FrameBlock, Plan]:
    """Frames of messages with a multiplexor, a signal that is always there, and those of each value."""
    width = 48 // selected
    definitions = []
    for number in range(messages):
        signals = [SignalDefinition("MODE", 0, 8, multiplexor=True), SignalDefinition("ALWAYS", 8, 8)]
        signals += [
            SignalDefinition(
                f"S{value}_{n}", 16 + width * n, width, selected_by="MODE", selected_when=((value, value),)
            )
            for value in range(values)
            for n in range(selected)
        ]
        definitions.append(MessageDefinition("can0", 0x100 + number, f"M{number}", 8, tuple(signals)))
    dice = np.random.default_rng(7)
    data = dice.integers(0, 256, (FRAMES_MAX, 8), dtype=np.uint8)
    data[:, 0] = dice.integers(0, values, FRAMES_MAX)
    ids = (0x100 + dice.integers(0, messages, FRAMES_MAX)).astype(np.uint32)
    return frames_of(np.arange(FRAMES_MAX) * 250_000, ids, data), Plan(("can0",), definitions)


def frames_of(time_ns: np.ndarray, can_id: np.ndarray, data: np.ndarray) -> FrameBlock:
    none = np.zeros(len(can_id), np.uint8)
    return FrameBlock(time_ns.astype(np.int64), none, can_id, np.full(len(can_id), 8, np.uint8), none, data)


def recorded(name: str) -> tuple[FrameBlock, Plan]:
    """The frames that the DBC files know of a recording's beginning."""
    files = LOGS[name]
    loaded = load_databases([(bus, DATA / file) for bus, file in files.items()])
    plan, taken, count = Plan(list(files), loaded.messages), [], 0
    with read_log(DATA / f"{name}.log.xz", buses={bus: n for n, bus in enumerate(files)}, quiet=True) as blocks:
        for block in blocks:
            known = [(bus, can_id) in plan.plain for bus, can_id in zip(block.bus, block.can_id, strict=True)]
            taken.append(block.chosen(np.array(known, np.bool_)))
            count += len(taken[-1])
            if count >= FRAMES_MAX:
                break
    return FrameBlock.concatenate(taken).slice(0, FRAMES_MAX), plan


def by_time(frames: FrameBlock) -> list[FrameBlock]:
    cuts = np.flatnonzero(np.diff(frames.time_ns // BLOCK_NS)) + 1
    ends = [0, *cuts.tolist(), len(frames)]
    return [frames.slice(begin, end) for begin, end in pairwise(ends)]


def by_number(frames: FrameBlock) -> list[FrameBlock]:
    return [frames.slice(begin, begin + BLOCK_FRAMES) for begin in range(0, len(frames), BLOCK_FRAMES)]


def cost_us(blocks: Sequence[FrameBlock], plan: Plan) -> float:
    decoder, passes = Decoder(plan), []
    for number in range(PASSES + 1):
        begun = time.process_time()
        for block in blocks:
            decoder.decode(block)
        passes += [time.process_time() - begun] if number else []
    return statistics.median(passes) * 1e6 / sum(map(len, blocks))


def cases() -> Iterator[tuple[str, FrameBlock, Plan]]:
    for messages, values, selected in GENERATED:
        yield f"generated, {messages} x {values} x {selected}", *generated(messages, values, selected)
    if not DATA.is_dir():
        return
    for name in LOGS:
        frames, plan = recorded(name)
        yield name, frames, plan
        if len(only := twins.multiplexed_only(frames, plan)):
            yield f"{name}, multiplexed frames alone", only, plan


def measure() -> dict[str, tuple[float, float]]:
    """By case: the blocks as they are, and their plain twins."""
    found = {}
    for name, frames, plan in cases():
        twin = twins.plain_twin(frames, plan)
        assert twin is not None
        plain, plain_plan = twin
        for how, cut in (("0.7 s", by_time), ("2,000 frames", by_number)):
            found[f"{name}, by {how}"] = cost_us(cut(frames), plan), cost_us(cut(plain), plain_plan)
    return found


def run(package: Path) -> dict[str, tuple[float, float]]:
    """`measure` in a process of its own, with the package in a folder."""
    command = [sys.executable, __file__, "--worker"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(package)}, stdout=subprocess.PIPE, check=True)
    measured: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure()))
        return
    packages = [ROOT, *([options.baseline] if options.baseline else [])]
    runs = [[run(package) for package in packages] for _ in range(options.runs)]
    print(f"{'µs a frame':58} multiplexed  plain  ratio{'   baseline  of it' if options.baseline else ''}")
    for name in runs[0][0]:
        ours, plain = (statistics.median(each[0][name][n] for each in runs) for n in (0, 1))
        line = f"{name:58} {ours:11.3f} {plain:6.3f} {ours / plain:6.2f}"
        if options.baseline:
            before = statistics.median(each[1][name][0] for each in runs)
            line += f" {before:10.3f} {ours / before:6.2f}"
        print(line)


if __name__ == "__main__":
    main()
