# SPDX-License-Identifier: Apache-2.0
"""A spool before a broker that refuses whatever comes, or names a size: nothing is emptied into the quarantine."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.batch.codec import decode_batch
from agent.config import load_config
from agent.daemon import daemon
from agent.model import GapKind
from tests.support.mosquitto import running
from tests.support.scripted import CLOSE, ScriptedBroker, connack, puback
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.config import Config

MOST = 3000
NAMED = connack(0, b"\x27" + MOST.to_bytes(4, "big"))
"""CONNACK with a Maximum Packet Size (MQTT 5.0, 3.2.2.3.6)."""
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "simulator"
[batch]
interval = "2s"
[spool]
path = "spool"
limit = "16MiB"
segment = "256KiB"
min_free = "0B"
[agent]
shutdown_grace = "5s"
socket = ""
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
backoff_base = "50ms"
backoff_max = "400ms"
"""


async def test_a_broker_that_refuses_all_payloads_empties_no_spool(tmp_path: Path) -> None:
    async with ScriptedBroker(answer=lambda publish: puback(publish, 0x99)) as broker:
        with rig(tmp_path, options(broker.port)) as made:
            for number in range(100):
                await made.append(b"%d" % number + bytes(5000))
            async with made.running():
                while made.sender.state().trouble != "unacceptable":
                    await asyncio.sleep(0.01)
                assert len(broker.payloads()) <= 8
                assert len(await made.stored()) == 100
                assert made.spool.pending_gaps() == ()
        assert not (tmp_path / "normal" / "refused").exists()


async def test_what_a_real_brokers_limit_excludes_waits_until_it_is_raised(tmp_path: Path) -> None:
    async with running(tmp_path / "broker", config=["max_packet_size 1000"]) as broker:
        with rig(tmp_path, options(broker.port)) as made:
            for size in (10, 5000, 10):
                await made.append(bytes(size))
            async with made.running():
                while await made.stored() != [1]:
                    await asyncio.sleep(0.02)
                state = made.sender.state()
                assert (state.acknowledged_batches, state.refused_batches, state.links) == (2, 0, 1)
                assert 900 < state.batch_bytes_max < 1000
                assert made.spool.pending_gaps() == ()
                broker.raise_limit(1000, 100_000)
                await broker.restart()
                await made.emptied()
                assert made.sender.state().acknowledged_batches == 3


async def test_a_real_broker_that_refuses_a_size_without_naming_one_gets_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path / "broker", config=["message_size_limit 1000"]) as broker:
        with rig(tmp_path, options(broker.port)) as made:
            for size in (10, 5000, 10, 4000, 10):
                await made.append(bytes(size))
            async with made.running():
                while await made.stored() != [1, 3]:
                    await asyncio.sleep(0.02)
                assert made.sender.state().refused_batches == 0
                assert made.spool.pending_gaps() == ()


def configured(folder: Path, port: int) -> Config:
    file = folder / "agent.toml"
    file.write_text(CONFIG.format(port=port))
    return load_config(file)


@contextlib.asynccontextmanager
async def driving(config: Config) -> AsyncIterator[daemon.Gauges]:
    """The daemon runs inside; in good order to its end."""
    stop = asyncio.Event()
    started: asyncio.Future[daemon.Gauges] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(daemon.run(config, stop=stop, observe=started.set_result), name="daemon")
        yield await started
        stop.set()


async def test_batches_are_sealed_to_the_size_that_the_broker_names_also_after_a_restart(tmp_path: Path) -> None:
    async with ScriptedBroker(connack=lambda level: NAMED) as broker:
        config = configured(tmp_path, broker.port)
        async with driving(config) as first:
            await broker.until(lambda: len(broker.payloads()) >= 6)
        broker.connack = lambda level: CLOSE
        before = len(broker.payloads())
        async with driving(config) as second:
            while not second.counters.batches:  # sealed before there is a link
                await asyncio.sleep(0.02)
            broker.connack = lambda level: NAMED
            await broker.until(lambda: len(broker.payloads()) >= before + 6)
    sizes = [publish.size_bytes for publish in broker.publishes if publish.topic.endswith("/batch")]
    assert max(sizes) <= MOST - 5
    assert sum(sizes) / len(sizes) > MOST / 4, "they are no smaller than they have to be"
    heads = [decode_batch(payload) for payload in broker.payloads()]
    assert sum(batch.frames for batch in heads) == first.counters.frames + second.counters.frames
    assert {gap.kind for head in heads for gap in head.gaps} <= {GapKind.INTERRUPTED}


async def test_batches_stored_before_the_broker_names_its_limit_are_cut_to_it(tmp_path: Path) -> None:
    async with ScriptedBroker(connack=lambda level: CLOSE) as broker:
        config = configured(tmp_path, broker.port)
        async with driving(config) as gauges:
            while gauges.counters.batches < 4:  # as large as configured
                await asyncio.sleep(0.02)
            broker.connack = lambda level: NAMED
            stored = gauges.counters.batches
            await broker.until(lambda: gauges.counters.batches >= stored + 3)
    sizes = [publish.size_bytes for publish in broker.publishes if publish.topic.endswith("/batch")]
    assert max(sizes) <= MOST - 5
    heads = [decode_batch(payload) for payload in broker.payloads()]
    assert sum(batch.frames for batch in heads) == gauges.counters.frames
    arrived = [batch.id.sequence for batch in heads]
    cut = {gap.first_sequence for head in heads for gap in head.gaps if gap.kind == GapKind.CUT}
    assert len(cut) >= 3
    assert sorted([*arrived, *cut]) == list(range(max(arrived) + 1)), "each number is a batch or told, never both"
