# SPDX-License-Identifier: Apache-2.0
"""Publishes of one connection that wait for their PUBACK, and when a silent link is dead.

Promise: each publish gets its own answer, or the one that `end` gives to all when the link has ended: nobody waits
for ever. A place is free again at the PUBACK, not when its waiter has been told, and not when that was
cancelled: the broker counts likewise (MQTT 5.0, 4.9).

Silence is judged by what should move: a publish waits for its acknowledgement, a ping for its answer. On a slow
link a full window takes minutes, so an upload that the peer's TCP still accepts counts as moving. A ping's own few
bytes do not, or a broker that answers pings and nothing else would be believed for ever.

Limits: `IN_FLIGHT` publishes, fewer where the broker's Receive Maximum says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent.uplink.reasons import acknowledgement_text
from agent.uplink.transport import Answer, outcome_of_acknowledgement

IN_FLIGHT = 256


class InFlight:
    """By packet id. The detector learns when what is waited for moves."""

    def __init__(self, dead_link: DeadLinkDetector) -> None:
        self._loop = asyncio.get_running_loop()
        self._dead_link = dead_link
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
            self._dead_link.published_at = self._loop.time()

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
        self._dead_link.published_at = self._loop.time()
        self._places.release()
        if not answer.done():
            text = acknowledgement_text(code, properties)
            answer.set_result(Answer(outcome_of_acknowledgement(code), code, text))

    def end(self, answer_of_end: Answer) -> None:
        """The link has ended: this is the answer to all, and nobody waits for a place any more."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(answer_of_end)
        self._answers.clear()
        for _ in range(IN_FLIGHT):
            self._places.release()


_PING_BYTES = 256
"""More than a PINGREQ with its TLS record and less than a batch worth waiting for."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection's TCP has done so far.

    delivered   bytes that the peer's TCP has acknowledged
    received    bytes that have come in
    queued      bytes that wait to be sent, or to be acknowledged by the peer's TCP
    """

    delivered: int = 0
    received: int = 0
    queued: int = 0


NO_TRAFFIC = Traffic()


@dataclass(slots=True)
class DeadLinkDetector:
    """Times are seconds of one monotonic clock.

    moved_at       any byte moved, either way
    published_at   a first publish began to wait, one was acknowledged, or a part of the upload got through
    """

    moved_at: float = 0.0
    published_at: float = 0.0
    traffic: Traffic = NO_TRAFFIC

    def update(self, now: float, traffic: Traffic) -> None:
        """Take in the counters of this moment."""
        before, self.traffic = self.traffic, traffic
        if (traffic.delivered, traffic.received) != (before.delivered, before.received):
            self.moved_at = now
        if traffic.delivered != before.delivered and before.queued > _PING_BYTES:
            self.published_at = now

    def unacknowledged_s(self, now: float) -> float:
        """How long the publishes that wait have seen nothing move."""
        return now - self.published_at

    def unanswered_s(self, now: float, pinged_at: float) -> float:
        """How long a ping sent at `pinged_at` has waited without any byte moving; 0 where none was sent."""
        return min(now - pinged_at, now - self.moved_at) if pinged_at > 0 else 0.0
