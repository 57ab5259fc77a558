# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of this machine's network links over rtnetlink(7): kind and bitrate. No privilege is needed.

    nlmsghdr (16 bytes) · ifinfomsg (16) · rtattr…
        IFLA_IFNAME, IFLA_LINKINFO { IFLA_INFO_KIND "can", IFLA_INFO_DATA { IFLA_CAN_BITTIMING } }
    rtattr: length u16, kind u16, content, padded to 4 bytes; struct can_bittiming begins with the bitrate, u32

linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/can/netlink.h; all in the machine's byte order.

Limits: `ANSWER_S` a piece of the answer, `ANSWER_BYTES_MAX`. Failure: what the kernel does not tell is missing.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True, slots=True)
class Link:
    """`kind` as ``ip -details link`` has it: "vcan", "can", …, "" of none; `bitrate` in bits per second, 0 of none."""

    kind: str = ""
    bitrate: int = 0


def read_links() -> dict[str, Link]:
    """This machine's links by name."""
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


def parse(answer: bytes) -> dict[str, Link]:
    """The links in an answer to RTM_GETLINK."""
    found = {}
    for kind, content in _messages(answer):
        if kind == _RTM_NEWLINK:
            link = dict(_attributes(content[_IFINFO_BYTES:]))
            info = dict(_attributes(link.get(_IFLA_LINKINFO, b"")))
            found[_text(link.get(_IFLA_IFNAME, b""))] = Link(_text(info.get(_IFLA_INFO_KIND, b"")), _bitrate(info))
    return found


def _bitrate(info: dict[int, bytes]) -> int:
    if _text(info.get(_IFLA_INFO_KIND, b"")) != "can":
        return 0
    timing = dict(_attributes(info.get(_IFLA_INFO_DATA, b""))).get(_IFLA_CAN_BITTIMING, b"")
    return int.from_bytes(timing[:4], sys.byteorder) if len(timing) >= 4 else 0


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "replace")


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    while len(answer) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(answer)
        if not _HEADER.size <= length <= len(answer):
            return
        yield kind, answer[_HEADER.size : length]
        answer = answer[(length + 3) & ~3 :]


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    while len(content) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(content)
        if not _ATTRIBUTE.size <= length <= len(content):
            return
        yield kind & ~_NESTED, content[_ATTRIBUTE.size : length]
        content = content[(length + 3) & ~3 :]
