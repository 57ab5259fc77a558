# SPDX-License-Identifier: Apache-2.0
"""The network between agent and cloud: a cellular link that can be cut, and an MQTT 3.1.1 broker in this process.

The link is a TCP relay in front of the broker. An outage begins as on the road: first answers no longer arrive, while
what is being sent may still get through; then nothing gets through. So the broker can have a batch without the agent
knowing. It is sent again, and the other end drops it as a duplicate. While the link is cut, connections end, new ones
at once.

Promise: both ports are chosen by the operating system and stay taken until the end. The broker listens on this machine
alone and admits everybody; its library logs nothing.
Limits: the broker keeps everything in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CHUNK = 65_536
_PUBLISH_BYTES = 256
"""More than any packet but a publish of data."""
_SETTLE_S = 0.2

_SILENT = logging.CRITICAL + 1


class _Server:
    """Takes connections on `port` between `async with` and its end, which ends them."""

    def __init__(self) -> None:
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        self._end_connections()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end_connections(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the end of a link, or a client that is gone, is no news
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class CellularLink(_Server):
    """Relays connections to `port` on to the broker's; `up` until `cut`, and again from `restore` on."""

    def __init__(self, broker_port: int) -> None:
        super().__init__()
        self._broker_port = broker_port
        self._answers = asyncio.Event()
        self._answers.set()
        self._passed = asyncio.Event()
        self.up = True
        self.bytes_sent = 0

    async def cut(self, fading_s: float = 0.0) -> None:
        """End it. Before that answers are lost until one more batch has got through, or for so long."""
        self.up = False
        self._answers.clear()
        self._passed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fading_s):
                await self._passed.wait()
                await asyncio.sleep(_SETTLE_S)
        self._end_connections()

    def restore(self) -> None:
        """New connections get through from now on."""
        self._answers.set()
        self.up = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.up:
            await self._relay(reader, writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            async with asyncio.TaskGroup() as directions:
                up = directions.create_task(self._send(reader, broker_writer), name="link-up")
                down = directions.create_task(self._answer(broker_reader, writer), name="link-down")
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
        except* OSError:
            pass
        finally:
            broker_writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            self.bytes_sent += len(data)
            writer.write(data)
            await writer.drain()
            if len(data) > _PUBLISH_BYTES:
                self._passed.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._answers.wait()
            writer.write(data)
            await writer.drain()


class EmbeddedBroker(_Server):
    """An MQTT broker at `port`."""

    async def __aenter__(self) -> Self:
        from amqtt.broker import Broker
        from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType

        logging.getLogger("amqtt").setLevel(_SILENT)
        logging.getLogger("transitions").setLevel(_SILENT)
        # The library's own listener cannot say which port it was given: the socket is ours, connections its.
        self._broker = Broker(
            BrokerConfig(
                listeners={"default": ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            )
        )
        await self._broker.start()
        return await super().__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self._broker.shutdown()
        await super().__aexit__(exc_type, exc, tb)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._broker.stream_connected(reader, writer, "default")
