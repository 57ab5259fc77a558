# SPDX-License-Identifier: Apache-2.0
"""What two settings of `[batch]` cost on a recorded drive: the finest `time_resolution`, and zstd level 16.

    python tests/benchmarks/batch_settings.py LOG --dbc [BUS=]FILE … [--rounds 7] [--json]

The log goes through the pipeline once with the defaults and once with each setting; told is how many times the bytes of
the defaults' batches the others have. How much longer the level compresses is told by the median of the rounds, of
processor time, in which it and the default's level alternate over the content of the same batches. A log whose own
times are coarse has little to gain from fine ones, and so costs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.batch.frame import compress, decompress
from agent.config import BatchConfig, config_from_arguments
from agent.daemon.replay import replay_into
from agent.sources.replay import log_channels, read_log
from agent.system.log import configure_logging
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULTS = BatchConfig()
FINE = BatchConfig(time_resolution=Duration.parse("1us"))
SLOW = BatchConfig(compression_level=16)
CONTENT_BYTES_MAX = 16 << 20


def batches(log: Path, dbc: Sequence[str], batch: BatchConfig) -> list[bytes]:
    """What the log becomes under these settings."""
    config = config_from_arguments(log, dbc, buses=list(log_channels(log)), batch=batch)
    indexes = {bus.name: index for index, bus in enumerate(config.buses)}
    with tempfile.TemporaryDirectory() as folder, read_log(log, buses=indexes) as blocks:
        replay_into(config, blocks, Path(folder))
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.batch.zst"))]


def compressing_s(contents: Sequence[bytes], level: int) -> float:
    begun = time.process_time()
    for content in contents:
        compress([content], level)
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--dbc", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    configure_logging("warning")
    made = batches(args.log, args.dbc, DEFAULTS)
    contents = [decompress(batch, CONTENT_BYTES_MAX) for batch in made]
    size_bytes = {
        name: sum(map(len, batches(args.log, args.dbc, settings))) for name, settings in (("1us", FINE), ("16", SLOW))
    }
    rounds = [
        compressing_s(contents, SLOW.compression_level) / compressing_s(contents, DEFAULTS.compression_level)
        for _ in range(args.rounds)
    ]
    whole = sum(map(len, made))
    result = {
        "batches": len(made),
        "batch_bytes": whole,
        "1us_times_the_bytes": round(size_bytes["1us"] / whole, 3),
        "level_16_times_the_bytes": round(size_bytes["16"] / whole, 3),
        "level_16_times_the_compressing": round(statistics.median(rounds), 2),
    }
    print(json.dumps(result) if args.json else "\n".join(f"{name:<32}{value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
