# SPDX-License-Identifier: Apache-2.0
"""A car whose private key never leaves its TPM: a software one, and OpenSSL's provider for it, as on a head unit."""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import weakref
from typing import TYPE_CHECKING

import pytest

from agent.uplink import credentials
from agent.uplink.mqtt_transport import MqttTransport
from tests.integration.test_certificates import CONFIG, eventually, swap
from tests.integration.tpm import Tpm
from tests.support.mosquitto import Certificates, free_port, running
from tests.support.processes import Agent, Receiver, spawn
from tests.support.proxy import TcpProxy
from tests.support.uplinks import options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.uplink.options import MqttOptions

RECONNECTIONS = 6
"""More than a TPM has places for keys."""


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.make(tmp_path / "certificates")


@pytest.fixture
async def tpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tpm]:
    """Found by the processes that a test starts."""
    async with Tpm(tmp_path / "tpm").running() as made:
        seen_by(made, monkeypatch)
        yield made


def seen_by(tpm: Tpm, environment: pytest.MonkeyPatch) -> None:
    for name, value in tpm.environment.items():
        environment.setenv(name, value)
    environment.delenv("TSS2_LOG")  # the agent sees to that itself


async def checked(folder: Path) -> tuple[int, str]:
    """Exit status of `canferry check`, and what it said."""
    log, out = folder / "check.log", folder / "check.out"
    check = await spawn("-m", "agent", "check", "--offline", "--config", str(folder / "agent.toml"), log=log, out=out)
    return await check.wait(), out.read_text() + log.read_text()


@pytest.mark.timeout(300)
async def test_tpm_key_logs_in_is_replaced_under_load_and_waited_for(
    tmp_path: Path, certificates: Certificates, tpm: Tpm
) -> None:
    """Links are cut, and the TPM stands still while one comes up; then comes a key that is bound to what TLS 1.3 does
    not know, RSASSA-PKCS1, and one that is not."""
    plain, folder = free_port(), tmp_path / "agent"
    folder.mkdir()
    inside = [f"listener {plain} 127.0.0.1"]
    async with (
        running(tmp_path / "broker", tls=certificates, client_certificates=True, config=inside) as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
    ):
        cloud = Receiver(tmp_path)
        broker.url = lambda: f"mqtt://127.0.0.1:{plain}"  # type: ignore[method-assign]
        agent = Agent(folder, CONFIG.format(port=proxy.port, ca=certificates.ca))
        swap(folder, *await tpm.issue(certificates, "car", name="car-1"))
        status, told = await checked(folder)
        assert (status, "car.key: in the TPM, and loaded there" in told) == (0, True), told
        async with cloud.running(broker):
            try:
                await agent.start()
                for links in range(1, RECONNECTIONS):
                    await eventually(lambda links=links: broker.log.count("u'car-1'") == links)  # type: ignore[misc]
                    proxy.cut()
                await eventually(lambda: broker.log.count("u'car-1'") == RECONNECTIONS)
                tpm.freeze()
                proxy.cut()
                sealed = len(agent.events("batch_sealed"))
                await eventually(lambda: len(agent.events("batch_sealed")) > sealed + 10)
                assert broker.log.count("u'car-1'") == RECONNECTIONS
                tpm.thaw()
                await eventually(lambda: broker.log.count("u'car-1'") > RECONNECTIONS)
                assert agent.process is not None
                swap(folder, *await tpm.issue(certificates, "bound", name="car-1-bound", kind="rsa2048:rsassa"))
                agent.process.send_signal(signal.SIGHUP)
                refused = await agent.said("certificate_refused")
                assert "our key (mqtt.key) cannot sign the handshake" in refused["reason"]
                swap(folder, *await tpm.issue(certificates, "second", name="car-1-second", kind="rsa2048"))
                agent.process.send_signal(signal.SIGHUP)
                await agent.said("certificate_changed")
                await eventually(lambda: "u'car-1-second'" in broker.log)
                assert await agent.stop() == 0
                (stopped,) = agent.events("agent_stopped")
                await cloud.has(lambda files: len(files) >= stopped["batches"])
            finally:
                await agent.close()
        batches = cloud.batches()
    assert [batch.id.sequence for batch in batches] == list(range(stopped["batches"]))
    assert sum(batch.frames for batch in batches) == stopped["frames"]
    assert not agent.events("reload_refused")


async def test_a_tpm_that_comes_after_the_agent_is_found(tmp_path: Path, certificates: Certificates, tpm: Tpm) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        agent = Agent(folder, CONFIG.format(port=broker.port, ca=certificates.ca))
        swap(folder, *await tpm.issue(certificates, "car", name="car-1"))
        await tpm.stop()
        try:
            await agent.start()
            refused = await agent.said("link_refused")
            assert f"mqtt.key {folder}/car.key: the key is in a TPM that cannot be used now: check" in refused["reason"]
            await agent.said("batch_sealed", sequence=3)
            await tpm.start()
            await agent.said("batch_acknowledged", sequence=3)
            assert await agent.stop() == 0
        finally:
            await agent.close()


async def test_a_link_that_has_ended_lets_go_of_its_key(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not when the garbage is collected: a TPM has room for three."""
    make, made = credentials.tls_context, list[weakref.ref[ssl.SSLContext]]()

    def noting(chosen: MqttOptions, *pair: Path) -> ssl.SSLContext:
        context = make(chosen, *pair)
        made.append(weakref.ref(context))
        return context

    monkeypatch.setattr(credentials, "tls_context", noting)
    own = {"ca": certificates.ca, "certificate": certificates.client, "key": certificates.client_key}
    async with running(tmp_path / "broker", tls=certificates, client_certificates=True) as broker:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with MqttTransport(options(broker.port, tls=True, **own)).connect():
                    pass
                await asyncio.sleep(0)
            assert [each() for each in made] == [None] * 3
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("case", "status", "told"),
    [
        ("another TPM", 0, "car.key: the key is in a TPM that cannot be used now: check that OpenSSL's provider is"),
        ("another key", 2, "car.key: they do not belong together"),
        ("no ciphers", 2, "OpenSSL has no ciphers: check the file that OPENSSL_CONF names"),
    ],
)
async def test_what_is_wrong_with_a_key_in_a_tpm_is_told_in_one_line(
    tmp_path: Path,
    certificates: Certificates,
    tpm: Tpm,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    status: int,
    told: str,
) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "agent.toml").write_text(CONFIG.format(port=1, ca=certificates.ca))
    certificate, key = await tpm.issue(certificates, "car", name="car-1")
    if case == "another key":
        certificate, _ = await tpm.issue(certificates, "other", name="car-1")
    swap(folder, certificate, key)
    if case == "no ciphers":
        (tmp_path / "openssl.cnf").write_text(
            "openssl_conf = a\n[a]\nproviders = b\n[b]\nbase = c\n[c]\nactivate = 1\n"
        )
        monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "openssl.cnf"))
    if case == "another TPM":
        async with Tpm(tmp_path / "tpm2").running() as other:
            seen_by(other, monkeypatch)
            found = await checked(folder)
    else:
        found = await checked(folder)
    assert found[0] == status, found[1]
    assert told in found[1]
    assert "tcti" not in found[1].lower()
