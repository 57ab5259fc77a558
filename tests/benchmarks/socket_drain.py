# SPDX-License-Identifier: Apache-2.0
"""What it costs to get a frame out of a CAN socket: SocketCanSource against python-can's Notifier.

    python tests/benchmarks/socket_drain.py [--frames 400] [--rounds 9] [--json]

Measured: the processor time (user and system, `time.thread_time`) of emptying a queue in which `--frames`
frames wait already, per frame. Ours is one `drain()`, up to the finished FrameBlock. Theirs is the usual way
in asyncio, a `Notifier` on the event loop with an `AsyncBufferedReader`, up to the Message in the consumer's
hands. Filling the queue is not in it, nor is waking up; on a live bus theirs wakes for each frame and ours by
the timer, so that theirs costs more than is shown here.

Both read the same stand-in for a CAN socket, a pair of connected UNIX datagram sockets that carries ``struct
can_frame`` with the kernel's timestamps, because most machines have no CAN bus and User-Mode Linux' system
calls cost some ten times the usual. What stands in is the protocol's part of the system call; the rest of the
call, the ancillary data and everything after it are the code that runs in the car. Only the way a bus is
opened is replaced: python-can's `SocketcanBus` gets the ready socket.

Rounds of the two alternate, so that whatever else the machine does meets both. Printed are the medians, and
the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.sources.canlib import python_can
from agent.sources.interfaces import Interface, InterfaceState
from agent.sources.recvmmsg import SO_TIMESTAMPNS
from agent.sources.socketcan import SocketCanSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_SO_SNDBUFFORCE = 32
_BUFFER_BYTES = 16 << 20
FRAMES_MAX = 4096


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """A sender and the socket that stands in for the CAN socket."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sender.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    sender.setblocking(False)
    return sender, receiver


def fill(sender: socket.socket, frames: int) -> None:
    """Queue classic frames of eight bytes, as a busy bus would."""
    try:
        for number in range(frames):
            sender.send(struct.pack("=IB3xQ", number % 0x800, 8, number))
    except BlockingIOError:
        raise SystemExit(f"the stand-in does not hold {frames} frames: fewer --frames, or run as root") from None


async def ours(frames: int, measure: Callable[[Callable[[], Awaitable[int]]], Awaitable[None]]) -> None:
    """Hand `measure` something that fills the queue and gives the thread time that emptying it took."""
    sender, receiver = socket_pair()
    source = SocketCanSource(
        [(0, "bus", "can0")],
        drain_frames_max=FRAMES_MAX,
        open_socket=lambda: receiver,
        look=lambda _, __: Interface(InterfaceState.UP),
    )
    async with source:
        source._index_of = {0: 0}  # a socket pair has no interfaces

        async def once() -> int:
            fill(sender, frames)
            begin = time.thread_time_ns()
            block = source.drain()
            spent = time.thread_time_ns() - begin
            assert len(block) == frames
            return spent

        await measure(once)
    sender.close()


def python_can_bus(receiver: socket.socket) -> Any:
    """python-can's SocketcanBus on a socket that is open already."""
    can = python_can()
    from can.interfaces.socketcan import SocketcanBus

    class StandInBus(SocketcanBus):
        def __init__(self) -> None:
            self.socket = receiver
            self.channel = "can0"
            self.channel_info = "stand-in"
            self._bcm_sockets: dict[str, socket.socket] = {}
            self._is_filtered = True  # as on a real bus: the kernel filters
            self._task_id = 0
            self._task_id_guard = threading.Lock()
            can.BusABC.__init__(self, channel="can0")

        def _apply_filters(self, filters: Any) -> None:
            """All frames are wanted."""

    receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return StandInBus()


async def theirs(frames: int, measure: Callable[[Callable[[], Awaitable[int]]], Awaitable[None]]) -> None:
    """The same for python-can's Notifier and AsyncBufferedReader."""
    can = python_can()
    sender, receiver = socket_pair()
    bus = python_can_bus(receiver)
    reader = can.AsyncBufferedReader()
    notifier = can.Notifier(bus, [reader], loop=asyncio.get_running_loop())

    async def once() -> int:
        fill(sender, frames)
        begin = time.thread_time_ns()
        for _ in range(frames):
            await reader.get_message()
        return time.thread_time_ns() - begin

    await measure(once)
    notifier.stop()
    bus.shutdown()
    sender.close()


async def compare(frames: int, rounds: int) -> dict[str, float]:
    """Microseconds a frame of both and the ratio, medians over the rounds."""
    result: dict[str, float] = {}

    async def with_ours(our_round: Callable[[], Awaitable[int]]) -> None:
        async def with_both(their_round: Callable[[], Awaitable[int]]) -> None:
            pairs = [(await our_round(), await their_round()) for _ in range(rounds + 1)][1:]
            result["ours_us"] = statistics.median(pair[0] for pair in pairs) / frames / 1e3
            result["python_can_us"] = statistics.median(pair[1] for pair in pairs) / frames / 1e3
            result["ratio"] = statistics.median(pair[1] / pair[0] for pair in pairs)

        await theirs(frames, with_both)

    await ours(frames, with_ours)
    return {"frames": frames, "rounds": rounds} | {key: round(value, 3) for key, value in result.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="cost per frame of draining a CAN socket, against python-can")
    parser.add_argument("--frames", type=int, default=400, help="waiting in the queue; 400: 20 ms at 20,000/s")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not 1 <= arguments.frames <= FRAMES_MAX:
        parser.error(f"--frames is {arguments.frames}; accepted: 1 to {FRAMES_MAX}")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    result = asyncio.run(compare(arguments.frames, arguments.rounds))
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['frames']} queued frames, median of {result['rounds']}: "
            f"SocketCanSource {result['ours_us']:.2f} µs/frame, "
            f"python-can {result['python_can_us']:.2f} µs/frame, ratio {result['ratio']:.1f}"
        )


if __name__ == "__main__":
    main()
