# SPDX-License-Identifier: Apache-2.0
"""Whether what the configuration names is there on the unit: buses, modem, disk."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import inspect_config
from agent.errors import AgentError, LogFileError
from agent.preflight.finding import Finding, Level, looked_at, user
from agent.sources.canlib import python_can
from agent.sources.channels import ADVICE, look, wanted_channels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config import BusConfig, Config

_SPOOL_FILES_MAX = 100_000


def check_config_file(file: Path) -> tuple[Config | None, list[Finding]]:
    """The configuration, where it is sound, and each thing that is wrong with it."""
    config, problems = inspect_config(file)
    if config is None:
        return None, [Finding(Level.ERROR, str(file), str(problem)) for problem in problems]
    buses = ", ".join(f"{bus.name} ({bus.interface})" for bus in config.buses)
    return config, [Finding(Level.OK, str(file), f"vehicle {config.vehicle.id}, buses {buses}")]


def check_buses(buses: Sequence[BusConfig]) -> Iterator[Finding]:
    """Whether each bus could be opened now."""
    for bus in buses:
        where = f"bus {bus.name}"
        hidden = Level.ERROR if bus.interface == "replay" else Level.WARNING  # the others are opened when they can be
        yield from looked_at(hidden, where, _check_bus(where, bus, buses))


def _check_bus(where: str, bus: BusConfig, buses: Sequence[BusConfig]) -> Iterator[Finding]:
    if bus.interface == "socketcan":
        yield _check_socketcan(where, str(bus.channel))
    elif bus.interface == "replay":
        yield _check_log(where, bus, buses)
    elif bus.interface == "simulator":
        yield Finding(Level.OK, where, "the simulated car")
    elif bus.interface == "gnss":
        yield from _check_gnss(where, str(bus.channel))
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


def _check_gnss(where: str, channel: str) -> Iterator[Finding]:
    path = channel.removeprefix("gpsd://")
    if path.startswith("/"):
        yield from _check_device(where, Path(path), "a satellite receiver")
    else:
        yield Finding(Level.OK, where, f"a satellite receiver, by gpsd at {path}")


def _check_device(where: str, device: Path, what: str) -> Iterator[Finding]:
    if not device.exists():
        yield Finding(Level.WARNING, where, f"{device} is not there; it is opened when it appears")
    elif not os.access(device, os.R_OK | os.W_OK):
        advice = "add them to the device's group, usually dialout"
        yield Finding(Level.WARNING, where, f"{device} may not be opened by {user()}: {advice}")
    else:
        yield Finding(Level.OK, where, f"{device}: {what}")


def check_modem(config: Config) -> Iterator[Finding]:
    """Whether the modem's port could be opened now, or ModemManager asked."""
    if config.modem is not None and config.modem.port is None:
        if importlib.util.find_spec("jeepney") is None:
            text = '"modemmanager" needs the library jeepney: pip install "canferry[modemmanager]"'
            yield Finding(Level.ERROR, "modem.source", text)
        return
    if config.modem is not None and config.modem.port is not None:
        where = "modem.port"
        yield from looked_at(Level.WARNING, where, _check_device(where, Path(config.modem.port), "a modem"))


def check_spool(config: Config) -> Iterator[Finding]:
    """Whether the spool could be written, and whether the disk has room for its limit."""
    return looked_at(Level.ERROR, "spool.path", _check_spool(config))


def _check_spool(config: Config) -> Iterator[Finding]:
    path, where = config.spool.path, "spool.path"
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        yield Finding(Level.ERROR, where, f"{existing} is not a directory")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(Level.ERROR, where, f"{existing} may not be written to by {user()}")
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
