# SPDX-License-Identifier: Apache-2.0
"""Links that break, brokers that refuse, answers that never come: nothing is lost and nothing spins."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.uplink.brokers import FILE, BrokerMemory
from agent.uplink.mqtt_subscriber import MqttSubscriber
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.options import SenderOptions
from agent.uplink.transport import LinkLoss, Outcome, RefusedError, Trouble
from tests.support.mosquitto import running
from tests.support.proxy import TcpProxy
from tests.support.scripted import CLOSE, ScriptedBroker, connack, disconnect, puback
from tests.support.uplinks import Rig, options, rig

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

WINDOW = SenderOptions("").window_batches
QUICK: dict[str, Any] = {"acknowledge_timeout_s": 2.0, "answer_timeout_s": 2.0, "keepalive_s": 10}


class Listener:
    """Collects what the broker passes on; duplicates count."""

    def __init__(self, port: int) -> None:
        mqtt = options(port, client_id="listener", will_topic="")
        self._source = MqttSubscriber(mqtt, ["canferry/+/batch"])
        self.payloads: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._source.__aexit__(None, None, None)

    async def _collect(self) -> None:
        async for message in self._source:
            self.payloads.append(message.payload)
            message.acknowledge()

    async def has(self, expected: set[bytes]) -> None:
        while not expected <= set(self.payloads):
            await asyncio.sleep(0.02)


async def fill(made: Rig, count: int, size: int = 0) -> set[bytes]:
    payloads = [b"%d." % number + bytes(size) for number in range(count)]
    for payload in payloads:
        await made.append(payload)
    return set(payloads)


async def test_a_broker_killed_and_started_again_and_again_loses_nothing(tmp_path: Path) -> None:
    config = [
        "persistence true",
        f"persistence_location {tmp_path}/",
        "autosave_on_changes true",
        "autosave_interval 1",
    ]
    async with running(tmp_path / "broker", config=config) as broker:
        with rig(tmp_path, options(broker.port)) as made:
            async with made.running():
                for number in range(4):
                    while not made.sender.state().connected:
                        await asyncio.sleep(0.01)
                    await fill(made, 10, 5000)
                    await asyncio.sleep(0.05 * number)
                    await (broker.kill() if number % 2 else broker.stop())
                    await fill(made, 5, 5000)
                    await broker.start()
                await made.emptied()
                assert made.sender.state().acknowledged_batches == 60
                assert made.sender.state().links >= 5


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_connection_cut_mid_publish_loses_nothing_and_repeats_only_in_flight(
    tmp_path: Path, version: Any
) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        Listener(broker.port) as listener,
    ):
        with rig(tmp_path, options(proxy.port, version=version)) as made:
            expected = await fill(made, 40, 20_000)
            async with made.running():
                for cut in range(1, 6):
                    proxy.cut_after = proxy.bytes_to_broker + 70_001 * cut
                    while proxy.is_armed and await made.stored():
                        await asyncio.sleep(0.01)
                await made.emptied()
                await listener.has(expected)
            assert made.sender.state().links >= 4
        repeats = len(listener.payloads) - len(expected)
        assert 0 <= repeats <= WINDOW * made.sender.state().links


async def test_withheld_acknowledgements_end_the_link_and_the_batches_go_again(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        Listener(broker.port) as listener,
    ):
        with rig(tmp_path, options(proxy.port, **QUICK)) as made:
            async with made.running():
                await made.append(b"first")
                await made.emptied()
                await proxy.stall(to_client=True)
                expected = await fill(made, 10)
                while made.sender.state().connected:
                    await asyncio.sleep(0.005)
                assert "no acknowledgement for 2 s" in made.sender.state().last_error
                assert len(await made.stored()) == 10
                await proxy.stall()
                await made.emptied()
                await listener.has(expected)
                repeats = len(listener.payloads) - 11
                assert 1 <= repeats <= WINDOW


@pytest.mark.parametrize("stalled", ["to_broker", "to_client"])
async def test_an_idle_link_that_died_is_found(tmp_path: Path, stalled: str) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        MqttTransport(options(proxy.port, **QUICK)).connect() as link,
    ):  # the broker itself closes after one and a half times that
        await proxy.stall(**{stalled: True})
        loss = await link.lost()
        assert loss.trouble is Trouble.DROPPED
        assert "no answer to a ping for 2 s" in loss.reason


async def test_a_frozen_broker_is_found_and_the_batches_arrive_when_it_thaws(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        with rig(tmp_path, options(broker.port, **QUICK | {"connect_timeout_s": 0.5})) as made:
            async with made.running():
                await fill(made, 5)
                await made.emptied()
                broker.freeze()
                try:
                    await fill(made, 5)
                    while made.sender.state().connected:
                        await asyncio.sleep(0.01)
                    assert len(await made.stored()) == 5
                    while "no answer within 0.5 s" not in made.sender.state().last_error:
                        await asyncio.sleep(0.01)
                finally:
                    broker.thaw()
                await made.emptied()


async def test_a_slow_link_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, TcpProxy("127.0.0.1", broker.port, buffer_bytes=4096) as proxy:
        proxy.bytes_per_s = 50_000
        with rig(tmp_path, options(proxy.port, acknowledge_timeout_s=5)) as made:
            await made.append(bytes(300_000))
            began = asyncio.get_running_loop().time()
            async with made.running():
                await made.emptied()
                assert made.sender.state().links == 1
            assert asyncio.get_running_loop().time() - began > 5


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        (0x00, False),
        *[(code, True) for code in (0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x95, 0x97, 0x99, 0xFF)],
    ],
)
async def test_each_acknowledgement_does_to_the_batch_what_the_table_says(
    tmp_path: Path, code: int, kept: bool
) -> None:
    async with ScriptedBroker(answer=lambda publish: puback(publish, code, "because")) as broker:
        with rig(tmp_path, options(broker.port, no_subscribers="keep"), probe_s=0.02) as made, capture_logs() as logs:
            await made.append(b"batch")
            async with made.running():
                if not kept:
                    await made.emptied()
                    assert (made.sender.state().refused_batches, made.spool.pending_gaps()) == (0, ())
                    return
                await broker.until(lambda: len(broker.payloads()) == 3)
                assert await made.stored() == [0]
                assert f"(0x{code:02X}): because" in made.sender.state().last_error + str(logs)
                broker.answer = puback
                await made.emptied()
                assert made.sender.state().links == 1


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (0x87, Trouble.UNAUTHORIZED),
        (0x89, Trouble.BUSY),
        (0x93, Trouble.BUSY),
        (0x96, Trouble.BUSY),
        (0x97, Trouble.BUSY),
        (0x8B, Trouble.DROPPED),
        (0x8E, Trouble.TAKEN_OVER),
        (0x95, Trouble.UNACCEPTABLE),
        (0x99, Trouble.UNACCEPTABLE),
    ],
)
async def test_each_disconnect_is_told_and_leaves_the_publish_unanswered(code: int, trouble: Trouble) -> None:
    async with (
        ScriptedBroker(answer=lambda publish: disconnect(code)) as broker,
        MqttTransport(options(broker.port)).connect() as link,
    ):
        answer = await link.publish("x/batch", b"payload")
        loss = await link.lost()
    assert answer.outcome is Outcome.LOST
    assert (loss.trouble, loss.code, loss.by_peer) == (trouble, code, True)
    assert f"0x{code:02X}" in loss.reason


NEVER = {
    0x90: ("batch_doubted", "correct mqtt.topic_batch"),
    0x95: ("batch_over_limit", "raise its limit"),
    0x99: ("batch_doubted", "it looks into payloads"),
}
PATIENCE, PERMISSION = "the broker asks for patience", "allow this client to publish to the topic"


@pytest.mark.parametrize(
    ("answer", "event", "level", "hint"),
    [
        (lambda publish: puback(publish, 0x87), "publish_refused", "error", PERMISSION),
        (lambda publish: puback(publish, 0x97), "publish_refused", "warning", PATIENCE),
        *[
            (lambda publish, code=code: puback(publish, code), event, "warning", hint)
            for code, (event, hint) in NEVER.items()
        ],
        (lambda publish: disconnect(0x87), "link_lost", "warning", PERMISSION),
        *[
            (lambda publish, code=code: disconnect(code), "link_lost", "warning", PATIENCE)
            for code in (0x89, 0x93, 0x96, 0x97)
        ],
        (lambda publish: disconnect(0x8E), "link_lost", "warning", "give each unit its own mqtt.client_id"),
        *[
            (lambda publish, code=code: disconnect(code), event, "warning", hint)
            for code, (event, hint) in NEVER.items()
        ],
    ],
)
async def test_each_reason_code_is_told_with_what_to_do(
    tmp_path: Path, answer: Any, event: str, level: str, hint: str
) -> None:
    async with ScriptedBroker(answer=answer) as broker:
        with rig(tmp_path, options(broker.port)) as made, capture_logs() as logs:
            await made.append(b"batch")
            async with made.running():
                while event not in [line["event"] for line in logs]:
                    await asyncio.sleep(0.01)
                assert await made.stored() == [0]
    told = next(line for line in logs if line["event"] == event)
    assert told["log_level"] == level
    assert hint in told["reason"] + told["hint"]
    assert "(0x" in told["reason"]


async def test_what_a_broker_sends_unasked_is_neither_kept_nor_waited_for() -> None:
    unasked = b"\x30\x0e\x00\x05topic\x00" + b"payload"[:6]
    async with (
        ScriptedBroker(answer=lambda publish: unasked * 100 + puback(publish)) as broker,
        MqttTransport(options(broker.port)).connect() as link,
    ):
        assert (await link.publish("x/batch", b"payload")).outcome is Outcome.ACCEPTED
        assert link.connection._incoming._messages.empty()
    huge = b"\x30\xff\xff\xff\x7f\x00\x05topic"
    async with (
        ScriptedBroker(answer=lambda publish: huge) as broker,
        MqttTransport(options(broker.port)).connect() as link,
    ):
        assert (await link.publish("x/batch", b"payload")).outcome is Outcome.LOST
        assert "announced a packet of 268435455 bytes" in (await link.lost()).reason


async def test_a_broker_that_is_busy_is_not_asked_in_a_busy_loop(tmp_path: Path) -> None:
    async with ScriptedBroker(answer=lambda publish: disconnect(0x97)) as broker:
        with rig(tmp_path, options(broker.port)) as made:
            await fill(made, 5)
            async with made.running():
                began = asyncio.get_running_loop().time()
                await asyncio.sleep(2.0)
                assert len(broker.payloads()) <= (asyncio.get_running_loop().time() - began) / 0.2 + 5
                assert len(await made.stored()) == 5
                broker.answer = puback
                await made.emptied()
        assert broker.violations == []


@pytest.mark.parametrize("allowed", [1, 3])
async def test_receive_maximum_is_honoured_by_sender_and_link(tmp_path: Path, allowed: int) -> None:
    properties = b"\x21" + allowed.to_bytes(2, "big")
    async with ScriptedBroker(connack=lambda level: connack(0, properties), receive_maximum=allowed) as broker:
        with rig(tmp_path, options(broker.port), window_batches=10) as made:
            await fill(made, 20)
            async with made.running():
                await made.emptied()
        async with MqttTransport(options(broker.port)).connect() as link:
            broker.answer = lambda publish: None
            many = [asyncio.create_task(link.publish("x/batch", b"%d" % number)) for number in range(10)]
            before = len(broker.publishes)
            await broker.until(lambda: len(broker.publishes) >= before + allowed)
            await asyncio.sleep(0.1)
            assert len(broker.publishes) == before + allowed
            for task in many:
                task.cancel()
            await asyncio.gather(*many, return_exceptions=True)
        assert broker.unacknowledged_max == allowed
        assert broker.violations == []


async def test_a_cancelled_publish_still_counts_for_receive_maximum() -> None:
    async with ScriptedBroker(
        connack=lambda level: connack(0, b"\x21\x00\x01"), receive_maximum=1, answer=lambda publish: None
    ) as broker:
        async with MqttTransport(options(broker.port)).connect() as link:
            first = asyncio.create_task(link.publish("x/batch", b"1"))
            await broker.until(lambda: len(broker.publishes) == 1)
            first.cancel()
            second = asyncio.create_task(link.publish("x/batch", b"2"))
            await asyncio.sleep(0.1)
            assert broker.payloads() == [b"1"]
        assert (await second).outcome is Outcome.LOST


async def test_topic_aliases_save_the_topic_and_stay_within_the_brokers_maximum(tmp_path: Path) -> None:
    async with (
        ScriptedBroker(connack=lambda level: connack(0, b"\x22\x00\x02")) as broker,
        MqttTransport(options(broker.port)).connect() as link,
    ):
        for topic in ("long/a", "long/b", "long/c") * 3:
            await link.publish(topic, b"payload")
    assert [publish.topic for publish in broker.publishes] == ["long/a", "long/b", "long/c"] * 3
    assert [publish.size_bytes for publish in broker.publishes] == [21, 21, 18] + [15, 15, 18] * 2
    assert broker.violations == []


async def test_a_retained_message_is_not_asked_of_a_broker_that_keeps_none() -> None:
    async with (
        ScriptedBroker(connack=lambda level: connack(0, b"\x25\x00")) as broker,
        MqttTransport(options(broker.port, will_topic="")).connect() as link,
    ):
        await link.publish("x/batch", b"payload", retain=True)
    assert not broker.publishes[0].retain


@pytest.mark.parametrize(
    ("refuse_5", "levels"),
    [(connack(0x84), [5, 4, 4]), (b"\x20\x02\x00\x01", [5, 4, 4])],
    ids=["code 0x84", "as 3.1.1 does"],
)
async def test_auto_falls_back_to_3_1_1_and_remembers_a_refusal_in_a_connack(
    refuse_5: bytes, levels: list[int]
) -> None:
    async with ScriptedBroker(connack=lambda level: refuse_5 if level == 5 else b"\x20\x02\x00\x00") as broker:
        transport = MqttTransport(options(broker.port, version="auto"))
        for _ in range(2):
            async with transport.connect() as link:
                assert link.version == "3.1.1"
                assert (await link.publish("x/batch", b"payload")).outcome is Outcome.ACCEPTED
        assert broker.levels == levels


async def test_a_broker_that_learns_mqtt_5_is_spoken_to_in_it() -> None:
    async with ScriptedBroker(connack=lambda level: connack(0x84) if level == 5 else b"\x20\x02\x00\x00") as broker:
        transport = MqttTransport(options(broker.port, version="auto"))
        async with transport.connect():
            pass
        broker.connack = lambda level: connack() if level == 5 else CLOSE
        with pytest.raises(RefusedError):
            async with transport.connect():
                pass
        async with transport.connect() as link:
            assert link.version == "5"


async def test_a_broker_that_refuses_every_version_is_asked_for_both_again() -> None:
    refusals = {5: connack(0x84), 4: CLOSE}
    async with ScriptedBroker(connack=lambda level: refusals[level]) as broker:
        transport = MqttTransport(options(broker.port, version="auto"))
        for _ in range(2):
            with pytest.raises(RefusedError, match="closed the connection without an answer"):
                async with transport.connect():
                    pass
        assert broker.levels == [5, 4, 5, 4]


async def test_a_broker_that_just_closes_is_never_spoken_to_in_3_1_1() -> None:
    async with ScriptedBroker(connack=lambda level: CLOSE if level == 5 else b"\x20\x02\x00\x00") as broker:
        transport = MqttTransport(options(broker.port, version="auto"))
        for _ in range(3):
            with pytest.raises(RefusedError, match=r'set mqtt.version = "3.1.1"'):
                async with transport.connect():
                    pass
        assert broker.levels == [5, 5, 5]


async def test_mqtt_5_once_spoken_is_not_given_up_for_a_refusal_even_after_a_restart(tmp_path: Path) -> None:
    refuses = connack(0x84)
    async with ScriptedBroker() as broker:
        mqtt = options(broker.port, version="auto")
        async with MqttTransport(mqtt, memory=BrokerMemory(tmp_path / "spool" / FILE)).connect() as link:
            assert link.version == "5"
        broker.connack = lambda level: refuses if level == 5 else b"\x20\x02\x00\x00"
        restarted = MqttTransport(mqtt, memory=BrokerMemory(tmp_path / "spool" / FILE))
        for _ in range(2):
            with pytest.raises(RefusedError, match=r"mqtt.version .0x84.*keeps to MQTT 5"):
                async with restarted.connect():
                    pass
        assert broker.levels == [5, 5, 5]
        async with MqttTransport(replace(mqtt, version="3.1.1")).connect() as link:
            assert link.version == "3.1.1", "asked for in so many words"


@pytest.mark.parametrize(
    ("code", "trouble", "text"),
    [
        (0x85, Trouble.UNAUTHORIZED, "mqtt.client_id"),
        (0x86, Trouble.UNAUTHORIZED, "mqtt.password_file"),
        (0x88, Trouble.BUSY, "unavailable"),
        (0x97, Trouble.BUSY, "quota"),
        (0x9A, Trouble.UNREACHABLE, "mqtt.retain = false"),
    ],
)
async def test_each_refusal_to_connect_is_told_with_what_to_do(code: int, trouble: Trouble, text: str) -> None:
    async with ScriptedBroker(connack=lambda level: connack(code)) as broker:
        with pytest.raises(RefusedError, match=text) as caught:
            async with MqttTransport(options(broker.port)).connect():
                pass
    assert caught.value.trouble is trouble
    assert f"127.0.0.1:{broker.port}" in str(caught.value)


async def test_a_broker_without_qos_1_is_refused() -> None:
    async with ScriptedBroker(connack=lambda level: connack(0, b"\x24\x00")) as broker:
        with pytest.raises(RefusedError, match="QoS 1"):
            async with MqttTransport(options(broker.port)).connect():
                pass


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x7f\x00\x00", b"\xff" * 64])
async def test_a_server_that_is_no_broker_is_refused_in_time(noise: bytes) -> None:
    async with ScriptedBroker(connack=lambda level: noise) as broker:
        with pytest.raises(RefusedError):
            async with MqttTransport(options(broker.port, connect_timeout_s=0.5)).connect():
                pass


async def test_noise_in_a_running_link_ends_it(tmp_path: Path) -> None:
    async with (
        ScriptedBroker(answer=lambda publish: b"\x40\x00" + b"\xff" * 32) as broker,
        MqttTransport(options(broker.port)).connect() as link,
    ):
        assert (await link.publish("x/batch", b"payload")).outcome is Outcome.LOST
        assert isinstance(await link.lost(), LinkLoss)


async def test_closing_does_not_wait_for_a_name_that_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        release.wait(50)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def connect() -> None:
        async with MqttTransport(options(1883, host="slow.example")).connect():
            pass

    task = asyncio.create_task(connect())
    while not asked.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    release.set()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_connect_that_is_cancelled_leaves_no_socket(tls: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)

        async def connect() -> None:
            async with MqttTransport(options(silent.getsockname()[1], tls=tls)).connect():
                pass

        task = asyncio.create_task(connect())
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(silent)
        with peer:
            assert await loop.sock_recv(peer, 65_536)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while await loop.sock_recv(peer, 65_536):
                pass


async def test_a_new_connection_never_repeats_what_an_old_one_had_in_flight() -> None:
    async with ScriptedBroker(answer=lambda publish: CLOSE) as broker:
        transport = MqttTransport(options(broker.port))
        async with transport.connect() as link:
            assert (await link.publish("x/batch", b"once")).outcome is Outcome.LOST
        broker.answer = puback
        async with transport.connect() as link:
            await link.publish("x/batch", b"other")
        assert broker.payloads() == [b"once", b"other"]
        assert broker.goodbyes == 1
