# SPDX-License-Identifier: Apache-2.0
"""A satellite receiver as a source: NMEA 0183 over a serial port, or gpsd.

Promise: what the receiver says becomes frames of ``dbc/gnss.dbc`` (see `fix`), each with the wall clock's time at which
its sentence was read. They are signals like any other from there on. Nothing is repeated: when the fix is lost, what
needs one is not told any more. Checksums are verified; what is no sound sentence is counted and otherwise nothing.

The receiver's own time is a signal too, and goes to a clock sync source (`report_time`), while satellites
tell it. A sentence is read some time after the moment that it is about: between none and `LATE_NS_MAX`, receivers need
a tenth of a second to compute and the line a few hundredths to carry it.

Limits: `FRAMES_WAITING_MAX` frames wait to be drained; more are dropped and counted.

Failure: a port that cannot be opened, or vanishes, is opened again for as long as it takes (`port`). A receiver that is
open and says nothing sound for `SILENT_S` is told once in the log, with how much it said that was not.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Self

import numpy as np
import structlog

from agent.model import FrameBlock, SourceCounters
from agent.sources.gnss import gpsd, nmea
from agent.sources.gnss.fix import TIME, Epochs, Frame
from agent.system.serial_port import RETRY_FIRST_S, LineSplitter, Port, open_gpsd, open_serial

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.system.clock import Clock

log = structlog.get_logger()

BAUD = 9600
"""Where the configuration names none: what most receivers begin with."""
FRAMES_WAITING_MAX = 4096
DRAIN_WITHIN_S = 10.0
"""A receiver at 10 Hz makes 90 frames a second, which fill a quarter of the queue in this time."""
SILENT_S = 10.0
LATE_NS_MAX = 700_000_000


class GnssSource:
    """One receiver.

    Args:
        index, name: of the configured bus.
        channel: a serial device, or an address of gpsd's: ``gpsd://host[:port]``, ``gpsd:///path``.
        baud: of the serial device.
        clock: stamps the frames.
        report_time: called with the receiver's time: UTC in ns since 1970, the monotonic clock at that moment, and
            by how many ns it may be off.

    """

    def __init__(
        self,
        index: int,
        name: str,
        channel: str,
        *,
        clock: Clock,
        baud: int | None = None,
        report_time: Callable[[int, int, int], None] | None = None,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self._index = index
        self._name = name
        self._channel = channel
        self._clock = clock
        self._report_time = report_time
        by_gpsd = channel.startswith("gpsd://")
        self._parse = gpsd.parse if by_gpsd else nmea.parse
        self._greeting = gpsd.WATCH if by_gpsd else b""
        self._lines = LineSplitter(gpsd.LINE_BYTES_MAX if by_gpsd else nmea.SENTENCE_BYTES_MAX)
        self._port = Port(
            {"bus": name, "port": channel},
            functools.partial(open_gpsd, channel, gpsd.PORT)
            if by_gpsd
            else functools.partial(open_serial, channel, baud or BAUD),
            opened=self._opened,
            received=self._received,
            retry_first_s=retry_first_s,
        )
        self._epochs = Epochs()
        self._queue: deque[tuple[int, Frame]] = deque()
        self._frames = self._dropped = self._refused = 0
        self._silent = False
        self._heard_ns = 0
        self._wake: Callable[[], None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._port.run(), name=f"gnss-{self._name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    @property
    def exhausted(self) -> bool:
        """A receiver never ends."""
        return False

    @property
    def drain_within_s(self) -> float:
        """The time in which a quick receiver fills a quarter of the queue."""
        return DRAIN_WITHIN_S

    @property
    def refused(self) -> int:
        """Lines that were no sound sentences."""
        return self._refused + self._lines.overlong

    def states(self) -> dict[str, str]:
        """By bus name: opening, down, silent, or what the receiver has: "fix" or "no fix"."""
        if self._port.state != "up":
            return {self._name: self._port.state}
        if self._silent:
            return {self._name: "silent"}
        return {self._name: "fix" if self._epochs.fixed else "no fix"}

    def counters(self) -> SourceCounters:
        """Frames delivered, and those that nobody fetched in time."""
        return SourceCounters(frames=self._frames, dropped=self._dropped)

    def wake(self, heard: Callable[[], None] | None, /) -> bool:
        """Call `heard` when a frame waits, until told None."""
        self._wake = heard
        if heard is not None and self._queue:
            heard()
        return True

    def drain(self) -> FrameBlock:
        """The frames since the last call; never blocks."""
        if self._running is not None and self._running.done() and not self._running.cancelled():
            self._running.result()  # it never ends by itself: raises why it did
        self._look_for_silence()
        count = len(self._queue)
        if not count:
            return FrameBlock.empty()
        waiting = [self._queue.popleft() for _ in range(count)]
        self._frames += count
        data = b"".join(frame.data.ljust(8, b"\0") for _, frame in waiting)
        return FrameBlock(
            np.array([time_ns for time_ns, _ in waiting], np.int64),
            np.full(count, self._index, np.uint8),
            np.array([frame.can_id for _, frame in waiting], np.uint32),
            np.array([len(frame.data) for _, frame in waiting], np.uint8),
            np.zeros(count, np.uint8),
            np.frombuffer(data, np.uint8).reshape(count, 8).copy(),
        )

    def _opened(self) -> None:
        self._lines.reset()
        self._epochs = Epochs()
        self._heard_ns, self._silent = self._clock.monotonic_ns(), False
        if self._greeting:
            self._port.write(self._greeting)

    def _received(self, data: bytes) -> None:
        time_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        for line in self._lines.feed(data):
            try:
                report = self._parse(line)
            except nmea.SentenceError:
                self._refused += 1
                continue
            self._is_heard(monotonic_ns)
            if report is None:
                continue
            fixed = self._epochs.fixed
            for frame in self._epochs.frames(report):
                self._put(time_ns, frame)
                if frame.can_id == TIME and self._report_time is not None and self._epochs.measured:
                    utc_ns = int.from_bytes(frame.data, "little") * 1_000_000
                    self._report_time(utc_ns + LATE_NS_MAX // 2, monotonic_ns, LATE_NS_MAX // 2)
            if fixed is not self._epochs.fixed:
                log.info("fix_lost" if fixed else "fix_found", bus=self._name)

    def _put(self, time_ns: int, frame: Frame) -> None:
        if len(self._queue) >= FRAMES_WAITING_MAX:
            self._dropped += 1
            return
        self._queue.append((time_ns, frame))
        if self._wake is not None:
            self._wake()

    def _is_heard(self, monotonic_ns: int) -> None:
        self._heard_ns = monotonic_ns
        if self._silent:
            self._silent = False
            log.info("receiver_heard", bus=self._name, port=self._channel)

    def _look_for_silence(self) -> None:
        silent_ns = self._clock.monotonic_ns() - self._heard_ns
        if self._port.state != "up" or self._silent or silent_ns < SILENT_S * 1e9:
            return
        self._silent = True
        hint = "check the bus' bitrate and channel: a modem has several ports, and one of them is the receiver's"
        log.warning("receiver_silent", bus=self._name, port=self._channel, refused=self.refused, hint=hint)
