# SPDX-License-Identifier: Apache-2.0
"""What a broker sends of itself: taken in order where somebody has subscribed, else neither kept nor waited for.

Limits: where nobody has subscribed, a packet of 64 KiB (acknowledgements with their words), else of 32 MiB; how many
messages wait is the broker's to keep to, by Receive Maximum.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.uplink.transport import Received

ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX = 64 << 10, 32 << 20


class Incoming:
    """Of one connection.

    subscribed   somebody takes messages away; those that a session has waiting come right behind its CONNACK
    """

    def __init__(self, *, subscribed: bool) -> None:
        self.subscribed = subscribed
        self._messages: asyncio.Queue[Received | None] = asyncio.Queue()

    @property
    def packet_bytes_max(self) -> int:
        """No packet that can have been asked for is larger."""
        return MESSAGE_BYTES_MAX if self.subscribed else ANSWER_BYTES_MAX

    def put(self, message: Received) -> None:
        """One has come in."""
        if self.subscribed:  # else nobody would ever take it away
            self._messages.put_nowait(message)

    def end(self) -> None:
        """Nothing more comes."""
        self._messages.put_nowait(None)

    async def next(self) -> Received | None:
        """The next one; None, for ever, once the connection has ended and nothing is left."""
        message = await self._messages.get()
        if message is None:
            self.end()
        return message
