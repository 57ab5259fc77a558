# SPDX-License-Identifier: Apache-2.0
"""The uplink and the subscriber against real mosquitto brokers."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.uplink.backoff import Backoff
from agent.uplink.incoming import WAITING_BYTES_MAX
from agent.uplink.mqtt_subscriber import CUT_OFF_MAX, MqttSubscriber
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.transport import RefusedError, Trouble
from tests.support.mosquitto import Certificates, free_port, running
from tests.support.proxy import TcpProxy
from tests.support.scripted import ScriptedBroker
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")

BATCHES = "canferry/+/batch"
QUICK = Backoff(base_s=0.05, maximum_s=0.2)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def subscriber(port: int, *filters: str, **changes: Any) -> MqttSubscriber:
    mqtt = options(port, client_id=changes.pop("client_id", "receiver"), will_topic="")
    return MqttSubscriber(mqtt, filters or [BATCHES], backoff=QUICK, **changes)


async def receive(source: MqttSubscriber, count: int) -> list[bytes]:
    payloads = []
    async for message in source:
        message.acknowledge()
        payloads.append(message.payload)
        if len(payloads) == count:
            break
    return payloads


async def receive_until(source: MqttSubscriber, payload: bytes) -> None:
    """What was not acknowledged in time may come again before it."""
    while payload not in await receive(source, 1):
        pass


@pytest.mark.parametrize("version", ["5", "3.1.1", "auto"])
async def test_every_batch_arrives_once_in_both_versions(tmp_path: Path, version: Any) -> None:
    async with running(tmp_path / "broker") as broker:
        async with subscriber(broker.port) as source:
            with rig(tmp_path, options(broker.port, version=version)) as made:
                async with made.running():
                    for number in range(40):
                        await made.append(b"%d" % number)
                    assert sorted(await receive(source, 40)) == sorted(b"%d" % number for number in range(40))
                    await made.emptied()
        assert broker.log.count("Received PUBLISH from canferry-car-1") == 40 + 2


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_batches_go_over_tls_with_a_client_certificate(
    tmp_path: Path, certificates: Certificates, version: Any
) -> None:
    ours = {"ca": certificates.ca, "certificate": certificates.client, "key": certificates.client_key}
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        mqtt = options(broker.port, tls=True, host="localhost", version=version, **ours)
        with rig(tmp_path, mqtt) as made:
            for size in (1, 48_000, 120_000):
                await made.append(bytes(size))
            async with made.running():
                await made.emptied()
                assert made.sender.state().acknowledged_batches == 3
        assert "car-1" in broker.log


async def test_a_publish_that_is_not_allowed_keeps_the_batch_until_it_is(tmp_path: Path) -> None:
    rules = "user car\ntopic write canferry/car-1/{}\ntopic write canferry/car-1/status\nuser all\ntopic read #\n"
    users = {"car": "secret", "all": "all"}
    async with running(tmp_path / "broker", users=users, acl=rules.format("other")) as broker:
        mqtt = options(broker.port, username="car", password="secret")
        with rig(tmp_path, mqtt) as made:
            await made.append(b"kept")
            async with made.running():
                while "not authorized (0x87)" not in made.sender.state().last_error:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(1.0)
                assert await made.stored() == [0]
                assert broker.log.count("Denied PUBLISH") <= 8
                (tmp_path / "broker" / "acl").write_text(rules.format("batch"))
                broker.reload()
                await made.emptied()


async def test_status_is_online_while_the_link_is_up_and_offline_after_it_was_cut(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        subscriber(broker.port, "canferry/+/status") as source,
    ):
        with rig(tmp_path, options(proxy.port)) as made:
            async with made.running():
                first = json.loads((await receive(source, 1))[0])
                assert first == {"v": 1, "online": True, "version": first["version"], "stream": made.spool.stream}
                proxy.refuse = True
                proxy.cut()
                assert json.loads((await receive(source, 1))[0])["online"] is False
                proxy.refuse = False
                assert json.loads((await receive(source, 1))[0])["online"] is True
                await made.sender.drain(5.0)
                assert json.loads((await receive(source, 1))[0])["online"] is False


async def test_a_receiver_that_comes_later_finds_the_catalog(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        with rig(tmp_path, options(broker.port)) as made:
            made.shelf.put("abc", b"CATALOG")
            await made.append(b"batch", "abc")
            async with made.running():
                await made.emptied()
        async with subscriber(broker.port, "canferry/+/catalog") as source:
            message = await anext(source)
            assert (message.payload, message.retain) == (b"CATALOG", True)


async def test_a_batch_over_which_a_3_1_1_broker_just_closes_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path / "broker", config=["max_packet_size 1000"]) as broker:
        with rig(tmp_path, options(broker.port, version="3.1.1")) as made:
            for size in (5000, *[10] * 12):
                await made.append(bytes(size))
            async with made.running():
                while await made.stored() != [0]:
                    await asyncio.sleep(0.02)


async def refusal(**changes: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        async with MqttTransport(options(changes.pop("port"), **changes)).connect():
            pass
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_broker_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    port = free_port()
    assert f"broker 127.0.0.1:{port}: nothing listens there" in str(await refusal(port=port))
    unknown = await refusal(port=1883, host="no-such-host.invalid")
    assert "no-such-host.invalid:1883: the host name is unknown" in str(unknown)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no answer within 0.2 s" in str(await refusal(port=port, connect_timeout_s=0.2))
        assert "no answer within 0.2 s" in str(await refusal(port=port, connect_timeout_s=0.2, tls=True))


async def test_wrong_certificates_are_told_in_one_line_with_what_to_do(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = await asyncio.to_thread(Certificates.make, tmp_path / "other")
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        good = {"port": broker.port, "tls": True, "ca": certificates.ca}
        ours = {"certificate": certificates.client, "key": certificates.client_key}
        assert "authority that mqtt.ca does not hold" in str(await refusal(**good | {"ca": other.ca} | ours))
        missing = await refusal(**good)
        assert "set mqtt.certificate and mqtt.key" in str(missing)
        assert missing.trouble is Trouble.UNAUTHORIZED
        foreign = await refusal(**good, certificate=other.client, key=other.client_key)
        assert "does not trust the authority behind our client certificate" in str(foreign)
        unfit = await refusal(**good, certificate=certificates.client, key=other.client_key)
        assert "do not belong together" in str(unfit)
        assert "no such file" in str(await refusal(**good | {"ca": tmp_path / "none"}))
        assert "mqtts://" in str(await refusal(port=broker.port, tls=False))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "other", "alternatives": "DNS:other.example"}, "is for another address"),
        ({"days": 0}, "has expired"),
        ({"name": "localhost", "alternatives": ""}, "is for another host name"),
    ],
)
async def test_a_broker_certificate_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    made = await asyncio.to_thread(lambda: Certificates.make(tmp_path / "made", **changes))
    async with running(tmp_path / "broker", tls=made) as broker:
        await asyncio.sleep(1.1 if changes.get("days") == 0 else 0.0)  # its last second has to pass
        host = "127.0.0.1" if changes.get("alternatives") else "localhost"
        assert text in str(await refusal(host=host, port=broker.port, tls=True, ca=made.ca))


async def test_a_port_that_speaks_no_tls_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        error = str(await refusal(port=broker.port, tls=True))
        assert "does not speak TLS" in error or "reset by peer" in error or "closed the connection during TLS" in error


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_wrong_password_is_told_and_a_password_file_is_read_anew(tmp_path: Path, version: Any) -> None:
    async with running(tmp_path / "broker", users={"car": "right"}) as broker:
        secret = tmp_path / "password"
        secret.write_text("wrong\n")
        mqtt = options(broker.port, version=version, username="car", password_file=secret)
        transport = MqttTransport(mqtt)
        with pytest.raises(RefusedError, match=r"check this client's credentials") as caught:
            async with transport.connect():
                pass
        assert caught.value.trouble is Trouble.UNAUTHORIZED
        secret.write_text("right\n")
        async with transport.connect() as link:
            assert link.version == version


async def test_a_message_that_was_not_acknowledged_comes_again(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        async with subscriber(broker.port) as source, MqttTransport(options(broker.port)).connect() as link:
            for number in range(3):
                await link.publish("canferry/car-1/batch", b"%d" % number)
            (await anext(source)).acknowledge()
            await anext(source)
            await asyncio.sleep(0.1)
        async with subscriber(broker.port) as source:
            assert await receive(source, 2) == [b"1", b"2"]


async def test_a_subscriber_comes_back_by_itself_and_misses_nothing(tmp_path: Path) -> None:
    config = ["persistence true", f"persistence_location {tmp_path}/"]
    async with (
        running(tmp_path / "broker", config=config) as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        subscriber(proxy.port) as source,
    ):
        with rig(tmp_path, options(broker.port)) as made:
            async with made.running():
                await made.append(b"one")
                assert await receive(source, 1) == [b"one"]
                proxy.cut()
                await made.append(b"two")
                await receive_until(source, b"two")
                await broker.restart()
                await made.append(b"three")
                await receive_until(source, b"three")


async def test_a_shared_group_divides_the_batches(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        one = subscriber(broker.port, client_id="one", shared_group="cloud")
        two = subscriber(broker.port, client_id="two", shared_group="cloud")
        async with one, two, MqttTransport(options(broker.port)).connect() as link:
            for number in range(20):
                await link.publish("canferry/car-1/batch", b"%d" % number)
            halves = await asyncio.gather(receive(one, 10), receive(two, 10))
            assert sorted(halves[0] + halves[1]) == sorted(b"%d" % number for number in range(20))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_subscription_that_is_not_granted_is_told(version: Any) -> None:
    async with ScriptedBroker(granted=lambda level: 0x87 if level == 5 else 0x80) as broker:
        mqtt = options(broker.port, version=version, will_topic="", client_id="receiver")
        with pytest.raises(RefusedError, match="refuses to subscribe us to canferry/#") as caught:
            async with MqttSubscriber(mqtt, ["canferry/#"]):
                pass
        assert caught.value.trouble is Trouble.UNAUTHORIZED


async def test_who_is_cut_off_by_another_with_its_id_is_told_and_told_when_it_is_back(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        subscriber(broker.port) as first,
        subscriber(broker.port) as second,
    ):
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group:
                fighting = [group.create_task(receive(source, 1)) for source in (first, second)]
                while sum("hint" in line for line in logs) < 2:
                    await asyncio.sleep(0.02)
                for task in fighting:
                    task.cancel()
    losses = [line for line in logs if line["event"] == "link_lost"]
    assert all("hint" not in line for line in losses[: CUT_OFF_MAX - 1])
    assert "another client connects with the same client id" in next(line["hint"] for line in losses if "hint" in line)
    assert {line["log_level"] for line in logs if line["event"] == "link_up"} == {"warning"}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_messages_that_wait_for_a_slow_consumer_are_bounded_and_all_arrive(
    tmp_path: Path, certificates: Certificates, tls: bool
) -> None:
    config = ["max_inflight_messages 200"]
    sent = [b"%08d" % number + bytes(1 << 20) for number in range(60)]
    async with running(tmp_path / "broker", tls=certificates if tls else None, config=config) as broker:
        link = options(broker.port, tls=tls, ca=certificates.ca) if tls else options(broker.port)
        slow = replace(link, client_id="receiver", will_topic="", version="3.1.1")
        source = MqttSubscriber(slow, [BATCHES], backoff=QUICK)
        async with source:
            async with MqttTransport(link).connect() as transport:
                for payload in sent:
                    await transport.publish("canferry/car-1/batch", payload)
            await asyncio.sleep(0.5)
            connection = source._connection
            assert connection is not None
            assert WAITING_BYTES_MAX < connection._incoming.waiting_bytes < WAITING_BYTES_MAX + (2 << 20)
            assert await receive(source, len(sent)) == sent
            assert source._connection is connection
