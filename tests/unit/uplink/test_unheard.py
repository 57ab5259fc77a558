# SPDX-License-Identifier: Apache-2.0
"""Batches that a broker throws away because nobody subscribes to them (0x10) are kept, and asked about slowly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from agent.spool.catalogs import CatalogStore
from agent.uplink.transport import Answer, Outcome
from tests.unit.uplink.fakes import ACCEPTED, CLOSED_BY_PEER, FakeBroker, FakeLink, MemoryQueue, run_virtual
from tests.unit.uplink.test_sender import build, running, until

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = Answer(Outcome.NO_SUBSCRIBERS, 0x10, "nobody subscribes to it (0x10)")
WINDOW = 4


def nobody_hears(link: FakeLink, topic: str, payload: bytes) -> Answer:
    return NOBODY


def test_batches_without_a_subscriber_are_kept_and_one_a_minute_asks(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(nobody_hears)
        for _ in range(100):
            queue.append()
        sender = build(broker, CatalogStore(tmp_path), queue)
        with capture_logs() as logs:
            async with running(sender):
                await asyncio.sleep(600)
                asked = len(broker.sent())
                assert asked <= WINDOW + 10
                state = sender.state()
                assert (state.trouble, state.connected) == ("no subscribers", True)
                assert state.last_error == "publish to canferry/car-1/batch: nobody subscribes to it (0x10)"
                assert (len(queue.records), state.acknowledged_batches) == (100, 0)
                broker.links[-1].lose(CLOSED_BY_PEER)
                await asyncio.sleep(300)
                assert len(broker.links) == 2
                assert len(broker.sent()) - asked <= 6, "a new link is no reason to ask more often"
                assert sender.state().trouble == "no subscribers"
                broker.answers = lambda link, topic, payload: ACCEPTED
                await until(lambda: not queue.records)
                assert (sender.state().trouble, sender.state().last_error) == ("", "")
        assert [line["log_level"] for line in logs if line["event"] == "no_subscribers"] == ["error"]
        assert sorted(queue.acknowledged) == list(range(100))

    run_virtual(scenario())


def test_a_vehicle_that_nobody_hears_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def answer(link: FakeLink, topic: str, payload: bytes) -> Answer:
        return NOBODY if "/old-1/" in topic else ACCEPTED

    async def scenario() -> None:
        queue, urgent, broker = MemoryQueue(), MemoryQueue("critical-1"), FakeBroker(answer)
        for number in range(60):
            for each in (urgent, queue):
                each.append(vehicle="old-1" if number < 30 else "car-1")
        sender = build(broker, CatalogStore(tmp_path), urgent, queue)
        async with running(sender):
            await until(lambda: len(queue.records) == 30 and len(urgent.records) == 30)
            before = len(broker.sent())
            for _ in range(10):
                queue.append(vehicle="car-1")
                sender.batch_available.set()
                await asyncio.sleep(30)
            assert len(broker.sent()) - before <= 10 + 6
            assert len(queue.records) == 30
            assert sender.state().trouble == "no subscribers"

    run_virtual(scenario())


def test_a_catalog_that_nobody_hears_keeps_its_batches_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(nobody_hears)
        shelf = CatalogStore(tmp_path)
        shelf.put("c1", b"CATALOG")
        for _ in range(5):
            queue.append(catalog="c1")
        async with running(build(broker, shelf, queue)):
            await asyncio.sleep(200)
            assert broker.sent("/batch") == []
            assert 1 <= len(broker.sent("/catalog")) <= 4
            assert not shelf.is_sent("broker.example:8883/canferry/car-1/catalog", "c1")
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records)

    run_virtual(scenario())


def test_draining_does_not_wait_for_somebody_to_subscribe(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(nobody_hears)
        for _ in range(10):
            queue.append()
        sender = build(broker, CatalogStore(tmp_path), queue)
        async with running(sender) as task:
            await until(lambda: sender.state().trouble == "no subscribers")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await sender.drain(1000.0)
            await task
            assert loop.time() - began < 60
        assert len(queue.records) == 10

    run_virtual(scenario())
