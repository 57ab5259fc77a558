# SPDX-License-Identifier: Apache-2.0
"""What the uplink publishes about itself: a snapshot for `canferry status`, and the status topic's retained message.

The message is one JSON object, version 1 of its kind:

    {"v":1,"online":true,"version":"0.1.0","stream":"normal-3f2a9c01", …}

with the counters that the sender got last (`live.heartbeat` says which) while online; the last will says online
false, and nothing more. Retained, so that whoever asks is told the latest of each vehicle.

What the broker has acknowledged is logged at the first batch, then once in `LOGGED_EVERY_S`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from agent import __version__
from agent.uplink.transport import Link, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.uplink.options import SenderOptions
    from agent.uplink.send_policy import SendPolicy


log = structlog.get_logger()

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LinkState:
    """The uplink at one moment; the counters grow from the start of the process.

    since_ns                 when the link came up or was lost, wall clock; 0 before the first
    trouble                  why there is no link, or why sending pauses: a `transport.Trouble`; "" where all is well
    last_error               the same in words
    next_try_s               seconds until sending is tried again, as it was decided; 0 where nothing is waited for
    in_flight_…              published and not yet answered
    sent_batches             published, each time counted
    acknowledged_…           taken by the broker; bytes of payload
    refused_batches          set aside: the broker will never take them
    links                    connections that came up
    batch_bytes_max          the largest payload that the broker takes, as far as it is known; 0: any
    version                  MQTT's, of the latest of them; "" before the first
    """

    connected: bool = False
    broker: str = ""
    since_ns: int = 0
    last_error: str = ""
    trouble: str = ""
    next_try_s: float = 0.0
    in_flight_batches: int = 0
    in_flight_bytes: int = 0
    sent_batches: int = 0
    acknowledged_batches: int = 0
    acknowledged_bytes: int = 0
    refused_batches: int = 0
    links: int = 0
    batch_bytes_max: int = 0
    version: str = ""


class LinkStatus:
    """Keeps the uplink's state; whoever learns of a change updates it."""

    def __init__(self, broker: str) -> None:
        self.state = LinkState(broker=broker)

    def update(self, **changes: object) -> None:
        """These fields are now so."""
        if "connected" in changes and changes["connected"] != self.state.connected:
            changes["since_ns"] = time.time_ns()
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def count(self, **more: int) -> None:
        """These counters grow by so much."""
        self.update(**{counter: getattr(self.state, counter) + by for counter, by in more.items()})


def status_payload(*, online: bool, stream: str, counters: Mapping[str, object] | None = None) -> bytes:
    """The status topic's message. Also the last will, with online false."""
    message = {"v": FORMAT, "online": online, "version": __version__, "stream": stream, **(counters or {})}
    return json.dumps(message, separators=(",", ":")).encode()


class Presence:
    """Says on the status topic that the vehicle is there, and how it goes; nothing else depends on it.

    Args:
        options: the topic, "" for no messages at all.
        stream: of the vehicle's batches, as long as the spool lives.
        policy: counts what it costs.

    """

    def __init__(self, options: SenderOptions, stream: str, policy: SendPolicy) -> None:
        self._options = options
        self._stream = stream
        self._policy = policy
        self._counters: Mapping[str, object] = {}
        self._fresh = asyncio.Event()

    def update(self, counters: Mapping[str, object]) -> None:
        """How it goes now: published at once where there is a link, else when the next one comes up."""
        self._counters = counters
        self._fresh.set()

    async def keep(self, link: Link) -> None:
        """Say so at first, and again whenever there is something new."""
        while True:
            self._fresh.clear()
            await self.publish(link, online=True)
            await self._fresh.wait()

    async def publish(self, link: Link, *, online: bool) -> None:
        """One retained message."""
        if not self._options.status:
            return
        topic = self._options.topic(self._options.status)
        payload = status_payload(online=online, stream=self._stream, counters=self._counters)
        properties = self._options.properties("status", f"{time.time_ns():x}")
        self._policy.spend(len(payload), critical=False)
        answer = await link.publish(topic, payload, retain=True, properties=properties)
        if answer.outcome not in (Outcome.ACCEPTED, Outcome.NO_SUBSCRIBERS, Outcome.LOST):
            hint = "allow this client to publish there in the broker's access rules; batches are not held up"
            log.warning("status_refused", topic=topic, reason=answer.reason, hint=hint)


LOGGED_EVERY_S = 60.0


class AcknowledgedCounters:
    """Of acknowledged batches; times are those of any clock that does not step."""

    def __init__(self) -> None:
        self._logged_s = -math.inf
        self._batches = self._size_bytes = 0

    def add(self, size_bytes: int, now_s: float) -> dict[str, int] | None:
        """One more; what is to be logged now, since the last time."""
        self._batches += 1
        self._size_bytes += size_bytes
        if now_s - self._logged_s < LOGGED_EVERY_S:
            return None
        counters = {"batches": self._batches, "size_bytes": self._size_bytes}
        self._logged_s, self._batches, self._size_bytes = now_s, 0, 0
        return counters
