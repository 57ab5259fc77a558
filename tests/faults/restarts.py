# SPDX-License-Identifier: Apache-2.0
"""Starts of the agent that never come to an end: `python -m tests.faults.restarts CONFIG COUNT SEED`.

Everything is imported once, by a whole run; each start is a fork of that, killed with SIGKILL at a random moment
between its first instruction and a little after it has begun to take frames. Every third is killed as soon as it is
ready. On stdout, one JSON line a start:

    ready      whether it came so far
    cpu_s      its processor time, all threads
    bytes      of all files under the spool afterwards, as they take room on the disk
    files      how many they are
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from agent.config import load_config
from agent.daemon import daemon
from agent.system.log import configure_logging

LISTENS_MAX_S = 0.3
START_MAX_S = 120.0
MEASURED_EVERY = 3


def main(config: Path, count: int, seed: int) -> None:
    chance, longest_s = random.Random(seed), 0.0
    configure_logging("warning", "json")
    asyncio.run(once(config))
    for number in range(count):
        measured = number % MEASURED_EVERY == 0
        begun = time.monotonic()
        patience_s = START_MAX_S if measured else chance.uniform(0.0, longest_s + LISTENS_MAX_S)
        ready, cpu_s = start_and_kill(config, patience_s, until_ready=measured)
        if measured:
            assert ready, f"start {number} is not ready within {START_MAX_S:g} s"
            longest_s = max(longest_s * 0.8, time.monotonic() - begun)
        spool = [path.stat() for path in load_config(config).spool.path.rglob("*")]
        print(
            json.dumps(
                {
                    "measured": measured,
                    "ready": ready,
                    "cpu_s": cpu_s,
                    "bytes": sum(stat.st_blocks * 512 for stat in spool),
                    "files": len(spool),
                }
            ),
            flush=True,
        )


async def once(config: Path) -> None:
    """A start and an end in good order, here: from now on everything is imported."""
    stop = asyncio.Event()
    await daemon.run(load_config(config), stop=stop, observe=lambda _: stop.set())


def start_and_kill(config: Path, patience_s: float, *, until_ready: bool) -> tuple[bool, float]:
    """Whether it was ready when it was killed, and its processor time."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        run(config, write)
    os.close(write)
    deadline = time.monotonic() + patience_s
    ready = bool(select.select([read], [], [], patience_s)[0]) and os.read(read, 1) == b"+"
    if ready and not until_ready:
        time.sleep(max(0.0, deadline - time.monotonic()))
    os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, _, usage = os.wait4(pid, 0)
    return ready, usage.ru_utime + usage.ru_stime


def run(config: Path, ready: int) -> None:
    """The daemon; never returns."""
    try:
        asyncio.run(daemon.run(load_config(config), observe=lambda _: tell(ready)))
    finally:
        os._exit(1)


def tell(ready: int) -> None:
    os.write(ready, b"+")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
