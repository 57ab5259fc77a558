# SPDX-License-Identifier: Apache-2.0
"""`canferry check` at real mosquitto brokers: what they say to our login, and that a running agent is left alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from agent import cli
from agent.uplink.brokers import FILE, BrokerMemory
from agent.uplink.mqtt_transport import MqttTransport
from tests.support.mosquitto import Certificates, running
from tests.support.scripted import ScriptedBroker
from tests.support.uplinks import options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mosquitto import Mosquitto

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")

CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "simulator"
[spool]
path = "spool"
limit = "8MiB"
segment = "1MiB"
min_free = "0B"
[agent]
socket = ""
[mqtt]
broker = "{url}"
"""
USERS = {"car-1": "right"}


class Check:
    """Runs the command in a thread: the test's event loop may have a connection of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    async def __call__(self, broker: Mosquitto | ScriptedBroker, keys: str = "") -> tuple[int, str, str]:
        """Exit status; level, and subject and text, of what there is to say of the broker."""
        file = self.folder / "agent.toml"
        url = f"mqtt://127.0.0.1:{broker.port}" if isinstance(broker, ScriptedBroker) else broker.url()
        file.write_text(CONFIG.format(url=url) + keys)
        status = await asyncio.to_thread(cli.main, ["check", "--config", str(file), "--json"])
        found: list[dict[str, Any]] = json.loads(self.capsys.readouterr().out)["findings"]
        return status, found[-1]["level"], f"{found[-1]['subject']}: {found[-1]['text']}"


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    return Check(tmp_path, capsys)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
async def test_a_login_that_the_broker_refuses_is_an_error_and_one_that_it_takes_is_sound(
    tmp_path: Path, check: Check, version: str
) -> None:
    keys = f'version = "{version}"\n'
    named = f'{keys}username = "car-1"\npassword_file = "password"\n'
    async with running(tmp_path / "broker", users=USERS) as broker:
        (tmp_path / "password").write_text("wrong\n")
        for written in (keys, named):
            status, level, told = await check(broker, written)
            assert (status, level) == (2, "error")
            assert told.startswith(f"mqtt login: broker 127.0.0.1:{broker.port}: ")
            assert "not authorized: check this client's credentials" in told
            assert 'may refuse that, and still take "car-1"' in told
        (tmp_path / "password").write_text("right\n")
        status, level, told = await check(broker, named)
        assert (status, level) == (0, "ok")
        takes = "whether it takes batches MQTT 3.1.1 cannot tell" if version == "3.1.1" else "takes batches of 48KiB"
        assert told.endswith(f'answers, not encrypted; {takes}; logged in as "car-1-check"')
        assert "as car-1 " not in broker.log, "never by the agent's own name"


async def test_a_client_that_is_connected_stays_so(tmp_path: Path, check: Check) -> None:
    async with running(tmp_path / "broker") as broker:
        async with MqttTransport(options(broker.port, client_id="car-1")).connect() as link:
            status, level, _ = await check(broker)
            assert (status, level) == (0, "ok")
            assert not (await link.publish("canferry/car-1/batch", b"still there")).reason
        assert "car-1-check" in broker.log
        assert "already connected" not in broker.log


async def test_where_credentials_belong_to_one_client_id_the_login_is_not_tried(
    tmp_path: Path, check: Check, certificates: Certificates
) -> None:
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        keys = f'profile = "azure-event-grid"\nca = "{certificates.ca}"\n'
        keys += f'certificate = "{certificates.client}"\nkey = "{certificates.client_key}"\n'
        status, level, told = await check(broker, f'{keys}[batch]\nmax_bytes = "32KiB"\n')
        assert (status, level) == (0, "ok")
        assert (
            "its certificate is good; login not tried: azure-event-grid knows these credentials by one client id"
            in told
        )
        assert "CONNECT" not in broker.log


async def test_a_certificate_of_another_authority_is_an_error(
    tmp_path: Path, check: Check, certificates: Certificates
) -> None:
    other = Certificates.make(tmp_path / "other")
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        keys = f'ca = "{certificates.ca}"\ncertificate = "{other.client}"\nkey = "{other.client_key}"\n'
        status, level, told = await check(broker, keys)
        assert (status, level) == (2, "error")
        assert told.startswith("mqtt login: ")
        assert "authority behind our client certificate" in told
        assert "asked as" not in told


async def test_check_tells_what_a_broker_of_mqtt_3_1_1_cannot_say(tmp_path: Path, check: Check) -> None:
    refuses_5 = {5: b"\x20\x02\x00\x01", 4: b"\x20\x02\x00\x00"}
    async with ScriptedBroker(connack=refuses_5.__getitem__) as broker:
        status, level, told = await check(broker)
        assert (status, level) == (0, "warning")
        assert "in MQTT 3.1.1 a broker acknowledges what its access rules forbid" in told
        BrokerMemory(tmp_path / "spool" / FILE).remember_five(f"127.0.0.1:{broker.port}")
        status, level, told = await check(broker)
        assert "keeps to MQTT 5 with a broker that has spoken it" in told, "as the agent would"


async def test_what_is_tried_reaches_nobody_and_is_not_retained(tmp_path: Path, check: Check) -> None:
    async with running(tmp_path / "broker") as broker:
        async with aiomqtt.Client(broker.host, broker.port) as listener:
            await listener.subscribe("#", qos=2)
            status, _, told = await check(broker)
            assert (status, "takes batches of 48KiB" in told) == (0, True)
            await listener.publish("end", b"", qos=1)
            assert str((await anext(listener.messages)).topic) == "end"
        assert broker.log.count("Received PUBLISH from car-1-check (d0, q2, r0") == 3, "batch, catalog and status"
        async with aiomqtt.Client(broker.host, broker.port) as later:
            await later.subscribe("#", qos=1)
            await later.publish("end", b"", qos=1)
            assert str((await anext(later.messages)).topic) == "end"
