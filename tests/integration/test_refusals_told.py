# SPDX-License-Identifier: Apache-2.0
"""What a real broker does not take is kept, whatever happens to the connection on the way there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.uplink.mqtt_subscriber import MqttSubscriber
from tests.support.mosquitto import running
from tests.support.proxy import TcpProxy
from tests.support.scripted import ACCEPT, ScriptedBroker
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from pathlib import Path

USERS = {"car": "secret", "all": "all"}
FORBIDDING = "user car\ntopic write canferry/car-1/status\nuser all\ntopic read #\n"


async def test_batches_a_broker_forbids_are_kept_after_a_connection_that_ended_early(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "broker", users=USERS, acl=FORBIDDING) as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
    ):
        mqtt = options(proxy.port, username="car", password="secret", version="auto")
        with rig(tmp_path, mqtt) as made:
            for number in range(12):
                await made.append(b"%d" % number)
            proxy.refuse_next = 1
            async with made.running():
                while broker.log.count("Denied PUBLISH") < 2:
                    await asyncio.sleep(0.01)
                assert "not authorized (0x87)" in made.sender.state().last_error
                assert made.sender.state().acknowledged_batches == 0
                assert len(await made.stored()) == 12
        assert proxy.connections >= 2


async def test_a_message_right_behind_the_connack_waits_for_its_acknowledgement() -> None:
    waiting = b"\x32\x09\x00\x03x/y\x00\x07\x00!"  # PUBLISH, QoS 1, packet id 7
    async with ScriptedBroker(connack=lambda level: ACCEPT + waiting) as broker:
        mqtt = options(broker.port, client_id="receiver", will_topic="")
        async with MqttSubscriber(mqtt, ["x/y"]) as source:
            message = await anext(source)
            assert (message.payload, broker.violations) == (b"!", []), "not acknowledged yet"
            message.acknowledge()
            await broker.until(lambda: broker.violations == ["packet type 4"])


async def test_batches_that_nobody_subscribes_to_wait_until_somebody_does(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        with rig(tmp_path, options(broker.port, no_subscribers="keep"), probe_s=0.5) as made:
            await made.call(made.shelf.put, "c1", b"CATALOG")
            for number in range(20):
                await made.append(b"%d" % number, catalog="c1")
            async with made.running():
                while made.sender.state().trouble != "no subscribers":
                    await asyncio.sleep(0.01)
                assert "nobody subscribes to it (0x10)" in made.sender.state().last_error
                assert len(await made.stored()) == 20
                mqtt = options(broker.port, client_id="receiver", will_topic="")
                async with MqttSubscriber(mqtt, ["canferry/+/batch", "canferry/+/catalog"]) as source:
                    got = set()
                    async for message in source:
                        message.acknowledge()
                        got.add(message.payload)
                        if len(got) == 21:
                            break
                    await made.emptied()
                    assert got == {b"CATALOG", *(b"%d" % number for number in range(20))}
                    assert made.sender.state().trouble == ""


async def test_batches_that_nobody_subscribes_to_are_delivered_where_that_is_accepted(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        with rig(tmp_path, options(broker.port, no_subscribers="accept")) as made:
            await made.append(b"for the broker's rules")
            async with made.running():
                await made.emptied()
                assert made.sender.state().acknowledged_batches == 1
