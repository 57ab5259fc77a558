# SPDX-License-Identifier: Apache-2.0
"""Whether the broker would have us: names, credentials, and what its kind takes."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

from agent.cli.preflight.result import ERROR, OK, WARNING, CheckResult, readable, user
from agent.errors import ConfigError, DatabaseError
from agent.uplink.connect import control_congestion
from agent.uplink.credentials import expiry_s
from agent.uplink.transport import SILENT_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.config import Config
    from agent.model import MessageDefinition

_DAY_S = 86_400
_EXPIRES_SOON_S = 30 * _DAY_S
_VIN = re.compile(r"(?<![A-Z0-9])(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*[0-9])[A-HJ-NPR-Z0-9]{17}(?![A-Z0-9])")
"""ISO 3779: seventeen letters and digits without I, O and Q; both kinds are there."""
_TOLD_KEYS = ("client_id", "username", "topic_batch", "topic_catalog", "topic_status")


def check_vehicle(config: Config) -> Iterator[CheckResult]:
    """Whether the names that leave the unit in the clear tell which car it is."""
    names = {"vehicle.id": config.vehicle.id}
    if config.mqtt is not None:
        names |= {f"mqtt.{key}": getattr(config.mqtt, key) or "" for key in _TOLD_KEYS}
    for key, name in names.items():
        if _VIN.search(name) and (key == "vehicle.id" or not _VIN.search(config.vehicle.id)):
            text = f'"{name}" looks like a VIN: whoever sees topics or logs knows the car; take a pseudonym'
            yield CheckResult(WARNING, key, text)


def check_endpoint(config: Config) -> Iterator[CheckResult]:
    """Whether the kind of endpoint that is configured takes what it would get."""
    from agent.uplink import profiles

    errors = [CheckResult(ERROR, key, text) for key, text in profiles.violations(config)]
    yield from errors
    if config.mqtt is not None and profiles.PROFILES[config.mqtt.profile].hides_refusals(config.mqtt.version):
        yield CheckResult(WARNING, "mqtt.version", f'"3.1.1" is asked for: {SILENT_REFUSALS}')
    if config.mqtt is not None and config.mqtt.profile != profiles.GENERIC.name and not errors:
        profile = profiles.PROFILES[config.mqtt.profile]
        topics = profile.topics_of(config.mqtt)
        text = f"{profile.name}: MQTT {profile.version_of(config.mqtt)}, batches to {config.topic(topics.batch)}"
        yield CheckResult(OK, "mqtt.profile", text)


def check_catalog(config: Config, messages: Sequence[MessageDefinition]) -> Iterator[CheckResult]:
    """Whether the signals can be described, and the endpoint takes their description in one message."""
    from agent.batch.catalog import Catalog, encode_catalog
    from agent.uplink.profiles import AROUND_BYTES, PROFILES

    try:
        catalog = Catalog(tuple(bus.name for bus in config.buses), tuple(messages))
    except DatabaseError as error:
        yield CheckResult(ERROR, "dbc", str(error))
        return
    if config.mqtt is None:
        return
    profile, size = PROFILES[config.mqtt.profile], len(encode_catalog(catalog)) + AROUND_BYTES
    text = f"the catalog of the DBC files has {size - AROUND_BYTES} bytes, and the endpoint"
    if profile.message_bytes_max is not None and size > profile.message_bytes_max:
        text += f" takes {profile.message_bytes_max} a message: batches go without it"
        yield CheckResult(WARNING, "mqtt.profile", f"{text}; give the receiver the file from spool.path")
    elif config.mqtt.retain and profile.retained_bytes_max is not None and size > profile.retained_bytes_max:
        text += f" retains {profile.retained_bytes_max} a message: a receiver has to listen before it is sent"
        yield CheckResult(WARNING, "mqtt.profile", f"{text}, or be given the file from spool.path")


def check_credentials(config: Config) -> Iterator[CheckResult]:
    """Whether certificate, key, authorities and password are there, fit together, and are kept from
    others."""
    return readable(ERROR, "mqtt", _check_credentials(config))


def _check_credentials(config: Config) -> Iterator[CheckResult]:
    from agent.daemon.options import mqtt_options
    from agent.uplink.credentials import TpmError, read_password, tls_context

    mqtt = config.mqtt
    if mqtt is None:
        return
    options = mqtt_options(config)
    try:
        if mqtt.tls:
            tls_context(options)
            yield CheckResult(OK, "mqtt.ca", str(mqtt.ca or "the system's authorities"))
            yield from _check_tpm(mqtt.key)
        if mqtt.password_file is not None:
            empty = not read_password(options)
            text = f"{mqtt.password_file}: {'the first line is empty' if empty else 'one line'}"
            yield CheckResult(WARNING if empty else OK, "mqtt.password_file", text)
    except ConfigError as error:
        level = WARNING if isinstance(error, TpmError) else ERROR
        key, _, text = str(error).partition(" ")
        yield CheckResult(level, key, text) if key.startswith("mqtt.") else CheckResult(level, "mqtt", str(error))
        return
    for key in ("key", "password_file"):
        secret: Path | None = getattr(mqtt, key)
        if secret is not None and secret.stat().st_mode & 0o004:
            yield CheckResult(WARNING, f"mqtt.{key}", f"{secret}: every user may read it (chmod o-r)")
    if mqtt.certificate is not None:
        yield _check_expiry(mqtt.certificate)


def _check_tpm(key: Path | None) -> Iterator[CheckResult]:
    """A key that loaded, where a TPM has it: what is in the file is of no use elsewhere."""
    from agent.uplink.tpm import is_in_tpm

    if key is not None and is_in_tpm(key):
        yield CheckResult(OK, "mqtt.key", f"{key}: in the TPM, and loaded there")


def _check_expiry(certificate: Path) -> CheckResult:
    """A certificate that loaded: until when it holds."""
    pem = certificate.read_text(encoding="latin-1")
    try:
        left_s = expiry_s(pem) - time.time()
    except ValueError as error:
        return CheckResult(WARNING, "mqtt.certificate", f"{certificate}: {error}")
    if left_s < 0:
        text = f"{certificate}: expired {-left_s / _DAY_S:.0f} days ago; the broker will refuse it"
        return CheckResult(WARNING, "mqtt.certificate", text)
    text = f"{certificate}: holds for {left_s / _DAY_S:.0f} days"
    return CheckResult(WARNING if left_s < _EXPIRES_SOON_S else OK, "mqtt.certificate", text)


def check_congestion(config: Config) -> Iterator[CheckResult]:
    """Whether this kernel lets us use the congestion control that is wanted."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    with socket.socket() as sock:
        if control_congestion(sock, mqtt.congestion):
            return
    advice = f"modprobe tcp_{mqtt.congestion}, and its name in net.ipv4.tcp_allowed_congestion_control"
    text = f"{mqtt.congestion} is not there, or not for {user()}: the kernel's own is used, slower where a radio loses"
    yield CheckResult(WARNING, "mqtt.congestion", f"{text}; {advice}")
