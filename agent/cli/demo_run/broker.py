# SPDX-License-Identifier: Apache-2.0
"""An MQTT 3.1.1 broker inside this process, for the demo.

Promise: it listens on a port of the operating system's choice on this machine alone, and lets everybody in. What
the library has to say in its log is not said.
Limits: amqtt keeps everything in memory; nothing outlives it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_SILENT = logging.CRITICAL + 1


class EmbeddedBroker:
    """Takes connections on `port` between `async with` and its end."""

    def __init__(self) -> None:
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self._broker.shutdown()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._broker.stream_connected(reader, writer, "default")
        except (OSError, asyncio.CancelledError):
            pass  # a client that is gone is no news
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
