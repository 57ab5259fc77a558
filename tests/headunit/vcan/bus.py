# SPDX-License-Identifier: Apache-2.0
"""The other end of a vcan bus: makes the interface, puts frames on it."""

from __future__ import annotations

import socket
import struct
import subprocess

EXTENDED = 0x8000_0000
REMOTE = 0x4000_0000
ERROR = 0x2000_0000
BUS_OFF = ERROR | 0x40
RESTARTED = ERROR | 0x100
_SOL_CAN_RAW = 101
_CAN_RAW_ERR_FILTER = 2
_CAN_RAW_RECV_OWN_MSGS = 4
_CAN_RAW_FD_FRAMES = 5


class Bus:
    """One vcan interface, seen from another node on it.

    A frame has arrived everywhere when `send` returns: the sender hears its own frames and waits for each,
    and the kernel serves sockets that listen on all interfaces first (net/can/af_can.c, can_rcv_filter).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None

    def create(self) -> None:
        """Make the interface, carrying FD frames too (MTU 72), and bring it up."""
        ip("link", "add", self.name, "type", "vcan")
        ip("link", "set", self.name, "mtu", "72", "up")

    def delete(self) -> None:
        self.close()
        ip("link", "delete", self.name)

    def down(self) -> None:
        self.close()
        ip("link", "set", self.name, "down")

    def up(self) -> None:
        ip("link", "set", self.name, "up")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, can_id: int, payload: bytes = b"") -> None:
        """A classic frame; flags in the id word make it a remote or an error frame."""
        self._send(struct.pack("=IB3x8s", can_id, len(payload), payload))

    def send_fd(self, can_id: int, payload: bytes, flags: int = 0) -> None:
        self._send(struct.pack("=IBB2x64s", can_id, len(payload), flags, payload))

    def _send(self, frame: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            self._socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 1)
            self._socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_RECV_OWN_MSGS, 1)
            self._socket.setsockopt(_SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, 0x1FFF_FFFF)
            self._socket.settimeout(10)
            self._socket.bind((self.name,))
        self._socket.send(frame)
        assert self._socket.recv(len(frame))[:4] == frame[:4]


def ip(*arguments: str, check: bool = True) -> None:
    """ip(8)."""
    subprocess.run(["ip", *arguments], check=check, stderr=None if check else subprocess.DEVNULL)
