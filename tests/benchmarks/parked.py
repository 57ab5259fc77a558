# SPDX-License-Identifier: Apache-2.0
"""How soon the agent is ready, and what it costs while the car is parked: its buses silent, its link up.

    python tests/benchmarks/parked.py LOG --dbc FILE [--starts 5] [--seconds 60] [--json]

Ready: from the start of the process to the READY=1 that systemd would get, the median of five starts, beside the
same of a Python that imports numpy and nothing else. Parked: after a short drive, processor time by the kernel's own
account and voluntary context switches of all its threads, that is, how often it woke up.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.socket_drain import socket_pair
from tests.benchmarks.whole_agent import become, broker, frames_of, play

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 1000
DRIVE_S = 5.0
SETTLE_S = 20.0
"""Until the open batch is sealed and acknowledged, and the buses are known to be silent."""
CONFIG = """
[vehicle]
id = "parked"
[[bus]]
name = "car"
interface = "simulator"
dbc = ["{dbc}"]
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
[spool]
path = "spool"
min_free = "0B"
[agent]
socket = "{folder}/agent.sock"
"""


def ready_s(command: Sequence[str], folder: Path) -> float:
    """Start it, wait for READY=1, stop it."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        environment = os.environ | {"NOTIFY_SOCKET": str(path), "PYTHONPATH": str(Path(__file__).parents[2])}
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        notify.settimeout(60)
        while b"READY=1" not in notify.recv(4096):
            pass
        passed = time.monotonic() - begun
        process.terminate()
        process.wait()
    path.unlink()
    return passed


def bare_s() -> float:
    """A Python with numpy."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return time.monotonic() - begun


def seen(pid: int) -> tuple[float, int]:
    """Processor time in seconds, and how often any thread woke up."""
    switches = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":\t", 1) for line in status.read_text(encoding="ascii").splitlines() if ":\t" in line)
        switches += int(fields["voluntary_ctxt_switches"])
    busy_ns = sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return busy_ns / 1e9, switches


def measure(log: Path, dbc: Path, starts: int, seconds: float) -> dict[str, float]:
    """Start some, then park one."""
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as port:
        folder = Path(name)
        (folder / "agent.toml").write_text(CONFIG.format(dbc=dbc, port=port, folder=folder), encoding="utf-8")
        command = [sys.executable, "-m", "agent", "run", "--config", "agent.toml"]
        pairs = [(ready_s(command, folder), bare_s()) for _ in range(starts)]
        sender, receiver = socket_pair()
        process = become("ours", receiver, port, log, dbc)
        time.sleep(SETTLE_S / 2)
        play(frames_of(log), [sender], RATE, DRIVE_S)
        time.sleep(SETTLE_S)
        begun, (busy_s, switches) = time.monotonic(), seen(process.pid)
        time.sleep(seconds)
        passed, (busy_later_s, switches_later) = time.monotonic() - begun, seen(process.pid)
        process.terminate()
        process.communicate(timeout=60)
    return {
        "ready_s": round(statistics.median(ready for ready, _ in pairs), 2),
        "python_with_numpy_s": round(statistics.median(bare for _, bare in pairs), 2),
        "parked_cpu_percent": round((busy_later_s - busy_s) / passed * 100, 3),
        "parked_wake_ups_per_s": round((switches_later - switches) / passed, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="how soon the agent is ready, and what it costs in a parked car")
    parser.add_argument("log", type=Path)
    parser.add_argument("--dbc", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.log.absolute(), arguments.dbc.absolute(), arguments.starts, arguments.seconds)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key:<24}{value:>10}" for key, value in result.items()))


if __name__ == "__main__":
    main()
