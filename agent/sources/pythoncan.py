# SPDX-License-Identifier: Apache-2.0
"""One bus through any interface of python-can: slcan over a serial line, virtual, udp_multicast, pcan, vector, …

Promise: a thread of its own reads the bus into a bounded queue; `drain()` gives what is queued as one
`FrameBlock` and never blocks. It never transmits: nothing here sends, and the drivers that have a listen-only
mode are opened in it (`LISTENING`), so that the adapter does not even acknowledge frames. The bus' own
options come last: a bench with no third node on the bus sets that mode off.

Limits: `queue_frames_max` frames wait; more are dropped and counted. 5 to 10 µs a frame, several times
SocketCAN's cost. Times are the driver's where they are within an hour of this machine's clock (some count
from their own start), else the time of reading.

Failure: a bus that cannot be opened, or fails later, is opened again, after 1 s at first and at most every 30
s, for as long as it takes. Each change is logged once, with the driver's reason; the other buses do not
notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import structlog

from agent.model import DRAIN_FRAMES_MAX, FrameBlock, SourceCounters
from agent.sources.canlib import python_can
from agent.sources.interfaces import FULL_BUS_FRAMES_S
from agent.sources.messages import BlockBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    import can

log = structlog.get_logger()

LISTENING: Mapping[str, Mapping[str, Any]] = {
    "cantact": {"monitor": True},
    "kvaser": {"driver_mode": False},  # DRIVER_MODE_SILENT
    "nixnet": {"listen_only": True},
    "seeedstudio": {"operation_mode": "silent"},
    "slcan": {"listen_only": True},
    "vector": {"listen_only": True},
}
"""By interface: what makes its driver listen only; pcan's needs python-can's own type, see `_options`."""

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 30.0
STEADY_S = 10.0
"""A bus that stayed open this long is opened again without delay."""
FIRST_ATTEMPT_MAX_S = 1.0
"""How long entering waits for the first attempt to open."""
_RECEIVE_S = 0.5
_CLOSE_MAX_S = 5.0
_CLOCKS_APART_MAX_S = 3600.0


class PythonCanSource:
    """One bus. `options` are handed to python-can's interface as they are."""

    def __init__(
        self,
        index: int,
        name: str,
        interface: str,
        channel: str | int,
        *,
        bitrate: int | None = None,
        fd: bool = False,
        options: Mapping[str, Any] | None = None,
        queue_frames_max: int = 20_000,
        drain_frames_max: int = DRAIN_FRAMES_MAX,
        retry_first_s: float = RETRY_FIRST_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._name = name
        self._interface = interface
        self._channel = channel
        self._bitrate = bitrate
        self._fd = fd
        self._given = dict(options or {})
        self._queue_frames_max = queue_frames_max
        self._drain_frames_max = drain_frames_max
        self._retry_first_s = retry_first_s
        self._monotonic = monotonic
        self._wall_s = wall_s
        self._queue: deque[can.Message] = deque()  # the thread appends, drain() takes: both are atomic
        self._builder = BlockBuilder()
        self._frames = 0
        self._dropped = 0
        self._unusable = 0
        self._state = "opening"
        self._wake: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None
        self._stopping = threading.Event()
        self._attempted = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"can-{name}", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        await asyncio.to_thread(self._attempted.wait, FIRST_ATTEMPT_MAX_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await asyncio.to_thread(self._thread.join, _CLOSE_MAX_S)

    @property
    def exhausted(self) -> bool:
        """A live bus never ends."""
        return False

    @property
    def drain_within_s(self) -> float:
        """The time in which a full bus fills a quarter of the queue."""
        return self._queue_frames_max / 4 / FULL_BUS_FRAMES_S

    def states(self) -> dict[str, str]:
        """By bus name: opening, up or down."""
        return {self._name: self._state}

    def counters(self) -> SourceCounters:
        """What has been seen; frames that python-can gave and no CAN bus carries count as dropped."""
        return SourceCounters(
            self._frames,
            self._dropped + self._unusable,
            {self._name: self._builder.error_frames[self._index]},
            {self._name: self._builder.remote_frames[self._index]},
        )

    def wake(self, heard: Callable[[], None] | None, /) -> bool:
        """Call `heard` on the event loop when a frame waits, until told None."""
        self._wake = None if heard is None else (asyncio.get_running_loop(), heard)
        if heard is not None and self._queue:
            heard()
        return True

    def drain(self) -> FrameBlock:
        """The frames received since the last call, `drain_frames_max` at most; never blocks."""
        for _ in range(min(len(self._queue), self._drain_frames_max)):
            try:
                self._builder.add(self._queue.popleft(), self._index)
            except (ValueError, OverflowError) as error:
                self._refuse(error)
        block = self._builder.take()
        self._frames += len(block)
        return block

    def _refuse(self, error: ValueError | OverflowError) -> None:
        if not self._unusable:
            log.warning("frame_refused", bus=self._name, interface=self._interface, reason=str(error))
        self._unusable += 1

    def _run(self) -> None:
        """The thread: open, listen, and from the start again when that fails."""
        delay_s = self._retry_first_s
        while not self._stopping.is_set():
            begun_s = self._monotonic()
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 each driver raises what it likes
                self._is_down(error)
            self._attempted.set()
            if self._monotonic() - begun_s > STEADY_S:
                delay_s = self._retry_first_s
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    def _listen(self) -> None:
        """Open the bus and read it until it fails or is no longer wanted."""
        can = python_can()
        bus = can.Bus(interface=self._interface, channel=self._channel, ignore_config=True, **self._options(can))
        try:
            self._is_up()
            while not self._stopping.is_set():
                message = bus.recv(_RECEIVE_S)
                if message is not None:
                    self._take(message)
        finally:
            bus.shutdown()

    def _options(self, can: Any) -> dict[str, Any]:
        options: dict[str, Any] = dict(LISTENING.get(self._interface, {}))
        if self._interface == "pcan":
            options["state"] = can.BusState.PASSIVE
        if self._bitrate is not None:
            options["bitrate"] = self._bitrate
        if self._fd:
            options["fd"] = True
        return options | self._given

    def _take(self, message: can.Message) -> None:
        if len(self._queue) >= self._queue_frames_max:
            self._dropped += 1
            return
        now_s = self._wall_s()
        if abs(message.timestamp - now_s) > _CLOCKS_APART_MAX_S:
            message.timestamp = now_s
        self._queue.append(message)
        wake = self._wake
        if wake is not None:
            loop, heard = wake
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(heard)

    def _is_up(self) -> None:
        self._state = "up"
        log.info("bus_up", bus=self._name, interface=self._interface, channel=self._channel)
        self._attempted.set()

    def _is_down(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        if self._state != "down":
            log.warning(
                "bus_down",
                bus=self._name,
                interface=self._interface,
                channel=self._channel,
                reason=reason,
                hint="check the adapter and the bus' channel and options; it is opened again until it answers",
            )
        self._state = "down"
