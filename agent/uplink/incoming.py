# SPDX-License-Identifier: Apache-2.0
"""Messages of one connection on their way to whoever has subscribed, in order.

Limits: while `WAITING_BYTES_MAX` wait, the connection reads no more from its socket; TCP holds the broker back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.uplink.gate import LEAST_BYTES

if TYPE_CHECKING:
    from agent.uplink.transport import Received


WAITING_BYTES_MAX = 16 << 20


class Incoming:
    """waiting_bytes   of payloads, not yet taken away."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._messages: asyncio.Queue[Received | None] = asyncio.Queue()

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self.waiting_bytes > WAITING_BYTES_MAX

    def put(self, message: Received) -> None:
        """One has come in."""
        self.waiting_bytes += max(LEAST_BYTES, len(message.payload))
        self._messages.put_nowait(message)

    def end(self) -> None:
        """Nothing more comes."""
        self._messages.put_nowait(None)

    async def next(self) -> Received | None:
        """The next one; None, for ever, once the connection has ended and nothing is left."""
        message = await self._messages.get()
        if message is None:
            self.end()
            return None
        self.waiting_bytes -= max(LEAST_BYTES, len(message.payload))
        return message
