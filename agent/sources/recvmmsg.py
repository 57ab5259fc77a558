# SPDX-License-Identifier: Apache-2.0
"""Empties a CAN socket's queue by recvmmsg(2), straight into numpy columns.

Promise: no Python object per frame. One system call takes up to `CALL_FRAMES` frames and writes them, their
interface, the kernel's timestamp and the kernel's count of dropped frames into buffers that are allocated
once; numpy reads them where they lie. ctypes releases the interpreter lock for the call.

Limits: at most `capacity` frames a `receive()`; what it returns is valid until the next one. The socket has
to be set up with `ask_for_ancillary_data`. Any datagram socket that carries ``struct can_frame`` or ``struct
canfd_frame`` will do, which is how it is tested and measured without a CAN bus.

Failure: an empty queue is an empty result; every other error is the system call's own OSError. A frame
without a timestamp gets the time of the call.

What the kernel writes for each frame (linux/can.h, linux/socket.h, cmsg(3); a 64-bit machine's offsets):

    canfd_frame   0 can_id u32 | 4 len u8 | 5 flags u8 | 6 - | 7 - | 8 data, 8 bytes (classic) or 64 (FD)
    sockaddr_can  0 family u16 | 4 ifindex i32 | …
    control       0 cmsghdr SO_TIMESTAMPNS | 16 seconds, nanoseconds | 32 cmsghdr SO_RXQ_OVFL | 48 dropped u32

The second control message is there only once the socket has lost a frame (net/core/sock.c, sock_recv_drops).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALL_FRAMES = 256
"""Frames a system call: more gains nothing, fewer cost more calls."""

CLASSIC_SIZE = 16
"""Bytes of struct can_frame, CAN_MTU."""
FD_SIZE = 72
"""Bytes of struct canfd_frame, CANFD_MTU."""

# asm-generic/socket.h; Python's socket module does not name them
SO_TIMESTAMPNS = 35
SO_RXQ_OVFL = 40
SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_MEMINFO_DROPS = 8

FRAME = np.dtype([("can_id", "=u4"), ("length", "u1"), ("flags", "u1"), ("reserved", "u1", 2), ("data", "u1", 64)])
_ADDRESS = np.dtype([("family", "=u2"), ("ifindex", "=i4"), ("address", "u1", 16)], align=True)
_LONG = np.dtype(ctypes.c_long)
_SIZE = np.dtype(ctypes.c_size_t)
_CONTROL_HEADER = [("length", _SIZE), ("level", "=i4"), ("type", "=i4")]
_CONTROL = np.dtype(
    [
        *_CONTROL_HEADER,
        ("seconds", _LONG),
        ("nanoseconds", _LONG),
        *((f"second_{name}", kind) for name, kind in _CONTROL_HEADER),
        ("dropped", "=u4"),
    ],
    align=True,
)
_HEADER = np.dtype(
    [
        ("name", np.uintp),
        ("name_length", "=u4"),
        ("vector", np.uintp),
        ("vector_length", _SIZE),
        ("control", np.uintp),
        ("control_length", _SIZE),
        ("flags", "=i4"),
    ],
    align=True,
)
_MESSAGE = np.dtype([("header", _HEADER), ("size", "=u4")], align=True)
_VECTOR = np.dtype([("base", np.uintp), ("length", _SIZE)], align=True)
_SECOND_CONTROL = _CONTROL.fields["second_length"][1] if _CONTROL.fields else 0

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_recvmmsg.restype = ctypes.c_int


@dataclass(frozen=True, slots=True)
class Received:
    """Frames of every kind in the order of the queue; views, valid until the next `receive()`.

    frames    `FRAME` (n,)   as the kernel wrote them; bytes past a frame's own size are stale
    size      uint32  (n,)   bytes received: `CLASSIC_SIZE` or `FD_SIZE`
    ifindex   int32   (n,)   the interface's index
    time_ns   int64   (n,)   the kernel's timestamp, wall clock
    dropped   the socket's count of lost frames when these were queued, modulo 2**32; None: not told
    """

    frames: NDArray[np.void]
    size: NDArray[np.uint32]
    ifindex: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    dropped: int | None

    def __len__(self) -> int:
        return len(self.frames)


class FrameReceiver:
    """The buffers of one socket and the calls that fill them."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; at least one frame is needed")
        self.capacity = capacity
        self._frames = np.zeros(capacity, FRAME)
        self._addresses = np.zeros(capacity, _ADDRESS)
        self._controls = np.zeros(capacity, _CONTROL)
        self._vectors = np.zeros(capacity, _VECTOR)
        self._messages = np.zeros(capacity, _MESSAGE)
        self._vectors["base"] = _addresses_of(self._frames)
        self._vectors["length"] = FD_SIZE
        self._headers = self._messages["header"]
        self._headers["name"] = _addresses_of(self._addresses)
        self._headers["vector"] = _addresses_of(self._vectors)
        self._headers["vector_length"] = 1
        self._headers["control"] = _addresses_of(self._controls)
        self._name_lengths = self._headers["name_length"]
        self._control_lengths = self._headers["control_length"]
        self._name_lengths[:] = _ADDRESS.itemsize
        self._control_lengths[:] = _CONTROL.itemsize

    def receive(self, descriptor: int) -> Received:
        """All that is queued, up to `capacity` frames; raises OSError where the socket has failed."""
        filled = 0
        while filled < self.capacity:
            wanted = min(CALL_FRAMES, self.capacity - filled)
            got = self._call(descriptor, filled, wanted)
            filled += got
            if got < wanted:
                break
        return self._taken(filled)

    def _call(self, descriptor: int, start: int, wanted: int) -> int:
        at = self._messages.ctypes.data + start * _MESSAGE.itemsize
        while True:
            got = int(_recvmmsg(descriptor, at, wanted, socket.MSG_DONTWAIT, None))
            if got >= 0:
                return got
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EWOULDBLOCK):
                return 0
            if code == errno.EINTR:
                continue
            if start:  # hand over what has been taken; the error, if it stays, comes at the next call
                return 0
            raise OSError(code, os.strerror(code))

    def _taken(self, count: int) -> Received:
        controls = self._controls[:count]
        used = self._control_lengths[:count]
        time_ns = controls["seconds"].astype(np.int64)
        time_ns *= 1_000_000_000
        time_ns += controls["nanoseconds"]
        timed = (used >= _SECOND_CONTROL) & (controls["type"] == SO_TIMESTAMPNS)
        if not timed.all():
            time_ns[~timed] = time.time_ns()
        dropped = None
        told = np.flatnonzero((used > _SECOND_CONTROL) & (controls["second_type"] == SO_RXQ_OVFL))
        if len(told):
            dropped = int(controls["dropped"][told[-1]])
        used[:] = _CONTROL.itemsize  # the kernel has written back what it used
        self._name_lengths[:count] = _ADDRESS.itemsize
        return Received(
            self._frames[:count],
            self._messages["size"][:count],
            self._addresses["ifindex"][:count],
            time_ns,
            dropped,
        )


def ask_for_ancillary_data(sock: socket.socket) -> None:
    """Have the kernel tell each frame's time of arrival and the number of frames it had to drop."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def dropped_so_far(sock: socket.socket) -> int | None:
    """The socket's count of lost frames now, modulo 2**32; None where the kernel (before 4.12) does not tell.

    ``SO_RXQ_OVFL`` comes with the next frame only: without this, a bus that goes silent after a burst would
    hide the burst's losses.
    """
    try:
        words = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * _MEMINFO_WORDS)
    except OSError:
        return None
    if len(words) <= 4 * _MEMINFO_DROPS:
        return None
    return int.from_bytes(words[4 * _MEMINFO_DROPS : 4 * _MEMINFO_DROPS + 4], sys.byteorder)


def _addresses_of(rows: NDArray[Any]) -> NDArray[np.uintp]:
    """Where each row of a one-dimensional, contiguous array lies in memory."""
    return np.uintp(rows.ctypes.data) + np.arange(len(rows), dtype=np.uintp) * np.uintp(rows.dtype.itemsize)
