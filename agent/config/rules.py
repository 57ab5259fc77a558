# SPDX-License-Identifier: Apache-2.0
"""What holds between the values of a configuration, and what follows from them.

Promise: `violations` names every rule that a configuration breaks; `completed` fills in what one value implies of
another. Pure but for the look for the demo's DBC file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.config.collecting import collecting_violations
from agent.config.integrity import integrity_violations
from agent.units import Size

if TYPE_CHECKING:
    from agent.config.sections import BusConfig, Config, ModemConfig, MqttConfig

BUSES_MAX = 255
"""A frame carries the index of its bus in one byte."""
_INTERFACE_NAME_MAX = 15  # IFNAMSIZ without its zero byte, linux/if.h
_GNSS_CHANNEL = re.compile(r"/.+|gpsd://((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?/?|/.+)")

CLASSES_LIMIT = Size.parse("4MiB")
"""The priorities of [[collect]] and [[trigger]] have a spool each, which share the limit."""

Violations = Iterator[tuple[str, str]]


def violations(config: Config) -> Violations:
    """Key and text for every rule that the configuration breaks."""
    yield from _buses_violations(config.buses)
    if config.spool.limit < 2 * config.spool.segment:
        limit, segment = config.spool.limit, config.spool.segment
        yield "spool.limit", f'"{limit}" is too small; accepted: at least twice spool.segment = "{segment}"'
    yield from collecting_violations(config.collect, config.triggers)
    yield from integrity_violations(config.integrity)
    if (config.collect or config.triggers) and config.spool.limit < CLASSES_LIMIT:
        yield (
            "spool.limit",
            f'"{config.spool.limit}" is too small for [[collect]]; accepted: at least "{CLASSES_LIMIT}"',
        )
    if config.modem is not None:
        yield from _modem_violations(config.modem, config.buses)
    if config.data_plan is not None:
        yield from _data_plan_violations(config)
    if config.mqtt is not None:
        yield from _mqtt_violations(config.mqtt)
        yield from _topics_violations(config, config.mqtt)
        if config.mqtt.window_bytes < config.batch.max_bytes:
            size, least = config.mqtt.window_bytes, config.batch.max_bytes
            yield "mqtt.window_bytes", f'"{size}" is too small; accepted: at least batch.max_bytes = "{least}"'


def _modem_violations(modem: ModemConfig, buses: tuple[BusConfig, ...]) -> Violations:
    if modem.source == "at" and modem.port is None:
        yield "modem.port", 'missing, and required by source = "at"; accepted: a serial device such as "/dev/ttyUSB2"'
    elif modem.source != "at" and modem.port is not None:
        yield "modem.port", f'"{modem.port}" has no effect beside source = "{modem.source}"; accepted: without it'
    elif modem.port in [bus.channel for bus in buses]:
        yield "modem.port", f'"{modem.port}" is taken by a bus; accepted: another of the modem\'s ports'


def _buses_violations(buses: tuple[BusConfig, ...]) -> Violations:
    if len(buses) > BUSES_MAX:
        yield "bus", f"{len(buses)} buses are too many; accepted: up to {BUSES_MAX}"
    names: set[str] = set()
    channels: set[str | int] = set()
    for bus in buses:
        where = f"bus[{bus.name}]"
        if bus.name in names:
            yield f"{where}.name", f'"{bus.name}" is taken by another bus; accepted: each name once'
        names.add(bus.name)
        if not bus.dbc and not bus.keep_unknown and bus.interface not in ("gnss", "simulator"):
            yield f"{where}.dbc", "empty; accepted: at least one DBC file (or KCD, SYM, ARXML), or keep_unknown = true"
        if bus.channel == "" and bus.interface != "simulator":
            yield f"{where}.channel", f'missing; accepted: what interface "{bus.interface}" opens'
        if bus.interface == "socketcan":
            yield from _socketcan_violations(where, bus, channels)
            channels.add(bus.channel)
        elif bus.interface == "gnss":
            yield from _gnss_violations(where, bus, channels)
            channels.add(bus.channel)


def _socketcan_violations(where: str, bus: BusConfig, channels: set[str | int]) -> Violations:
    name = bus.channel
    if not isinstance(name, str) or len(name.encode()) > _INTERFACE_NAME_MAX or "/" in name or " " in name:
        yield f"{where}.channel", f'{name!r} is not a network interface; accepted: a name such as "can0"'
    if name in channels:
        yield f"{where}.channel", f'"{name}" is taken by another bus; accepted: each interface once'
    for key, value in (("bitrate", bus.bitrate), ("options", bus.options)):
        if value:
            yield f"{where}.{key}", "has no effect on socketcan; set it with systemd-networkd or ip link"


def _gnss_violations(where: str, bus: BusConfig, channels: set[str | int]) -> Violations:
    channel = str(bus.channel)
    if channel and not _GNSS_CHANNEL.fullmatch(channel):
        accepted = 'a serial device such as "/dev/ttyUSB1", or "gpsd://host:2947"'
        yield f"{where}.channel", f'"{channel}" is no satellite receiver; accepted: {accepted}'
    if bus.channel in channels:
        yield f"{where}.channel", f'"{channel}" is taken by another bus; accepted: each receiver once'
    if bus.bitrate and channel.startswith("gpsd:"):
        yield f"{where}.bitrate", "has no effect with gpsd, which sets up the receiver itself"
    for key, value in (("fd", bus.fd), ("options", bus.options)):
        if value:
            yield f"{where}.{key}", "has no effect on gnss"


def _data_plan_violations(config: Config) -> Violations:
    plan = config.data_plan
    assert plan is not None
    for key in ("per_day", "roaming_per_month", "critical_per_month"):
        size = getattr(plan, key)
        if size is not None and size > plan.per_month:
            most = f'data_plan.per_month = "{plan.per_month}"'
            yield f"data_plan.{key}", f'"{size}" is too large; accepted: at most {most}'
    if plan.roaming_per_month is not None and config.modem is None:
        yield "data_plan.roaming_per_month", "has no effect without a section [modem], which tells what is abroad"


def _mqtt_violations(mqtt: MqttConfig) -> Violations:
    if not _port_valid(mqtt):
        yield "mqtt.broker", f'the port of "{mqtt.broker}" is out of range; accepted: 1 to 65535'
    if (mqtt.certificate is None) is not (mqtt.key is None):
        missing = "certificate" if mqtt.certificate is None else "key"
        yield f"mqtt.{missing}", "missing; accepted: certificate and key together, or neither"
    for key in ("ca", "certificate", "key") if not mqtt.tls else ():
        if getattr(mqtt, key) is not None:
            yield f"mqtt.{key}", "has no effect without encryption; accepted: with a broker mqtts://…"
    if mqtt.password_file is not None and mqtt.username is None and mqtt.profile != "azure-iot-hub":
        yield "mqtt.username", "missing; accepted: a user name beside password_file"
    if mqtt.backoff_max < mqtt.backoff_base:
        least = f'mqtt.backoff_base = "{mqtt.backoff_base}"'
        yield "mqtt.backoff_max", f'"{mqtt.backoff_max}" is too small; accepted: at least {least}'


def _topics_violations(config: Config, mqtt: MqttConfig) -> Violations:
    taken: dict[str, str] = {}
    for key in ("topic_batch", "topic_catalog", "topic_status"):
        template = getattr(mqtt, key)
        others = {taken.setdefault(topic, key) for topic in config.topics(template)} if template else {key}
        for other in others - {key}:
            yield f"mqtt.{key}", f'"{template}" is taken by mqtt.{other}; accepted: each topic once'


def _port_valid(mqtt: MqttConfig) -> bool:
    try:
        return mqtt.port > 0
    except ValueError:
        return False


def completed(config: Config) -> Config:
    """The configuration with what its values imply: the connection's name, DBC files that come with the agent."""
    replace = msgspec.structs.replace
    shipped = {"gnss": gnss_dbc, "simulator": demo_car_dbc}
    buses = tuple(
        replace(bus, dbc=(shipped[bus.interface](),))
        if bus.interface in shipped and not bus.dbc and not bus.keep_unknown
        else bus
        for bus in config.buses
    )
    mqtt = config.mqtt
    if mqtt is not None and mqtt.client_id is None:
        mqtt = replace(mqtt, client_id=config.vehicle.id)
    return replace(config, buses=buses, mqtt=mqtt)


def demo_car_dbc() -> Path:
    """The DBC file of the simulated car."""
    return _shipped("demo_car.dbc")


def gnss_dbc() -> Path:
    """The DBC file of what is made of a satellite receiver's sentences."""
    return _shipped("gnss.dbc")


def _shipped(name: str) -> Path:
    """A DBC file that comes with the agent: in the installed package, else in the source tree's ``dbc/``."""
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.exists() else package.parent / "dbc" / name
