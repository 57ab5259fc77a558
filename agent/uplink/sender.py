# SPDX-License-Identifier: Apache-2.0
"""The loop that empties the spool: connect, send within a window, delete what was acknowledged, begin again.

Promise: a batch leaves the spool only after the broker's successful acknowledgement, or when the broker says that
it will never take it (then it is set aside, as a gap). Every other end of a publish keeps it, and retries come from
the spool only. The catalog that a batch names is acknowledged before the batch is published. The queues go in the
order of their urgency; of each, what was sealed since the link came up goes first, and its backlog beside that,
oldest first, at `backlog_rate` or what the network allows (`allowance`), whichever is slower. Whatever is less urgent
leaves room in the window for what is more so. What the network does not allow now stays in the spool.

Limits: the window's batches and bytes, and the broker's Receive Maximum; one record read ahead per lane and cursor.
Every wait has a jittered, growing, bounded length (`backoff`) and is cancellable. `drain` ends the one for a link at
once; one that a refusal asked for is kept, and given up where it outlasts the grace.

After a suspend (`resumed`) the link is taken for dead and a new one is tried at once. Where the unit has no route at
all, that it gets one ends the wait: nobody else's broker is bothered by the trying.

Failure: a link that does not come up, or is lost, is logged and tried again for ever; so is a broker that is busy or
denies permission (the link stays up meanwhile, the next try is a single batch). Only SpoolError gets out of `run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agent.health import Pulse
from agent.uplink.allowance import Unlimited
from agent.uplink.backoff import Backoff
from agent.uplink.delivery import CatalogDelivery
from agent.uplink.lane import BatchQueue, Lane, Record, Worker
from agent.uplink.options import SenderOptions
from agent.uplink.status import LinkState, Presence
from agent.uplink.suspects import Suspects
from agent.uplink.tally import Tally
from agent.uplink.transport import Answer, Link, LinkLoss, Outcome, RefusedError, Transport, Trouble
from agent.uplink.window import Pace, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.uplink.allowance import Allowance
    from agent.uplink.catalogs import CatalogShelf

__all__ = ["BatchQueue", "Record", "Sender", "SenderOptions", "Worker"]

log = structlog.get_logger()

_GOODBYE_S = 1.0
_REST_MAX_S = 60.0
"""Every rest ends by then, to look again."""
_ROUTE_LOOK_S = 0.5
"""How often a unit without a route looks for one; up to as much again passes before it is used."""
_ADVICE = {
    Trouble.UNAUTHORIZED: "nothing is lost: allow this client to publish to the topic in the broker's access rules",
    Trouble.BUSY: "nothing is lost: the broker asks for patience; look at its quota if this lasts",
    Trouble.TAKEN_OVER: "another client connects with the same client id: give each unit its own mqtt.client_id",
}


class Sender:
    """Sends what `queues` hold, the first of them with the highest priority. `run` it once.

    critical          whether each queue's class is that: the network then allows it more

    batch_available   to be set after each append: wakes the loop
    presence          to be told how the agent goes: says so on the status topic
    """

    def __init__(
        self,
        transport: Transport,
        queues: Sequence[BatchQueue],
        shelf: CatalogShelf,
        call: Worker,
        options: SenderOptions,
        *,
        allowance: Allowance | None = None,
        critical: Sequence[bool] = (),
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.batch_available = asyncio.Event()
        self.pulse = Pulse("uplink")
        self._transport = transport
        self._shelf = shelf
        self._call = call
        self._options = options
        self._allowance = allowance or Unlimited()
        self._critical = critical or [False] * len(queues)
        self._roll = roll
        self._suspects = Suspects()
        self._lanes = [Lane(queue, call, self._has_to_wait) for queue in queues]
        self.presence = Presence(options, queues[0].stream if queues else "", self._allowance)
        base_s, maximum_s = options.backoff_base_s, options.backoff_max_s
        self._patience = Backoff(base_s, maximum_s)
        self._backoff = Backoff(base_s, maximum_s, spread_s=options.backoff_spread_s, least_s=options.reconnect_least_s)
        self._tally = Tally()
        self._paces = [Pace(options.backlog_rate) for _ in queues]
        self._throttle = Pace(options.bytes_per_s, options.publishes_per_s)
        self._window = Window(options.window_batches, options.window_bytes)
        self._window_full = options.window_batches
        self._careful = 0
        self._pausing = self._dead = self._tidy = False
        self._closed = False  # by the other end, the last link
        self._pause_until = 0.0
        self._lost: list[tuple[Lane, Record]] = []
        self._catalogs = CatalogDelivery(shelf, call, options, self._throttle, transport.address, self._allowance)
        self._catalog_due = False
        self._state = LinkState(broker=transport.address)
        self._draining = asyncio.Event()
        self._drained_by = math.inf
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._resumed = asyncio.Event()
        self._stirred = asyncio.Event()  # draining or resumed

    def state(self) -> LinkState:
        """A snapshot for status and metrics."""
        window = self._window
        return replace(self._state, in_flight_batches=window.batches, in_flight_bytes=window.size_bytes)

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
            self.pulse.end()
            self._ended.set()

    def resumed(self) -> None:
        """The unit was suspended: whatever link there was is dead, and whatever was waited for is over."""
        self._resumed.set()
        self._stirred.set()

    async def drain(self, grace_s: float) -> None:
        """Send what can be sent in the grace, then end `run`; what is left stays in the spool."""
        self._drained_by = asyncio.get_running_loop().time() + grace_s
        self._draining.set()
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
            last = self._draining.is_set()
            self.pulse.beat(self._options.turn_max_s)
            self._closed = False
            trouble, reason = await self._link_until_resumed()
            self._backoff = self._backoff.failed(trouble, closed=self._closed)
            wait_s = 0.0 if last else self._backoff.wait_s(self._roll())
            self._note(connected=False, last_error=reason, trouble=trouble.value, next_try_s=wait_s)
            if trouble is Trouble.CLOSED:
                return
            await self._between_links(wait_s)

    async def _between_links(self, wait_s: float) -> None:
        """Wait for the next try, or for what makes one worth while earlier."""
        loop = asyncio.get_running_loop()
        until, routed = loop.time() + wait_s, self._transport.has_route()
        while not self._draining.is_set() and (left_s := until - loop.time()) > 0:
            self._stirred.clear()
            if self._resumed.is_set():
                self._resumed.clear()
                self._backoff = self._backoff.proved()
                return
            if not routed and self._transport.has_route():
                self._backoff = self._backoff.proved()
                await self._rest(self._draining, _ROUTE_LOOK_S * self._roll())
                return
            await self._rest(self._stirred, min(left_s, _REST_MAX_S if routed else _ROUTE_LOOK_S))

    async def _link_until_resumed(self) -> tuple[Trouble, str]:
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
        return Trouble.DROPPED, "the unit was suspended"

    async def _link(self) -> tuple[Trouble, str]:
        """One try: why it did not come up, or why it ended."""
        try:
            async with self._transport.connect() as link:
                self._note(connected=True, last_error="", trouble="", next_try_s=0.0)
                self._count("links", 1)
                log.info("link_up", broker=self._transport.address)
                loss = await self._serve(link)
        except RefusedError as error:
            hint = self._hint(None, silent=error.silent)
            log.warning("link_refused", reason=str(error), failures=self._backoff.failures + 1, **hint)
            return error.trouble, str(error)
        self._closed = loss.by_peer
        if loss.trouble is not Trouble.CLOSED:
            hint = self._hint(loss.trouble, silent=loss.by_peer and loss.code < 0)
            log.warning("link_lost", broker=self._transport.address, reason=loss.reason, **hint)
            await self._learn(loss)
        return loss.trouble, loss.reason

    def _hint(self, trouble: Trouble | None, *, silent: bool) -> dict[str, str]:
        """What to do, as a field of a log line; some endpoints close without a word over more than a dead spot."""
        if trouble in _ADVICE:
            return {"hint": _ADVICE[trouble]}
        closes_over = self._options.closes_over
        return {"hint": f"it may have closed over {closes_over}"} if silent and closes_over else {}

    async def _serve(self, link: Link) -> LinkLoss:
        """Send over one link until it is lost, or nothing is left while draining."""
        self._begin(link)
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(link.lost(), name="uplink-lost")
            status = group.create_task(self.presence.keep(link), name="uplink-status")
            feed = group.create_task(self._feed(link, group), name="uplink-feed")
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

    def _begin(self, link: Link) -> None:
        self._window_full = max(1, min(self._options.window_batches, link.limits.receive_maximum))
        self._window = Window(1 if self._careful else self._window_full, self._options.window_bytes)
        self._pausing = self._dead = self._tidy = self._catalog_due = False
        self._lost.clear()
        self._catalogs.begin()
        for lane in self._lanes:
            lane.begin()

    async def _feed(self, link: Link, group: asyncio.TaskGroup) -> None:
        """Publish whatever may go; sleep until something changes."""
        while True:
            self.pulse.beat(self._options.turn_max_s)
            self.batch_available.clear()
            found = await self._next()
            if isinstance(found, tuple):
                lane, record = found
                lane.take(record)
                self._catalog_due = self._catalogs.is_due(record)
                self._window.add(len(record.payload))
                self._throttle.spend(asyncio.get_running_loop().time(), len(record.payload))
                self._allowance.spend(len(record.payload), critical=self._critical[self._lanes.index(lane)])
                name = f"uplink-batch-{record.stream}-{record.sequence}"
                group.create_task(self._send(link, lane, record), name=name)
            elif self._is_over(found):
                return
            else:
                await self._rest(self.batch_available, _REST_MAX_S if found is None else found)

    def _is_over(self, wait_s: float | None) -> bool:
        """While draining: nothing is left and nothing has come since, or what is waited for outlasts the grace."""
        if not self._draining.is_set() or self._dead or self._window.batches or self.batch_available.is_set():
            return False
        return wait_s is None or asyncio.get_running_loop().time() + wait_s > self._drained_by

    async def _next(self) -> tuple[Lane, Record] | float | None:
        """What may go now; else seconds after which to ask again, None where only an event can change it."""
        now = asyncio.get_running_loop().time()
        idle = not self._window.batches
        if self._dead or self._catalog_due:
            return None
        if self._pausing:
            if not idle or now < self._pause_until:
                return None if not idle else self._pause_until - now
            self._pausing = False
            self._note(last_error="", trouble="", next_try_s=0.0)
            self._rewind()
        if idle and self._suspects.release(now):
            self._rewind()
        if throttled_s := self._throttle.wait_s(now):
            return throttled_s
        paced_s = 0.0
        for behind, lane in enumerate(self._lanes):
            if wait_s := self._allowance.wait_s(critical=self._critical[behind]):
                paced_s = min(paced_s or wait_s, wait_s)
                continue
            if (record := await lane.live()) is not None:
                return (lane, record) if self._fits(record, behind) else None
            self._paces[behind].bytes_per_s = self._backlog_rate(behind)
            if wait_s := self._paces[behind].wait_s(now):
                paced_s = min(paced_s or wait_s, wait_s)
            elif (record := await lane.backlog()) is not None:
                if not self._fits(record, behind + 1):
                    return None
                for pace in self._paces[behind:]:  # one class's backlog never holds up that of a more urgent one
                    pace.spend(now, len(record.payload))
                return lane, record
        return paced_s or await self._nothing_to_send(now)

    def _fits(self, record: Record, behind: int) -> bool:
        """May it go now? A catalog that may have to go first goes alone: it can be as large as a window."""
        if self._window.batches and self._catalogs.is_due(record):
            return False
        return self._window.fits(len(record.payload), behind=behind)

    def _backlog_rate(self, queue: int) -> float | None:
        """The slower of what was configured and what the network allows; None: neither is a limit."""
        allowed = self._allowance.backlog_rate(critical=self._critical[queue])
        rates = [rate for rate in (self._options.backlog_rate, allowed) if rate is not None]
        return min(rates, default=None)

    async def _nothing_to_send(self, now: float) -> float | None:
        """Tidy up; seconds until a suspect may be tried again."""
        if not self._window.batches and not self._tidy:
            self._tidy = True
            if all([await lane.is_empty() for lane in self._lanes]):
                await self._call(self._shelf.prune, ())
        due = self._suspects.next_at()
        return None if due is None or self._draining.is_set() else max(0.0, due - now)

    def _rewind(self) -> None:
        for lane in self._lanes:
            lane.rewind()

    async def _send(self, link: Link, lane: Lane, record: Record) -> None:
        """One batch, from its catalog to its answer."""
        size = len(record.payload)
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._leave, size)
            if not await self._deliver_catalog(link, record):
                return
            topic = self._options.batch.expand(
                vehicle=self._options.vehicle,
                stream=record.stream,
                sequence=record.sequence,
                catalog=record.catalog,
            )
            began = time.monotonic()
            labels = self._options.labels("batch", f"{record.stream}/{record.sequence}")
            answer = await link.publish(topic, record.payload, labels=labels)
            took_s = time.monotonic() - began
            self._count("sent_batches", 1)
            self._count("sent_bytes", size)
            if answer.outcome is Outcome.ACCEPTED:  # the link does not wait for the disk
                leaving.close()
            await self._settle(lane, record, topic, answer, took_s)

    def _leave(self, size: int) -> None:
        """Make room in the window."""
        self._window.remove(size)
        self.batch_available.set()

    async def _deliver_catalog(self, link: Link, record: Record) -> bool:
        """Whether the batch may follow."""
        stream = self._lanes[0].queue.stream
        answer = await self._catalogs.deliver(link, record, stream)
        self._catalog_due = False
        self.batch_available.set()
        if answer is not None and answer.outcome is not Outcome.LOST:
            self._pause(self._catalogs.topic(record.catalog, stream), answer)
        return answer is None

    async def _settle(self, lane: Lane, record: Record, topic: str, answer: Answer, latency_s: float) -> None:
        """What the answer means for the batch."""
        size = len(record.payload)
        if answer.outcome is Outcome.ACCEPTED:
            await self._call(lane.queue.acknowledge, record.sequence)
            self._proved(record)
            self._count("acknowledged_batches", 1)
            self._count("acknowledged_bytes", size)
            name = {"stream": record.stream, "sequence": record.sequence}
            log.debug("batch_acknowledged", **name, size_bytes=size, latency_ms=round(latency_s * 1000, 1))
            if told := self._tally.add(size, time.monotonic()):
                log.info("batches_acknowledged", **told)
        elif answer.outcome is Outcome.UNACCEPTABLE:
            await self._set_aside(lane, record, answer.reason)
        elif answer.outcome is Outcome.LOST:
            self._dead = True
            self._lost.append((lane, record))
        else:
            self._pause(topic, answer)

    async def _set_aside(self, lane: Lane, record: Record, reason: str) -> None:
        await self._call(lane.queue.set_aside, record.sequence, f"broker {self._transport.address}: {reason}")
        self._suspects.clear((record.stream, record.sequence))
        self._count("refused_batches", 1)

    def _proved(self, record: Record) -> None:
        """The broker takes what we send."""
        self._suspects.clear((record.stream, record.sequence))
        self._backoff = self._backoff.proved()
        self._patience = self._patience.proved()
        self._careful = max(0, self._careful - 1)
        if not self._careful:
            self._window.batches_max = self._window_full

    def _pause(self, topic: str, answer: Answer) -> None:
        """Keep everything, wait for what is in flight and then some time, go on with one batch at a time."""
        if self._pausing:
            return
        trouble = Trouble.UNAUTHORIZED if answer.outcome is Outcome.UNAUTHORIZED else Trouble.BUSY
        self._patience = self._patience.failed(trouble)
        wait_s = self._patience.wait_s(self._roll())
        self._pausing = True
        self._pause_until = asyncio.get_running_loop().time() + wait_s
        self._careful = max(self._careful, 1)
        self._window.batches_max = 1
        reason = f"publish to {topic}: {answer.reason}"
        self._note(last_error=reason, trouble=trouble.value, next_try_s=wait_s)
        level = log.error if trouble is Trouble.UNAUTHORIZED else log.warning
        level("publish_refused", topic=topic, reason=answer.reason, next_try_s=round(wait_s, 1), hint=_ADVICE[trouble])

    async def _learn(self, loss: LinkLoss) -> None:
        """The other end closed over something in flight: find out over what, one batch at a time."""
        if not loss.by_peer or not self._lost:
            return
        self._careful = 2 * self._options.window_batches
        if len(self._lost) > 1:
            return
        lane, record = self._lost[0]
        name = {"stream": record.stream, "sequence": record.sequence}
        if loss.trouble is Trouble.UNACCEPTABLE:
            await self._set_aside(lane, record, loss.reason)
        elif loss.trouble is Trouble.DROPPED:
            now = asyncio.get_running_loop().time()
            if self._suspects.strike((record.stream, record.sequence), now):
                hint = "the broker closes the connection whenever it is sent: look at the broker's size limits and log"
                log.warning("batch_suspected", **name, size_bytes=len(record.payload), hint=hint)

    def _has_to_wait(self, record: Record) -> bool:
        return self._suspects.waits((record.stream, record.sequence), asyncio.get_running_loop().time())

    def _note(self, **changes: object) -> None:
        if "connected" in changes and changes["connected"] != self._state.connected:
            changes["since_ns"] = time.time_ns()
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def _count(self, counter: str, more: int) -> None:
        self._note(**{counter: getattr(self._state, counter) + more})

    async def _rest(self, event: asyncio.Event, wait_s: float) -> None:
        """Until the event, or for so long."""
        self.pulse.beat(wait_s + self._options.turn_max_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await event.wait()
