# SPDX-License-Identifier: Apache-2.0
"""`canferry receive` as a process, on a real broker."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from tests.support.mosquitto import Mosquitto, free_port, running
from tests.support.samples import START, batch, catalog, steer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with running(tmp_path / "broker") as broker:
        yield broker


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent",
        "receive",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def receiving(broker: Mosquitto, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, subscribed; killed at the end where it has not ended."""
    subscribed = broker.log.count("Sending SUBACK")
    process = await start("--broker", broker.url(), *arguments)
    try:
        async with asyncio.timeout(60):
            while broker.log.count("Sending SUBACK") == subscribed:
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def publish(broker: Mosquitto, *payloads: bytes, kind: str = "batch", vehicle: str = "car-1") -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for payload in payloads:
            await client.publish(f"canferry/{vehicle}/{kind}", payload, qos=1)


async def end(process: asyncio.subprocess.Process, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(how)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def lines(process: asyncio.subprocess.Process, number: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return [(await process.stdout.readline()).decode() for _ in range(number)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_each_batch_is_stored_once_and_gaps_are_named(
    broker: Mosquitto, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    async with receiving(broker, "--out", str(out)) as process:
        await publish(broker, catalog(), kind="catalog")
        await publish(broker, *(batch(number, [steer(START, number)]) for number in (0, 1, 1, 4)), b"junk")
        told = await lines(process, 4)
        status, rest, _ = await end(process, how)

    assert status == 0
    assert [line.split(":")[0] for line in told] == [f"car-1 normal-1 {number}" for number in (0, 1, 1, 4)]
    assert "duplicate" in told[2]
    assert "missing, batches 2 to 3 of normal-1" in rest
    assert "3 batches, 3 frames" in rest
    assert sorted(path.name for path in out.rglob("*.batch.zst")) == [
        f"{number:012d}.batch.zst" for number in (0, 1, 4)
    ]


async def test_what_comes_while_the_receiver_is_killed_waits_for_it(broker: Mosquitto, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    async with receiving(broker, "--out", out) as process:
        await publish(broker, batch(0, [steer(START, 0)]))
        await lines(process, 1)
        process.kill()
        await process.wait()
    await publish(broker, batch(0, [steer(START, 0)]), batch(1, [steer(START, 1)]))

    async with receiving(broker, "--out", out, "--json") as process:
        async with asyncio.timeout(60):
            while not list((tmp_path / "out").rglob("000000000001.batch.zst")):
                await asyncio.sleep(0.02)
        status, text, _ = await end(process)

    summary = json.loads(text)
    assert (status, summary["batches"], summary["gaps"]) == (0, 1, [])
    assert summary["duplicates_dropped"] in (1, 2)  # the first one comes again where the kill came before its receipt


async def test_lines_stream_to_stdout_once_the_catalog_is_there(broker: Mosquitto) -> None:
    async with receiving(broker, "--format", "jsonl") as process:
        await publish(broker, batch(0, [steer(START, 3)]))
        await publish(broker, catalog(), kind="catalog")
        (line,) = await lines(process, 1)
        status, rest, errors = await end(process)

    assert json.loads(line) == {
        "vehicle": "car-1",
        "t": 1700000000.0,
        "bus": "can0",
        "id": 260,
        "extended": False,
        "message": "STEER",
        "signals": {"ANGLE": -1.5, "TORQUE": -100, "STATE": 0},
    }
    assert (status, rest) == (0, "")
    assert "1 batches" in errors


async def test_a_folder_that_another_one_receives_into_is_refused(broker: Mosquitto, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    async with receiving(broker, "--out", out) as process:
        second = await start("--broker", broker.url(), "--out", out, "--for", "5")
        _, told = await second.communicate()
        status, _, errors = await end(process)

    assert second.returncode == 1
    assert told.decode() == (
        f"canferry: {out}: another process receives into this folder: end it first, or name another\n"
    )
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "--format", "csv"], []])
async def test_batches_without_their_catalog_are_told_at_the_end(
    broker: Mosquitto, tmp_path: Path, arguments: list[str]
) -> None:
    out = tmp_path / "out"
    async with receiving(broker, "--out", str(out), *arguments) as process:
        await publish(broker, batch(0, [steer(START, 0)]), batch(1, [steer(START, 1)]))
        async with asyncio.timeout(60):
            while len(list(out.rglob("*.batch.zst"))) < 2:
                await asyncio.sleep(0.02)
        _, told, _ = await end(process)

    assert ('"waiting_for_catalog": 2,' if arguments else "2 waiting for their catalog") in told


async def test_the_time_given_ends_it(broker: Mosquitto, tmp_path: Path) -> None:
    process = await start("--broker", broker.url(), "--out", str(tmp_path / "out"), "--for", "0.5", "--json")

    out, _ = await process.communicate()

    assert process.returncode == 0
    assert json.loads(out)["batches"] == 0


async def test_wrong_usage_and_an_absent_broker_are_one_line_each(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    cases = [
        (["--broker", f"mqtt://127.0.0.1:{free_port()}", "--out", out], 1, "refused"),
        (["--broker", "http://x", "--out", out], 2, "http://x"),
        (["--broker", "mqtt://localhost"], 2, "--out DIR"),
        (["--broker", "mqtts://localhost", "--out", out, "--ca", str(tmp_path / "no.pem")], 2, "no.pem"),
    ]
    processes = [await start(*arguments) for arguments, _, _ in cases]

    for process, (_, status, text) in zip(processes, cases, strict=True):
        _, err = await process.communicate()
        assert (process.returncode, err.decode().count("\n")) == (status, 1), err
        assert text in err.decode()


async def test_class_in_the_topic_is_understood_and_no_other_level(tmp_path: Path, broker: Mosquitto) -> None:
    topics = ("--topic", "fleet/{vehicle}/{class}/batch", "--topic", "fleet/{vehicle}/catalog")
    async with receiving(broker, "--out", str(tmp_path / "in"), *topics) as process:
        async with aiomqtt.Client(broker.host, broker.port) as client:
            await client.publish("fleet/car-1/catalog", catalog(), qos=1)
            for number, name in enumerate(("critical", "normal", "bulk", "urgent")):
                payload = batch(0, [steer(START, number)], stream=f"{name}-1")
                await client.publish(f"fleet/car-1/{name}/batch", payload, qos=1)
        await lines(process, 3)
        status, out, _ = await end(process)
    assert (status, out.splitlines()[-1].partition(",")[0]) == (0, "3 batches")
    streams = {path.parent.name for path in (tmp_path / "in").rglob("*.batch.zst")}
    assert streams == {"critical-1", "normal-1", "bulk-1"}
