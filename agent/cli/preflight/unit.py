# SPDX-License-Identifier: Apache-2.0
"""Whether what the configuration names is there on the unit: buses, modem, disk."""

from __future__ import annotations

import difflib
import errno
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.preflight.result import ERROR, OK, WARNING, CheckResult, readable, user
from agent.config import inspect_config
from agent.config.priorities import Priority
from agent.errors import AgentError, LogFileError, SpoolVersionError
from agent.sources.canlib import python_can
from agent.sources.logs.channels import ADVICE, look, wanted_channels
from agent.system.durable import is_there
from agent.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config import BusConfig, Config

_SPOOL_FILES_MAX = 100_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_config_file(file: Path) -> tuple[Config | None, list[CheckResult]]:
    """The configuration, where it is sound, and each thing that is wrong with it."""
    config, problems = inspect_config(file)
    if config is None:
        return None, [CheckResult(ERROR, str(file), str(problem)) for problem in problems]
    buses = ", ".join(f"{bus.name} ({bus.interface})" for bus in config.buses)
    return config, [CheckResult(OK, str(file), f"vehicle {config.vehicle.id}, buses {buses}")]


def check_buses(buses: Sequence[BusConfig]) -> Iterator[CheckResult]:
    """Whether each bus could be opened now."""
    for bus in buses:
        where = f"bus[{bus.name}]"
        hidden = ERROR if bus.interface == "replay" else WARNING  # the others are opened when they can be
        yield from readable(hidden, f"{where}.channel", _check_bus(where, bus, buses))


def _check_bus(where: str, bus: BusConfig, buses: Sequence[BusConfig]) -> Iterator[CheckResult]:
    if bus.interface == "socketcan":
        yield _check_socketcan(where, str(bus.channel))
    elif bus.interface == "replay":
        yield _check_log(f"{where}.channel", bus, buses)
    elif bus.interface == "simulator":
        yield CheckResult(OK, f"{where}.interface", "the simulated car")
    elif bus.interface == "gnss":
        yield from _check_gnss(f"{where}.channel", str(bus.channel))
    else:
        yield _check_python_can(where, bus)


def _check_socketcan(where: str, name: str) -> CheckResult:
    from agent.sources.cansocket import can_socket
    from agent.sources.interfaces import InterfaceState, advice, look_at

    try:
        sock = can_socket(None)
    except AgentError as error:
        return CheckResult(ERROR, f"{where}.interface", str(error))
    with sock:
        state = look_at(sock, name).state
    if state is InterfaceState.UP:
        return CheckResult(OK, f"{where}.channel", f"{name} is up")
    return CheckResult(WARNING, f"{where}.channel", f"{name}: {advice(state, name)}")


def _check_log(where: str, bus: BusConfig, buses: Sequence[BusConfig]) -> CheckResult:
    file = Path(str(bus.channel))
    if not (is_there(file) and file.is_file()):
        return CheckResult(ERROR, where, f"{file}: no such file; accepted: a recorded log")
    try:
        log = look(file)
    except LogFileError as error:
        return CheckResult(ERROR, where, str(error))
    if log.damage:
        return CheckResult(WARNING, where, f"{log.damage}; what comes before it is replayed")
    found = log.assign(wanted_channels(buses)[str(file)])
    if bus.name in found.values() or not log.names:
        text = f"{file.stat().st_size} bytes, buses {', '.join(log.names) or '(no frame)'}"
        return CheckResult(OK if log.names else WARNING, where, f"{file}: {text}")
    level = WARNING if found or not log.whole else ERROR
    return CheckResult(level, where, f"{file}: {log.lack(str(bus.options.get('channel', bus.name)))}; {ADVICE}")


def _check_python_can(where: str, bus: BusConfig) -> CheckResult:
    known = sorted(python_can().interfaces.VALID_INTERFACES)
    if bus.interface not in known:
        nearest = difflib.get_close_matches(bus.interface, known, 1)
        advice = f' (did you mean "{nearest[0]}"?)' if nearest else ""
        text = f'"{bus.interface}" is not an interface that python-can knows{advice}; accepted: {", ".join(known)}'
        return CheckResult(ERROR, f"{where}.interface", text)
    channel = str(bus.channel)
    if channel.startswith("/dev/") and not is_there(Path(channel)):
        return CheckResult(WARNING, f"{where}.channel", f"{channel} is not there; it is opened when it appears")
    return CheckResult(OK, f"{where}.interface", f'python-can\'s interface "{bus.interface}"')


def _check_gnss(where: str, channel: str) -> Iterator[CheckResult]:
    path = channel.removeprefix("gpsd://")
    if path.startswith("/"):
        yield from _check_device(where, Path(path), "a satellite receiver")
    else:
        yield CheckResult(OK, where, f"a satellite receiver, by gpsd at {path}")


def _check_device(where: str, device: Path, what: str) -> Iterator[CheckResult]:
    if not is_there(device):
        yield CheckResult(WARNING, where, f"{device} is not there; it is opened when it appears")
    elif not os.access(device, os.R_OK | os.W_OK):
        advice = "add them to the device's group, usually dialout"
        yield CheckResult(WARNING, where, f"{device} may not be opened by {user()}: {advice}")
    else:
        yield CheckResult(OK, where, f"{device}: {what}")


def check_modem(config: Config) -> Iterator[CheckResult]:
    """Whether the modem's port could be opened now, or ModemManager asked."""
    if config.modem is not None and config.modem.port is None:
        if importlib.util.find_spec("jeepney") is None:
            text = '"modemmanager" needs the library jeepney: pip install "canferry[modemmanager]"'
            yield CheckResult(ERROR, "modem.source", text)
        return
    if config.modem is not None and config.modem.port is not None:
        where = "modem.port"
        yield from readable(WARNING, where, _check_device(where, Path(config.modem.port), "a modem"))


def check_spool(config: Config) -> Iterator[CheckResult]:
    """Whether the spool could be made, and written, and takes batches as large as they may become."""
    return readable(ERROR, "spool.path", _check_spool(config))


def _check_sizes(config: Config) -> Iterator[CheckResult]:
    from agent.pipeline.storage import batch_bytes_max

    size, most = config.batch.max_bytes, Size(batch_bytes_max(config))
    if size > most:
        text = f'"{size}" is more than one file of the spool holds beside spool.limit = "{config.spool.limit}"'
        yield CheckResult(ERROR, "batch.max_bytes", f'{text}; accepted: up to "{most}", or a larger spool.limit')


def _check_spool(config: Config) -> Iterator[CheckResult]:
    path, where = config.spool.path, "spool.path"
    existing = _existing(path)
    if not existing.is_dir():
        yield CheckResult(ERROR, where, f"{existing} is not a directory")
        return
    try:
        _try_to_write(existing, path)
    except OSError as error:
        if error.errno not in _FULL:
            reason = (error.strerror or str(error)).lower()
            yield CheckResult(ERROR, where, f"{existing} may not be written to by {user()}: {reason}")
            return
    for each in (*path.glob("journal*"), *(each for name in Priority for each in path.glob(f"{name}/*"))):
        if not os.access(each, os.R_OK | os.W_OK):
            text = f"{each} may not be written to by {user()}: an agent of another user has left it (chown -R)"
            yield CheckResult(ERROR, where, text)
            return
    yield from _check_versions(path)
    yield CheckResult(OK, where, f"{path}{'' if existing == path else ', to be made'}")
    yield from _check_sizes(config)


def _check_versions(path: Path) -> Iterator[CheckResult]:
    """Spools that another version has left: they are set aside, and nothing of them is sent."""
    from agent.spool.disk import Disk
    from agent.spool.recovery import refuse_other_versions

    for name in map(str, Priority):
        if (path / name).is_dir():
            try:
                refuse_other_versions(Disk(), path / name)
            except SpoolVersionError as error:
                yield CheckResult(WARNING, "spool.path", f"{error}; run sets it aside unsent, for that version to send")


def _existing(path: Path) -> Path:
    """The folder, or what is there of its way."""
    return next(each for each in (path, *path.parents) if is_there(each))


def _try_to_write(existing: Path, path: Path) -> None:
    """A file in the folder, or a folder beside where it would be made; gone on return. Modes do not tell all."""
    if existing == path:
        tempfile.TemporaryFile(dir=existing).close()
    else:
        Path(tempfile.mkdtemp(dir=existing, prefix=".canferry-check-")).rmdir()


def check_disk(config: Config) -> Iterator[CheckResult]:
    """The same, and whether there is room for what `run` takes at once, and for the spool's limit.

    `run` itself tries, and is restarted where it fails: a disk that is full now may have room in a second.
    """
    found = list(check_spool(config))
    yield from found
    if all(finding.level is not ERROR for finding in found):
        yield from readable(ERROR, "spool.path", _check_room(config))


def _check_room(config: Config) -> Iterator[CheckResult]:
    from agent.pipeline.storage import bytes_at_once, layout_of

    path, limit = config.spool.path, config.spool.limit
    existing = _existing(path)
    free = shutil.disk_usage(existing).free
    needed = bytes_at_once(config, free)
    if free < needed:
        text = f"{existing} has {free >> 10}KiB free, and run takes {-(-needed >> 10)}KiB at once for state and journal"
        yield CheckResult(ERROR, "spool.path", f"{text}; accepted: a disk with room for them")
        return
    room = max(free + _bytes_in(path) - config.spool.min_free, 0)
    text = f"{limit}, and the disk has {room >> 20}MiB for it beside spool.min_free"
    if room >= limit:
        yield CheckResult(OK, "spool.limit", text)
    elif room >= layout_of(config).segment_bytes:
        yield CheckResult(WARNING, "spool.limit", f"{text}: batches are evicted earlier")
    else:
        yield CheckResult(WARNING, "spool.limit", f"{text}: no batch can be stored until there is more")


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
