# SPDX-License-Identifier: Apache-2.0
"""A broker that says it will never take a batch: what it means by itself is given up, all else is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from agent.spool.catalogs import CatalogStore
from agent.uplink.transport import Answer, LinkLimits, LinkLoss, Outcome, Trouble
from tests.unit.uplink.fakes import ACCEPTED, FakeBroker, FakeLink, MemoryQueue, run_virtual
from tests.unit.uplink.test_sender import build, running, until

if TYPE_CHECKING:
    from pathlib import Path

INVALID = Answer(Outcome.UNACCEPTABLE, 0x99, "payload format invalid (0x99)")
TOO_LARGE = Answer(Outcome.UNACCEPTABLE, 0x95, "packet too large (0x95)")
WINDOW = 4


def test_broker_that_refuses_everything_gets_one_batch_a_minute_and_all_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(lambda link, topic, payload: INVALID)
        for number in range(436):
            queue.append(b"%d" % number)
        sender = build(broker, CatalogStore(tmp_path), queue)
        with capture_logs() as logs:
            async with running(sender):
                await asyncio.sleep(1800)
                assert len(broker.sent()) <= WINDOW + 30
                assert len(set(broker.sent())) >= 10, "not always the same one asks"
                assert (len(queue.records), queue.set_aside_reasons) == (436, {})
                assert sender.state().trouble == "unacceptable"
                assert "payload format invalid (0x99)" in sender.state().last_error
                broker.links[-1].lose()
                asked = len(broker.sent())
                await asyncio.sleep(300)
                assert len(broker.sent()) - asked <= 6, "a new link is no reason to ask more often"
                broker.answers = lambda link, topic, payload: ACCEPTED
                await until(lambda: not queue.records)
                assert sender.state().trouble == ""
        assert sorted(queue.acknowledged) == list(range(436))
        assert [line["log_level"] for line in logs if line["event"] == "batches_rejected"] == ["error"]

    run_virtual(scenario())


def test_a_broker_that_disconnects_over_whatever_comes_costs_no_batch(tmp_path: Path) -> None:
    def disconnect(link: FakeLink, topic: str, payload: bytes) -> None:
        link.lose(LinkLoss(Trouble.UNACCEPTABLE, "the broker disconnected: format (0x99)", 0x99, by_peer=True))

    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(disconnect)
        for number in range(40):
            queue.append(b"%d" % number)
        sender = build(broker, CatalogStore(tmp_path), queue)
        async with running(sender):
            await asyncio.sleep(7200)
            assert (len(queue.records), queue.set_aside_reasons) == (40, {})
            asked = len(broker.sent())
            await asyncio.sleep(600)
            assert len(broker.sent()) - asked <= 11
            assert sender.state().trouble == "unacceptable"
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records)

    run_virtual(scenario())


def test_a_refused_batch_alone_in_the_spool_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(lambda link, topic, payload: INVALID)
        queue.append()
        async with running(build(broker, CatalogStore(tmp_path), queue)):
            await asyncio.sleep(7200)
            assert list(queue.records) == [0]
            assert len(broker.sent()) <= 13, "tried again, and seldom"

    run_virtual(scenario())


def test_a_batch_that_has_no_place_in_the_quarantine_stays_in_the_spool(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = MemoryQueue()
        queue.aside_max = 1
        broker = FakeBroker(lambda link, topic, payload: INVALID if payload.startswith(b"bad") else ACCEPTED)
        for payload in (b"1", b"bad 1", b"2", b"3", b"4", b"5", b"bad 2", b"6", b"7"):
            queue.append(payload)
        with capture_logs() as logs:
            async with running(build(broker, CatalogStore(tmp_path), queue)):
                await asyncio.sleep(1200)
        assert list(queue.set_aside_reasons) == [1]
        assert list(queue.records) == [6]
        assert any(line["event"] == "quarantine_full" for line in logs)

    run_virtual(scenario())


def test_the_log_calls_a_batch_by_the_number_that_the_receiver_knows(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = MemoryQueue(base=40)
        queue.aside_max = 0
        broker = FakeBroker(lambda link, topic, payload: INVALID if payload == b"bad" else ACCEPTED)
        for payload in (b"1", b"bad", b"2", b"3", b"4"):
            queue.append(payload)
        with capture_logs() as logs:
            async with running(build(broker, CatalogStore(tmp_path), queue)):
                await asyncio.sleep(600)
        assert list(queue.records) == [41]
        for event in ("batch_doubted", "quarantine_full"):
            assert {(line["stream"], line["sequence"]) for line in logs if line["event"] == event} == {("normal-1", 1)}

    run_virtual(scenario())


def test_what_is_larger_than_the_broker_names_is_neither_published_nor_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(limits=LinkLimits(maximum_packet_bytes=1000))
        for size in (5000, 10, 5000, 10, 900):
            queue.append(bytes(size))
        sender = build(broker, CatalogStore(tmp_path), queue)
        async with running(sender):
            await asyncio.sleep(3600)
            assert max(map(len, broker.sent())) == 900
            assert (list(queue.records), queue.set_aside_reasons) == ([0, 2], {})
            assert 900 <= sender.state().batch_bytes_max < 1000
            broker.limits = LinkLimits()
            broker.links[-1].lose()
            await until(lambda: not queue.records)
            assert sender.state().batch_bytes_max == 0

    run_virtual(scenario())


def test_a_limit_that_the_broker_does_not_name_is_learnt_and_forgotten_in_time(tmp_path: Path) -> None:
    most = 20_000
    fitted: list[int | None] = []

    def answer(link: FakeLink, topic: str, payload: bytes) -> Answer:
        return TOO_LARGE if len(payload) > most else ACCEPTED

    async def scenario() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answer)
        for number in range(200):
            queue.append(bytes(48_000 if number % 2 else 12_000))
        sender = build(broker, CatalogStore(tmp_path), queue, fit=fitted.append)
        async with running(sender):
            await until(lambda: len(queue.records) == 100)
            await asyncio.sleep(60)
            assert sum(len(payload) > most for payload in broker.sent()) <= WINDOW
            assert (queue.set_aside_reasons, fitted) == ({}, [None, 24_000])
            nonlocal most
            most = 50_000
            await until(lambda: not queue.records, limit_s=1200)
            assert fitted[-1] is None

    run_virtual(scenario())


def test_batches_in_good_order_are_counted_when_one_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = MemoryQueue()
        bad = {b"7", b"50", b"51", b"93"}
        broker = FakeBroker(lambda link, topic, payload: INVALID if payload in bad else ACCEPTED)
        for number in range(100):
            queue.append(b"%d" % number)
        sender = build(broker, CatalogStore(tmp_path), queue)
        async with running(sender):
            await until(lambda: not queue.records)
            assert sender.state().refused_batches == len(bad)
        assert {b"%d" % number for number in queue.set_aside_reasons} == bad
        assert len(queue.acknowledged) == 96

    run_virtual(scenario())
