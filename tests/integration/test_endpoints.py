# SPDX-License-Identifier: Apache-2.0
"""The daemon with each profile against a server as strict as the endpoint it is named after."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.cli.run import _usable
from agent.daemon import daemon
from agent.daemon.options import mqtt_options, sender_options
from agent.receiver.batch_receiver import BatchReceiver, Verdict
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.properties import cloud_event
from tests.integration.endpoints import ENDPOINTS, endpoint
from tests.support.mosquitto import Certificates
from tests.support.scripted import CLOSE, puback
from tests.support.uplinks import rig

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config import Config
    from tests.support.scripted import Publish, ScriptedBroker

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "simulator"
[batch]
interval = "100ms"
[spool]
path = "spool"
limit = "16MiB"
segment = "256KiB"
min_free = "0B"
journal_interval = "200ms"
[agent]
shutdown_grace = "20s"
[mqtt]
broker = "mqtts://localhost:{port}"
profile = "{profile}"
ca = "{certificates.ca}"
certificate = "{certificates.client}"
key = "{certificates.client_key}"
backoff_base = "50ms"
backoff_max = "400ms"
{more}
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def configured(folder: Path, port: int, profile: str, certificates: Certificates, more: str = "") -> Config:
    """As `canferry run` would read it: whatever check refuses is refused."""
    file = folder / "agent.toml"
    file.write_text(CONFIG.format(port=port, profile=profile, certificates=certificates, more=more))
    return _usable(file)


def kind_of(publish: Publish) -> str:
    return publish.topic.removesuffix("/").rpartition("/")[2].removeprefix("kind=").partition("&")[0]


def of_kind(broker: ScriptedBroker, kind: str) -> list[Publish]:
    return [publish for publish in broker.publishes if kind_of(publish) == kind]


async def drive(config: Config, broker: ScriptedBroker, batches: int) -> daemon.Gauges:
    """Run the daemon until so many batches have come; then in good order to its end."""
    stop = asyncio.Event()
    started: asyncio.Future[daemon.Gauges] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(daemon.run(config, stop=stop, observe=started.set_result), name="daemon")
        await broker.until(lambda: len(of_kind(broker, "batch")) >= batches)
        stop.set()
    return started.result()


@pytest.mark.parametrize("profile", ENDPOINTS)
async def test_a_daemon_of_each_profile_gets_everything_through(
    tmp_path: Path, certificates: Certificates, profile: str
) -> None:
    async with endpoint(profile, certificates) as broker:
        gauges = await drive(configured(tmp_path, broker.port, profile, certificates), broker, batches=10)
    assert broker.closed_over == []
    assert broker.violations == []
    link = gauges.link()
    assert (link.links, link.refused_batches, link.acknowledged_batches) == (1, 0, gauges.counters.batches)
    heads = [decode_batch(publish.payload) for publish in of_kind(broker, "batch")]
    assert sum(batch.frames for batch in heads) == gauges.counters.frames
    (catalog,) = of_kind(broker, "catalog")
    assert decode_catalog(catalog.payload).hash == heads[0].catalog
    inbox = BatchReceiver(tmp_path / "cloud")
    for publish in [catalog, *of_kind(broker, "batch"), *of_kind(broker, "batch")]:
        inbox.accept(publish.payload, vehicle="car-1")
    assert inbox.counts[Verdict.REJECTED] == 0
    assert inbox.counts[Verdict.BATCH] == inbox.counts[Verdict.DUPLICATE] == len(heads)
    assert inbox.report() == []
    assert len(of_kind(broker, "status")) == 2
    assert catalog.retain is (profile != "azure-iot-hub")


async def test_iot_hub_is_told_kinds_apart_by_the_property_bag(tmp_path: Path, certificates: Certificates) -> None:
    async with endpoint("azure-iot-hub", certificates) as broker:
        await drive(configured(tmp_path, broker.port, "azure-iot-hub", certificates), broker, batches=1)
    assert {publish.topic for publish in broker.publishes} == {
        f"devices/car-1/messages/events/kind={kind}" for kind in ("batch&class=normal", "catalog", "status")
    }
    (connect,) = broker.connects
    assert (connect.level, connect.client_id) == (4, "car-1")
    assert connect.username == "localhost/car-1/?api-version=2021-04-12"
    assert connect.password is None
    assert connect.will is not None
    assert (connect.will.topic, connect.will.retain) == ("devices/car-1/messages/events/kind=status", False)


async def test_a_sas_token_is_the_password(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "sas").write_text("SharedAccessSignature sr=localhost%2Fdevices%2Fcar-1&sig=c2ln&se=1900000000\n")
    async with endpoint("azure-iot-hub", certificates) as broker:
        config = configured(tmp_path, broker.port, "azure-iot-hub", certificates, 'password_file = "sas"')
        await drive(config, broker, batches=1)
    assert broker.connects[0].password == (tmp_path / "sas").read_text().strip()


@pytest.mark.parametrize(
    ("profile", "changes", "why"),
    [
        ("azure-iot-hub", {"username": "car-1"}, "user name car-1"),
        ("azure-iot-hub", {"version": "5"}, "protocol level 5"),
        ("azure-iot-hub", {"keepalive_s": 1178}, "keep-alive of 1178 s"),
        ("azure-iot-hub", {"will_topic": "canferry/car-1/status"}, "will: topic canferry/car-1/status"),
        ("azure-iot-hub", {"retain": True}, "will: retained"),
        ("azure-event-grid", {"certificate": None, "key": None}, "no certificate"),
        ("aws-iot-core", {"client_id": "car-2"}, "client id is not the certificate's"),
        ("aws-iot-core", {"will_topic": "canferry/1/2/3/4/5/6/7/8"}, "will: topic canferry/1/2/3/4/5/6/7/8"),
    ],
)
async def test_what_the_profile_spares_the_endpoint_would_close_the_connection(
    tmp_path: Path, certificates: Certificates, profile: str, changes: dict[str, Any], why: str
) -> None:
    """The servers are as strict as they have to be; and the log says what to look at."""
    from dataclasses import replace

    async with endpoint(profile, certificates) as broker:
        config = configured(tmp_path, broker.port, profile, certificates)
        options, sending = replace(mqtt_options(config, "s"), **changes), sender_options(config)
        with rig(
            tmp_path / "rig", options, closes_over=sending.closes_over, reconnect_least_s=sending.reconnect_least_s
        ) as made:
            await made.append(b"kept")
            with capture_logs() as logs:
                async with made.running():
                    await broker.until(lambda: len(broker.closed_over) > 1)
            assert await made.stored() == [0]
    assert set(broker.closed_over) == {why}
    refusals = [line for line in logs if line["event"] == "link_refused"]
    assert refusals
    assert all(line["hint"] == f"it may have closed over {sending.closes_over}" for line in refusals)


async def send_backlog(
    folder: Path, broker: ScriptedBroker, config: Config, sizes: list[int], **changes: Any
) -> list[dict[str, Any]]:
    """Batches of these sizes, all stored before the link comes up."""
    sending = sender_options(config)
    fields = ("window_batches", "window_bytes", "publishes_per_s", "bytes_per_s", "batch", "catalog", "status")
    chosen = {name: getattr(sending, name) for name in fields}
    with rig(folder / "rig", mqtt_options(config, "s"), **{**chosen, **changes}) as made:
        content = bytes(50_000)
        await made.call(made.shelf.put, "c" * 32, content)
        for number, size in enumerate(sizes):
            await made.append(number.to_bytes(4, "big") * (size // 4), catalog="c" * 32)
        with capture_logs() as logs:
            async with made.running():
                await made.emptied()
        refused = made.sender.state().refused_batches
    assert len(of_kind(broker, "batch")) == len(sizes) - refused
    return [dict(line) for line in logs]


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        ("azure-event-grid", [61_000, *[20_000] * 12, 61_000]),
        ("azure-event-grid", [40] * 200),
        ("aws-iot-core", [40] * 150),
        ("aws-iot-core", [48_000] * 16),
    ],
)
async def test_a_backlog_keeps_to_the_endpoints_rates_and_to_what_may_be_in_flight(
    tmp_path: Path, certificates: Certificates, profile: str, sizes: list[int]
) -> None:
    async with endpoint(profile, certificates) as broker:
        more = "window_batches = 100" if sizes[0] < 1000 else ""
        config = configured(tmp_path, broker.port, profile, certificates, more)
        await send_backlog(tmp_path, broker, config, sizes)
    assert broker.closed_over == []
    assert len(broker.connects) == 1


@pytest.mark.parametrize(
    ("profile", "sizes", "why"),
    [
        ("azure-event-grid", [20_000] * 12, "bytes in flight"),
        ("aws-iot-core", [40] * 150, "publishes in a second"),
        ("aws-iot-core", [48_000] * 16, "bytes in a second"),
    ],
)
async def test_without_the_profiles_limits_the_same_backlog_is_cut_off(
    tmp_path: Path, certificates: Certificates, profile: str, sizes: list[int], why: str
) -> None:
    free = {"window_batches": 100, "window_bytes": 1 << 20, "publishes_per_s": None, "bytes_per_s": None}
    # What is in flight comes together while answers are late, what is counted by the second while they are not.
    async with endpoint(profile, certificates, round_trip_s=1 if why == "bytes in flight" else 0.003) as broker:
        config = configured(tmp_path, broker.port, profile, certificates)
        sending = asyncio.create_task(send_backlog(tmp_path, broker, config, sizes, **free))
        await broker.until(lambda: any(why in reason for reason in broker.closed_over))
        sending.cancel()
        await asyncio.wait([sending])


@pytest.mark.parametrize("keeps_pause", [True, False])
async def test_a_client_comes_back_as_soon_as_the_endpoint_takes_it(
    tmp_path: Path, certificates: Certificates, keeps_pause: bool
) -> None:
    """Two connections are cut at their first batch; without the profile's pause the endpoint closes others as well."""
    cuts = iter([CLOSE] * 2)
    async with endpoint("aws-iot-core", certificates) as broker:
        broker.answer = lambda publish: next(cuts, puback(publish))
        config = configured(tmp_path, broker.port, "aws-iot-core", certificates)
        least_s = sender_options(config).reconnect_least_s if keeps_pause else 0.0
        with rig(tmp_path / "rig", mqtt_options(config, "s"), reconnect_least_s=least_s) as made:
            await made.append(b"batch")
            async with made.running():
                if not keeps_pause:
                    await broker.until(lambda: broker.closed_over == ["2 connects in a second"])
                    return
                await made.emptied()
    assert broker.closed_over == []
    assert len(broker.connects) == 3


async def test_what_is_larger_than_the_endpoint_takes_stays_unsent(tmp_path: Path, certificates: Certificates) -> None:
    """It was sealed under a configuration for another endpoint."""
    async with endpoint("aws-iot-core", certificates) as broker:
        config = configured(tmp_path, broker.port, "aws-iot-core", certificates)
        with rig(tmp_path / "rig", mqtt_options(config, "s")) as made:
            for size in (131_072, 40):
                await made.append(bytes(size))
            async with made.running():
                while await made.stored() != [0]:
                    await asyncio.sleep(0.02)
                assert 130_000 < made.sender.state().batch_bytes_max < 131_072
                assert made.spool.pending_gaps() == ()
    assert broker.closed_over == []


async def test_cloud_events_are_on_every_message_in_mqtt_5(tmp_path: Path, certificates: Certificates) -> None:
    async with endpoint("azure-event-grid", certificates) as broker:
        config = configured(tmp_path, broker.port, "azure-event-grid", certificates, "cloud_events = true")
        await drive(config, broker, batches=3)
    assert broker.closed_over == []
    for publish in of_kind(broker, "batch"):
        head = decode_batch(publish.payload)
        properties = cloud_event("batch", "car-1", f"{head.id.stream}/{head.id.sequence}")
        assert (publish.content_type, publish.properties) == (properties.content_type, properties.properties)
    (catalog,) = of_kind(broker, "catalog")
    assert dict(catalog.properties)["id"] == decode_catalog(catalog.payload).hash
    assert {publish.content_type for publish in of_kind(broker, "status")} == {"application/json"}
    names = [dict(publish.properties)["id"] for publish in broker.publishes]
    assert len(set(names)) == len(names)


async def test_the_tls_protocol_name_is_asked_for(tmp_path: Path, certificates: Certificates) -> None:
    from dataclasses import replace

    async with endpoint("aws-iot-core", certificates, admit=lambda connect: "") as broker:
        config = configured(tmp_path, broker.port, "aws-iot-core", certificates)
        for alpn in ("", "x-amzn-mqtt-ca"):
            async with MqttTransport(replace(mqtt_options(config, "s"), alpn=alpn)).connect():
                pass
    assert [connect.alpn for connect in broker.connects] == [None, "x-amzn-mqtt-ca"]
