# SPDX-License-Identifier: Apache-2.0
"""How a CAN network interface is: there or not, up or not, on the bus or off it, of a real bus or a virtual one.

Three ioctl(2) calls an interface (netdevice(7)), which need no privilege and no netlink socket. A controller
that went bus-off loses its carrier (drivers/net/can/dev/dev.c, can_bus_off), hence "up but not running" is
bus-off. Each state other than up has one sentence that says what to do.
"""

from __future__ import annotations

import enum
import fcntl
import socket
import struct
from dataclasses import dataclass

_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_ARPHRD_CAN = 280
_IFREQ = struct.Struct("16sH22x")

_NLMSGHDR = struct.Struct("=IHHII")  # linux/netlink.h
_RTATTR = struct.Struct("=HH")  # linux/rtnetlink.h
_IFINFOMSG_BYTES = 16
_NLA_TYPE_MASK = 0x3FFF
_NLM_F_REQUEST = 0x1
_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_IFLA_IFNAME = 3
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1

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
    """What kind of link an interface is, as ``ip -details link`` has it: "vcan", "can", …; "" where it is not known.

    rtnetlink(7): RTM_GETLINK by name, IFLA_INFO_KIND of the answer's IFLA_LINKINFO.
    """
    wanted = _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    request = _NLMSGHDR.pack(_NLMSGHDR.size + _IFINFOMSG_BYTES + len(wanted), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.send(request + bytes(_IFINFOMSG_BYTES) + wanted)
        answer = link.recv(1 << 16)
    if _NLMSGHDR.unpack_from(answer)[1] != _RTM_NEWLINK:
        return ""
    info = _attributes(answer[_NLMSGHDR.size + _IFINFOMSG_BYTES :]).get(_IFLA_LINKINFO, b"")
    return _attributes(info).get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()


def _attribute(kind: int, content: bytes) -> bytes:
    return (_RTATTR.pack(_RTATTR.size + len(content), kind) + content).ljust(-(-(4 + len(content)) // 4) * 4, b"\0")


def _attributes(packed: bytes) -> dict[int, bytes]:
    """By kind, the content of each ``struct rtattr``."""
    found = {}
    while len(packed) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(packed)
        if length < _RTATTR.size:
            break
        found[kind & _NLA_TYPE_MASK] = packed[_RTATTR.size : length]
        packed = packed[-(-length // 4) * 4 :]
    return found


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
