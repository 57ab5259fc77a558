# SPDX-License-Identifier: Apache-2.0
"""A fleet in one process: a thousand real uplinks with real batches come to one broker at once.

    python tests/benchmarks/fleet.py LOG --dbc FILE [--cars 1000] [--seconds 30] [--json]

Each car has a spool and a sender of its own, as the daemon has them; one thread does the disk's work for all. The log's
first seconds go through the packer once; each car's spool gets these batches under its own name, stream and numbers.
Then all connect to a mosquitto of this machine, as after an outage, and go on until their spools are empty. The other
end is `canferry receive`. Wrong is: a batch that is missing at the receiver, a duplicate that got through, a gap.

Printed: batches sent and received, the time that it took, and what a car costs the broker in an hour of such driving:
batches that are published, each time counted, and all bytes, counted by the broker itself (mosquitto(8), $SYS/broker;
its count of messages leaves out retained ones). What a car sends once is not in it: online and offline for each link;
the catalog, which is sent each week, is told by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiomqtt
import msgspec

from agent.batch import batch_pb2
from agent.batch.frame import compress, decompress
from agent.config import config_from_arguments
from agent.daemon.assembly import load_decoding, make_packer
from agent.daemon.options import mqtt_options, sender_options
from agent.model import FrameBlock, SealedBatch
from agent.pipeline.storage import Storage
from agent.receiver.layout import BATCH_SUFFIX
from agent.sources.replay import log_channels, read_log
from agent.system.clock import LogClock
from agent.system.log import configure_logging
from agent.units import Size
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.sender import Sender, SpoolAccess
from tests.support.mosquitto import executable, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.config import Config
    from agent.daemon.assembly import Decoding
    from agent.model import SpooledBatch

T = TypeVar("T")
FILES_A_CAR = 12
RECEIVER_FILTERS = 2
STALLED_S = 60.0
BATCH_BYTES_MAX = 16 << 20
COUNTED = ("bytes/received", "subscriptions/count")


@dataclass(slots=True)
class Car:
    """One of them."""

    storage: Storage
    sender: Sender
    batches: int


def first_seconds(log: Path, buses: dict[str, int], seconds: float) -> FrameBlock:
    """The log's beginning."""
    found: list[FrameBlock] = []
    with read_log(log, buses=buses) as blocks:
        for block in blocks:
            found.append(block)
            if block.time_ns[-1] - found[0].time_ns[0] > seconds * 1e9:
                break
    frames = FrameBlock.concatenate(found)
    return frames.slice(0, int((frames.time_ns - frames.time_ns[0] <= seconds * 1e9).sum()))


def of_car(config: Config, number: int, folder: Path) -> Config:
    """The configuration of one of them."""
    assert config.mqtt is not None
    name = f"car-{number:06d}"
    spool = msgspec.structs.replace(
        config.spool,
        path=folder / name,
        segment=Size.parse("256KiB"),
        limit=Size.parse("8MiB"),
        min_free=Size.parse("0B"),
    )
    vehicle = msgspec.structs.replace(config.vehicle, id=name)
    mqtt = msgspec.structs.replace(config.mqtt, client_id=name)
    return msgspec.structs.replace(config, vehicle=vehicle, mqtt=mqtt, spool=spool)


def pack(config: Config, decoding: Decoding, frames: FrameBlock, folder: Path) -> list[SpooledBatch]:
    """The batches that the agent makes of the frames."""
    storage = Storage.open(of_car(config, 0, folder))
    packer = make_packer(config, decoding, storage.stores, LogClock())
    for begin in range(0, len(frames), 4096):
        packer.process(frames.slice(begin, min(begin + 4096, len(frames))))
    packer.seal()
    records = list(storage.spools[0].oldest(-1, 1_000_000))
    storage.close(clean=True)
    return records


def readdressed(payload: bytes, vehicle: str, stream: str, sequence: int) -> bytes:
    """A batch under another id; some per cent larger, for it is compressed as one block."""
    batch = batch_pb2.Batch.FromString(decompress(payload, BATCH_BYTES_MAX))
    batch.vehicle, batch.stream, batch.sequence = vehicle, stream, sequence
    return compress([batch.SerializeToString()], 6)


def make_car(
    number: int, config: Config, decoding: Decoding, batches: Sequence[SpooledBatch], folder: Path, call: Any
) -> Car:
    """Its spool filled, its sender ready."""
    config = of_car(config, number, folder)
    storage = Storage.open(config)
    storage.catalogs.put(decoding.catalog.hash, decoding.content)
    spool = storage.spools[0]
    for batch in batches:
        payload = readdressed(batch.payload, config.vehicle.id, spool.stream, spool.next_sequence)
        begin_ns, end_ns = batch.begin_ns, batch.end_ns
        spool.append(SealedBatch(payload, catalog=batch.catalog, begin_ns=begin_ns, end_ns=end_ns, frames=batch.frames))
    transport = MqttTransport(mqtt_options(config, spool.stream))
    sender = Sender(transport, SpoolAccess(storage.spools, storage.catalogs, call), sender_options(config))
    return Car(storage, sender, len(batches))


async def send_all(cars: list[Car]) -> float:
    """All at once, until every spool is empty; seconds."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        sending = [tasks.create_task(car.sender.run()) for car in cars]
        while any(car.sender.state().acknowledged_batches < car.batches for car in cars):
            await asyncio.sleep(0.1)
        took_s = time.monotonic() - begun
        await asyncio.gather(*(car.sender.drain(10.0) for car in cars))
        await asyncio.gather(*sending)
    return took_s


async def counted(port: int) -> dict[str, int]:
    """What the broker has counted since its start; not by paho's own loop, whose select takes 1,023 descriptors."""
    found: dict[str, int] = {}
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe([(f"$SYS/broker/{name}", 0) for name in COUNTED])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):  # the broker tells each second
                async for message in client.messages:
                    found[str(message.topic)] = int(bytes(message.payload))
    return {name: found.get(f"$SYS/broker/{name}", 0) for name in COUNTED}


def measure(log: Path, dbc: Path, number: int, seconds: float) -> dict[str, float]:
    """Fill, send, receive, compare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, number * FILES_A_CAR)), hard))
    channels = list(log_channels(log))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ThreadPoolExecutor(1) as worker:
        folder, port = Path(name), free_port()
        options = f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\nmax_queued_messages 0\n"
        (folder / "mosquitto.conf").write_text(options, encoding="ascii")
        broker = subprocess.Popen([executable(), "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)

        async def call(function: Callable[..., T], /, *arguments: object) -> T:
            return await asyncio.get_running_loop().run_in_executor(worker, functools.partial(function, *arguments))

        url = f"mqtt://127.0.0.1:{port}"
        config = config_from_arguments(log, [str(dbc)], buses=channels, broker=url, vehicle="car")
        decoding = load_decoding(config)
        frames = first_seconds(log, {bus.name: index for index, bus in enumerate(config.buses)}, seconds)
        batches = pack(config, decoding, frames, folder)
        cars = [make_car(each, config, decoding, batches, folder, call) for each in range(1, number + 1)]
        command = [
            sys.executable,
            "-m",
            "agent",
            "receive",
            "--broker",
            url,
            "--out",
            str(folder / "received"),
            "--json",
        ]
        receiver = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
        while (before := asyncio.run(counted(port)))[COUNTED[1]] < len(COUNTED) + RECEIVER_FILTERS:
            assert receiver.poll() is None
        took_s = asyncio.run(send_all(cars))
        sent = sum(car.batches for car in cars)
        after = asyncio.run(counted(port))
        _wait_for(folder / "received", sent)
        left = sum(car.storage.records for car in cars)
        for car in cars:
            car.storage.close(clean=True)
        receiver.send_signal(signal.SIGINT)
        received = json.loads(receiver.communicate(timeout=120)[0])
        broker.terminate()
        broker.wait()
    hours = number * seconds / 3600
    messages = sum(car.sender.state().sent_batches for car in cars)
    size = after[COUNTED[0]] - before[COUNTED[0]]
    catalog = len(decoding.content)
    return {
        "cars": number,
        "batches_sent": sent,
        "batches_left": left,
        "batches_received": received["batches"],
        "duplicates_dropped": received["duplicates_dropped"],
        "gaps": len(received["gaps"]),
        "frames_received": received["frames"],
        "frames_sent": number * len(frames),
        "seconds": round(took_s, 1),
        "messages_per_car_and_hour": round(messages / hours),
        "kilobytes_per_car_and_hour": round((size - number * catalog) / hours / 1000),
        "catalog_kilobytes_per_car_and_week": round(catalog / 1000),
    }


def _wait_for(folder: Path, batches: int) -> None:
    """Until the receiver has stored as many, or nothing more comes."""
    stored, since_s = 0, time.monotonic()
    while stored < batches and time.monotonic() - since_s < STALLED_S:
        time.sleep(1)
        before, stored = stored, sum(1 for _ in folder.rglob(f"*{BATCH_SUFFIX}"))
        since_s = time.monotonic() if stored > before else since_s


def main() -> None:
    """Measure and print; exit status 1 where something was lost."""
    parser = argparse.ArgumentParser(description="a thousand uplinks with real batches at one broker")
    parser.add_argument("log", type=Path)
    parser.add_argument("--dbc", type=Path, required=True)
    parser.add_argument("--cars", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30, help="of driving, for each car")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure_logging("error")
    result = measure(arguments.log.absolute(), arguments.dbc.absolute(), arguments.cars, arguments.seconds)
    print(
        json.dumps(result) if arguments.json else "\n".join(f"{key:<28}{value:>14,}" for key, value in result.items())
    )
    lost = result["batches_sent"] - result["batches_received"] or result["batches_left"] or result["gaps"]
    sys.exit(1 if lost or result["frames_sent"] != result["frames_received"] else 0)


if __name__ == "__main__":
    main()
