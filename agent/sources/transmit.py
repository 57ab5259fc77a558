# SPDX-License-Identifier: Apache-2.0
"""Frames onto a bus, at their own pace: a recorded drive or a simulated one for a bench.

This is the one place that transmits, and only for the commands that are asked to. A frame on a real bus can move
things: a bus that is not virtual is refused unless it is allowed by name of the option (`allow_real`).

Promise: each frame is sent at its time, `speed` times faster, counted from the first; never before it. Where the bus
or the machine is behind, frames are sent as fast as it goes until they are on time again; `Played.late_s_max` tells.
Limits: the time of sending is as exact as the machine sleeps. A bus that takes no frame for `BLOCKED_S_MAX` is a
failure.
Failure: ConfigError where the interface cannot be opened or must not be; AgentError where it fails on the way.
"""

from __future__ import annotations

import contextlib
import errno
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.errors import AgentError, ConfigError
from agent.sources.canlib import python_can
from agent.sources.interfaces import link_kind
from agent.sources.logs.pace import LogPace
from agent.sources.messages import can_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import can

    from agent.model import FrameBlock

BLOCKED_S_MAX = 2.0
VIRTUAL_INTERFACES = frozenset({"virtual", "udp_multicast"})
VIRTUAL_KINDS = frozenset({"vcan", "vxcan"})
_RETRY_S = 0.001


@dataclass(slots=True)
class Played:
    """What became of it: frames sent, by channel name; how far behind its time the latest of them was."""

    frames: dict[str, int] = field(default_factory=dict)
    late_s_max: float = 0.0
    ended: bool = False


@contextlib.contextmanager
def open_bus(interface: str, channel: str, *, allow_real: bool) -> Iterator[can.BusABC]:
    """One that frames can be sent on, by python-can's name of the interface."""
    library = python_can()
    if not allow_real and not _is_virtual(interface, channel):
        raise ConfigError(
            f"{channel}: frames on a real bus can move things; accepted: a virtual bus (vcan, udp_multicast, "
            "virtual), or any with --real-bus"
        )
    options = {"fd": True} if interface == "socketcan" else {}
    try:
        bus = library.Bus(interface=interface, channel=channel, ignore_config=True, **options)
    except (library.CanError, NotImplementedError, OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{channel}: {interface} does not open it: {error}") from error
    try:
        yield bus
    finally:
        bus.shutdown()


def _is_virtual(interface: str, channel: str) -> bool:
    if interface != "socketcan":
        return interface in VIRTUAL_INTERFACES
    kind = link_kind(channel)
    if not kind:
        advice = f"ip link add dev {channel} type vcan && ip link set {channel} up"
        raise ConfigError(f"{channel}: no such CAN interface; a virtual one: {advice}")
    return kind in VIRTUAL_KINDS


def play(
    blocks: Iterable[FrameBlock],
    buses: Mapping[int, tuple[str, can.BusABC]],
    *,
    speed: float = 1.0,
    played: Played | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Played:
    """Send all frames of the buses, by index in the blocks; others are passed over.

    played   is counted up while it goes, for who interrupts it
    """
    played = played or Played()
    begun_s, pace = monotonic(), LogPace()
    for block in blocks:
        elapsed_ns = pace.elapsed_ns(block.time_ns).tolist()
        for message, index, due_ns in zip(can_messages(block), block.bus.tolist(), elapsed_ns, strict=True):
            if index not in buses:
                continue
            due_s = begun_s + due_ns / 1e9 / speed
            while (early_s := due_s - monotonic()) > 0:
                sleep(early_s)
            name, bus = buses[index]
            _send(bus, name, message, monotonic, sleep)
            played.late_s_max = max(played.late_s_max, monotonic() - due_s)
            played.frames[name] = played.frames.get(name, 0) + 1
    played.ended = True
    return played


def _send(
    bus: can.BusABC,
    name: str,
    message: can.Message,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Send one frame, as soon as there is room for it."""
    given_up_s = monotonic() + BLOCKED_S_MAX
    while True:
        try:
            bus.send(message)
        except python_can().CanOperationError as error:
            if error.error_code != errno.ENOBUFS or monotonic() > given_up_s:
                raise AgentError(f"{name}: a frame cannot be sent: {error}") from error
            sleep(_RETRY_S)
        except (OSError, ValueError) as error:
            raise AgentError(f"{name}: a frame cannot be sent: {error}") from error
        else:
            return
