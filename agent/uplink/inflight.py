# SPDX-License-Identifier: Apache-2.0
"""Publishes of one connection that wait for their PUBACK: at most so many, each answered once.

Promise: whoever waits gets its own answer, or the one that `lose` gives to all when the link has ended: nobody waits
for ever. A place is free again at the PUBACK, not when its waiter has been told, and not when that was
cancelled: the broker counts likewise (MQTT 5.0, 4.9).
Limits: `IN_FLIGHT` publishes, fewer where the broker's Receive Maximum says so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.uplink.reasons import acknowledgement_text
from agent.uplink.transport import Answer, outcome_of_acknowledgement

if TYPE_CHECKING:
    from agent.uplink.dead_link import DeadLinkDetector

IN_FLIGHT = 256


class InFlight:
    """By packet id. The watch is told when what is waited for moves."""

    def __init__(self, watch: DeadLinkDetector) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = watch
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._places = asyncio.Semaphore(IN_FLIGHT)

    def __len__(self) -> int:
        return len(self._answers)

    def allow(self, receive_maximum: int) -> None:
        """What the broker takes at once; to be said before the first publish."""
        self._places = asyncio.Semaphore(min(receive_maximum, IN_FLIGHT))

    async def place(self) -> None:
        """Wait until one more may go."""
        await self._places.acquire()
        if not self._answers:
            self._watch.published_at = self._loop.time()

    def sent(self, packet_id: int) -> asyncio.Future[Answer]:
        """It has gone: the answer to come."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers[packet_id] = answer
        return answer

    def answered(self, packet_id: int, code: int, properties: bytes) -> None:
        """A PUBACK; one that nobody waits for is nothing."""
        answer = self._answers.pop(packet_id, None)
        if answer is None:
            return
        self._watch.published_at = self._loop.time()
        self._places.release()
        if not answer.done():
            text = acknowledgement_text(code, properties)
            answer.set_result(Answer(outcome_of_acknowledgement(code), code, text))

    def lose(self, end: Answer) -> None:
        """The link has ended: this is the answer to all, and nobody waits for a place any more."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(end)
        self._answers.clear()
        for _ in range(IN_FLIGHT):
            self._places.release()
