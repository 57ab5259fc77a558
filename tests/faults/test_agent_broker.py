# SPDX-License-Identifier: Apache-2.0
"""The whole agent, and a broker that goes away, does not answer, or refuses: every sample arrives, nothing spins."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from agent.receiver.batch_receiver import Verdict
from tests.faults.whole import Received, agent, arrived, cloud
from tests.support.mosquitto import running
from tests.support.proxy import TcpProxy
from tests.support.scripted import ScriptedBroker, puback

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.scripted import Publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WINDOW = 4


async def test_a_broker_that_is_stopped_killed_and_started_again_gets_everything(tmp_path: Path) -> None:
    config = ["persistence true", f"persistence_location {tmp_path}/", "max_queued_messages 0"]
    out = tmp_path / "out"
    async with (
        running(tmp_path / "broker", config=config) as broker,
        cloud(out, broker.port) as inbox,
        agent(tmp_path, broker.port) as car,
    ):
        for kill in (False, True, False, True):
            await car.until(lambda link: link.connected)
            await car.batches(3)
            if kill:  # what it has acknowledged and not passed on is its own loss
                while car.link.acknowledged_batches > inbox.counts[Verdict.BATCH]:
                    await asyncio.sleep(0.001)
                await broker.kill()
            else:
                await broker.stop()
            await car.until(lambda link: not link.connected)
            await car.batches(3)
            await broker.start()
        await car.until(lambda link: link.connected)
        await car.end()
        await arrived(out, car.counters)
        assert car.link.links == 5
        assert inbox.report() == []


async def test_a_link_that_is_cut_in_the_middle_of_publishes_gets_everything_through(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        cloud(out, broker.port) as inbox,
        agent(tmp_path, proxy.port) as car,
    ):
        for cut in range(8):
            await car.until(lambda link: link.connected)
            proxy.delay_s = 0.03  # what is published is on its way for a while
            proxy.cut_after = proxy.bytes_to_broker + 600 + 311 * cut
            while proxy.cut_after:
                await asyncio.sleep(0.002)
            await car.until(lambda link: not link.connected)
            proxy.delay_s = 0.0
        await car.end()
        await arrived(out, car.counters)
        assert car.link.links >= 8
        assert proxy.connections <= car.link.links + 2
        assert inbox.report() == []


async def test_acknowledgements_that_come_late_or_never_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        cloud(out, broker.port) as inbox,
        agent(tmp_path, proxy.port, mqtt=f"window_batches = {WINDOW}") as car,
    ):
        for never in (False, True, True):
            await car.until(lambda link: link.connected and link.acknowledged_batches > 0)
            await proxy.stall(to_client=True)
            await car.batches(5)  # answers that were under way have arrived
            await car.until(lambda link: link.in_flight_batches == WINDOW)
            before = car.link.acknowledged_batches
            await car.batches(8)
            assert car.link.acknowledged_batches == before
            assert car.link.in_flight_batches == WINDOW, "the window is all that waits for answers"
            if never:
                proxy.cut()
            await proxy.stall()
            await car.until(lambda link, more=before + 8: link.acknowledged_batches >= more)  # type: ignore[misc]
        await car.end()
        await arrived(out, car.counters)
        assert car.link.links == 3
        assert inbox.counts[Verdict.DUPLICATE] >= 4, "what was not answered was sent again"


async def test_what_the_broker_does_not_authorize_is_kept_and_asked_for_seldom(tmp_path: Path) -> None:
    rules = "user car\ntopic write canferry/car-1/{}\ntopic write canferry/car-1/catalog\nuser cloud\ntopic read #\n"
    out, users = tmp_path / "out", {"car": "secret", "cloud": "secret"}
    (tmp_path / "password").write_text("secret\n")
    async with (
        running(tmp_path / "broker", users=users, acl=rules.format("other")) as broker,
        cloud(out, broker.port, username="cloud", password="secret") as inbox,
        agent(tmp_path, broker.port, mqtt='username = "car"\npassword_file = "password"') as car,
    ):
        await car.until(lambda link: "not authorized (0x87)" in link.last_error)
        denied = broker.log.count("Denied PUBLISH")
        began = asyncio.get_running_loop().time()
        await car.batches(15)
        asked = broker.log.count("Denied PUBLISH") - denied
        assert asked <= (asyncio.get_running_loop().time() - began) / 0.2 + 2  # half of backoff_max is certain
        assert car.link.links == 1
        assert inbox.counts[Verdict.BATCH] == 0
        (tmp_path / "broker" / "acl").write_text(rules.format("batch"))
        broker.reload()
        await car.end()
        await arrived(out, car.counters)


async def test_a_quota_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    chance = random.Random(3)
    accepted: dict[bytes, None] = {}
    refusing = 1.0

    def answer(publish: Publish) -> bytes:
        if publish.topic.endswith("/batch") and chance.random() < refusing:
            return puback(publish, 0x97, "quota exceeded")
        if publish.topic.endswith("/batch"):
            accepted[publish.payload] = None
        return puback(publish)

    async with ScriptedBroker(answer=answer) as broker:
        async with agent(tmp_path, broker.port, grace="30s") as car:
            await car.until(lambda link: "0x97" in link.last_error)
            asked = len(broker.payloads())
            began = asyncio.get_running_loop().time()
            await car.batches(15)
            assert len(broker.payloads()) - asked <= (asyncio.get_running_loop().time() - began) / 0.2 + 2
            refusing = 0.2
            await car.until(lambda link: link.acknowledged_batches >= 15)
            refusing = 0.0
            await car.until(
                lambda link: not link.last_error
            )  # asked to stop while it is to wait, it would leave the rest
            await car.end()
        assert broker.violations == []
        counters = car.counters
        received = Received.of(accepted, dict.fromkeys(broker.payloads("/catalog")))
        assert received == Received(counters.batches, counters.frames, counters.samples)
