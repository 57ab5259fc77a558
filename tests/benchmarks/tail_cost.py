# SPDX-License-Identifier: Apache-2.0
"""What somebody who looks costs the agent: its processor time alone, with a tail, with one that stands still.

    python tests/benchmarks/tail_cost.py [--rate 20000] [--ids 100] [--seconds 6] [--rounds 5] [--json]

The daemon (`canferry run`) reads a recorded log of `--rate` frames a second, of `--ids` messages with four signals
each, at its own pace, and uploads to mosquitto. `canferry tail --json` is attached, then stopped (SIGSTOP), then ended;
each state is measured for so many seconds, round after round, so that what the machine does besides meets all of them.
Batches are of one second: with the default of ten one state would seal one and the next none, which costs more than
what is measured.

Percent of a core, user and system time of the daemon's process: the median of the rounds of each state, and the medians
of what it took more, in the same round, than alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from tests.support.mosquitto import running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STATES = ("alone", "tail", "stopped")
SETTLE_S = 1.5
FILLED_S = 12.0
"""After so long what was written to a reader that stands still has filled its socket."""
START_S = 60.0
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "can0"
interface = "replay"
channel = "drive.log"
dbc = ["car.dbc"]
[batch]
interval = "1s"
[spool]
path = "spool"
min_free = "0B"
[mqtt]
broker = "{broker}"
no_subscribers = "accept"
[agent]
socket = "{socket}"
shutdown_grace = "1s"
"""


def database(ids: int) -> str:
    """Four signals a message."""
    return "".join(
        f"BO_ {0x100 + n} MESSAGE_{n}: 8 ECU\n"
        + "".join(f' SG_ Signal{m} : {16 * m}|16@1+ (0.1,0) [0|0] "V" ECU\n' for m in range(4))
        for n in range(ids)
    )


def drive(ids: int, rate: float, seconds: float) -> Iterator[str]:
    """Lines of candump; each message counts up."""
    for number in range(int(rate * seconds)):
        yield f"({1_700_000_000 + number / rate:.6f}) can0 {0x100 + number % ids:X}#{number:016X}\n"


async def measure(rate: float, ids: int, seconds: float, rounds: int) -> dict[str, float]:
    """Percent of a core by state."""
    with tempfile.TemporaryDirectory(prefix="canferry-tail-") as name:
        folder = Path(name)
        lasts_s = START_S + rounds * (len(STATES) * (seconds + SETTLE_S) + FILLED_S)
        (folder / "car.dbc").write_text(database(ids))
        with (folder / "drive.log").open("w") as file:
            file.writelines(drive(ids, rate, lasts_s))
        async with running(folder / "broker") as broker:
            (folder / "agent.toml").write_text(CONFIG.format(broker=broker.url(), socket=folder / "agent.sock"))
            daemon = await canferry(folder, "run")
            try:
                async with asyncio.timeout(START_S):
                    while not (folder / "agent.sock").exists():
                        assert daemon.returncode is None
                        await asyncio.sleep(0.05)
                await asyncio.sleep(SETTLE_S)
                return await measure_rounds(folder, psutil.Process(daemon.pid), seconds, rounds)
            finally:
                daemon.kill()
                await daemon.wait()


async def canferry(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """A command; what it prints is nobody's."""
    with (folder / "stderr").open("a") as err:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *arguments, "--config", str(folder / "agent.toml")),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=err,
        )


async def measure_rounds(folder: Path, daemon: psutil.Process, seconds: float, rounds: int) -> dict[str, float]:
    """The medians."""
    used: dict[str, list[float]] = {state: [] for state in STATES}
    for _ in range(rounds):
        used["alone"].append(await percent(daemon, seconds))
        reader = await canferry(folder, "tail", "--json")
        await asyncio.sleep(2 * SETTLE_S)
        assert reader.returncode is None, (folder / "stderr").read_text()
        used["tail"].append(await percent(daemon, seconds))
        reader.send_signal(signal.SIGSTOP)
        await asyncio.sleep(FILLED_S)
        used["stopped"].append(await percent(daemon, seconds))
        reader.kill()
        await reader.wait()
        await asyncio.sleep(SETTLE_S)
    found = {f"cpu_percent_{state}": statistics.median(used[state]) for state in STATES}
    for state in STATES[1:]:
        more = [each - alone for each, alone in zip(used[state], used["alone"], strict=True)]
        found[f"cpu_percent_{state}_more"] = statistics.median(more)
    return found


async def percent(process: psutil.Process, seconds: float) -> float:
    """Of a core, from now on for so long."""
    begun_s, before = time.monotonic(), process.cpu_times()
    await asyncio.sleep(seconds)
    after, lasted_s = process.cpu_times(), time.monotonic() - begun_s
    return 100 * (after.user + after.system - before.user - before.system) / lasted_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=20_000.0, help="frames a second")
    parser.add_argument("--ids", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each state in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = asyncio.run(measure(args.rate, args.ids, args.seconds, args.rounds))
    if args.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<26} {value:6.2f}")


if __name__ == "__main__":
    main()
