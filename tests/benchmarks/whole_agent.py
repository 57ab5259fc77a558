# SPDX-License-Identifier: Apache-2.0
"""A whole agent on a paced bus against the usual way: processor time and memory of one process each.

    python tests/benchmarks/whole_agent.py LOG --dbc FILE [--rate 4000] [--seconds 30] [--json]

Ours is the daemon: socket, decoding, journal, spool, compression, MQTT with QoS 1, batches of ten seconds. Theirs
is the usual way, with nothing on disk: python-can's Notifier on the event loop, cantools for each frame, a JSON
object for each, published by paho-mqtt with QoS 0. Both get the same frames, at the same time and pace, over a
UNIX datagram socket that stands in for the CAN socket (see socket_drain.py), and publish to one mosquitto.

Beside them a process that does nothing but wake up as often as ours: on a virtual machine the host's pauses are billed
to whoever is about to run, and that is what `cpu_percent_waking` shows; a process that is never idle, as theirs, does
not pay it. `cpu_ratio` is as billed, `cpu_ratio_above_waking` leaves it out.

Measured over the last two thirds of the time, the median of five windows: user and system time of each process;
then its resident memory, and how many of the frames sent it has read, for who cannot keep up loses frames.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from agent.sources.replay import read_log
from tests.benchmarks.socket_drain import python_can_bus, socket_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("ours", "theirs")
WAKE_S = 0.2
"""What the agent wakes up for: a block, its worker and the worker's end every 0.7 s, the link every second."""
BURST_S = 0.005
START_S = 30.0
WINDOWS = 5


def frames_of(log: Path) -> list[bytes]:
    """The log's classic frames as ``struct can_frame``."""
    found = []
    with read_log(log) as blocks:
        for block in blocks:
            for can_id, length, data in zip(block.can_id.tolist(), block.length.tolist(), block.data, strict=True):
                found.append(struct.pack("=IB3x8s", can_id, length, data[:8].tobytes()))
    return found


def run_ours(descriptor: int, port: int, dbc: Path) -> None:
    """The daemon, its socket replaced."""
    from agent.system import process

    process.configure_allocator()  # as `canferry run` does
    from agent.config import load_config
    from agent.daemon import buses, daemon
    from agent.sources.interfaces import Interface, InterfaceState
    from agent.sources.socketcan import SocketCanSource
    from agent.system.log import configure_logging

    def sources(*_: object) -> list[Any]:
        source = SocketCanSource(
            [(0, "can0", "can0")],
            open_socket=lambda: socket.socket(fileno=descriptor),
            look=lambda *_: Interface(InterfaceState.UP),
        )
        source._index_of = {0: 0}  # the stand-in has no interfaces
        return [source]

    buses.make_sources = sources  # type: ignore[assignment, attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agent.toml"
        file.write_text(
            f'[vehicle]\nid = "bench"\n[[bus]]\nname = "can0"\ninterface = "socketcan"\nchannel = "can0"\n'
            f'dbc = ["{dbc}"]\n[mqtt]\nbroker = "mqtt://127.0.0.1:{port}"\nno_subscribers = "accept"\n'
            f'[spool]\npath = "{folder}/spool"\n',
            encoding="utf-8",
        )
        configure_logging("warning")
        seen: list[daemon.Gauges] = []
        asyncio.run(daemon.run(load_config(file), observe=seen.append))
        print(seen[0].counters.frames)


def run_waking(*_: object) -> None:
    """Nothing, five times a second."""

    async def wake() -> None:
        while True:
            await asyncio.sleep(WAKE_S)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(wake())


def run_theirs(descriptor: int, port: int, dbc: Path) -> None:
    """The usual way."""
    asyncio.run(_theirs(python_can_bus(socket.socket(fileno=descriptor)), port, dbc))


async def _theirs(bus: Any, port: int, dbc: Path) -> None:
    import can
    import cantools
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    database: Any = cantools.database.load_file(dbc, strict=False)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    reader = can.AsyncBufferedReader()
    can.Notifier(bus, [reader], loop=asyncio.get_running_loop())
    ended, read = asyncio.Event(), itertools.count()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def consume() -> None:
        async for message in reader:
            next(read)
            with contextlib.suppress(KeyError):
                signals = database.decode_message(message.arbitration_id, message.data, decode_choices=False)
                payload = {"t": message.timestamp, "id": message.arbitration_id, "signals": signals}
                client.publish("theirs/bench", json.dumps(payload))

    consuming = asyncio.create_task(consume())
    await ended.wait()
    consuming.cancel()
    print(next(read))


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A mosquitto of our own on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="ascii")
    process = subprocess.Popen(["mosquitto", "-c", str(file)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: socket.create_connection(("127.0.0.1", port)).close())
        yield port
    finally:
        process.kill()
        process.wait()


def until(attempt: Callable[[], object], seconds: float = 60.0) -> None:
    """Try until it is not refused any more."""
    begun = time.monotonic()
    while True:
        try:
            attempt()
        except ConnectionRefusedError:
            if time.monotonic() - begun > seconds:
                raise
            time.sleep(0.1)
        else:
            return


def play(frames: list[bytes], senders: list[socket.socket], rate: int, seconds: float) -> int:
    """Send the frames to both at their pace, over and over; how many were sent."""
    begun, sent = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        due = int(passed * rate)
        for number in range(sent, due):
            for sender in senders:
                with contextlib.suppress(BlockingIOError):  # a reader that is behind loses frames, as on a bus
                    sender.send(frames[number % len(frames)])
        sent = due
        time.sleep(BURST_S)
    return sent


def become(kind: str, receiver: socket.socket, port: int, log: Path, dbc: Path) -> subprocess.Popen[bytes]:
    """Start one of the two, with its end of the stand-in."""
    descriptor = receiver.fileno()
    command = [sys.executable, __file__, str(log), "--dbc", str(dbc), "--be", kind, str(descriptor), str(port)]
    return subprocess.Popen(command, pass_fds=[descriptor], stdout=subprocess.PIPE)


def measure(log: Path, dbc: Path, rate: int, seconds: float) -> dict[str, float]:
    """Run both side by side."""
    frames = frames_of(log)
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as port:
        pairs = {kind: socket_pair() for kind in KINDS}
        processes = {kind: become(kind, pair[1], port, log, dbc) for kind, pair in pairs.items()}
        senders = [sender for sender, _ in pairs.values()]
        time.sleep(START_S)
        for sender in senders:
            sender.setblocking(False)
        waking = subprocess.Popen([sys.executable, __file__, str(log), "--dbc", str(dbc), "--be", "waking", "0", "0"])
        watched = {kind: psutil.Process(process.pid) for kind, process in processes.items()}
        watched["waking"] = psutil.Process(waking.pid)
        sent = play(frames, senders, rate, seconds / 3)
        shares = []
        for _ in range(WINDOWS):
            before, begun = {kind: _busy_s(process) for kind, process in watched.items()}, time.monotonic()
            sent += play(frames, senders, rate, seconds * 2 / 3 / WINDOWS)
            passed = time.monotonic() - begun
            shares.append({kind: (_busy_s(process) - before[kind]) / passed for kind, process in watched.items()})
        waking.kill()
        waking.wait()
        memory = {kind: process.memory_info().rss for kind, process in watched.items() if kind in KINDS}
        read = {}
        for kind, process in processes.items():
            process.terminate()
            read[kind] = int(process.communicate(timeout=60)[0].split()[-1])
    share = {kind: statistics.median(window[kind] for window in shares) for kind in watched}
    # Who cannot keep up reads less, and so works less: what counts is the time for a frame that was read.
    us = {kind: share[kind] / rate * sent / read[kind] * 1e6 for kind in KINDS}
    return {
        "frames_per_second": rate,
        "cpu_percent_ours": round(share["ours"] * 100, 2),
        "cpu_percent_theirs": round(share["theirs"] * 100, 2),
        "cpu_percent_waking": round(share["waking"] * 100, 2),
        "frames_sent": sent,
        "frames_read_ours": read["ours"],
        "frames_read_theirs": read["theirs"],
        "us_per_frame_read_ours": round(us["ours"], 2),
        "us_per_frame_read_theirs": round(us["theirs"], 2),
        "cpu_ratio": round(us["theirs"] / us["ours"], 1),
        "cpu_ratio_above_waking": round(us["theirs"] / us["ours"] / max(0.01, 1 - share["waking"] / share["ours"]), 1),
        "rss_mb_ours": round(memory["ours"] / 1e6, 1),
        "rss_mb_theirs": round(memory["theirs"] / 1e6, 1),
    }


def _busy_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure and print; or be one of them."""
    parser = argparse.ArgumentParser(description="a whole agent against the usual way, on a paced bus")
    parser.add_argument("log", type=Path)
    parser.add_argument("--dbc", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=4000, help="frames a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        kind, descriptor, port = arguments.be
        bodies: dict[str, Callable[[int, int, Path], None]]
        bodies = {"ours": run_ours, "theirs": run_theirs, "waking": run_waking}
        bodies[kind](int(descriptor), int(port), arguments.dbc)
        return
    result = measure(arguments.log.absolute(), arguments.dbc.absolute(), arguments.rate, arguments.seconds)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key:<24}{value:>14}" for key, value in result.items()))


if __name__ == "__main__":
    main()
