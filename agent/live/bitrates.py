# SPDX-License-Identifier: Apache-2.0
"""The bitrates of this machine's CAN interfaces, as the kernel tells them over rtnetlink(7); no privilege is needed.

The agent's service may not open netlink sockets, so the command that shows the load asks, on the same machine.

    nlmsghdr (16 bytes) · ifinfomsg (16) · rtattr…
        IFLA_IFNAME, IFLA_LINKINFO { IFLA_INFO_KIND "can", IFLA_INFO_DATA { IFLA_CAN_BITTIMING } }
    rtattr: length u16, kind u16, content, padded to 4 bytes; struct can_bittiming begins with the bitrate, u32

linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/can/netlink.h; all in the machine's byte order.

Limits: `ANSWER_S`, `ANSWER_BYTES_MAX`. Failure: what the kernel does not tell is missing from the answer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.live.snapshot import Snapshot

ANSWER_S = 1.0
ANSWER_BYTES_MAX = 1 << 20
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFO_BYTES = 16
_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWLINK, _RTM_GETLINK = 2, 3, 16, 18
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFLA_IFNAME, _IFLA_LINKINFO = 3, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_CAN_BITTIMING = 1, 2, 1
_NESTED = 0x8000
"""NLA_F_NESTED: a mark on the kind of an attribute that holds others."""


def with_bitrates(snapshot: Snapshot, bitrates: Mapping[str, int]) -> Snapshot:
    """The snapshot with what the agent does not know of its SocketCAN buses."""
    buses = tuple(
        msgspec.structs.replace(bus, bitrate=bitrates.get(bus.channel))
        if bus.interface == "socketcan" and bus.bitrate is None
        else bus
        for bus in snapshot.buses
    )
    return msgspec.structs.replace(snapshot, buses=buses)


def read_bitrates() -> dict[str, int]:
    """Bits per second by interface name, of those that have a bitrate."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(ANSWER_S)
        length = _HEADER.size + _IFINFO_BYTES
        sock.send(_HEADER.pack(length, _RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + bytes(_IFINFO_BYTES))
        answer = bytearray()
        while len(answer) < ANSWER_BYTES_MAX:
            piece = sock.recv(1 << 16)
            answer += piece
            if not piece or {kind for kind, _ in _messages(piece)} & {_NLMSG_ERROR, _NLMSG_DONE}:
                break
        return parse(bytes(answer))
    return {}


def parse(answer: bytes) -> dict[str, int]:
    """The bitrates in an answer to RTM_GETLINK."""
    found = {}
    for kind, content in _messages(answer):
        if kind == _RTM_NEWLINK:
            link = dict(_attributes(content[_IFINFO_BYTES:]))
            info = dict(_attributes(link.get(_IFLA_LINKINFO, b"")))
            timing = dict(_attributes(info.get(_IFLA_INFO_DATA, b""))).get(_IFLA_CAN_BITTIMING, b"")
            if len(timing) >= 4 and info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") == b"can":
                bitrate: int = struct.unpack_from("=I", timing)[0]
                if bitrate:
                    found[link.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")] = bitrate
    return found


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    while len(answer) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(answer)
        if length < _HEADER.size:
            return
        yield kind, answer[_HEADER.size : length]
        answer = answer[(length + 3) & ~3 :]


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    while len(content) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(content)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, content[_ATTRIBUTE.size : length]
        content = content[(length + 3) & ~3 :]
