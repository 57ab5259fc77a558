# SPDX-License-Identifier: Apache-2.0
"""A line to a receiver or a modem, one that comes and goes: a serial port, or a socket.

Promise: `run` keeps the line open: it opens it, hands on what is read, and when it fails opens it again, after
`RETRY_FIRST_S` at first and at most every `RETRY_MAX_S`, for as long as it takes. Opening and closing, which a driver
may take its time for, happen in a thread that holds up nobody's end; reading and writing are the event loop's and never
wait.

Limits: `READ_BYTES_MAX` at a time. Closing is waited for `CLOSE_MAX_S`; it goes on by itself then. What cannot be
written at once is not written, and the line counts as failed: who speaks here says a few bytes, and only after the last
were answered.

Failure: none gets out. Each change is logged once, with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import structlog

from agent.system.process import run_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = structlog.get_logger()

READ_BYTES_MAX = 4096
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 15.0
"""A modem that starts anew is back after 10 to 20 s."""
STEADY_S = 10.0
"""A line that stayed open for so long is opened again after the shortest pause."""
CLOSE_MAX_S = 2.0
_CONNECT_MAX_S = 10.0


class Line(Protocol):
    """What is open: a non-blocking file descriptor that somebody closes."""

    def fileno(self) -> int:
        """The descriptor."""

    def close(self) -> None:
        """Close it; may wait."""


class Port:
    """Keeps one line open.

    Args:
        about: what it is to the log: `port`, what it opens, and `bus` where it is one.
        open_line: opens it, in a thread; raises OSError or ValueError.
        opened: called on the event loop when it is open.
        received: called on the event loop with what was read; raises nothing.
        closed: called on the event loop when it has failed, and is not open any more.

    Attributes:
        state: "opening", "up" or "down".

    """

    def __init__(
        self,
        about: Mapping[str, str],
        open_line: Callable[[], Line],
        *,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        closed: Callable[[], None] = lambda: None,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self.state = "opening"
        self._about = about
        self._open_line = open_line
        self._opened = opened
        self._received = received
        self._closed = closed
        self._retry_first_s = retry_first_s
        self._line: Line | None = None
        self._lost: asyncio.Future[str] | None = None
        self._reason = ""

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        delay_s = self._retry_first_s
        while True:
            begun_s = loop.time()
            self._is_down(await self._open_and_listen())
            if loop.time() - begun_s > STEADY_S:
                delay_s = self._retry_first_s
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    def write(self, data: bytes) -> None:
        """Say this, all of it at once or not at all; nothing where the line is not open."""
        if self._line is None:
            return
        try:
            written = os.write(self._line.fileno(), data)
        except (OSError, ValueError) as error:
            self.fail(str(error))
        else:
            if written < len(data):
                self.fail("it takes no more")

    def fail(self, reason: str) -> None:
        """Close the line and open it again; nothing where it is not open."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)

    async def _open_and_listen(self) -> str:
        """One try: why it did not open, or why it ended."""
        loop = asyncio.get_running_loop()
        opened = contextlib.ExitStack()

        def open_line() -> Line:
            line = self._open_line()
            opened.callback(_close, line)
            return line

        try:
            line = await run_in_daemon_thread(open_line, "port-open", late=opened.close)
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__
        self._line, self._lost = line, loop.create_future()
        try:
            loop.add_reader(line.fileno(), self._read, line)
            self._is_up()
            reason = await self._lost
        finally:
            loop.remove_reader(line.fileno())
            self._line = self._lost = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_MAX_S):
                    await run_in_daemon_thread(opened.close, "port-close")
        self._closed()
        return reason

    def _read(self, line: Line) -> None:
        try:
            data = os.read(line.fileno(), READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.fail(str(error))
            return
        if data:
            self._received(data)
        else:
            self.fail("the other end has gone")

    def _is_up(self) -> None:
        self.state, self._reason = "up", ""
        log.info("port_up", **self._about)
        self._opened()

    def _is_down(self, reason: str) -> None:
        if self.state != "down" or reason != self._reason:
            hint = "check that it is there and may be opened; it is opened again until it answers"
            log.warning("port_down", **self._about, reason=reason, hint=hint)
        self.state, self._reason = "down", reason


def open_serial(device: str, baud: int) -> Line:
    """A serial device, for nobody else; raises OSError (pyserial's own are) or ValueError."""
    import termios

    import serial

    try:
        return serial.Serial(device, baud, timeout=0, write_timeout=0, exclusive=True)
    except termios.error as error:
        raise OSError(str(error)) from error


def open_gpsd(address: str, default_port: int) -> Line:
    """gpsd at ``gpsd://host[:port]``, or at the UNIX socket ``gpsd:///path``; raises OSError or ValueError."""
    parts = urlsplit(address)
    if parts.hostname:
        sock = socket.create_connection((parts.hostname, parts.port or default_port), timeout=_CONNECT_MAX_S)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_CONNECT_MAX_S)
            sock.connect(parts.path)
        except BaseException:
            sock.close()
            raise
    sock.setblocking(False)
    return sock


def _close(line: Line) -> None:
    """What waits to be written would keep a serial port's closing waiting."""
    with contextlib.suppress(Exception):  # the device may be gone
        getattr(line, "reset_output_buffer", lambda: None)()
    with contextlib.suppress(OSError):
        line.close()


class LineSplitter:
    """Lines out of a stream of bytes that may be noise.

    Whatever comes in, in whatever pieces, each line of at most `line_bytes_max` bytes comes out once and whole. Lines
    end at line feeds; a carriage return before one belongs to the end. Empty lines are left out. A longer line is
    dropped up to the next end of a line, and counted.

    overlong   lines that were dropped
    """

    def __init__(self, line_bytes_max: int) -> None:
        self.overlong = 0
        self._line_bytes_max = line_bytes_max
        self._begun = b""
        self._giving_up = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, in order."""
        *ended, begun = data.split(b"\n")
        lines = []
        for piece in ended:
            line = self._joined(piece)
            if line is not None and (line := line.rstrip(b"\r")):
                lines.append(line)
            self._begun, self._giving_up = b"", False
        self._begun = self._joined(begun) or b""
        return lines

    def reset(self) -> None:
        """What comes next has nothing to do with what came before."""
        self._begun, self._giving_up = b"", False

    def _joined(self, piece: bytes) -> bytes | None:
        """The line so far; None where it is too long."""
        if self._giving_up:
            return None
        if len(self._begun) + len(piece) > self._line_bytes_max + 1:  # and a carriage return
            self._giving_up = True
            self.overlong += 1
            return None
        return self._begun + piece
