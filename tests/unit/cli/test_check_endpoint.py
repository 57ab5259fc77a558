# SPDX-License-Identifier: Apache-2.0
"""`canferry check` of names, credentials and what the endpoint takes."""

from __future__ import annotations

import datetime as dt
import secrets
import ssl
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

import pytest

from agent.cli.preflight import check_catalog, endpoint
from agent.config import BusConfig, Config, MqttConfig, VehicleConfig
from agent.model import MessageDefinition, SignalDefinition
from agent.uplink.credentials import expiry_s
from tests.support.checking import Checked, offline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificate and key `good.*` (years), `short.*` (a week) and the key `other.key`."""
    folder = tmp_path_factory.mktemp("credentials")
    for name, days in (("good", 1000), ("short", 7), ("other", 1000)):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        command = ["openssl", "req", "-x509", *curve, *files, "-days", str(days), "-subj", f"/CN={name}"]
        subprocess.run(command, check=True, capture_output=True)
        (folder / f"{name}.key").chmod(0o600)
    return folder


def with_credentials(folder: Path, certificate: str, key: str) -> str:
    return offline().replace("mqtt:", "mqtts:") + f'certificate = "{folder / certificate}"\nkey = "{folder / key}"\n'


def test_certificate_and_key_that_fit_are_sound(checked: Checked, credentials: Path) -> None:
    status, findings = checked.run(with_credentials(credentials, "good.pem", "good.key"), "--offline")
    assert status == 0
    (found,) = [finding for finding in findings if finding["subject"] == "mqtt.certificate"]
    assert found["level"] == "ok"
    assert "holds for 1000 days" in found["text"]


def test_what_the_endpoint_would_refuse_is_an_error(checked: Checked, credentials: Path) -> None:
    text = with_credentials(credentials, "good.pem", "good.key") + 'profile = "azure-iot-hub"\n'
    assert checked.only(text + 'keepalive = "1h"\n', "error", "--offline").startswith(
        'mqtt.keepalive: "1h" is too long'
    )
    status, findings = checked.run(text, "--offline")
    assert status == 0
    (told,) = [finding["text"] for finding in findings if finding["subject"] == "mqtt.profile"]
    assert told == "azure-iot-hub: MQTT 3.1.1, batches to devices/demo-0001/messages/events/kind=batch&class={class}"


def config_of(profile: Literal["generic", "aws-iot-core"]) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="car", interface="simulator"),),
        mqtt=MqttConfig(broker="mqtts://localhost", profile=profile),
    )


@pytest.mark.parametrize(("messages", "warnings"), [(10, 0), (12_000, 1)])
def test_a_catalog_that_the_endpoint_does_not_take_is_a_warning(messages: int, warnings: int) -> None:
    random = secrets.SystemRandom()
    signals = (SignalDefinition("A", 0, 8),)
    known = [MessageDefinition("car", n, f"{random.getrandbits(100):X}", 8, signals) for n in range(messages)]
    found = list(check_catalog(config_of("aws-iot-core"), known))
    assert len(found) == warnings
    assert all("the endpoint takes 131072 a message" in finding.text for finding in found)


def test_a_definition_that_no_catalog_holds_is_an_error_as_it_is_for_run() -> None:
    known = [MessageDefinition("car", 1, "Rare", 8, (SignalDefinition("A", 0, 8),), cycle_ms=1 << 32)]
    (found,) = check_catalog(config_of("generic"), known)
    assert (found.level, found.subject) == ("error", "dbc")
    assert found.text.startswith("message Rare: a catalog cannot hold it")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('id = "demo-0001"', 'id = "WVWZZZ1JZXW000001"', "vehicle.id"),
        ('id = "demo-0001"', 'id = "eu.WVWZZZ1JZXW000001"', "vehicle.id"),
        ("[mqtt]", '[mqtt]\nclient_id = "1M8GDM9AXKP042788"', "mqtt.client_id"),
    ],
)
def test_a_name_that_looks_like_a_vin_is_a_warning(checked: Checked, old: str, new: str, told: str) -> None:
    text = checked.only(offline().replace(old, new), "warning", "--offline")
    assert text.startswith(f"{told}: ")
    assert "looks like a VIN: whoever sees topics or logs knows the car; take a pseudonym" in text


@pytest.mark.parametrize("name", ["12345678901234567", "abcdefghijklmnopq", "WVWZZZ1JZXW00000", "WVWZZZ1JZXW0000012"])
def test_a_pseudonym_is_no_vin(checked: Checked, name: str) -> None:
    _, findings = checked.run(offline().replace("demo-0001", name), "--offline")
    assert {finding["level"] for finding in findings} == {"ok"}


def test_a_certificate_about_to_expire_is_a_warning(checked: Checked, credentials: Path) -> None:
    text = with_credentials(credentials, "short.pem", "short.key")
    assert checked.only(text, "warning", "--offline").endswith("short.pem: holds for 7 days")


def test_an_expired_certificate_is_a_warning(
    checked: Checked, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_s = expiry_s((credentials / "good.pem").read_text()) + 3 * 86_400
    monkeypatch.setattr("agent.cli.preflight.endpoint.time", SimpleNamespace(time=lambda: later_s))
    text = with_credentials(credentials, "good.pem", "good.key")
    assert "expired 3 days ago; the broker will refuse it" in checked.only(text, "warning", "--offline")


@pytest.mark.parametrize(
    ("certificate", "key", "expected"),
    [
        ("good.pem", "other.key", "they do not belong together"),
        ("good.pem", "gone.key", "mqtt.key"),
        ("gone.pem", "good.key", "mqtt.certificate"),
        ("good.key", "good.key", "not PEM"),
    ],
)
def test_credentials_that_do_not_fit_are_an_error(
    checked: Checked, credentials: Path, certificate: str, key: str, expected: str
) -> None:
    text = with_credentials(credentials, certificate, key)
    assert expected in checked.only(text, "error", "--offline")
    assert checked.run(text, "--offline")[0] == 2


def test_a_key_that_everybody_may_read_is_a_warning(checked: Checked, credentials: Path) -> None:
    key = checked.folder / "open.key"
    key.write_bytes((credentials / "good.key").read_bytes())
    key.chmod(0o644)
    text = with_credentials(credentials, "good.pem", str(key))
    assert checked.only(text, "warning", "--offline") == f"mqtt.key: {key}: every user may read it (chmod o-r)"


def test_a_missing_or_empty_password_file_is_named(checked: Checked) -> None:
    text = offline() + 'username = "u"\npassword_file = "pw"\n'
    assert str(checked.folder / "pw") in checked.only(text, "error", "--offline")
    (checked.folder / "pw").write_text("")
    (checked.folder / "pw").chmod(0o600)
    assert "the first line is empty" in checked.only(text, "warning", "--offline")


def test_the_expiry_date_is_the_certificates(credentials: Path) -> None:
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", str(credentials / "good.pem")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    date = dt.datetime.strptime(printed.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert expiry_s((credentials / "good.pem").read_text()) == date.timestamp()


def test_what_is_no_certificate_has_no_expiry_date(credentials: Path) -> None:
    pem = (credentials / "good.pem").read_text().splitlines()
    for text in ("", "\n".join(pem[:3] + pem[-1:]), "\n".join([pem[0], pem[-1]])):
        with pytest.raises(ValueError, match="its expiry date cannot be read"):
            expiry_s(text)


def test_values_in_the_place_of_a_certificates_are_not_read(credentials: Path) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert((credentials / "good.pem").read_text()))
    der[0] = 0x31  # a SET
    with pytest.raises(ValueError, match="its expiry date cannot be read"):
        expiry_s(ssl.DER_cert_to_PEM_cert(bytes(der)))


def test_a_congestion_control_that_the_kernel_has_not_is_a_warning(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = offline() + 'congestion = "bbr"\n'
    monkeypatch.setattr(endpoint, "control_congestion", lambda _, name: name != "bbr")
    assert checked.only(text, "warning", "--offline").startswith("mqtt.congestion: bbr is not there")
    monkeypatch.setattr(endpoint, "control_congestion", lambda _, name: name == "bbr")
    assert "mqtt.congestion" not in str(checked.run(text, "--offline"))
