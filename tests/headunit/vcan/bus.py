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
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")


class Bus:
    """One vcan interface, seen from another node on it.

    A frame has arrived everywhere when `send` returns: the sender hears its own frames and waits for each,
    and the kernel serves sockets that listen on all interfaces first (net/can/af_can.c, can_rcv_filter).
    It returns the kernel's timestamp of the frame, ns, the same for everyone who hears it; an interface that
    is down or missing is an OSError.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None

    def create(self) -> None:
        """Make the interface, carrying FD frames too (MTU 72), and bring it up: at once, nobody sees it down."""
        ip("link", "add", self.name, "mtu", "72", "up", "type", "vcan")

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

    def send(self, can_id: int, payload: bytes = b"") -> int:
        """A classic frame; flags in the id word make it a remote or an error frame."""
        return self._send(struct.pack("=IB3x8s", can_id, len(payload), payload))

    def send_fd(self, can_id: int, payload: bytes, flags: int = 0) -> int:
        return self._send(struct.pack("=IBB2x64s", can_id, len(payload), flags, payload))

    def _send(self, frame: bytes) -> int:
        if self._socket is None:
            self._socket = self._opened()
        self._socket.send(frame)
        heard, ((_, _, time_of_arrival),), _, _ = self._socket.recvmsg(len(frame), 64)
        assert heard[:4] == frame[:4]
        seconds, nanoseconds = _TIMESPEC.unpack(time_of_arrival)
        return int(seconds * 1_000_000_000 + nanoseconds)

    def _opened(self) -> socket.socket:
        sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 1)
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_RECV_OWN_MSGS, 1)
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, 0x1FFF_FFFF)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            sock.settimeout(10)
            sock.bind((self.name,))
        except OSError:
            sock.close()
            raise
        return sock


def ip(*arguments: str, check: bool = True) -> None:
    """ip(8)."""
    subprocess.run(["ip", *arguments], check=check, stderr=None if check else subprocess.DEVNULL)
