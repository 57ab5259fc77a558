# SPDX-License-Identifier: Apache-2.0
"""The CAN_RAW socket that the agent listens on: opening, kernel filters, receive buffer.

Promise: the socket hears classic, FD, remote and error frames of all interfaces. It is made for listening
only: nothing here or in its callers writes to it.

Limits: the kernel takes `FILTERS_MAX` filters; more are wanted, and none is set, which costs time and loses
nothing. The receive buffer is as large as we may make it, and the log says how large that is: a queued
classic frame takes 768 bytes of it, so that Linux' default of 212,992 bytes holds 277 frames, 70 ms of a busy
bus.

Failure: what the kernel refuses is an AgentError that says what to do.

Constants: linux/can.h, linux/can/raw.h, asm-generic/socket.h
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = structlog.get_logger()

FILTERS_MAX = 512
"""CAN_RAW_FILTER_MAX."""
QUEUED_FRAME_BYTES = 768
"""What a classic frame takes of the socket's receive buffer while it is queued."""
REMOTE = 0x4000_0000
"""CAN_RTR_FLAG: bit 30 of the kernel's id word, a remote frame."""

_SOL_CAN_RAW = 101
_CAN_RAW_FILTER = 1
_CAN_RAW_ERR_FILTER = 2
_CAN_RAW_FD_FRAMES = 5
_SO_RCVBUFFORCE = 33
_FILTER = struct.Struct("=II")


def can_socket(filters: Iterable[tuple[int, int]] | None) -> socket.socket:
    """A CAN_RAW socket on all interfaces that hears classic, FD and error frames; `filters` None: all."""
    try:
        sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.CAN_RAW)
    except OSError as error:
        raise AgentError(_unavailable(error)) from error
    try:
        sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 1)
        sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, EXTENDED_MASK)
        if filters is not None:
            packed = b"".join(_FILTER.pack(can_id, mask) for can_id, mask in filters)
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FILTER, packed)
        sock.bind(("",))  # no name: interface index 0, all of them
    except OSError as error:
        sock.close()
        problem = f"{error.strerror} (errno {error.errno})"
        raise AgentError(f"the CAN socket cannot be set up: {problem}") from error
    return sock


def kernel_filters(
    wanted: Sequence[Sequence[tuple[int, int]] | None],
) -> tuple[tuple[int, int], ...] | None:
    """The union of what the buses want as the kernel's (id, mask); None: no filter.

    Masks are made to compare the kind of identifier and to refuse remote frames: only for such ones the
    kernel has a table (net/can/af_can.c, can_rcv_list_find) instead of a list to walk. One entry more lets
    every remote frame through, to be counted.
    """
    union: dict[tuple[int, int], None] = {}
    for one in wanted:
        if one is None:
            return None
        for can_id, mask in one:
            bits = EXTENDED_MASK if can_id & EXTENDED else STANDARD_MASK
            union[can_id & (bits | EXTENDED), (mask & bits) | EXTENDED | REMOTE] = None
    if not wanted or len(union) >= FILTERS_MAX:
        return None
    return (*union, (REMOTE, REMOTE))


def _unavailable(error: OSError) -> str:
    if error.errno == errno.EAFNOSUPPORT:
        return (
            "this kernel has no SocketCAN (errno 97): modprobe can-raw, allow AF_CAN in the unit's "
            "RestrictAddressFamilies, or give the bus another interface"
        )
    if error.errno == errno.EPROTONOSUPPORT:
        return "this kernel has CAN but not CAN_RAW (errno 93): modprobe can-raw"
    return f"a CAN socket cannot be opened: {error.strerror} (errno {error.errno})"


def enlarge_receive_buffer(sock: socket.socket, asked_bytes: int) -> int:
    """As much as asked where we may (CAP_NET_ADMIN), else as much as net.core.rmem_max allows; frames it holds."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, asked_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked_bytes)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # the kernel doubles what it is told
    fields: dict[str, object] = {
        "asked_bytes": 2 * asked_bytes,
        "granted_bytes": granted,
        "queue_frames": granted // QUEUED_FRAME_BYTES,
    }
    if granted < 2 * asked_bytes:
        fields["hint"] = f"sysctl net.core.rmem_max={asked_bytes} gives the whole"
    log.info("receive_buffer_granted", **fields)
    return granted // QUEUED_FRAME_BYTES
