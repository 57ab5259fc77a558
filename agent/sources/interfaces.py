# SPDX-License-Identifier: Apache-2.0
"""How a CAN network interface is: there or not, up or not, on the bus or off it, of a real bus or a virtual one.

Three ioctl(2) calls an interface (netdevice(7)), which need no privilege and no netlink socket; the kind of a link, for
commands, is asked over one. A controller that went bus-off loses its carrier (drivers/net/can/dev/dev.c, can_bus_off),
hence "up but not running" is bus-off. Each state other than up has one sentence that says what to do.
"""

from __future__ import annotations

import enum
import fcntl
import socket
import struct
from dataclasses import dataclass

from agent.sources.rtnetlink import Link, read_links

_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_ARPHRD_CAN = 280
_IFREQ = struct.Struct("16sH22x")

FULL_BUS_FRAMES_S = 8000
"""About what a classic bus of 1 Mbit/s, or one of CAN FD, carries at full load."""


class InterfaceState(enum.StrEnum):
    """What an interface can be, as far as an engineer would act differently."""

    UP = "up"
    DOWN = "down"
    MISSING = "missing"
    BUS_OFF = "bus_off"
    NOT_CAN = "not_can"


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface as it was when looked at; `ifindex` is 0 where it is missing."""

    state: InterfaceState
    ifindex: int = 0


MISSING = Interface(InterfaceState.MISSING)


def look_at(sock: socket.socket, name: str) -> Interface:
    """The interface's state now; whatever goes wrong in asking means that it is missing."""
    try:
        ifindex = socket.if_nametoindex(name)
        flags = _ask(sock, _SIOCGIFFLAGS, name)
        hardware = _ask(sock, _SIOCGIFHWADDR, name)
    except OSError:  # among them: it vanished between the calls
        return MISSING
    if hardware != _ARPHRD_CAN:
        return Interface(InterfaceState.NOT_CAN)
    if not flags & _IFF_UP:
        return Interface(InterfaceState.DOWN, ifindex)
    if not flags & _IFF_RUNNING:
        return Interface(InterfaceState.BUS_OFF, ifindex)
    return Interface(InterfaceState.UP, ifindex)


def link_kind(name: str) -> str:
    """What kind of link an interface is, as ``ip -details link`` has it: "vcan", "can", …; "" where it is not known."""
    return read_links().get(name, Link()).kind


def is_gone(ifindex: int) -> bool:
    """True where no interface has this index any more."""
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return True
    return False


def advice(state: InterfaceState, name: str) -> str:
    """What an engineer does about an interface in this state; "" where nothing is to be done."""
    return {
        InterfaceState.UP: "",
        InterfaceState.DOWN: f"bring it up, e.g. ip link set {name} up type can bitrate 500000",
        InterfaceState.MISSING: (
            f"no network interface {name}: load its driver or correct the bus' channel "
            "(ip link show type can); the other buses go on, this one joins when the interface appears"
        ),
        InterfaceState.BUS_OFF: (
            f"check wiring, termination and bitrate, then ip link set {name} type can restart, "
            "or set restart-ms so that the kernel does it"
        ),
        InterfaceState.NOT_CAN: f"{name} is no CAN interface: correct the bus' channel",
    }[state]


def _ask(sock: socket.socket, request: int, name: str) -> int:
    answer = fcntl.ioctl(sock, request, _IFREQ.pack(name.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])
