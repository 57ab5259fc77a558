# SPDX-License-Identifier: Apache-2.0
"""Which channel of a recorded log is which bus.

Promise: a bus is the channel of its name, or the one that its `options = { channel = … }` name. Most formats number
their channels, and readers make up names for them; so the only channel of a log is the only bus that is asked for,
whatever that is called, unless it names its channel.

Limits: of a log that is long only its beginning is looked at, `BEGINNING_FRAMES` data frames: a channel that comes
later is none of those that are known here, and missing is not the same as not there; `Channels.whole` tells.

Failure: as reading the log, where that fails before the first frame. Behind it, it is left to who reads on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import ConfigError, LogFileError
from agent.sources.logs.logfile import read_log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from agent.config import BusConfig

BEGINNING_FRAMES = 20_000
ADVICE = 'name the bus as the log does, or set options = { channel = "…" }'
_BLOCK_FRAMES = 2000


@dataclass(frozen=True, slots=True)
class Channels:
    """Those of a log's data frames in order of appearance.

    whole    that is all of the log, or of what can be read of it
    damage   why no more can be read
    """

    names: tuple[str, ...]
    whole: bool
    damage: str = ""

    def assign(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Which bus each of these channels is; `wanted` has the buses' names, by the channel each asks for."""
        own_name = all(channel == bus for channel, bus in wanted.items())
        if len(self.names) == len(wanted) == 1 and own_name:
            return dict(zip(self.names, wanted.values(), strict=True))
        return {channel: bus for channel, bus in wanted.items() if channel in self.names}

    def lack(self, *channels: str) -> str:
        """What is said of a log without these channels."""
        within = "no frame" if self.whole else f"none of the first {BEGINNING_FRAMES:,} frames"
        return f"{within} is of {' or '.join(channels)}; the log's buses: {', '.join(self.names)}"


def look(path: Path) -> Channels:
    """The channels that a log begins with."""
    seen: set[int] = set()
    frames, damage = 0, ""
    with read_log(path, frames_max=_BLOCK_FRAMES, quiet=True) as reader:
        try:
            for block in reader:
                seen.update(block.bus.tolist())
                frames += len(block)
                if frames >= BEGINNING_FRAMES:
                    break
        except LogFileError as error:
            if not frames:
                raise
            damage = str(error)
        names = tuple(name for name, index in reader.buses.items() if index in seen)
        return Channels(names, whole=frames < BEGINNING_FRAMES, damage=damage)


def missing(path: Path, channels: Mapping[str, int], asked: Collection[str], where: str) -> str:
    """What is said where a log of these channels, with their frames, lacks some of those that `where` asks for.

    ConfigError where it lacks all of them; "" asks for whatever there is.
    """
    names = tuple(name for name, frames in channels.items() if frames)
    lost = [channel for channel in asked if channel and channel not in names]
    if not names or not lost:
        return ""
    text = f"{where}: {path}: {Channels(names, whole=True).lack(*lost)}"
    if len(lost) == len(asked):
        raise ConfigError(text)
    return text


def wanted_channels(buses: Iterable[BusConfig]) -> dict[str, dict[str, str]]:
    """The buses that are recorded logs, by path and channel: their names."""
    logs: dict[str, dict[str, str]] = {}
    for bus in buses:
        if bus.interface == "replay":
            logs.setdefault(str(bus.channel), {})[str(bus.options.get("channel", bus.name))] = bus.name
    return logs
