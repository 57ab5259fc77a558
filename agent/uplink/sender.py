# SPDX-License-Identifier: Apache-2.0
"""The loop that keeps a link up to empty the spool over: connect, publish, and begin again when the link ends.

Limits: every wait has a jittered, growing, bounded length (`backoff`) and is cancellable. `drain` ends the one for a
link at once; one that a refusal asked for is kept, and given up where it outlasts the grace.

After a suspend (`resumed`) the link is taken for dead and a new one is tried at once. Where the unit has no route at
all, that it gets one ends the wait: nobody else's broker is bothered by the trying.

Failure: a link that does not come up, or is lost, is logged and tried again for ever. Only SpoolError gets out of
`run`. What goes over a link, and what its answers mean, is `publisher`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agent.uplink.cursor import BatchQueue, Worker
from agent.uplink.options import SenderOptions
from agent.uplink.publisher import REST_MAX_S, Publisher
from agent.uplink.reasons import ADVICE
from agent.uplink.send_policy import UNLIMITED
from agent.uplink.sender_state import SenderState, SpoolAccess
from agent.uplink.status import LinkState, Presence
from agent.uplink.transport import Link, LinkLoss, RefusedError, Transport, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.uplink.send_policy import SendPolicy

__all__ = ["BatchQueue", "Sender", "SenderOptions", "SpoolAccess", "Worker"]

log = structlog.get_logger()

_GOODBYE_S = 1.0
_ROUTE_LOOK_S = 0.5
"""How often a unit without a route looks for one; up to as much again passes before it is used."""


class Sender:
    """Sends what the spools hold. `run` it once.

    batch_available   to be set after each append: wakes the publisher
    presence          publishes on the status topic how the agent goes
    """

    def __init__(
        self,
        transport: Transport,
        spools: SpoolAccess,
        options: SenderOptions,
        *,
        policy: SendPolicy = UNLIMITED,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._state = state = SenderState(transport.address, options, policy, roll)
        self.deadline, self.batch_available = state.deadline, state.batch_available
        self._publisher = Publisher(state, spools)
        self.presence = Presence(options, spools.queues[0].stream if spools.queues else "", policy)
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._resumed = asyncio.Event()
        self._woken = asyncio.Event()  # draining or resumed

    def state(self) -> LinkState:
        """A snapshot for status and metrics."""
        window = self._publisher.window
        return replace(self._state.status.state, in_flight_batches=window.batches, in_flight_bytes=window.size_bytes)

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
        self._woken.set()

    async def drain(self, grace_s: float) -> None:
        """Send what can be sent in the grace, then end `run`; what is left stays in the spool."""
        self._state.drain_by_s = asyncio.get_running_loop().time() + grace_s
        self._state.draining.set()
        self._woken.set()
        self.batch_available.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
        self._stop.set()

    async def _links(self) -> None:
        """One link after the other; while draining, the one that is up, or one more try."""
        last = False
        while not last:
            last = self._state.draining.is_set()
            self.deadline.extend(self._state.options.turn_max_s)
            loss = await self._link_until_resumed()
            self._state.backoff = self._state.backoff.failed(loss.trouble, closed=loss.by_peer)
            wait_s = 0.0 if last else self._state.backoff.wait_s(self._state.roll())
            why = {"last_error": loss.reason, "trouble": loss.trouble.value}
            self._state.status.update(connected=False, **why, next_try_s=wait_s)
            if loss.trouble is Trouble.CLOSED:
                return
            await self._between_links(wait_s)

    async def _between_links(self, wait_s: float) -> None:
        """Wait for the next try, or for what makes one worth while earlier."""
        loop = asyncio.get_running_loop()
        until, routed = loop.time() + wait_s, self._transport.has_route()
        while not self._state.draining.is_set() and (left_s := until - loop.time()) > 0:
            self._woken.clear()
            if self._resumed.is_set():
                self._resumed.clear()
                self._state.backoff = self._state.backoff.proved()
                return
            if not routed and self._transport.has_route():
                self._state.backoff = self._state.backoff.proved()
                await self._rest(self._state.draining, _ROUTE_LOOK_S * self._state.roll())
                return
            await self._rest(self._woken, min(left_s, REST_MAX_S if routed else _ROUTE_LOOK_S))

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
                self._state.status.update(
                    connected=True, last_error="", trouble="", next_try_s=0.0, version=link.version
                )
                self._state.status.count(links=1)
                log.info("link_up", broker=self._transport.address, mqtt=link.version)
                loss = await self._serve(link)
        except RefusedError as error:
            hint = self._hint(None, silent=error.silent)
            log.warning("link_refused", reason=str(error), failures=self._state.backoff.failures + 1, **hint)
            return LinkLoss(error.trouble, str(error))
        if loss.trouble is not Trouble.CLOSED:
            hint = self._hint(loss.trouble, silent=loss.by_peer and loss.code < 0)
            log.warning("link_lost", broker=self._transport.address, reason=loss.reason, **hint)
            await self._publisher.learn(loss)
        return loss

    def _hint(self, trouble: Trouble | None, *, silent: bool) -> dict[str, str]:
        """What to do, as a field of a log line; some endpoints close without a word over more than a dead spot."""
        if trouble in ADVICE:
            return {"hint": ADVICE[trouble]}
        closes_over = self._state.options.closes_over
        return {"hint": f"it may have closed over {closes_over}"} if silent and closes_over else {}

    async def _serve(self, link: Link) -> LinkLoss:
        """Send over one link until it is lost, or nothing is left while draining."""
        self._publisher.begin(link)
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(link.lost(), name="uplink-lost")
            status = group.create_task(self.presence.keep(link), name="uplink-status")
            publishing = group.create_task(self._publisher.run(link, group), name="uplink-publisher")
            try:
                await asyncio.wait([publishing, lost], return_when=asyncio.FIRST_COMPLETED)
            finally:
                publishing.cancel()
                status.cancel()
                if not lost.done() and not self._resumed.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_GOODBYE_S):
                            await self.presence.publish(link, online=False)
                lost.cancel()
        return LinkLoss(Trouble.CLOSED, "closed") if lost.cancelled() else lost.result()

    async def _rest(self, event: asyncio.Event, wait_s: float) -> None:
        await self.deadline.wait(event, wait_s, self._state.options.turn_max_s)
