# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the socket: it answers clients, and no client can hold the agent up.

Promise: the agent never waits for a client. An update that a client has no room for is skipped; the next update has the
number of skipped ones. A client, or a fault in answering it, ends its own connection only. All that a client can change
is the log level. The socket belongs to the group (mode 0660) and appears in one step. A socket that a dead process left
is replaced; one at which another agent answers is left alone.

Limits: `CLIENTS_MAX` clients at once, more are refused. A client has `REQUEST_S` for its request, and is disconnected
after it has read nothing for `STUCK_S`. An update holds at most `ROWS_MAX` ids, the others come with the next.

Failure: AgentError where the socket cannot be made; the agent runs on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.errors import AgentError
from agent.live.protocol import (
    LINE_BYTES_MAX,
    VERSION,
    Answer,
    Frames,
    ProtocolError,
    decode_request,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.live.protocol import Definitions, Request
    from agent.live.snapshot import Snapshot
    from agent.pipeline.traffic import LastFrame

log = structlog.get_logger()

CLIENTS_MAX = 8
REQUEST_S = 5.0
STUCK_S = 60.0
ROWS_MAX = 2000
BUFFER_BYTES_MAX = 1 << 16
"""Of what was written to a client and has not left the process; the kernel's socket holds about 200 KiB more."""
_CLOSE_S = 5.0
_PAUSE_S = 1.0


class StatusSource(Protocol):
    """What the server answers from."""

    async def status(self) -> Snapshot:
        """The agent at this moment."""

    def set_log_level(self, level: str) -> None:
        """Log from now on what is of this level and above."""

    def definitions(self) -> Definitions:
        """What is fixed until the next reload."""

    async def frames(self, after: int, limit: int) -> tuple[Sequence[LastFrame], int]:
        """The last frames that have come after a stamp, and the next stamp, see `TrafficStatistics.changes`."""

    def wall_ns(self) -> int:
        """Now."""


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path`, taken away again at the end; raises AgentError where there can be none."""
    try:
        if _is_answered(path):
            raise AgentError(f"{path}: another agent answers there")
        sock = _bound(path)
        ours = path.stat().st_ino
    except OSError as error:
        raise AgentError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    try:
        yield sock
    finally:
        sock.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == ours:
                path.unlink()


def _is_answered(path: Path) -> bool:
    """Whether a process listens there; anything else than a socket is not ours to replace."""
    if not path.exists():
        return False
    if not path.is_socket():
        raise AgentError(f"{path}: is there already, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except TimeoutError:
            return True
    return True


def _bound(path: Path) -> socket.socket:
    """Bound under another name and then moved, so that nobody finds it half made."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        made.unlink(missing_ok=True)
        sock.bind(str(made))
        made.chmod(0o660)
        sock.listen(CLIENTS_MAX)
        made.replace(path)
    except BaseException:
        sock.close()
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise
    return sock


class LiveServer:
    """Answers at a listening socket, until cancelled. `clients` are attached; `skipped` updates, of all of them."""

    def __init__(
        self, sock: socket.socket, source: StatusSource, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.clients = self.skipped = 0
        self._socket = sock
        self._source = source
        self._monotonic = monotonic

    async def run(self) -> None:
        """Take in whoever comes."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._socket)
                except OSError:  # no descriptors left: they come back when somebody leaves
                    await asyncio.sleep(_PAUSE_S)
                    continue
                group.create_task(self._serve(connection), name="live-client")

    async def _serve(self, connection: socket.socket) -> None:
        """One client, from its question to its end."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LINE_BYTES_MAX)
        self.clients += 1
        try:
            await self._answer(await self._request(reader), reader, writer)
        except ProtocolError as error:
            writer.write(encode(Answer(version=VERSION, error=str(error))))
        except (OSError, ValueError):  # it has gone, says nothing (TimeoutError), or never ends its line
            pass
        except Exception:  # whoever looks must not end the agent
            log.exception("client_failed", hint="a defect in canferry: report it; the agent itself goes on")
        finally:
            self.clients -= 1
            await _close(writer)

    async def _request(self, reader: asyncio.StreamReader) -> Request:
        if self.clients > CLIENTS_MAX:
            raise ProtocolError(f"{CLIENTS_MAX} others are attached already: end one of them")
        async with asyncio.timeout(REQUEST_S):
            return decode_request(await reader.readline())

    async def _answer(self, question: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if question.ask == "status":
            if question.log_level:
                self._source.set_log_level(question.log_level)
            writer.write(encode(Answer(version=VERSION, snapshot=await self._source.status())))
            return
        writer.write(encode(Answer(version=VERSION, definitions=self._source.definitions())))
        if question.ask == "frames":
            await self._send_frames(question.every_ms / 1e3, reader, writer)

    async def _send_frames(self, every_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Updates without end, until the client closes its side or reads no more; one of everything for 0."""
        stamp = skipped = 0
        progress_s = self._monotonic()
        while not writer.is_closing():
            if writer.transport.get_write_buffer_size() <= BUFFER_BYTES_MAX:
                found, stamp = await self._source.frames(stamp, ROWS_MAX if every_s else -1)
                update = Frames(time_ns=self._source.wall_ns(), rows=tuple(found), skipped=skipped)
                writer.write(encode(Answer(version=VERSION, frames=update)))
                skipped, progress_s = 0, self._monotonic()
            elif self._monotonic() - progress_s > STUCK_S:
                writer.transport.abort()
                return
            else:
                skipped += 1
                self.skipped += 1
            if not every_s or await _ends_within(every_s, reader):
                return


async def _ends_within(wait_s: float, reader: asyncio.StreamReader) -> bool:
    """Whether the client closes its side in this time, all of which passes where it does not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while await reader.read(LINE_BYTES_MAX):
                pass
        return True
    return False


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close, with some time for what is still to be read by the client."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
