# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy between a client and a broker that can cut, stall one direction, delay and slow down.

    async with TcpProxy("127.0.0.1", broker.port) as proxy:
        await proxy.stall(to_client=True)    # acknowledgements are withheld
        proxy.cut()                         # every connection reset
        proxy.refuse = True                 # new ones are closed at once
        proxy.refuse_next = 1               # so many of them

`buffer_bytes` keeps what the proxy takes in ahead small, as a slow radio does: a loopback otherwise swallows megabytes
and calls them delivered.

A stalled direction is not read, so that the sender's TCP sees a full window in the end, as with a dead radio; what
has been read already waits and goes on when the stall ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CHUNK = 16_384


class TcpProxy:
    """Listens on 127.0.0.1:`port`; counts the bytes of both directions and the connections."""

    def __init__(self, host: str, port: int, *, buffer_bytes: int | None = None) -> None:
        self._target = (host, port)
        self._buffer_bytes = buffer_bytes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()
        self._stalled = {"to_broker": False, "to_client": False}
        self.port = 0
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.refuse = False
        self.refuse_next = 0
        self.cut_after: int | None = None
        self.connections = 0
        self.bytes_to_broker = 0
        self.bytes_to_client = 0

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        if self._buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        limit = self._buffer_bytes or _CHUNK
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=limit)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_armed(self) -> bool:
        """`cut_after` has still to happen."""
        return self.cut_after is not None

    def cut(self) -> None:
        """Reset every connection: nothing more gets through, in neither direction."""
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def stall(self, *, to_broker: bool = False, to_client: bool = False) -> None:
        """Hold back what goes in the named directions, from now on; no name lets everything go on."""
        async with self._changed:
            self._stalled = {"to_broker": to_broker, "to_client": to_client}
            self._changed.notify_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            refused = self.refuse or self.refuse_next > 0
            self.refuse_next -= self.refuse_next > 0
            if not refused:
                await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection(*self._target)
        self._writers.add(broker_writer)
        try:
            up = asyncio.create_task(self._copy(reader, broker_writer, "to_broker"), name="proxy-up")
            down = asyncio.create_task(self._copy(broker_reader, writer, "to_client"), name="proxy-down")
            try:
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            broker_writer.close()
            self._writers.discard(broker_writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await self._next(reader, direction):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            await self._unstalled(direction)
            writer.write(data)
            await writer.drain()
            self._count(direction, len(data))

    async def _next(self, reader: asyncio.StreamReader, direction: str) -> bytes:
        await self._unstalled(direction)
        return await reader.read(_CHUNK)

    async def _unstalled(self, direction: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._stalled[direction])

    def _count(self, direction: str, size: int) -> None:
        if direction == "to_client":
            self.bytes_to_client += size
            return
        self.bytes_to_broker += size
        if self.cut_after is not None and self.bytes_to_broker >= self.cut_after:
            self.cut_after = None
            self.cut()
