# SPDX-License-Identifier: Apache-2.0
"""Certificates at a real broker: the right one connects, every other is told in one line, and none costs a batch."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.uplink import connect, credentials
from agent.uplink.mqtt_client import V5, MqttConnection
from agent.uplink.transport import LinkLoss, Trouble
from tests.support.mosquitto import Certificates, free_port, running
from tests.support.processes import Agent, Receiver
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TCP_CLOSE = 7
"""net/tcp_states.h."""
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Beside the car's own pair: `expired`, `revoked`, and a broker `elsewhere`."""
    made = Certificates.make(tmp_path_factory.mktemp("certificates"))
    made.issue("expired", days=0)
    revoked, _ = made.issue("revoked")
    made.revoke(revoked)
    return made


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority that nobody trusts."""
    return Certificates.make(tmp_path_factory.mktemp("foreign"))


def swap(folder: Path, certificate: Path, key: Path | None) -> None:
    """Put a pair in the car's place; both files are there whole or not at all."""
    for source, name in ((certificate, "car.pem"), (key, "car.key")):
        if source is None:
            (folder / name).unlink(missing_ok=True)
        else:
            shutil.copy(source, folder / "draft")
            (folder / "draft").replace(folder / name)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("expired", "it says that our client certificate (mqtt.certificate) has expired"),
        ("revoked", "it says that our client certificate (mqtt.certificate) is revoked"),
        ("foreign", "it does not trust the authority behind our client certificate (mqtt.certificate)"),
        ("keyless", "car.key: no such file or directory"),
        ("host", "its certificate is for another address: check mqtt.broker"),
        ("trust", "its certificate was signed by an authority that mqtt.ca does not hold"),
    ],
)
async def test_a_certificate_that_does_not_do_is_told_in_one_line_and_the_data_waits(
    tmp_path: Path, certificates: Certificates, foreign: Certificates, case: str, told: str
) -> None:
    folder = certificates.ca.parent
    server = certificates
    if case == "host":
        server = await asyncio.to_thread(lambda: Certificates.make(tmp_path / "made", alternatives="DNS:other.example"))
    config = [f"crlfile {folder / 'revoked.pem'}"] if case != "host" else []
    async with running(tmp_path / "broker", tls=server, client_certificates=True, config=config) as broker:
        own = {
            "host": "127.0.0.1",
            "ca": tmp_path / "ca",
            "certificate": tmp_path / "car.pem",
            "key": tmp_path / "car.key",
        }
        shutil.copy((foreign if case == "trust" else server).ca, tmp_path / "ca")
        pair: dict[str, tuple[Path, Path | None]] = {
            "foreign": (foreign.client, foreign.client_key),
            "keyless": (certificates.client, None),
        }
        named = (folder / f"{case}.crt", folder / f"{case}.key")
        swap(tmp_path, *pair.get(case, named if case in ("expired", "revoked") else (server.client, server.client_key)))
        with rig(tmp_path, options(broker.port, tls=True, **own)) as made:
            await made.append(b"kept")
            with capture_logs() as logs:
                async with made.running():
                    while told not in made.sender.state().last_error:
                        await asyncio.sleep(0.01)
                    assert await made.stored() == [0]
                    if case != "host":  # a reader that is right finds it all there
                        swap(tmp_path, certificates.client, certificates.client_key)
                        shutil.copy(certificates.ca, tmp_path / "ca")
                        await made.emptied()
        lines = [line["reason"] for line in logs if line["event"] == "link_refused"]
        assert any(told in line for line in lines)  # a reset may have overtaken the broker's word now and then
        assert all("\n" not in line and f"broker 127.0.0.1:{broker.port}: " in line for line in lines)
        assert "PRIVATE" not in str(logs)


async def test_an_alert_that_a_reset_has_overtaken_is_told(certificates: Certificates, foreign: Certificates) -> None:
    """The connection is written to before it is read, and the reset behind the alert is there already."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    tls.load_cert_chain(certificates.server, certificates.server_key)
    tls.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, server, tls))
        own = {"ca": certificates.ca, "certificate": foreign.client, "key": foreign.client_key}
        chosen = options(server.getsockname()[1], tls=True, **own)
        connection = MqttConnection(chosen, V5)
        with await connect.open_socket(chosen, credentials.tls_context(chosen)) as sock:
            await refusing
            async with asyncio.timeout(20):
                while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
                    await asyncio.sleep(0.01)
            connection._client._sock = sock
            with pytest.raises(ssl.SSLEOFError):
                connection._client._sock_send(b"CONNECT")
            connection._client._sock = None
    refusal = connection._lost_before_connack(LinkLoss(Trouble.DROPPED, "lost"))
    assert "does not trust the authority behind our client certificate" in str(refusal)
    assert refusal.trouble is Trouble.UNAUTHORIZED


def refuse(server: socket.socket, tls: ssl.SSLContext) -> None:
    """One client: its certificate looked at, the alert sent, and the connection reset."""
    sock, _ = server.accept()
    with tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
        with pytest.raises(ssl.SSLError):
            secured.do_handshake()
        secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_new_certificate_that_may_connect_and_not_publish_gives_way(
    tmp_path: Path, certificates: Certificates
) -> None:
    certificate, key = await asyncio.to_thread(lambda: certificates.issue("stranger", name="stranger"))
    rules = "user car-1\ntopic readwrite canferry/#\nuser stranger\ntopic read none\n"
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True, acl=rules) as broker:
        swap(tmp_path, certificates.client, certificates.client_key)
        own = {"ca": certificates.ca, "certificate": tmp_path / "car.pem", "key": tmp_path / "car.key"}
        with rig(tmp_path, options(broker.port, tls=True, version="5", **own)) as made, capture_logs() as logs:
            async with made.running():
                await made.append(b"before")
                await made.emptied()
                swap(tmp_path, certificate, key)
                made.sender.resumed()
                while "certificate_refused" not in [line["event"] for line in logs]:
                    await asyncio.sleep(0.01)
                await made.append(b"after")
                await made.emptied()
                state = made.sender.state()
        assert (state.acknowledged_batches, state.refused_batches) == (2, 0)
        (refused,) = [line for line in logs if line["event"] == "certificate_refused"]
        assert "not authorized (0x87)" in refused["reason"]
        assert "publish_refused" not in [line["event"] for line in logs]


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
min_free = "0B"
journal_interval = "100ms"
[mqtt]
broker = "mqtts://127.0.0.1:{port}"
ca = "{ca}"
certificate = "car.pem"
key = "car.key"
no_subscribers = "accept"
backoff_base = "50ms"
backoff_max = "1s"
[agent]
shutdown_grace = "30s"
[log]
level = "debug"
format = "json"
"""


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_rotation_under_load_loses_nothing_and_a_bad_pair_falls_back(
    tmp_path: Path, certificates: Certificates, foreign: Certificates
) -> None:
    """A daemon that samples all the while: a second pair, then one that is revoked, then half of one."""
    folder, plain = certificates.ca.parent, free_port()
    second = certificates.issue("second", name="car-1-second")
    inside = [f"crlfile {folder / 'revoked.pem'}", f"listener {plain} 127.0.0.1"]
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True, config=inside) as broker:
        cloud = Receiver(tmp_path)
        real_url, broker.url = broker.url, lambda: f"mqtt://127.0.0.1:{plain}"  # type: ignore[method-assign]
        assert real_url().startswith("mqtts:")
        agent = Agent(tmp_path, CONFIG.format(port=broker.port, ca=certificates.ca))
        swap(tmp_path, certificates.client, certificates.client_key)
        async with cloud.running(broker):
            try:
                await agent.start()
                await agent.said("batch_acknowledged", sequence=3)
                assert agent.process is not None

                swap(tmp_path, *second)
                agent.process.send_signal(signal.SIGHUP)
                changed = await agent.said("certificate_changed")
                await eventually(lambda: "u'car-1-second'" in broker.log)

                swap(tmp_path, folder / "revoked.crt", folder / "revoked.key")
                agent.process.send_signal(signal.SIGHUP)
                refused = await agent.said("certificate_refused")
                assert "is revoked" in refused["reason"]
                assert refused["before"] == changed["certificate"]
                links = broker.log.count("u'car-1-second'")
                await eventually(lambda: broker.log.count("u'car-1-second'") > links)

                swap(tmp_path, foreign.client, certificates.client_key)
                agent.process.send_signal(signal.SIGHUP)
                kept = await agent.said("reload_refused")
                assert "do not belong together" in kept["reason"]

                sealed = len(agent.events("batch_acknowledged"))
                await eventually(lambda: len(agent.events("batch_acknowledged")) >= sealed + 5)
                assert await agent.stop() == 0
                (stopped,) = agent.events("agent_stopped")
                await cloud.has(lambda files: len(files) >= stopped["batches"])
            finally:
                await agent.close()
        batches = cloud.batches()
        assert [batch.id.sequence for batch in batches] == list(range(stopped["batches"]))
        assert sum(batch.frames for batch in batches) == stopped["frames"]
        assert not [gap for batch in batches for gap in batch.gaps]
        text = agent.log.read_text()
        for key in (certificates.client_key, second[1], folder / "revoked.key"):
            assert key.read_text().splitlines()[1] not in text


def secret_lines(folder: Path) -> dict[str, str]:
    """A password and the body of a private key, as they must never be seen."""
    body = "".join((folder / "car.key").read_text().splitlines()[1:-1])
    return {"password": (folder / "password").read_text().strip(), "key": body[:40]}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "mismatch", "key as certificate", "password as key", "password in the address"])
async def test_no_secret_is_in_any_line_of_check_or_of_the_agent(
    tmp_path: Path, certificates: Certificates, foreign: Certificates, fault: str
) -> None:
    from tests.support.processes import spawn

    swap(tmp_path, certificates.client, certificates.client_key)
    (tmp_path / "password").write_text("correct-horse-battery\n")
    more = 'username = "car-1"\npassword_file = "password"\n[agent]\nshutdown_grace = "0s"'
    text = CONFIG.format(port=free_port(), ca=certificates.ca).replace('[agent]\nshutdown_grace = "30s"', more)
    changes: dict[str, tuple[str, str]] = {
        "mismatch": ('key = "car.key"', f'key = "{foreign.client_key}"'),
        "key as certificate": ('certificate = "car.pem"', 'certificate = "car.key"'),
        "password as key": ('key = "car.key"', 'key = "password"'),
        "password in the address": ("mqtts://127.0.0.1", "mqtts://car-1:correct-horse-battery@127.0.0.1"),
    }
    if fault:
        text = text.replace(*changes[fault])
    agent = Agent(tmp_path, text)
    log, out = tmp_path / "check.log", tmp_path / "check.out"
    check = await spawn("-m", "agent", "check", "--config", str(agent.config), log=log, out=out)
    assert await check.wait() == (2 if fault else 0)
    await agent.start()
    assert agent.process is not None
    if not fault:
        await agent.said("link_refused")
        await agent.stop()
    assert await agent.process.wait() == (2 if fault else 0)
    told = "".join(path.read_text() for path in (log, out, agent.log))
    assert told
    for name, secret in secret_lines(tmp_path).items():
        assert secret not in told, name
    assert all(json.loads(line) for line in agent.log.read_text().splitlines() if line.startswith("{"))
