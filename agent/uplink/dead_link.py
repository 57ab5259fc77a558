# SPDX-License-Identifier: Apache-2.0
"""When is a silent link dead? A pure decision over the TCP counters, the time passed in.

Silence is judged by what should move: a publish waits for its acknowledgement, a ping for its answer. On a slow
link a full window takes minutes, so an upload that the peer's TCP still takes in counts as moving; a ping's own
few bytes do not, or a broker that answers pings and nothing else would be believed for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def look(self, now: float, traffic: Traffic) -> None:
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
