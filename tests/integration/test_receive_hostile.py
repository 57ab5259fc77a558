# SPDX-License-Identifier: Apache-2.0
"""`canferry receive` on a real broker, where one car sends what no receiver should have to read."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from tests.support.hostile_batches import BATCHES, CATALOGS, head, packed
from tests.support.mosquitto import Mosquitto, running
from tests.support.proxy import TcpProxy
from tests.support.samples import START, batch, catalog, steer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GOOD = 1000
DEADLY = packed(head(vehicle="car-1", stream="dies", sequence=1))
RECEIVE = """
import resource, signal, sys
from agent import cli
from agent.receiver import batch_receiver

real = batch_receiver.decode_batch
def decode(payload):
    if payload == bytes.fromhex(sys.argv[1]):
        signal.raise_signal(signal.SIGSEGV)  # in this thread, as in a library that runs out of its stack
    return real(payload)
batch_receiver.decode_batch = decode
resource.setrlimit(resource.RLIMIT_DATA, (800 << 20, 800 << 20))
sys.exit(cli.main(["receive", *sys.argv[2:]]))
"""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    config = ["max_queued_messages 10000", "max_inflight_messages 100"]
    async with running(tmp_path / "broker", config=config) as broker:
        yield broker


@asynccontextmanager
async def receiving(
    broker: Mosquitto, out: Path, *arguments: str, url: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    place = ["--broker", url or broker.url(), "--out", str(out)]
    command = [sys.executable, "-c", RECEIVE, DEADLY.hex(), *place, *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def publish(broker: Mosquitto, payloads: Iterable[tuple[str, bytes]]) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for kind, payload in payloads:
            await client.publish(f"canferry/car-1/{kind}", payload, qos=1)


class OldBroker(TcpProxy):
    """In front of a broker: it speaks MQTT 3.1.1 alone."""

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await reader.read(1000)
        if connect[8] == 5:
            writer.write(b"\x20\x02\x00\x01")
            await writer.drain()
            return
        reader.feed_data(connect)
        await super()._relay(reader, writer)


async def subscribed(broker: Mosquitto, out: Path) -> None:
    """A first receiver, so that the broker keeps what comes later."""
    async with receiving(broker, out) as process:
        while "Sending SUBACK" not in broker.log and process.returncode is None:
            await asyncio.sleep(0.02)


def stored(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("car-1/normal-1/*.batch.zst"))


def good() -> list[tuple[str, bytes]]:
    return [("catalog", catalog()), *(("batch", batch(n, [steer(START + n, n % 90)])) for n in range(GOOD))]


async def test_hostile_message_among_a_thousand_costs_no_good_one_over_restarts(
    broker: Mosquitto, tmp_path: Path
) -> None:
    out, starts = tmp_path / "out", 0
    await subscribed(broker, out)
    hostile = [("batch", packed(make())) for make in (*BATCHES.values(), *CATALOGS.values())]
    messages = good()
    for message in [*hostile, ("batch", DEADLY), ("batch", b"junk")]:
        messages.insert(random.Random(len(message[1])).randrange(len(messages)), message)
    await publish(broker, messages)

    summary: dict[str, object] = {}
    while not summary and starts < 6:
        starts += 1
        async with receiving(broker, out, "--for", "20", "--json", "--format", "jsonl") as process:
            told, said = await process.communicate()
            if process.returncode == 0:
                summary = json.loads(told)
            else:
                assert process.returncode == -11, said

    assert starts == 3, "two that died of it, and one that set it aside"
    assert stored(out) == [f"{number:012d}.batch.zst" for number in range(GOOD)]
    assert [path.read_bytes() for path in (out / "rejected").iterdir()].count(DEADLY) == 1
    assert summary["gaps"] == []
    assert not any(
        "1.5" in line for path in out.rglob("*.jsonl") if path.stat().st_size > 1 << 24 for line in str(path)
    )


async def test_killed_at_random_while_a_thousand_arrive_it_has_each_once(broker: Mosquitto, tmp_path: Path) -> None:
    out, chance = tmp_path / "out", random.Random(5)
    await subscribed(broker, out)
    messages = good()
    await publish(broker, messages)
    kills = 0
    while len(stored(out)) < GOOD:
        async with receiving(broker, out) as process:
            some = len(stored(out)) + chance.randrange(1, 300)
            while process.returncode is None and len(stored(out)) < min(some, GOOD):
                await asyncio.sleep(0.002)
            assert process.returncode is None
            kills += 1
    async with receiving(broker, out, "--for", "3", "--json") as process:
        told, _ = await process.communicate()

    assert kills >= 3
    summary = json.loads(told)
    assert (summary["gaps"], summary["ids_reused"], summary["rejected"]) == ([], 0, 0)
    result = export(Inventory([out]), "jsonl", tmp_path / "all.jsonl")
    assert (result.batches, result.frames, result.duplicates, result.gaps) == (GOOD, GOOD, 0, ())


async def test_a_restored_spools_other_batches_are_stored_exported_and_told(broker: Mosquitto, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await subscribed(broker, out)
    again = [("batch", batch(number, [steer(START + 5 + number, 45)])) for number in range(10, 20)]
    await publish(broker, [*good()[:31], *good()[11:21], *again, *again])

    async with receiving(broker, out, "--for", "5", "--json") as process:
        told, said = await process.communicate()

    assert process.returncode == 0, said
    summary = json.loads(told)
    keys = ("batches", "duplicates_dropped", "ids_reused", "rejected")
    assert [summary[key] for key in keys] == [40, 20, 10, 0]
    assert said.count(b"id_reused") == 10
    result = export(Inventory([out]), "jsonl", tmp_path / "all.jsonl")
    assert (result.batches, result.frames, result.duplicates, result.reused, result.gaps) == (40, 40, 0, 10, ())


def peak_bytes(process: asyncio.subprocess.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_packets_of_34_mb_stop_no_message_behind_them(broker: Mosquitto, tmp_path: Path, version: str) -> None:
    """MQTT 3.1.1 has no Maximum Packet Size; in MQTT 5 mosquitto keeps to what it was told."""
    out, size = tmp_path / "out", 34_000_000 if version == "3.1.1" else 20_000_000
    async with OldBroker(broker.host, broker.port) as old:
        url = f"mqtt://127.0.0.1:{old.port}" if version == "3.1.1" else broker.url()
        async with receiving(broker, out, "--for", "20", "--json", url=url) as process:
            while "Sending SUBACK" not in broker.log and process.returncode is None:
                await asyncio.sleep(0.02)
            before = peak_bytes(process)
            for number in range(6):
                content = batch(number, [steer(START + number, 1)])
                await publish(broker, [("batch", bytes(size)), ("batch", content)])
            while len(stored(out)) < 6 and process.returncode is None:
                await asyncio.sleep(0.02)
            grown = peak_bytes(process) - before
            told, said = await process.communicate()

    summary = json.loads(told)
    assert (summary["batches"], summary["rejected"], summary["gaps"]) == (6, 6, [])
    assert said.count(b"payload_rejected") == 6
    assert str(size).encode() in said
    assert b"link_lost" not in said
    assert grown < 100 << 20
