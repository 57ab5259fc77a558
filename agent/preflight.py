# SPDX-License-Identifier: Apache-2.0
"""What the agent would find if it started now; nothing is started, written or sent.

Promise: an `ERROR` is what ``canferry run`` refuses to start with, a `WARNING` what it lives with: it tries
again, or does less than the configuration asks for. Every finding is one line that says what and where, with
further lines as details.
Limits: looked at with the rights of whoever asks, which may be more than the agent's. Reaching the broker takes
at most `REACH_S`.
Failure: none of its own; whatever goes wrong is a finding.
"""

from __future__ import annotations

import asyncio
import difflib
import enum
import importlib.util
import os
import re
import shutil
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.collect import checking
from agent.collect.directory import Directory
from agent.collect.forecast import forecast, table, total
from agent.collect.guards import guards_of
from agent.config import inspect_config
from agent.config.collecting import patterns
from agent.decode.loading import load_databases
from agent.decode.report import FileReport, LoadedDatabases, Severity
from agent.errors import AgentError, ConfigError, DatabaseError, LogFileError, UplinkError
from agent.sources.canlib import python_can
from agent.sources.channels import ADVICE, look, wanted_channels
from agent.uplink.certificate import expiry_s
from agent.uplink.dialing import control_congestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agent.collect.forecast import Forecast
    from agent.config import BusConfig, Config, TriggerConfig
    from agent.model import MessageDefinition

REACH_S = 5.0
_DAY_S = 86_400
_EXPIRES_SOON_S = 30 * _DAY_S
_SPOOL_FILES_MAX = 100_000
_VIN = re.compile(r"(?<![A-Z0-9])(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*[0-9])[A-HJ-NPR-Z0-9]{17}(?![A-Z0-9])")
"""ISO 3779: seventeen letters and digits without I, O and Q; both kinds are there."""
_TOLD_KEYS = ("client_id", "username", "topic_batch", "topic_catalog", "topic_status")


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one subject, such as "mqtt.ca" or a file."""

    level: Level
    subject: str
    text: str
    details: tuple[str, ...] = ()


def refuse(subject: object, findings: Iterable[Finding]) -> None:
    """Raise ConfigError for the first finding that is an `ERROR`."""
    for finding in findings:
        if finding.level is Level.ERROR:
            raise ConfigError(f"{subject}: {finding.subject}: {finding.text}")


def check_config_file(file: Path) -> tuple[Config | None, list[Finding]]:
    """The configuration, where it is sound, and each thing that is wrong with it."""
    config, problems = inspect_config(file)
    if config is None:
        return None, [Finding(Level.ERROR, str(file), str(problem)) for problem in problems]
    buses = ", ".join(f"{bus.name} ({bus.interface})" for bus in config.buses)
    return config, [Finding(Level.OK, str(file), f"vehicle {config.vehicle.id}, buses {buses}")]


def check_databases(
    files: Sequence[tuple[str, Path]], j1939: Mapping[str, bool | str] | None = None
) -> tuple[LoadedDatabases, list[Finding]]:
    """The definitions of all files that can be read, and a finding a file; files are (bus, path)."""
    loaded, findings = LoadedDatabases((), ()), []
    try:
        loaded = _load(files, j1939)
    except DatabaseError:
        readable = []
        for entry in files:  # one at a time: each that cannot be read is told
            try:
                _load([entry], j1939)
            except DatabaseError as error:
                findings.append(_refused(str(entry[1]), error))
            else:
                readable.append(entry)
        loaded = _load(readable, j1939)
    findings += [_database_finding(report) for report in loaded.files]
    return loaded, findings


def _load(files: Sequence[tuple[str, Path]], j1939: Mapping[str, bool | str] | None) -> LoadedDatabases:
    python_can()  # before cantools imports it with all that it can do
    return load_databases(files, j1939=dict(j1939 or {}), isolated=False)  # type: ignore[arg-type]


def _database_finding(report: FileReport) -> Finding:
    level = Level.WARNING if report.count(Severity.SKIPPED) else Level.OK
    text = f"{report.messages} messages, {report.signals} signals, loaded {report.how}"
    subject = report.file if report.bus == report.file else f"{report.file} on {report.bus}"
    return Finding(level, subject, text, tuple(str(problem) for problem in report.problems))


def _refused(subject: str, error: AgentError) -> Finding:
    """An error of a module, without the subject that it names first."""
    return Finding(Level.ERROR, subject, str(error).removeprefix(subject).lstrip(": "))


def check_collecting(config: Config, messages: Sequence[MessageDefinition]) -> tuple[list[Forecast], list[Finding]]:
    """What rules and triggers come to, and what is wrong with them; nothing where there are none."""
    directory = Directory(messages)
    errors = [Finding(Level.ERROR, key, text) for key, text in checking.broken(config, directory)]
    if errors:
        return [], errors
    guards = guards_of(messages, config.integrity)
    verified = [Finding(Level.OK, "integrity", f"{len(guards)} messages are verified")] if guards else []
    if not config.collect and not config.triggers:
        return [], verified
    findings = [Finding(Level.WARNING, key, text) for key, text in checking.doubtful(config, directory)]
    plan = list(forecast(config.collect, directory))
    kept = sum(each.kept for each in plan)
    rules = f"{len(config.collect)} rules" if config.collect else "without rules all is kept"
    details = [*table(plan, len(directory.decoded)), *map(_told, config.triggers)]
    text = f"{rules}, {len(config.triggers)} triggers: {kept} signals kept, {total(plan)}"
    return plan, [*findings, *verified, Finding(Level.OK, "collect", text, tuple(details))]


def _told(trigger: TriggerConfig) -> str:
    record = ", ".join(patterns(trigger.record))
    window = f"{trigger.before} before to {trigger.after} after"
    return f"trigger {trigger.name}: {trigger.priority}, records {record} from {window} {trigger.when}"


def check_buses(buses: Sequence[BusConfig]) -> Iterator[Finding]:
    """Whether each bus could be opened now."""
    for bus in buses:
        where = f"bus {bus.name}"
        if bus.interface == "socketcan":
            yield _check_socketcan(where, str(bus.channel))
        elif bus.interface == "replay":
            yield _check_log(where, bus, buses)
        elif bus.interface == "simulator":
            yield Finding(Level.OK, where, "the simulated car")
        elif bus.interface == "gnss":
            yield _check_gnss(where, str(bus.channel))
        else:
            yield _check_python_can(where, bus)


def _check_socketcan(where: str, name: str) -> Finding:
    from agent.sources.cansocket import can_socket
    from agent.sources.interfaces import InterfaceState, advice, look_at

    try:
        sock = can_socket(None)
    except AgentError as error:
        return Finding(Level.ERROR, where, str(error))
    with sock:
        state = look_at(sock, name).state
    if state is InterfaceState.UP:
        return Finding(Level.OK, where, f"{name} is up")
    return Finding(Level.WARNING, where, f"{name}: {advice(state, name)}")


def _check_log(where: str, bus: BusConfig, buses: Sequence[BusConfig]) -> Finding:
    file = Path(str(bus.channel))
    if not file.is_file():
        return Finding(Level.ERROR, where, f"{file}: no such file; accepted: a recorded log")
    try:
        log = look(file)
    except LogFileError as error:
        return Finding(Level.ERROR, where, str(error))
    found = log.assign(wanted_channels(buses)[str(file)])
    if bus.name in found.values() or not log.names:
        text = f"{file.stat().st_size} bytes, buses {', '.join(log.names) or '(no frame)'}"
        return Finding(Level.OK if log.names else Level.WARNING, where, f"{file}: {text}")
    level = Level.WARNING if found or not log.whole else Level.ERROR
    return Finding(level, where, f"{file}: {log.lack(str(bus.options.get('channel', bus.name)))}; {ADVICE}")


def _check_python_can(where: str, bus: BusConfig) -> Finding:
    known = sorted(python_can().interfaces.VALID_INTERFACES)
    if bus.interface not in known:
        nearest = difflib.get_close_matches(bus.interface, known, 1)
        advice = f' (did you mean "{nearest[0]}"?)' if nearest else ""
        text = f'"{bus.interface}" is not an interface that python-can knows{advice}; accepted: {", ".join(known)}'
        return Finding(Level.ERROR, where, text)
    channel = str(bus.channel)
    if channel.startswith("/dev/") and not Path(channel).exists():
        return Finding(Level.WARNING, where, f"{channel} is not there; it is opened when it appears")
    return Finding(Level.OK, where, f'python-can\'s interface "{bus.interface}"')


def _check_gnss(where: str, channel: str) -> Finding:
    path = channel.removeprefix("gpsd://")
    if path.startswith("/"):
        return _check_device(where, Path(path), "a satellite receiver")
    return Finding(Level.OK, where, f"a satellite receiver, by gpsd at {path}")


def _check_device(where: str, device: Path, what: str) -> Finding:
    if not device.exists():
        return Finding(Level.WARNING, where, f"{device} is not there; it is opened when it appears")
    if not os.access(device, os.R_OK | os.W_OK):
        advice = "add them to the device's group, usually dialout"
        return Finding(Level.WARNING, where, f"{device} may not be opened by {_user()}: {advice}")
    return Finding(Level.OK, where, f"{device}: {what}")


def check_modem(config: Config) -> Iterator[Finding]:
    """Whether the modem's port could be opened now, or ModemManager asked."""
    if config.modem is not None and config.modem.port is None:
        if importlib.util.find_spec("jeepney") is None:
            text = '"modemmanager" needs the library jeepney: pip install "canferry[modemmanager]"'
            yield Finding(Level.ERROR, "modem.source", text)
        return
    if config.modem is not None and config.modem.port is not None:
        yield _check_device("modem.port", Path(config.modem.port), "a modem")


def check_congestion(config: Config) -> Iterator[Finding]:
    """Whether this kernel lets us use the congestion control that is wanted."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    with socket.socket() as sock:
        if control_congestion(sock, mqtt.congestion):
            return
    advice = f"modprobe tcp_{mqtt.congestion}, and its name in net.ipv4.tcp_allowed_congestion_control"
    text = f"{mqtt.congestion} is not there, or not for {_user()}: the kernel's own is used, slower where a radio loses"
    yield Finding(Level.WARNING, "mqtt.congestion", f"{text}; {advice}")


def check_spool(config: Config) -> Iterator[Finding]:
    """Whether the spool could be written, and whether the disk has room for its limit."""
    path, where = config.spool.path, "spool.path"
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        yield Finding(Level.ERROR, where, f"{existing} is not a directory")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(Level.ERROR, where, f"{existing} may not be written to by {_user()}")
        return
    made = "" if existing == path else ", to be made"
    yield Finding(Level.OK, where, f"{path}{made}")
    free, used = shutil.disk_usage(existing).free, _bytes_in(path)
    room = free + used - config.spool.min_free
    text = f"{config.spool.limit}, and the disk has {max(room, 0) >> 20}MiB for it"
    if room >= config.spool.limit:
        yield Finding(Level.OK, "spool.limit", text)
    else:
        yield Finding(Level.WARNING, "spool.limit", f"{text}: batches are evicted earlier")


def _user() -> str:
    return os.environ.get("USER") or f"user {os.geteuid()}"


def _bytes_in(folder: Path) -> int:
    """What the spool takes already; a directory that changes meanwhile is no error."""
    total = 0
    for number, (root, _, names) in enumerate(os.walk(folder)):
        if number > _SPOOL_FILES_MAX:
            break
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def check_vehicle(config: Config) -> Iterator[Finding]:
    """Whether the names that leave the unit in the clear tell which car it is."""
    names = {"vehicle.id": config.vehicle.id}
    if config.mqtt is not None:
        names |= {f"mqtt.{key}": getattr(config.mqtt, key) or "" for key in _TOLD_KEYS}
    for key, name in names.items():
        if _VIN.search(name) and (key == "vehicle.id" or not _VIN.search(config.vehicle.id)):
            text = f'"{name}" looks like a VIN: whoever sees topics or logs knows the car; take a pseudonym'
            yield Finding(Level.WARNING, key, text)


def check_endpoint(config: Config) -> Iterator[Finding]:
    """Whether the kind of endpoint that is configured takes what it would get."""
    from agent.uplink import profiles

    errors = [Finding(Level.ERROR, key, text) for key, text in profiles.broken(config)]
    yield from errors
    if config.mqtt is not None and config.mqtt.profile != profiles.GENERIC.name and not errors:
        profile = profiles.PROFILES[config.mqtt.profile]
        topics = profile.topics_of(config.mqtt)
        text = f"{profile.name}: MQTT {profile.version_of(config.mqtt)}, batches to {config.topic(topics.batch)}"
        yield Finding(Level.OK, "mqtt.profile", text)


def check_catalog(config: Config, messages: Sequence[MessageDefinition]) -> Iterator[Finding]:
    """Whether the endpoint takes the description of the signals in one message."""
    from agent.batch.catalog import Catalog, encode_catalog
    from agent.uplink.profiles import PROFILES

    most = PROFILES[config.mqtt.profile].message_bytes_max if config.mqtt is not None else None
    if most is None:
        return
    size = len(encode_catalog(Catalog(tuple(bus.name for bus in config.buses), tuple(messages))))
    if size > most:
        text = f"the catalog of the DBC files has {size} bytes, and the endpoint takes {most} a message: batches go"
        yield Finding(Level.WARNING, "mqtt.profile", f"{text} without it; give the receiver the file from spool.path")


def check_credentials(config: Config) -> Iterator[Finding]:
    """Whether certificate, key, authorities and password are there, fit together, and are kept from
    others."""
    from agent.settings import mqtt_options
    from agent.uplink.credentials import TpmError, read_password, tls_context

    mqtt = config.mqtt
    if mqtt is None:
        return
    options = mqtt_options(config)
    try:
        if mqtt.tls:
            tls_context(options)
            yield Finding(Level.OK, "mqtt.ca", str(mqtt.ca or "the system's authorities"))
            yield from _check_tpm(mqtt.key)
        if mqtt.password_file is not None:
            empty = not read_password(options)
            text = f"{mqtt.password_file}: {'the first line is empty' if empty else 'one line'}"
            yield Finding(Level.WARNING if empty else Level.OK, "mqtt.password_file", text)
    except ConfigError as error:
        level = Level.WARNING if isinstance(error, TpmError) else Level.ERROR
        yield Finding(level, "mqtt", str(error))
        return
    for key in ("key", "password_file"):
        secret: Path | None = getattr(mqtt, key)
        if secret is not None and secret.stat().st_mode & 0o004:
            yield Finding(Level.WARNING, f"mqtt.{key}", f"{secret}: every user may read it (chmod o-r)")
    if mqtt.certificate is not None:
        yield _check_expiry(mqtt.certificate)


def _check_tpm(key: Path | None) -> Iterator[Finding]:
    """A key that loaded, where a TPM has it: what is in the file is of no use elsewhere."""
    from agent.uplink.tpm import is_in_tpm

    if key is not None and is_in_tpm(key):
        yield Finding(Level.OK, "mqtt.key", f"{key}: in the TPM, and loaded there")


def _check_expiry(certificate: Path) -> Finding:
    """A certificate that loaded: until when it holds."""
    pem = certificate.read_text(encoding="latin-1")
    try:
        left_s = expiry_s(pem) - time.time()
    except ValueError as error:
        return Finding(Level.WARNING, "mqtt.certificate", f"{certificate}: {error}")
    if left_s < 0:
        text = f"{certificate}: expired {-left_s / _DAY_S:.0f} days ago; the broker will refuse it"
        return Finding(Level.WARNING, "mqtt.certificate", text)
    text = f"{certificate}: holds for {left_s / _DAY_S:.0f} days"
    return Finding(Level.WARNING if left_s < _EXPIRES_SOON_S else Level.OK, "mqtt.certificate", text)


async def check_broker(config: Config) -> Finding:
    """Whether the broker, which is configured, answers, TLS included; it is not logged in to."""
    from agent.settings import mqtt_options
    from agent.uplink.credentials import tls_context
    from agent.uplink.dialing import open_socket

    options = replace(mqtt_options(config), connect_timeout_s=REACH_S)
    try:
        async with asyncio.timeout(REACH_S):
            context = tls_context(options) if options.tls else None
            (await open_socket(options, context)).close()
    except (TimeoutError, UplinkError, ConfigError, OSError) as error:
        text = f"no answer from {options.address} within {REACH_S:.0f} s" if not str(error) else str(error)
        return Finding(Level.WARNING, "mqtt.broker", text)
    how = "answers, its certificate is good" if options.tls else "answers, not encrypted"
    return Finding(Level.OK, "mqtt.broker", f"{options.address} {how}")
