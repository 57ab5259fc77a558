# SPDX-License-Identifier: Apache-2.0
"""The cloud's end of the line: messages as they come, acknowledged when their consumer calls them safe.

    async with MqttSubscriber(options, ["canferry/+/batch"]) as subscriber:
        async for message in subscriber:
            store(message.topic, message.payload)
            message.acknowledge()

Promise: the session is persistent and a message stays at the broker until it is acknowledged, so a consumer
killed between storing and acknowledging gets it again: at least once, never lost here. A link that ends comes
back by itself, with back-off, while one iterates; messages that were not acknowledged come again.

Limits: `window` messages wait here unacknowledged (MQTT 5 by Receive Maximum; in 3.1.1 by the broker's own
limit). How much is kept while nobody is connected is the broker's to say (mosquitto: max_queued_messages).

Failure: the first connection and subscription raise UplinkError; later ones are logged and tried again, and so is that
the link is back. That another client has the same id, few brokers say: who is cut off `CUT_OFF_MAX` times running, each
time within `SOON_S`, is told that it may be so.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from agent.uplink.backoff import Backoff
from agent.uplink.mqtt_transport import Connector
from agent.uplink.options import Session
from agent.uplink.reasons import CLIENT_ID_TAKEN
from agent.uplink.transport import LinkLoss, Received, RefusedError, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from agent.uplink.mqtt_client import MqttConnection
    from agent.uplink.options import MqttOptions

__all__ = ["MqttSubscriber", "Received"]

log = structlog.get_logger()

CUT_OFF_MAX = 3
SOON_S = 90.0
"""Longer than the other one waits before it tries again."""
_HINT = f"{CLIENT_ID_TAKEN}: give each receiver its own, with --client-id"


class MqttSubscriber:
    """Subscribed from `async with` on; iterate to receive. One consumer, one client id of its own."""

    def __init__(
        self,
        options: MqttOptions,
        filters: Sequence[str],
        *,
        qos: int = 1,
        shared_group: str = "",
        session_expiry_s: int = 7 * 86_400,
        window: int = 32,
        backoff: Backoff | None = None,
    ) -> None:
        self._options = options
        self._filters = [f"$share/{shared_group}/{name}" if shared_group else name for name in filters]
        self._qos = qos
        self._connector = Connector(options, Session(clean=False, expiry_s=session_expiry_s, receive_maximum=window))
        self._backoff = backoff or Backoff(maximum_s=60.0)
        self._connection: MqttConnection | None = None
        self._stack = AsyncExitStack()
        self._up_s = 0.0
        self._lost_s: float | None = None
        self._cut_off = 0

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        """The next message; waits for it, through as many links as it takes."""
        while True:
            if self._connection is None:
                await self._reconnect()
                continue
            message = await self._connection.receive()
            if message is not None:
                self._backoff = self._backoff.proved()
                return message
            loss = await self._connection.lost()
            log.warning("link_lost", broker=self._options.address, reason=loss.reason, **self._count_cut_off(loss))
            self._backoff = self._backoff.failed(loss.trouble)
            await self._stack.aclose()
            self._connection = None

    async def _connect(self) -> None:
        connection = await self._connector.connect()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(connection)
            await connection.subscribe_all(self._filters, self._qos)
            self._stack = stack.pop_all()
        self._connection = connection
        self._log_up(resumed=connection.session_present)

    def _log_up(self, *, resumed: bool) -> None:
        """As loud as the loss before it was."""
        now_s, about = asyncio.get_running_loop().time(), {"broker": self._options.address, "resumed": resumed}
        if self._lost_s is None:
            log.info("link_up", **about, filters=self._filters)
        else:
            log.warning("link_up", **about, after_s=round(now_s - self._lost_s, 1), reason="connected again")
        self._up_s, self._lost_s = now_s, None

    def _count_cut_off(self, loss: LinkLoss) -> dict[str, str]:
        """Remember it; what to do, as a field of a log line."""
        self._lost_s = asyncio.get_running_loop().time()
        silently = loss.by_peer and loss.code < 0
        self._cut_off = self._cut_off + 1 if silently and self._lost_s - self._up_s < SOON_S else 0
        if loss.trouble is Trouble.TAKEN_OVER:
            return {"hint": _HINT}
        return {"hint": f"it may be that {_HINT}"} if self._cut_off >= CUT_OFF_MAX else {}

    async def _reconnect(self) -> None:
        await asyncio.sleep(self._backoff.wait_s(random.random()))  # noqa: S311 - jitter, not a secret
        try:
            await self._connect()
        except RefusedError as error:
            self._backoff = self._backoff.failed(error.trouble)
            log.warning("link_refused", reason=str(error))
