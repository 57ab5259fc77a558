# SPDX-License-Identifier: Apache-2.0
"""What goes over a link and when: batches within a window, high priority and fresh ones before the backlog.

Promise: a batch leaves the spool only after the broker's successful acknowledgement, or when the broker has refused it
for good twice and taken others in between (then it is set aside, as a gap). Every other end of a publish keeps it, and
retries come from the spool only. The catalog that a batch names is acknowledged before the batch is published. The
queues go in the order of their priority. Of each, what was sealed since the link came up goes first, and its backlog
beside that, oldest first, at `backlog_rate` or what the network allows (`SendPolicy`), whichever is slower. What the
network does not allow now stays in the spool, and so does what is `held_back`. A batch goes under the topics of the
vehicle that it was sealed for.

Limits: the window's batches and bytes, and the broker's Receive Maximum; two records read ahead per queue.

Failure: a broker that is busy or denies permission gets a single batch after a jittered, growing, bounded wait, over
the same link; one that ends links over a batch gets it alone, and later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from agent.uplink.backoff import Backoff
from agent.uplink.cursor import QueueCursor
from agent.uplink.delivery import CatalogDelivery
from agent.uplink.held_back import SEAL_BYTES_MIN, HeldBack, Verdict, key_of
from agent.uplink.reasons import ADVICE, FOREIGN_ADVICE, UNACCEPTABLE
from agent.uplink.send_policy import RateLimit, Window
from agent.uplink.status import AcknowledgedCounters
from agent.uplink.transport import Answer, Outcome, Trouble

if TYPE_CHECKING:
    from agent.model import SpooledBatch
    from agent.uplink.options import SenderOptions
    from agent.uplink.sender_state import SenderState, SpoolAccess
    from agent.uplink.transport import Link, LinkLoss

log = structlog.get_logger()

REST_MAX_S = 60.0
"""Every rest ends by then, to look again."""


class Publisher:
    """Publishes over one link after the other; what it learns of batches and of the broker outlives a link."""

    def __init__(self, state: SenderState, spools: SpoolAccess) -> None:
        options = state.options
        self.window = Window(options.window_batches, options.window_bytes)
        self._state = state
        self._spools = spools
        self._critical = spools.critical or [False] * len(spools.queues)
        self._fitted: int | None = -1  # to be told at the first link, whatever it is
        self._cut_due = False
        self._held_back = HeldBack(options)
        self._foreign_reported: set[str] = set()
        self._cursors = [QueueCursor(queue, spools.call, self._held_back) for queue in spools.queues]
        self._backlog_limits = [RateLimit(options.backlog_rate) for _ in spools.queues]
        self._rate_limit = RateLimit(options.bytes_per_s, options.publishes_per_s)
        self._backoff = Backoff(options.backoff_base_s, options.backoff_max_s)  # of publishing over a link that is up
        self._acknowledged = AcknowledgedCounters()
        self._catalogs = CatalogDelivery(state, spools, self._rate_limit)
        self._window_full = options.window_batches
        self._careful = 0
        self._pause_until = self._stopped_until = 0.0
        self._pausing = self._link_ended = self._pruned = self._catalog_due = self._rewind_due = False
        self._lost: list[tuple[QueueCursor, SpooledBatch]] = []  # with the link

    def begin(self, link: Link) -> None:
        """A link came up: what is sealed from now on is live."""
        options = self._state.options
        self._window_full = max(1, min(options.window_batches, link.limits.receive_maximum))
        self.window = Window(1 if self._careful else self._window_full, options.window_bytes)
        self._pausing = self._link_ended = self._pruned = self._catalog_due = self._rewind_due = False
        self._lost.clear()
        self._held_back.begin(link.limits, options)
        if self._held_back.poison.stopped:
            self._pausing, self._pause_until = True, self._stopped_until
        self._report_trouble()
        self._catalogs.begin()
        for cursor in self._cursors:
            cursor.begin()

    async def run(self, link: Link, group: asyncio.TaskGroup) -> None:
        """Publish whatever may go, each in a task of the group; sleep until something changes."""
        state = self._state
        while True:
            state.deadline.extend(state.options.turn_max_s)
            state.batch_available.clear()
            await self._fit_size()
            await self._cut_one()
            found = await self._next()
            await self._report_foreign()
            if isinstance(found, tuple):
                cursor, record = found
                self._spend(cursor, record)
                name = f"uplink-batch-{record.stream}-{record.number}"
                group.create_task(self._send(link, cursor, record), name=name)
            elif self._is_over(found):
                return
            else:
                wait_s = REST_MAX_S if found is None else min(found, REST_MAX_S)
                await state.deadline.wait(state.batch_available, wait_s, state.options.turn_max_s)

    async def learn(self, loss: LinkLoss) -> None:
        """The other end closed over something in flight: find out over what, one batch at a time."""
        if not loss.by_peer or not self._lost:
            return
        self._careful = 2 * self._state.options.window_batches
        if len(self._lost) > 1:
            return
        cursor, record = self._lost[0]
        if self._held_back.is_foreign(record):
            if loss.trouble in (Trouble.UNAUTHORIZED, Trouble.UNACCEPTABLE) or self._is_closing(record, loss):
                self._held_back.hold_foreign(record)
        elif loss.trouble is Trouble.UNACCEPTABLE:
            await self._unacceptable(cursor, record, loss.reason, loss.code)
        elif self._is_closing(record, loss):
            hint = "the broker closes the connection whenever it is sent: look at the broker's size limits and log"
            log.warning("batch_suspected", **_names(record), size_bytes=len(record.payload), hint=hint)

    def _is_closing(self, record: SpooledBatch, loss: LinkLoss) -> bool:
        return loss.trouble is Trouble.DROPPED and self._held_back.closing.closed(key_of(record), _now())

    def _is_over(self, wait_s: float | None) -> bool:
        """While draining: nothing is left and nothing has come since, or what is waited for outlasts the grace."""
        state = self._state
        if not state.draining.is_set() or self._link_ended or self.window.batches or state.batch_available.is_set():
            return False
        return wait_s is None or _now() + wait_s > state.drain_by_s

    def _spend(self, cursor: QueueCursor, record: SpooledBatch) -> None:
        """It goes now: move on, and count it against every limit."""
        size, now = len(record.payload), _now()
        cursor.advance(record)
        self._held_back.unheard.sent(record.vehicle, now)
        self._forget_unfit()
        self._catalog_due = self._catalogs.is_due(record)
        self.window.add(size)
        self._rate_limit.spend(now, size)
        self._state.policy.spend(size, critical=self._critical[self._cursors.index(cursor)])

    async def _next(self) -> tuple[QueueCursor, SpooledBatch] | float | None:
        """What may go now; else seconds after which to ask again, None where only an event can change it."""
        now = _now()
        idle = not self.window.batches
        if self._link_ended or self._catalog_due:
            return None
        if self._pausing:
            if not idle or now < self._pause_until:
                return None if not idle else self._pause_until - now
            self._pausing = False
            self._report_trouble()
            self._rewind()
        if idle and (self._held_back.release(now) or self._rewind_due):
            self._rewind()
        if limited_s := self._rate_limit.wait_s(now):
            return limited_s
        wait_s = 0.0
        for behind, cursor in enumerate(self._cursors):
            if not_yet_s := self._state.policy.wait_s(critical=self._critical[behind]):
                wait_s = min(wait_s or not_yet_s, not_yet_s)
                continue
            if (record := await cursor.live()) is not None:
                return (cursor, record) if self._fits(record, behind) else None
            self._backlog_limits[behind].bytes_per_s = self._backlog_rate(behind)
            if not_yet_s := self._backlog_limits[behind].wait_s(now):
                wait_s = min(wait_s or not_yet_s, not_yet_s)
            elif (record := await cursor.backlog()) is not None:
                if not self._fits(record, behind + 1):
                    return None
                for limit in self._backlog_limits[behind:]:  # no backlog holds up that of a higher priority
                    limit.spend(now, len(record.payload))
                return cursor, record
        return wait_s or await self._nothing_to_send(now)

    def _fits(self, record: SpooledBatch, behind: int) -> bool:
        """May it go now? A catalog that may have to go first goes alone: it can be as large as a window."""
        if self.window.batches and self._catalogs.is_due(record):
            return False
        return self.window.fits(len(record.payload), behind=behind)

    def _backlog_rate(self, queue: int) -> float | None:
        """The slower of what was configured and what the network allows; None: neither is a limit."""
        allowed = self._state.policy.backlog_rate(critical=self._critical[queue])
        rates = [rate for rate in (self._state.options.backlog_rate, allowed) if rate is not None]
        return min(rates, default=None)

    async def _nothing_to_send(self, now: float) -> float | None:
        """Prune catalogs; seconds until what is held back may be tried again."""
        if not self.window.batches and not self._pruned:
            self._pruned = True
            if all([await cursor.is_empty() for cursor in self._cursors]):
                await self._spools.call(self._spools.catalogs.prune, ())
        due = self._held_back.next_at()
        return None if due is None or self._state.draining.is_set() else max(0.0, due - now)

    def _rewind(self) -> None:
        self._rewind_due = False
        for cursor in self._cursors:
            cursor.rewind()

    def _forget_unfit(self) -> None:
        for cursor in self._cursors:
            cursor.forget_unfit()

    async def _fit_size(self) -> None:
        """Have batches sealed so that the broker takes them."""
        sizes = self._held_back.sizes
        if sizes.seal_bytes != self._fitted:
            self._fitted = sizes.seal_bytes
            await self._spools.call(self._spools.fit, self._fitted)
            if sizes.named is not None:
                await self._report_larger(sizes.named)
                self._cut_due = sizes.named >= SEAL_BYTES_MIN
        self._state.status.update(batch_bytes_max=sizes.payload_bytes or 0)

    async def _cut_one(self) -> None:
        """Cut one batch that is larger than the broker's own limit: none of these is on its way."""
        named = self._held_back.sizes.named
        if self._cut_due and named is not None:
            self._cut_due = await self._spools.call(self._spools.cut, named)
            self._state.batch_available.set()

    async def _report_larger(self, limit_bytes: int) -> None:
        """What the broker's own limit keeps here."""
        waiting = sum([await self._spools.call(queue.larger_than, limit_bytes) for queue in self._spools.queues])
        about = {"batches": waiting, "reason": f"the broker takes batches of at most {limit_bytes} bytes"}
        if limit_bytes < SEAL_BYTES_MIN:
            hint = "no batch is as small as that: all wait in the spool until the broker's limit on packets is raised"
            log.error("batch_over_limit", **about, hint=hint)
        elif waiting:
            log.warning("batch_over_limit", **about, hint="they are cut anew to fit, and new ones are sealed so")

    async def _report_foreign(self) -> None:
        """Once of each vehicle that is held back."""
        for vehicle in self._held_back.foreign - self._foreign_reported:
            self._foreign_reported.add(vehicle)
            batches = sum([await self._spools.call(queue.waiting_of, vehicle) for queue in self._spools.queues])
            log.warning("batches_held", vehicle=vehicle, batches=batches, hint=FOREIGN_ADVICE)

    async def _send(self, link: Link, cursor: QueueCursor, record: SpooledBatch) -> None:
        """One batch, from its catalog to its answer."""
        size = len(record.payload)
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._leave, size)
            options = self._state.options
            if self._held_back.is_foreign(record):
                options = replace(options, vehicle=record.vehicle)
            if not await self._deliver_catalog(link, cursor, record, options):
                return
            topic = options.batch_topic(record.stream)
            began = time.monotonic()
            properties = options.properties("batch", f"{record.stream}/{record.number}")
            answer = await link.publish(topic, record.payload, properties=properties)
            took_s = time.monotonic() - began
            self._state.status.count(sent_batches=1)
            if answer.outcome is Outcome.ACCEPTED:  # the link does not wait for the disk
                leaving.close()
            await self._settle(cursor, record, topic, answer, took_s)

    def _leave(self, size: int) -> None:
        """Make room in the window."""
        self.window.remove(size)
        self._state.batch_available.set()

    async def _deliver_catalog(
        self, link: Link, cursor: QueueCursor, record: SpooledBatch, options: SenderOptions
    ) -> bool:
        """Whether the batch may follow."""
        topic = options.topic(options.catalog)
        answer = await self._catalogs.deliver(link, record, topic, options)
        self._catalog_due = False
        self._state.batch_available.set()
        if answer is not None and answer.outcome is not Outcome.LOST:
            self._refused(record, topic, answer)
        elif answer is not None and self._held_back.is_foreign(record):
            self._lost.append((cursor, record))
        return answer is None

    async def _settle(
        self, cursor: QueueCursor, record: SpooledBatch, topic: str, answer: Answer, latency_s: float
    ) -> None:
        """What the answer means for the batch."""
        size = len(record.payload)
        if answer.outcome is Outcome.ACCEPTED:
            await self._spools.call(cursor.queue.acknowledge, record.sequence)
            self._proved(record)
            self._state.status.count(acknowledged_batches=1, acknowledged_bytes=size)
            latency_ms = round(latency_s * 1000, 1)
            log.debug("batch_acknowledged", **_names(record), size_bytes=size, latency_ms=latency_ms)
            if counters := self._acknowledged.add(size, time.monotonic()):
                log.info("batches_acknowledged", **counters)
        elif answer.outcome is Outcome.UNACCEPTABLE:
            await self._unacceptable(cursor, record, answer.reason, answer.code)
        elif answer.outcome is Outcome.LOST:
            self._link_ended = True
            self._lost.append((cursor, record))
        else:
            self._refused(record, topic, answer)

    async def _unacceptable(self, cursor: QueueCursor, record: SpooledBatch, reason: str, code: int) -> None:
        """The broker will never take it, it says. Only what it means by itself is given up."""
        name = {**_names(record), "size_bytes": len(record.payload)}
        advice, stopped = UNACCEPTABLE.get(code, "look at its log"), bool(self._held_back.poison.stopped)
        match self._held_back.refused(record, reason, code, _now()):
            case Verdict.TOO_LARGE:
                log.warning("batch_over_limit", **name, reason=reason, hint=f"it waits in the spool: {advice}")
            case Verdict.DOUBTED:
                log.warning("batch_doubted", **name, reason=reason, hint=f"it is tried again after others: {advice}")
            case Verdict.STOPPED:
                self._stop(reason, advice, news=not stopped)
            case Verdict.GIVEN_UP:
                await self._set_aside(cursor, record, f"broker {self._state.status.state.broker}: {reason}; {advice}")
        self._forget_unfit()

    async def _set_aside(self, cursor: QueueCursor, record: SpooledBatch, reason: str) -> None:
        if await self._spools.call(cursor.queue.set_aside, record.sequence, reason):
            self._held_back.closing.clear(key_of(record))
            self._state.status.count(refused_batches=1)
        else:
            self._held_back.poison.put_back(key_of(record), _now())
            hint = "the batch stays in the spool: look at those in refused/ beneath spool.path, and move them away"
            log.error("quarantine_full", **_names(record), reason=reason, hint=hint)

    def _stop(self, reason: str, advice: str, *, news: bool) -> None:
        """The broker refuses whatever comes: keep everything, and ask with one batch now and then."""
        self._go_carefully_after(self._state.options.probe_s)
        self._stopped_until = self._pause_until
        self._report_trouble()
        if news:
            log.error("batches_rejected", reason=reason, hint=f"nothing is lost, all of it is kept: {advice}")

    def _proved(self, record: SpooledBatch) -> None:
        """The broker takes what we send."""
        if self._held_back.taken(record):
            self._rewind_due = True
            if not self._pausing:
                self._report_trouble()
        self._state.backoff = self._state.backoff.proved()
        self._backoff = self._backoff.proved()
        self._careful = max(0, self._careful - 1)
        if not self._careful:
            self.window.batches_max = self._window_full

    def _refused(self, record: SpooledBatch, topic: str, answer: Answer) -> None:
        """Keep it: what is not allowed for another vehicle is held back, so is what nobody hears, all else waits."""
        if answer.outcome is Outcome.NO_SUBSCRIBERS:
            self._hold_unheard(record, topic, answer)
        elif not (answer.outcome is Outcome.UNAUTHORIZED and self._held_back.hold_foreign(record)):
            self._pause(topic, answer)

    def _pause(self, topic: str, answer: Answer) -> None:
        """Keep everything, wait for what is in flight and then some time, go on with one batch at a time."""
        if self._pausing:
            return
        trouble = Trouble.UNAUTHORIZED if answer.outcome is Outcome.UNAUTHORIZED else Trouble.BUSY
        self._backoff = self._backoff.failed(trouble)
        wait_s = self._backoff.wait_s(self._state.roll())
        self._go_carefully_after(wait_s)
        reason = f"publish to {topic}: {answer.reason}"
        self._state.status.update(last_error=reason, trouble=trouble.value, next_try_s=wait_s)
        level = log.error if trouble is Trouble.UNAUTHORIZED else log.warning
        level("publish_refused", topic=topic, reason=answer.reason, next_try_s=round(wait_s, 1), hint=ADVICE[trouble])

    def _go_carefully_after(self, wait_s: float) -> None:
        self._pausing, self._pause_until = True, _now() + wait_s
        self._careful = max(self._careful, 1)
        self.window.batches_max = 1

    def _hold_unheard(self, record: SpooledBatch, topic: str, answer: Answer) -> None:
        """Nobody got it: keep what is for the same vehicle, and ask again once in a while. The link itself is well."""
        reason = f"publish to {topic}: {answer.reason}"
        news = self._held_back.unheard.unheard(record.vehicle, reason, _now())
        self._forget_unfit()
        self._state.backoff = self._state.backoff.proved()
        if not self._pausing:
            self._report_trouble()
        if news:
            log.error("no_subscribers", topic=topic, reason=answer.reason, hint=ADVICE[Trouble.NO_SUBSCRIBERS])

    def _report_trouble(self) -> None:
        """Why not everything goes, beside what a pause is for."""
        trouble, reason = self._held_back.trouble()
        wait_s = self._state.options.probe_s if trouble else 0.0
        self._state.status.update(trouble=trouble, last_error=reason, next_try_s=wait_s)


def _now() -> float:
    """Of the loop's clock."""
    return asyncio.get_running_loop().time()


def _names(record: SpooledBatch) -> dict[str, Any]:
    """What a log line calls a batch: by its id, as the receiver does."""
    return {"stream": record.stream, "sequence": record.number}
