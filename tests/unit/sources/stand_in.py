# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a CAN socket where the kernel has none: UNIX datagrams of the same bytes.

The receiving end is read through the very same recvmmsg. A sender is bound to a name that the kernel hands
over where it would hand over ``struct sockaddr_can``: its bytes 4 to 7 are the interface index.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from typing import TYPE_CHECKING, Self

from agent.sources.interfaces import MISSING, Interface, InterfaceState

if TYPE_CHECKING:
    from types import TracebackType

EXTENDED = 0x8000_0000
REMOTE = 0x4000_0000
ERROR = 0x2000_0000
_number = itertools.count()


class StandIn:
    """A machine's CAN interfaces: their states, and frames sent as if received from them."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._name = f"\0canferry-{os.getpid()}-{next(_number)}"
        self.receiver.bind(self._name)
        self.interfaces: dict[str, Interface] = {}
        self._senders: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.receiver.close()
        for sender in self._senders.values():
            sender.close()

    def set(self, name: str, state: InterfaceState, ifindex: int = 0) -> None:
        self.interfaces[name] = Interface(state, ifindex)

    def look(self, sock: socket.socket, name: str) -> Interface:
        return self.interfaces.get(name, MISSING)

    def send(self, ifindex: int, can_id: int, payload: bytes = b"") -> None:
        """A classic frame; what lies behind its payload is rubbish, as some drivers leave it."""
        self._sender(ifindex).send(struct.pack("=IB3x8s", can_id, len(payload), payload.ljust(8, b"\xee")))

    def send_fd(self, ifindex: int, can_id: int, payload: bytes, flags: int = 0) -> None:
        frame = struct.pack("=IBB2x64s", can_id, len(payload), flags, payload.ljust(64, b"\xee"))
        self._sender(ifindex).send(frame)

    def _sender(self, ifindex: int) -> socket.socket:
        if ifindex not in self._senders:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sender.bind(b"\0i" + struct.pack("=i", ifindex) + f"{os.getpid()}-{next(_number)}".encode())
            sender.connect(self._name)
            self._senders[ifindex] = sender
        return self._senders[ifindex]
