# SPDX-License-Identifier: Apache-2.0
"""All SocketCAN buses through one socket, drained on the caller's timer.

Promise: one non-blocking CAN_RAW socket bound to interface index 0 hears every CAN interface of the machine.
Each `drain()` gives what the configured ones received, in the order of reception, with the kernel's
timestamps, as one `FrameBlock`. Error and remote frames are counted per bus and not delivered; 11- and 29-bit
identifiers keep apart by `EXTENDED`; frames that the kernel had to drop are counted to the frame. It never
transmits.

Limits: `drain_frames_max` frames a drain. Dropped frames are counted for the socket, not the bus: the kernel
does not say whose they were. Kernel filters only save work: they are the union of what the buses want, so
what one bus wants is let through on all.

Failure: an interface that is missing, down, bus-off or of another kind costs only itself. Each change of an
interface's state is logged once, with what to do. Interfaces are looked at every `LOOK_INTERVAL_S`, and at
once when frames arrive from an unknown one, so that a bus that comes back with another index loses nothing. A
kernel without SocketCAN is an AgentError when the source is opened, a socket that fails for good one when it
is drained.

Bits and structures: linux/can.h, linux/can/error.h; https://docs.kernel.org/networking/can.html
"""

from __future__ import annotations

import asyncio
import errno
import time
from typing import TYPE_CHECKING, Self

import numpy as np
import structlog

from agent.errors import AgentError
from agent.model import DRAIN_FRAMES_MAX, FrameBlock, FrameFlag, SourceCounters
from agent.sources.cansocket import REMOTE, can_socket, enlarge_receive_buffer, kernel_filters
from agent.sources.interfaces import FULL_BUS_FRAMES_S, Interface, InterfaceState, advice, is_gone, look_at
from agent.sources.recvmmsg import (
    FD_SIZE,
    FrameReceiver,
    Received,
    ask_for_ancillary_data,
    dropped_so_far,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

log = structlog.get_logger()

LOOK_INTERVAL_S = 1.0
DROP_LOG_INTERVAL_S = 10.0

_ERROR = 0x2000_0000  # CAN_ERR_FLAG
_ERROR_BUS_OFF = 0x40  # CAN_ERR_BUSOFF
_ERROR_RESTARTED = 0x100  # CAN_ERR_RESTARTED
_NO_BUS = 255

_WITHIN = {
    width: (np.arange(width) < np.arange(width + 1)[:, None]).astype(np.uint8) * np.uint8(0xFF) for width in (8, 64)
}
"""By payload width: row n masks the bytes of a payload of n bytes."""


class _Bus:
    """One configured bus: which interface it is on and how that is."""

    def __init__(self, index: int, name: str, interface: str) -> None:
        self.index = index
        self.name = name
        self.interface = interface
        self.ifindex = 0
        self.state: InterfaceState | None = None
        self.bus_off = False  # told by an error frame, not yet taken back
        self.errors = 0
        self.remotes = 0

    def is_now(self, state: InterfaceState) -> None:
        """Take note of the state; one line in the log where it has changed."""
        if state is self.state:
            return
        before, self.state = self.state, state
        write = log.info if state is InterfaceState.UP else log.warning
        fields = {"bus": self.name, "interface": self.interface}
        if before is not None:
            fields["before"] = str(before)
        if hint := advice(state, self.interface):
            fields["hint"] = hint
        write(f"bus_{state.removeprefix('bus_')}", **fields)


class SocketCanSource:
    """Every configured SocketCAN bus; `buses` are (index, bus name, interface name).

    filters   by bus name: the wanted (arbitration id word, mask); None or no entry: everything
    """

    def __init__(
        self,
        buses: Sequence[tuple[int, str, str]],
        *,
        filters: Mapping[str, Sequence[tuple[int, int]] | None] | None = None,
        receive_buffer_bytes: int = 8 << 20,
        drain_frames_max: int = DRAIN_FRAMES_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        open_socket: Callable[[], socket.socket] | None = None,
        look: Callable[[socket.socket, str], Interface] = look_at,
    ) -> None:
        self._buses = [_Bus(*bus) for bus in buses]
        if len({bus.interface for bus in self._buses}) < len(self._buses):
            raise ValueError("two buses on one interface: frames could not be told apart")
        wanted = [(filters or {}).get(bus.name) for bus in self._buses]
        self._filters = kernel_filters(wanted)
        self._receive_buffer_bytes = receive_buffer_bytes
        self._monotonic = monotonic
        self._open_socket = open_socket or (lambda: can_socket(self._filters))
        self._look = look
        self._receiver = FrameReceiver(drain_frames_max)
        self._socket: socket.socket | None = None
        self._queue_frames = 0
        self._look_at_s = 0.0
        self._index_of: dict[int, int] = {}  # ifindex → bus index; a bus' vanished interface included
        self._ignored: set[int] = set()  # interfaces that are nobody's
        self._frames = 0
        self._dropped = 0
        self._dropped_word = 0
        self._dropped_logged = 0
        self._drop_log_s = 0.0

    async def __aenter__(self) -> Self:
        self._socket = self._open_socket()
        self._socket.setblocking(False)
        ask_for_ancillary_data(self._socket)
        self._queue_frames = enlarge_receive_buffer(self._socket, self._receive_buffer_bytes)
        self._dropped_word = 0
        self._look_around(self._socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._count_dropped(dropped_so_far(self._socket))
            self._socket.close()
            self._socket = None

    @property
    def exhausted(self) -> bool:
        """A live bus never ends."""
        return False

    @property
    def drain_within_s(self) -> float:
        """The time in which all buses at full load fill a quarter of the receive buffer: drain that often."""
        return self._queue_frames / 4 / (FULL_BUS_FRAMES_S * len(self._buses))

    def fileno(self) -> int:
        """The socket's file descriptor; -1 while closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def states(self) -> dict[str, str]:
        """By bus name: up, down, missing, bus_off or not_can, as last seen."""
        return {bus.name: str(bus.state or InterfaceState.MISSING) for bus in self._buses}

    def counters(self) -> SourceCounters:
        """What has been seen; lost frames up to this moment, even if none has arrived since."""
        if self._socket is not None:
            self._count_dropped(dropped_so_far(self._socket))
        return SourceCounters(
            self._frames,
            self._dropped,
            {bus.name: bus.errors for bus in self._buses},
            {bus.name: bus.remotes for bus in self._buses},
        )

    def wake(self, heard: Callable[[], None] | None, /) -> bool:
        """Call `heard` on the event loop when a frame waits, until told None."""
        if self._socket is None:
            raise RuntimeError("the source is not open")
        loop = asyncio.get_running_loop()
        if heard is None:
            loop.remove_reader(self._socket)
        else:
            loop.add_reader(self._socket, heard)
        return True

    def drain(self) -> FrameBlock:
        """The frames received since the last call, `drain_frames_max` at most; never blocks."""
        if self._socket is None:
            raise RuntimeError("the source is not open")
        if self._monotonic() >= self._look_at_s:
            self._look_around(self._socket)
        try:
            received = self._receiver.receive(self._socket.fileno())
        except OSError as error:
            self._survive(self._socket, error)
            return FrameBlock.empty()
        if not len(received):
            return FrameBlock.empty()
        self._count_dropped(received.dropped)
        bus = self._bus_column(self._socket, received)
        block = self._sorted_out(received, bus)
        self._frames += len(block)
        return block

    def _survive(self, sock: socket.socket, error: OSError) -> None:
        """An interface that went away may be told as an error of the socket; anything else is for good."""
        if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
            raise AgentError(f"the CAN socket failed: {error.strerror} (errno {error.errno})") from error
        self._look_around(sock)

    def _bus_column(self, sock: socket.socket, received: Received) -> NDArray[np.uint8]:
        """Each frame's bus index, `_NO_BUS` where its interface is nobody's."""
        ifindex = np.ascontiguousarray(received.ifindex)
        bus = self._indexes(ifindex)
        strays = bus == _NO_BUS
        if strays.any():
            unknown = set(np.unique(ifindex[strays]).tolist())
            if not unknown <= self._ignored:
                self._look_around(sock)  # a bus may be back with another index
                self._ignored = unknown - self._index_of.keys()
                bus = self._indexes(ifindex)
        return bus

    def _indexes(self, ifindex: NDArray[np.int32]) -> NDArray[np.uint8]:
        bus = np.full(len(ifindex), _NO_BUS, np.uint8)
        for known, index in self._index_of.items():
            bus[ifindex == known] = index
        return bus

    def _sorted_out(self, received: Received, bus: NDArray[np.uint8]) -> FrameBlock:
        """The data frames; the others counted, and what error frames say of the bus noted."""
        word = received.frames["can_id"]
        special = (word & np.uint32(_ERROR | REMOTE)) != 0
        keep = (bus != _NO_BUS) & ~special
        if special.any() or any(one.bus_off for one in self._buses):
            for one in self._buses:
                self._note_special(one, np.flatnonzero(bus == one.index), word)
        if keep.all():
            return _block(received.frames, received.size, received.time_ns, bus)
        rows = np.flatnonzero(keep)
        return _block(received.frames[rows], received.size[rows], received.time_ns[rows], bus[rows])

    def _note_special(self, bus: _Bus, rows: NDArray[np.intp], word: NDArray[np.uint32]) -> None:
        """Count one bus' error and remote frames; the latest of bus-off, restart and traffic is its state."""
        words = word[rows]
        error = (words & np.uint32(_ERROR)) != 0
        remote = ~error & ((words & np.uint32(REMOTE)) != 0)
        bus.errors += int(error.sum())
        bus.remotes += int(remote.sum())
        off = error & ((words & np.uint32(_ERROR_BUS_OFF)) != 0)
        alive = ~error | ((words & np.uint32(_ERROR_RESTARTED)) != 0)
        last_off = max(np.flatnonzero(off), default=-1)
        last_alive = max(np.flatnonzero(alive), default=-1)
        if last_off >= 0:
            bus.bus_off = True
            bus.is_now(InterfaceState.BUS_OFF)
        if bus.bus_off and last_alive > last_off:
            bus.bus_off = False
            bus.is_now(InterfaceState.UP)

    def _look_around(self, sock: socket.socket) -> None:
        """See how each interface is, where it is, and whether frames were dropped since."""
        now = self._monotonic()
        self._look_at_s = now + LOOK_INTERVAL_S
        self._ignored.clear()
        for bus in self._buses:
            seen = self._look(sock, bus.interface)
            if seen.ifindex and seen.ifindex != bus.ifindex:
                self._moved(bus, seen.ifindex)
            if seen.state is not InterfaceState.UP:
                bus.bus_off = False  # from here on the interface itself tells
            bus.is_now(InterfaceState.BUS_OFF if bus.bus_off else seen.state)
        self._count_dropped(dropped_so_far(sock))
        if self._dropped > self._dropped_logged and now >= self._drop_log_s:
            self._log_dropped(now)

    def _moved(self, bus: _Bus, ifindex: int) -> None:
        """The bus' interface has another index; what a vanished one left in the queue is still the bus'."""
        self._index_of = {known: index for known, index in self._index_of.items() if index != bus.index}
        if bus.ifindex and is_gone(bus.ifindex):
            self._index_of[bus.ifindex] = bus.index
        self._index_of[ifindex] = bus.index
        bus.ifindex = ifindex
        bus.bus_off = False

    def _count_dropped(self, word: int | None) -> None:
        """The kernel's count is 32 bits wide, and a queued frame may tell an older one than is known."""
        if word is None:
            return
        more = (word - self._dropped_word) & 0xFFFF_FFFF
        if 0 < more < 1 << 31:
            self._dropped += more
            self._dropped_word = word

    def _log_dropped(self, now: float) -> None:
        log.warning(
            "frames_dropped",
            frames=self._dropped - self._dropped_logged,
            frames_total=self._dropped,
            hint="the kernel's queue was full: raise net.core.rmem_max or give the agent CAP_NET_ADMIN",
        )
        self._dropped_logged = self._dropped
        self._drop_log_s = now + DROP_LOG_INTERVAL_S


def _block(
    frames: NDArray[np.void], size: NDArray[np.uint32], time_ns: NDArray[np.int64], bus: NDArray[np.uint8]
) -> FrameBlock:
    """Own copies of the columns of data frames; payload bytes past a frame's length are cleared."""
    fd = size == FD_SIZE
    length = np.minimum(frames["length"], np.where(fd, np.uint8(64), np.uint8(8)))
    width = 8 if not len(length) or length.max() <= 8 else 64
    data = np.array(frames["data"][:, :width], order="C")
    data &= _WITHIN[width][length]
    flags = (frames["flags"] & np.uint8(FrameFlag.BRS | FrameFlag.ESI)) | np.uint8(FrameFlag.FD)
    return FrameBlock(time_ns, bus, frames["can_id"].copy(), length, np.where(fd, flags, np.uint8(0)), data)
