# SPDX-License-Identifier: Apache-2.0
"""What is on the two buses: counted frames, 11 and 29 bit, classic and FD, and a process that sends them.

`python -m tests.headunit.agent.traffic FILE RATE` sends frame 0, 1, 2, … until SIGTERM. Frame n is of kind
n modulo the number of kinds and carries n. Element n of FILE, int64, becomes the kernel's time of it, ns; or
`NOT_SENT` where its interface was down or missing.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.model import EXTENDED
from agent.sources.recvmmsg import (
    _MESSAGE,
    _VECTOR,
    CLASSIC_SIZE,
    FD_SIZE,
    FRAME,
    FrameReceiver,
    _addresses_of,
    ask_for_ancillary_data,
)
from tests.support.feeder import FRAMES_MAX, payload, value

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK_S = 0.02
BURST_FRAMES_MAX = 50
NOT_SENT = -1
BUSES = {"powertrain": "vcan0", "chassis": "vcan1"}
_BRS = 0x01
_SOL_CAN_RAW = 101
_CAN_RAW_RECV_OWN_MSGS = 4
_CAN_RAW_FD_FRAMES = 5
_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


@dataclass(frozen=True)
class Kind:
    """One message. The first eight bytes are two signals, the last four one more where there are more bytes."""

    bus: str
    can_id: int
    name: str
    length: int = 8
    fd: bool = False

    def payload(self, number: int) -> bytes:
        return (payload(number) * 8)[: self.length]

    def line(self, number: int) -> dict[str, object]:
        """What the export says of frame `number`, but for the time."""
        signals: dict[str, float] = {"COUNT": number, "VALUE": value(number) * 0.5 - 7}
        if self.length > 8:
            signals["LAST"] = int.from_bytes(self.payload(number)[-4:], "big")
        can_id, extended = self.can_id & ~EXTENDED, bool(self.can_id & EXTENDED)
        return {"bus": self.bus, "id": can_id, "extended": extended, "message": self.name, "signals": signals}


KINDS = (
    Kind("powertrain", 0x100, "ENGINE"),
    Kind("chassis", 0x100, "BRAKES"),
    Kind("powertrain", 0x100 | EXTENDED, "GEARBOX"),
    Kind("chassis", 0x2F0, "WHEELS", 64, fd=True),
    Kind("powertrain", 0x7E8, "DIAGNOSIS"),
    Kind("chassis", 0x18DA_F101 | EXTENDED, "STEERING", 12, fd=True),
)


def kind(number: int) -> Kind:
    """Of frame `number`."""
    return KINDS[number % len(KINDS)]


def database(bus: str) -> str:
    """The DBC file of one bus."""
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: CAR"]
    for one in KINDS:
        if one.bus == bus:
            lines += [
                f"BO_ {one.can_id} {one.name}: {one.length} CAR",
                ' SG_ COUNT : 0|32@1+ (1,0) [0|0] "" CAR',
                ' SG_ VALUE : 32|32@1+ (0.5,-7) [0|0] "" CAR',
            ]
            lines += [f' SG_ LAST : {one.length * 8 - 25}|32@0+ (1,0) [0|0] "" CAR'] if one.length > 8 else []
            lines += [""]
    return "\n".join(lines)


class Node:
    """The other node of one bus."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._socket: socket.socket | None = None
        self._sender = FrameSender(BURST_FRAMES_MAX)
        self._receiver = FrameReceiver(2 * BURST_FRAMES_MAX)
        self._broken = False  # its interface went away; what it has heard is taken, then it is opened anew

    def send(self, frames: Sequence[tuple[Kind, int]]) -> None:
        """Send these frames, of a kind and with a number, as far as the interface is there and up."""
        if self._broken:
            return
        try:
            self._socket = self._socket or self._opened()
            self._sender.send(self._socket.fileno(), frames)
        except OSError:
            self._broken = self._socket is not None

    def heard(self) -> list[tuple[int, int]]:
        """Number, and the kernel's time in ns, of the frames that were on the bus since the last call.

        It hears its own frames: the kernel gives each listener the same timestamp.
        """
        if self._socket is None:
            return []
        try:
            received = self._receiver.receive(self._socket.fileno())
        except OSError:  # told once; what is queued is there all the same
            received = self._receiver.receive(self._socket.fileno())
        numbers = np.ascontiguousarray(received.frames["data"][:, :4]).view("<u4")[:, 0].tolist()
        heard = list(zip(numbers, received.time_ns.tolist(), strict=True))
        if self._broken and not heard:
            self._socket.close()
            self._socket, self._broken = None, False
        return heard

    def _opened(self) -> socket.socket:
        sock = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_FD_FRAMES, 1)
            sock.setsockopt(_SOL_CAN_RAW, _CAN_RAW_RECV_OWN_MSGS, 1)
            ask_for_ancillary_data(sock)
            sock.bind((self._interface,))
        except OSError:
            sock.close()
            raise
        return sock


class FrameSender:
    """sendmmsg(2): many frames a system call, which are dear in User-Mode Linux."""

    def __init__(self, capacity: int) -> None:
        self._frames = np.zeros(capacity, FRAME)
        self._vectors = np.zeros(capacity, _VECTOR)
        self._messages = np.zeros(capacity, _MESSAGE)
        self._vectors["base"] = _addresses_of(self._frames)
        self._messages["header"]["vector"] = _addresses_of(self._vectors)
        self._messages["header"]["vector_length"] = 1

    def send(self, descriptor: int, frames: Sequence[tuple[Kind, int]]) -> None:
        for row, (one, number) in enumerate(frames):
            frame = self._frames[row]
            frame["can_id"], frame["length"], frame["flags"] = one.can_id, one.length, _BRS if one.fd else 0
            frame["data"][: one.length] = np.frombuffer(one.payload(number), np.uint8)
            self._vectors["length"][row] = FD_SIZE if one.fd else CLASSIC_SIZE
        sent = 0
        while sent < len(frames):
            at = self._messages.ctypes.data + sent * _MESSAGE.itemsize
            got = _sendmmsg(descriptor, at, len(frames) - sent, 0)
            if got < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            sent += got


def main(file: Path, rate: float) -> None:
    times = np.memmap(file, np.int64, "w+", shape=(FRAMES_MAX,))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    nodes = {name: Node(interface) for name, interface in BUSES.items()}
    begun, number = time.monotonic(), 0
    while not stopping:
        due = int((time.monotonic() - begun) * rate)
        if due > number + BURST_FRAMES_MAX:  # after a pause it makes no burst of it
            due = number + BURST_FRAMES_MAX
            begun = time.monotonic() - due / rate
        times[number:due] = NOT_SENT
        for name, node in nodes.items():
            node.send([(kind(each), each) for each in range(number, due) if kind(each).bus == name])
        number = due
        time.sleep(TICK_S)
        for node in nodes.values():
            for each, time_ns in node.heard():
                times[each] = time_ns


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
