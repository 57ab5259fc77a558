# SPDX-License-Identifier: Apache-2.0
"""Does the agent grow? Its memory over many batches, each decoded, sealed, spooled, sent and acknowledged.

    python tests/benchmarks/endurance.py [--batches 200000] [--json]

The simulated car drives as fast as decoder, spool and a real mosquitto on this machine allow, a tenth of a second a
batch. Resident memory is read after a tenth of the batches, when every buffer and cache has been used, and then
twenty times until the end, each told on stderr; `growth_mb` is the median of the last five readings less that of the
first five.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import psutil

from agent.config import demo_car_dbc, load_config
from agent.daemon.assembly import load_decoding, open_agent
from agent.sources.demo_car import SECOND_NS, DemoCar
from agent.system import process
from agent.system.clock import SystemClock
from agent.system.log import configure_logging
from tests.benchmarks.whole_agent import broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.model import FrameBlock

CONFIG = """
[vehicle]
id = "endurance"
[[bus]]
name = "car"
interface = "simulator"
[batch]
interval = "100ms"
[spool]
path = "spool"
limit = "64MiB"
min_free = "0B"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
no_subscribers = "accept"
"""
BACKLOG_BATCHES_MAX = 64
READINGS = 20
MEDIAN_OF = 5


def drive() -> Iterator[FrameBlock]:
    """A tenth of a second after the other, for ever."""
    car, second = DemoCar(demo_car_dbc(), 1), 0
    while True:
        block = car.second(second)
        cuts = np.searchsorted(block.time_ns, second * SECOND_NS + np.arange(11) * SECOND_NS // 10)
        for begin, end in itertools.pairwise(cuts.tolist()):
            if end > begin:
                yield block.slice(begin, end)
        second += 1


async def endure(folder: Path, port: int, batches: int) -> list[float]:
    """Resident memory, MB, at each reading."""
    file = folder / "agent.toml"
    file.write_text(CONFIG.format(port=port), encoding="utf-8")
    config, clock, process = load_config(file), SystemClock(), psutil.Process()
    decoding = load_decoding(config)
    read_at = np.linspace(batches // 10, batches, READINGS).astype(int).tolist()
    readings: list[float] = []
    async with open_agent(config, decoding, clock) as agent, asyncio.TaskGroup() as tasks:
        await agent.recover(config, decoding, clock)
        sending = tasks.create_task(agent.sender.run(), name="uplink")
        for block in drive():
            await agent.worker.call(agent.packer.process, block)
            agent.sender.batch_available.set()
            sealed = agent.packer.counters.batches
            while sealed - agent.sender.state().acknowledged_batches > BACKLOG_BATCHES_MAX:
                await asyncio.sleep(0.001)
            if sealed >= read_at[len(readings)]:
                readings.append(process.memory_info().rss / 1e6)
                print(f"{sealed} batches: {readings[-1]:.1f} MB", file=sys.stderr, flush=True)
                if len(readings) == READINGS:
                    break
        await agent.sender.drain(60.0)
        await sending
        assert not any(stats.records for stats in agent.storage.stats().values())
    return readings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="the agent's memory over many batches")
    parser.add_argument("--batches", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    process.configure_allocator()
    configure_logging("error")
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as port:
        readings = asyncio.run(endure(Path(folder), port, arguments.batches))
    begin, end = statistics.median(readings[:MEDIAN_OF]), statistics.median(readings[-MEDIAN_OF:])
    result = {
        "batches": arguments.batches,
        "rss_mb_begin": round(begin, 1),
        "rss_mb_end": round(end, 1),
        "rss_mb_max": round(max(readings), 1),
        "growth_mb": round(end - begin, 1),
    }
    print(json.dumps(result) if arguments.json else "\n".join(f"{key:<16}{value:>12}" for key, value in result.items()))


if __name__ == "__main__":
    main()
