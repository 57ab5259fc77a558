# SPDX-License-Identifier: Apache-2.0
"""What a real broker does not take is kept, whatever happens to the connection on the way there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.uplink.subscriber import MqttSubscriber
from tests.integration.mosquitto import running
from tests.integration.proxy import TcpProxy
from tests.integration.scripted import ACCEPT, ScriptedBroker
from tests.integration.uplinks import options, rig

if TYPE_CHECKING:
    from pathlib import Path

USERS = {"car": "secret", "all": "all"}
FORBIDDING = "user car\ntopic write canferry/car-1/status\nuser all\ntopic read #\n"
ALLOWING = FORBIDDING.replace("status\n", "#\n", 1)


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
