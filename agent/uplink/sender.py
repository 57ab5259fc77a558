# SPDX-License-Identifier: Apache-2.0
"""The loop that keeps a link up for the spool to be emptied over: connect, feed it, and begin again when it ends.

Limits: every wait has a jittered, growing, bounded length (`backoff`) and is cancellable. `drain` ends the one for a
link at once; one that a refusal asked for is kept, and given up where it outlasts the grace.

After a suspend (`resumed`) the link is taken for dead and a new one is tried at once. Where the unit has no route at
all, that it gets one ends the wait: nobody else's broker is bothered by the trying.

Failure: a link that does not come up, or is lost, is logged and tried again for ever. Only SpoolError gets out of
`run`. What goes over a link, and what its answers mean, is `feed`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agent.system.liveness import LivenessDeadline
from agent.uplink.backoff import Backoff
from agent.uplink.cursor import BatchQueue, Worker
from agent.uplink.options import SenderOptions
from agent.uplink.publisher import REST_MAX_S, Drain, Publisher
from agent.uplink.reasons import ADVICE
from agent.uplink.send_policy import UNLIMITED
from agent.uplink.status import LinkState, LinkStatus, Presence
from agent.uplink.transport import Link, LinkLoss, RefusedError, Transport, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.spool.catalogs import CatalogStore
    from agent.uplink.send_policy import SendPolicy

__all__ = ["BatchQueue", "Sender", "SenderOptions", "Worker"]

log = structlog.get_logger()

_GOODBYE_S = 1.0
_ROUTE_LOOK_S = 0.5
"""How often a unit without a route looks for one; up to as much again passes before it is used."""


class Sender:
    """Sends what `queues` hold, the first of them with the highest priority. `run` it once.

    critical          whether each queue's class is that: the network then allows it more
    fit               is called in the worker with the most bytes that batches are to be sealed to; None: as configured
    cut               is called in the worker to cut one larger stored batch anew; whether there may be more

    batch_available   to be set after each append: wakes the loop
    presence          to be told how the agent goes: says so on the status topic
    """

    def __init__(
        self,
        transport: Transport,
        queues: Sequence[BatchQueue],
        shelf: CatalogStore,
        call: Worker,
        options: SenderOptions,
        *,
        allowance: SendPolicy = UNLIMITED,
        critical: Sequence[bool] = (),
        roll: Callable[[], float] = random.random,
        fit: Callable[[int | None], None] = lambda size_bytes: None,  # noqa: ARG005
        cut: Callable[[int], bool] = lambda size_bytes: False,  # noqa: ARG005
    ) -> None:
        self.deadline = LivenessDeadline("uplink")
        self._transport = transport
        self._options = options
        self._roll = roll
        self._standing = LinkStatus(transport.address)
        self._drain = Drain()
        self._feed = Publisher(
            queues,
            shelf,
            call,
            options,
            self._standing,
            self.deadline,
            self._drain,
            allowance=allowance,
            critical=critical or [False] * len(queues),
            roll=roll,
            proved=self._proved,
            fit=fit,
            cut=cut,
        )
        self.batch_available = self._feed.batch_available
        self.presence = Presence(options, queues[0].stream if queues else "", allowance)
        self._backoff = Backoff(
            options.backoff_base_s,
            options.backoff_max_s,
            spread_s=options.backoff_spread_s,
            least_s=options.reconnect_least_s,
        )
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._resumed = asyncio.Event()
        self._stirred = asyncio.Event()  # draining or resumed

    def state(self) -> LinkState:
        """A snapshot for status and metrics."""
        window = self._feed.window
        return replace(self._standing.state, in_flight_batches=window.batches, in_flight_bytes=window.size_bytes)

    async def run(self) -> None:
        """Send until drained or cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                links = group.create_task(self._links(), name="uplink-links")
                stop = group.create_task(self._stop.wait(), name="uplink-stop")
                await asyncio.wait([links, stop], return_when=asyncio.FIRST_COMPLETED)
                links.cancel()
                stop.cancel()
        finally:
            self.deadline.end()
            self._ended.set()

    def resumed(self) -> None:
        """The unit was suspended: whatever link there was is dead, and whatever was waited for is over."""
        self._resumed.set()
        self._stirred.set()

    async def drain(self, grace_s: float) -> None:
        """Send what can be sent in the grace, then end `run`; what is left stays in the spool."""
        self._drain.by_s = asyncio.get_running_loop().time() + grace_s
        self._drain.asked.set()
        self._stirred.set()
        self.batch_available.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
        self._stop.set()

    async def _links(self) -> None:
        """One link after the other; while draining, the one that is up, or one more try."""
        last = False
        while not last:
            last = self._drain.asked.is_set()
            self.deadline.extend(self._options.turn_max_s)
            loss = await self._link_until_resumed()
            self._backoff = self._backoff.failed(loss.trouble, closed=loss.by_peer)
            wait_s = 0.0 if last else self._backoff.wait_s(self._roll())
            note = {"last_error": loss.reason, "trouble": loss.trouble.value, "next_try_s": wait_s}
            self._standing.note(connected=False, **note)
            if loss.trouble is Trouble.CLOSED:
                return
            await self._between_links(wait_s)

    async def _between_links(self, wait_s: float) -> None:
        """Wait for the next try, or for what makes one worth while earlier."""
        loop = asyncio.get_running_loop()
        until, routed = loop.time() + wait_s, self._transport.has_route()
        while not self._drain.asked.is_set() and (left_s := until - loop.time()) > 0:
            self._stirred.clear()
            if self._resumed.is_set():
                self._resumed.clear()
                self._backoff = self._backoff.proved()
                return
            if not routed and self._transport.has_route():
                self._backoff = self._backoff.proved()
                await self._rest(self._drain.asked, _ROUTE_LOOK_S * self._roll())
                return
            await self._rest(self._stirred, min(left_s, REST_MAX_S if routed else _ROUTE_LOOK_S))

    async def _link_until_resumed(self) -> LinkLoss:
        """One try, given up after a suspend: nobody would tell that what it waits for is gone."""
        async with asyncio.TaskGroup() as group:
            link = group.create_task(self._link(), name="uplink-link")
            resumed = group.create_task(self._resumed.wait(), name="uplink-resumed")
            await asyncio.wait([link, resumed], return_when=asyncio.FIRST_COMPLETED)
            link.cancel()
            resumed.cancel()
        if not link.cancelled():
            return link.result()
        log.info("link_abandoned", broker=self._transport.address, reason="the unit was suspended")
        return LinkLoss(Trouble.DROPPED, "the unit was suspended")

    async def _link(self) -> LinkLoss:
        """One try: why it did not come up, or why it ended."""
        try:
            async with self._transport.connect() as link:
                self._standing.note(connected=True, last_error="", trouble="", next_try_s=0.0, version=link.version)
                self._standing.count(links=1)
                log.info("link_up", broker=self._transport.address, mqtt=link.version)
                loss = await self._serve(link)
        except RefusedError as error:
            hint = self._hint(None, silent=error.silent)
            log.warning("link_refused", reason=str(error), failures=self._backoff.failures + 1, **hint)
            return LinkLoss(error.trouble, str(error))
        if loss.trouble is not Trouble.CLOSED:
            hint = self._hint(loss.trouble, silent=loss.by_peer and loss.code < 0)
            log.warning("link_lost", broker=self._transport.address, reason=loss.reason, **hint)
            await self._feed.learn(loss)
        return loss

    def _hint(self, trouble: Trouble | None, *, silent: bool) -> dict[str, str]:
        """What to do, as a field of a log line; some endpoints close without a word over more than a dead spot."""
        if trouble in ADVICE:
            return {"hint": ADVICE[trouble]}
        closes_over = self._options.closes_over
        return {"hint": f"it may have closed over {closes_over}"} if silent and closes_over else {}

    async def _serve(self, link: Link) -> LinkLoss:
        """Send over one link until it is lost, or nothing is left while draining."""
        self._feed.begin(link)
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(link.lost(), name="uplink-lost")
            status = group.create_task(self.presence.keep(link), name="uplink-status")
            feed = group.create_task(self._feed.run(link, group), name="uplink-feed")
            try:
                await asyncio.wait([feed, lost], return_when=asyncio.FIRST_COMPLETED)
            finally:
                feed.cancel()
                status.cancel()
                if not lost.done() and not self._resumed.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_GOODBYE_S):
                            await self.presence.say(link, online=False)
                lost.cancel()
        return LinkLoss(Trouble.CLOSED, "closed") if lost.cancelled() else lost.result()

    def _proved(self) -> None:
        """The broker takes what is sent."""
        self._backoff = self._backoff.proved()

    async def _rest(self, event: asyncio.Event, wait_s: float) -> None:
        await self.deadline.wait(event, wait_s, self._options.turn_max_s)
