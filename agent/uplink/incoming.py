# SPDX-License-Identifier: Apache-2.0
"""Messages of one connection on their way to whoever has subscribed, in order.

Limits: how many may come is for the gate to say, before they do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.uplink.gate import LEAST_BYTES

if TYPE_CHECKING:
    from agent.uplink.transport import Received


class Incoming:
    """waiting_bytes   of payloads, not yet taken away."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._messages: asyncio.Queue[Received | None] = asyncio.Queue()

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
