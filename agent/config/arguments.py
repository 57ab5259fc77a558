# SPDX-License-Identifier: Apache-2.0
"""A configuration from the pieces of a command line, or changed by them.

Promise: the result obeys the same rules as one read from a file, so the pipeline cannot tell them apart.
Failure: `ConfigError`, naming the option.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from agent.config import rules
from agent.config.sections import BatchConfig, BusConfig, Config, MqttConfig, VehicleConfig
from agent.config.values import RefusedError, convert, shown
from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_dbc_arguments(arguments: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """``[BUS=]FILE …`` as DBC files by bus name, in the order given; under "" those for every bus."""
    files: dict[str, tuple[Path, ...]] = {}
    for argument in arguments:
        bus, equals, file = argument.partition("=")
        if not equals or "/" in bus:  # a path may contain an equals sign
            bus, file = "", argument
        if not file:
            raise ConfigError(f'--dbc: "{argument}" names no file; accepted: FILE or BUS=FILE')
        files[bus] = (*files.get(bus, ()), Path(file).absolute())
    return files


def config_from_arguments(
    log: Path,
    dbc: Sequence[str],
    *,
    buses: Sequence[str] = (),
    broker: str | None = None,
    vehicle: str = "replay",
    batch: BatchConfig | None = None,
    j1939: bool | None = None,
) -> Config:
    """The configuration that replays a log: each bus in ``buses`` (those in the log) and each that ``dbc``
    names.

    A file without a bus serves every bus, after the bus's own files. A bus without any file is kept as
    unknown frames are: counted. Where neither names a bus, there is one, "can0". ``j1939`` is that of all buses, None
    "auto".
    """
    files = parse_dbc_arguments(dbc)
    shared = files.pop("", ())
    names = list(dict.fromkeys([*buses, *files])) or ["can0"]
    read = tuple(
        BusConfig(
            name=_checked("--dbc", BusConfig, "name", name),
            interface="replay",
            channel=str(log.absolute()),
            dbc=(*files.get(name, ()), *shared),
            j1939="auto" if j1939 is None else j1939,
        )
        for name in names
    )
    config = Config(
        vehicle=VehicleConfig(id=_checked("--vehicle", VehicleConfig, "id", vehicle)),
        buses=read,
        mqtt=None if broker is None else MqttConfig(broker=_checked("--broker", MqttConfig, "broker", broker)),
        batch=batch or BatchConfig(),
    )
    for key, text in rules.violations(config):
        if not key.endswith(".dbc"):
            raise ConfigError(f"{key}: {text}")
    return rules.completed(config)


def with_arguments(config: Config, *, vehicle: str | None, broker: str | None) -> Config:
    """A file's configuration as another vehicle's, or for another broker; None: as it is."""
    mqtt = config.mqtt
    assert mqtt is not None, "a file has a broker"
    if broker is not None:
        mqtt = msgspec.structs.replace(mqtt, broker=_checked("--broker", MqttConfig, "broker", broker))
    if vehicle is not None:
        name = _checked("--vehicle", VehicleConfig, "id", vehicle)
        if mqtt.client_id == config.vehicle.id:  # another's would be disconnected
            mqtt = msgspec.structs.replace(mqtt, client_id=name)
        config = msgspec.structs.replace(config, vehicle=msgspec.structs.replace(config.vehicle, id=name))
    config = msgspec.structs.replace(config, mqtt=mqtt)
    for key, text in rules.violations(config):
        raise config.refusal(key, text)
    return config


def _checked(option: str, section: type[msgspec.Struct], key: str, value: str) -> Any:
    """A value of the command line, held to what the section accepts of a file."""
    try:
        return convert(get_type_hints(section, include_extras=True)[key], value, Path.cwd())
    except RefusedError as error:
        raise ConfigError(f"{option}: {shown(key, value)} is not {error.noun}; accepted: {error.accepted}") from error
