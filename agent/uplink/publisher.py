# SPDX-License-Identifier: Apache-2.0
"""What goes over a link and when: batches within a window, the urgent and the fresh before the backlog.

Promise: a batch leaves the spool only after the broker's successful acknowledgement, or when the broker has refused it
for good twice and taken others in between (then it is set aside, as a gap). Every other end of a publish keeps it, and
retries come from the spool only. The catalog that a batch names is acknowledged before the batch is published. The
queues go in the order of their priority; of each, what was sealed since the link came up goes first, and its backlog
beside that, oldest first, at `backlog_rate` or what the network allows (`allowance`), whichever is slower. Whatever is
less urgent leaves room in the window for what is more so. What the network does not allow now stays in the spool, and
so does what the broker does not take now, or nobody would get (`holds`).

Limits: the window's batches and bytes, and the broker's Receive Maximum; one record read ahead per lane and cursor.

A batch goes under the topics of the vehicle that it was sealed for (`owners`).

Failure: a broker that is busy or denies permission gets a single batch after a jittered, growing, bounded wait, over
the same link; one that ends links over a batch gets it alone, and later.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from agent.model import SpooledBatch
from agent.uplink.backoff import Backoff
from agent.uplink.cursor import QueueCursor
from agent.uplink.delivery import CatalogDelivery
from agent.uplink.holds import Holds, Verdict, key_of
from agent.uplink.owners import Owners
from agent.uplink.reasons import ADVICE, UNACCEPTABLE
from agent.uplink.send_policy import RateLimit, Window
from agent.uplink.sizes import SEAL_BYTES_MIN
from agent.uplink.status import Tally
from agent.uplink.transport import Answer, Outcome, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.model import SpooledBatch
    from agent.spool.catalogs import CatalogStore
    from agent.system.liveness import LivenessDeadline
    from agent.uplink.cursor import BatchQueue, Worker
    from agent.uplink.options import SenderOptions
    from agent.uplink.send_policy import SendPolicy
    from agent.uplink.status import LinkStatus
    from agent.uplink.transport import Link, LinkLoss

log = structlog.get_logger()

REST_MAX_S = 60.0
"""Every rest ends by then, to look again."""


@dataclass(slots=True)
class Drain:
    """Whether only what is left is still to be sent, and until when, on the loop's clock."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    by_s: float = math.inf


class Publisher:
    """Feeds one link after the other from `queues`; what it learns of batches and of the broker outlives a link.

    Args:
        queues: the first of them with the highest priority.
        shelf: the catalogs that batches name.
        call: runs what touches the disk.
        options: window, rates, topics.
        standing: is told what was sent and answered.
        deadline: beats while this makes progress.
        drain: ends it when nothing is left, or nothing more can be sent in time.
        allowance: what the network allows.
        critical: whether each queue's class is that: the network then allows it more.
        roll: the dice.
        proved: is called with each acknowledgement.
        fit: is called, by `call`, with the most bytes of payload that batches are to be sealed to from now on; None: as
            configured.
        cut: is called, by `call`, to cut one stored batch that is larger than the broker takes; whether there are more.

    `batch_available` is to be set after each append: it wakes the loop.
    """

    def __init__(
        self,
        queues: Sequence[BatchQueue],
        shelf: CatalogStore,
        call: Worker,
        options: SenderOptions,
        standing: LinkStatus,
        deadline: LivenessDeadline,
        drain: Drain,
        *,
        allowance: SendPolicy,
        critical: Sequence[bool],
        roll: Callable[[], float],
        proved: Callable[[], None],
        fit: Callable[[int | None], None],
        cut: Callable[[int], bool],
    ) -> None:
        self.batch_available = asyncio.Event()
        self.window = Window(options.window_batches, options.window_bytes)
        self._shelf = shelf
        self._call = call
        self._options = options
        self._standing = standing
        self._deadline = deadline
        self._drain = drain
        self._allowance = allowance
        self._critical = critical
        self._roll = roll
        self._tell_proved = proved
        self._broker = standing.state.broker
        self._fit = fit
        self._cut = cut
        self._cut_due = False
        self._fitted: int | None = -1  # to be told at the first link, whatever it is
        self._owners = Owners(options, queues, call)
        self._holds = holds = Holds(options.probe_s, self._owners)
        limits = holds.vehicles, lambda: holds.sizes.payload_bytes
        self._lanes = [QueueCursor(queue, call, self._has_to_wait, *limits) for queue in queues]
        self._patience = Backoff(options.backoff_base_s, options.backoff_max_s)
        self._tally = Tally()
        self._paces = [RateLimit(options.backlog_rate) for _ in queues]
        self._throttle = RateLimit(options.bytes_per_s, options.publishes_per_s)
        self._catalogs = CatalogDelivery(shelf, call, self._throttle, self._broker, allowance)
        self._window_full = options.window_batches
        self._careful = 0
        self._pause_until = self._stopped_until = 0.0
        self._pausing = self._dead = self._tidy = self._catalog_due = self._rewind_due = False
        self._lost: list[tuple[QueueCursor, SpooledBatch]] = []

    def begin(self, link: Link) -> None:
        """A link came up: what is sealed from now on is live."""
        self._window_full = max(1, min(self._options.window_batches, link.limits.receive_maximum))
        self.window = Window(1 if self._careful else self._window_full, self._options.window_bytes)
        self._pausing = self._dead = self._tidy = self._catalog_due = self._rewind_due = False
        self._lost.clear()
        self._holds.begin(link.limits, self._options)
        if self._holds.doubts.stopped:
            self._pausing, self._pause_until = True, self._stopped_until
        self._tell_what_lasts()
        self._catalogs.begin()
        for lane in self._lanes:
            lane.begin()

    async def run(self, link: Link, group: asyncio.TaskGroup) -> None:
        """Publish whatever may go, each in a task of the group; sleep until something changes."""
        while True:
            self._deadline.extend(self._options.turn_max_s)
            self.batch_available.clear()
            await self._tell_size()
            await self._cut_one()
            found = await self._next()
            await self._owners.tell()
            if isinstance(found, tuple):
                lane, record = found
                lane.take(record)
                self._holds.unheard.sent(record.vehicle, asyncio.get_running_loop().time())
                self._forget_unfit()
                self._catalog_due = self._catalogs.is_due(record)
                self.window.add(len(record.payload))
                self._throttle.spend(asyncio.get_running_loop().time(), len(record.payload))
                self._allowance.spend(len(record.payload), critical=self._critical[self._lanes.index(lane)])
                name = f"uplink-batch-{record.stream}-{record.number}"
                group.create_task(self._send(link, lane, record), name=name)
            elif self._is_over(found):
                return
            else:
                wait_s = REST_MAX_S if found is None else min(found, REST_MAX_S)
                await self._deadline.wait(self.batch_available, wait_s, self._options.turn_max_s)

    async def learn(self, loss: LinkLoss) -> None:
        """The other end closed over something in flight: find out over what, one batch at a time."""
        if not loss.by_peer or not self._lost:
            return
        self._careful = 2 * self._options.window_batches
        if len(self._lost) > 1:
            return
        lane, record = self._lost[0]
        if self._owners.is_foreign(record):
            if loss.trouble in (Trouble.UNAUTHORIZED, Trouble.UNACCEPTABLE) or self._is_suspect(record, loss):
                self._owners.hold(record)
        elif loss.trouble is Trouble.UNACCEPTABLE:
            await self._unacceptable(lane, record, loss.reason, loss.code)
        elif self._is_suspect(record, loss):
            hint = "the broker closes the connection whenever it is sent: look at the broker's size limits and log"
            log.warning("batch_suspected", **_names(record), size_bytes=len(record.payload), hint=hint)

    def _is_suspect(self, record: SpooledBatch, loss: LinkLoss) -> bool:
        now = asyncio.get_running_loop().time()
        return loss.trouble is Trouble.DROPPED and self._holds.suspects.strike(key_of(record), now)

    def _is_over(self, wait_s: float | None) -> bool:
        """While draining: nothing is left and nothing has come since, or what is waited for outlasts the grace."""
        if not self._drain.asked.is_set() or self._dead or self.window.batches or self.batch_available.is_set():
            return False
        return wait_s is None or asyncio.get_running_loop().time() + wait_s > self._drain.by_s

    async def _next(self) -> tuple[QueueCursor, SpooledBatch] | float | None:
        """What may go now; else seconds after which to ask again, None where only an event can change it."""
        now = asyncio.get_running_loop().time()
        idle = not self.window.batches
        if self._dead or self._catalog_due:
            return None
        if self._pausing:
            if not idle or now < self._pause_until:
                return None if not idle else self._pause_until - now
            self._pausing = False
            self._tell_what_lasts()
            self._rewind()
        if idle and (self._holds.release(now) or self._rewind_due):
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

    def _fits(self, record: SpooledBatch, behind: int) -> bool:
        """May it go now? A catalog that may have to go first goes alone: it can be as large as a window."""
        if self.window.batches and self._catalogs.is_due(record):
            return False
        return self.window.fits(len(record.payload), behind=behind)

    def _backlog_rate(self, queue: int) -> float | None:
        """The slower of what was configured and what the network allows; None: neither is a limit."""
        allowed = self._allowance.backlog_rate(critical=self._critical[queue])
        rates = [rate for rate in (self._options.backlog_rate, allowed) if rate is not None]
        return min(rates, default=None)

    async def _nothing_to_send(self, now: float) -> float | None:
        """Tidy up; seconds until a suspect may be tried again."""
        if not self.window.batches and not self._tidy:
            self._tidy = True
            if all([await lane.is_empty() for lane in self._lanes]):
                await self._call(self._shelf.prune, ())
        due = self._holds.next_at()
        return None if due is None or self._drain.asked.is_set() else max(0.0, due - now)

    def _rewind(self) -> None:
        self._rewind_due = False
        for lane in self._lanes:
            lane.rewind()

    def _forget_unfit(self) -> None:
        for lane in self._lanes:
            lane.forget(self._holds.is_unfit)

    async def _tell_size(self) -> None:
        """Have batches sealed so that the broker takes them."""
        sizes = self._holds.sizes
        if sizes.seal_bytes != self._fitted:
            self._fitted = sizes.seal_bytes
            await self._call(self._fit, self._fitted)
            if sizes.named is not None:
                await self._tell_over(sizes.named)
                self._cut_due = sizes.named >= SEAL_BYTES_MIN
        self._standing.note(batch_bytes_max=sizes.payload_bytes or 0)

    async def _cut_one(self) -> None:
        """Cut one batch that is larger than the broker's own limit: none of these is on its way."""
        named = self._holds.sizes.named
        if self._cut_due and named is not None:
            self._cut_due = await self._call(self._cut, named)
            self.batch_available.set()

    async def _tell_over(self, limit_bytes: int) -> None:
        """What the broker's own limit keeps here."""
        waiting = sum([await self._call(lane.queue.larger_than, limit_bytes) for lane in self._lanes])
        told = {"batches": waiting, "reason": f"the broker takes batches of at most {limit_bytes} bytes"}
        if limit_bytes < SEAL_BYTES_MIN:
            hint = "no batch is as small as that: all wait in the spool until the broker's limit on packets is raised"
            log.error("batch_over_limit", **told, hint=hint)
        elif waiting:
            hint = "they are cut anew to fit, and new ones are sealed so"
            log.warning("batch_over_limit", **told, hint=hint)

    async def _send(self, link: Link, lane: QueueCursor, record: SpooledBatch) -> None:
        """One batch, from its catalog to its answer."""
        size = len(record.payload)
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._leave, size)
            options = self._owners.options_of(record)
            if not await self._deliver_catalog(link, lane, record, options):
                return
            topic = options.batch_topic(record.stream)
            began = time.monotonic()
            labels = options.labels("batch", f"{record.stream}/{record.number}")
            answer = await link.publish(topic, record.payload, labels=labels)
            took_s = time.monotonic() - began
            self._standing.count(sent_batches=1)
            if answer.outcome is Outcome.ACCEPTED:  # the link does not wait for the disk
                leaving.close()
            await self._settle(lane, record, topic, answer, took_s)

    def _leave(self, size: int) -> None:
        """Make room in the window."""
        self.window.remove(size)
        self.batch_available.set()

    async def _deliver_catalog(
        self, link: Link, lane: QueueCursor, record: SpooledBatch, options: SenderOptions
    ) -> bool:
        """Whether the batch may follow."""
        topic = options.topic(options.catalog)
        answer = await self._catalogs.deliver(link, record, topic, options)
        self._catalog_due = False
        self.batch_available.set()
        if answer is not None and answer.outcome is not Outcome.LOST:
            self._refused(record, topic, answer)
        elif answer is not None and self._owners.is_foreign(record):
            self._lost.append((lane, record))
        return answer is None

    async def _settle(
        self, lane: QueueCursor, record: SpooledBatch, topic: str, answer: Answer, latency_s: float
    ) -> None:
        """What the answer means for the batch."""
        size = len(record.payload)
        if answer.outcome is Outcome.ACCEPTED:
            await self._call(lane.queue.acknowledge, record.sequence)
            self._proved(record)
            self._standing.count(acknowledged_batches=1, acknowledged_bytes=size)
            latency_ms = round(latency_s * 1000, 1)
            log.debug("batch_acknowledged", **_names(record), size_bytes=size, latency_ms=latency_ms)
            if told := self._tally.add(size, time.monotonic()):
                log.info("batches_acknowledged", **told)
        elif answer.outcome is Outcome.UNACCEPTABLE:
            await self._unacceptable(lane, record, answer.reason, answer.code)
        elif answer.outcome is Outcome.LOST:
            self._dead = True
            self._lost.append((lane, record))
        else:
            self._refused(record, topic, answer)

    async def _unacceptable(self, lane: QueueCursor, record: SpooledBatch, reason: str, code: int) -> None:
        """The broker will never take it, it says. Only what it means by itself is given up."""
        name = {**_names(record), "size_bytes": len(record.payload)}
        advice, stopped = UNACCEPTABLE.get(code, "look at its log"), bool(self._holds.doubts.stopped)
        match self._holds.refused(record, reason, code, asyncio.get_running_loop().time()):
            case Verdict.TOO_LARGE:
                log.warning("batch_over_limit", **name, reason=reason, hint=f"it waits in the spool: {advice}")
            case Verdict.DOUBTED:
                log.warning("batch_doubted", **name, reason=reason, hint=f"it is tried again after others: {advice}")
            case Verdict.STOPPED:
                self._stop(reason, advice, news=not stopped)
            case Verdict.GIVEN_UP:
                await self._set_aside(lane, record, f"broker {self._broker}: {reason}; {advice}")
        self._forget_unfit()

    async def _set_aside(self, lane: QueueCursor, record: SpooledBatch, reason: str) -> None:
        if await self._call(lane.queue.set_aside, record.sequence, reason):
            self._holds.suspects.clear(key_of(record))
            self._standing.count(refused_batches=1)
        else:
            self._holds.doubts.put_back(key_of(record), asyncio.get_running_loop().time())
            hint = "the batch stays in the spool: look at those in refused/ beneath spool.path, and move them away"
            log.error("quarantine_full", **_names(record), reason=reason, hint=hint)

    def _stop(self, reason: str, advice: str, *, news: bool) -> None:
        """The broker refuses whatever comes: keep everything, and ask with one batch now and then."""
        self._go_carefully_after(self._options.probe_s)
        self._stopped_until = self._pause_until
        self._tell_what_lasts()
        if news:
            log.error("batches_rejected", reason=reason, hint=f"nothing is lost, all of it is kept: {advice}")

    def _proved(self, record: SpooledBatch) -> None:
        """The broker takes what we send."""
        if self._holds.taken(record):
            self._rewind_due = True
            if not self._pausing:
                self._tell_what_lasts()
        self._tell_proved()
        self._patience = self._patience.proved()
        self._careful = max(0, self._careful - 1)
        if not self._careful:
            self.window.batches_max = self._window_full

    def _refused(self, record: SpooledBatch, topic: str, answer: Answer) -> None:
        """Keep it: what is not allowed for another vehicle is held back, so is what nobody hears, all else waits."""
        if answer.outcome is Outcome.NO_SUBSCRIBERS:
            self._hold_unheard(record, topic, answer)
        elif not (answer.outcome is Outcome.UNAUTHORIZED and self._owners.hold(record)):
            self._pause(topic, answer)

    def _pause(self, topic: str, answer: Answer) -> None:
        """Keep everything, wait for what is in flight and then some time, go on with one batch at a time."""
        if self._pausing:
            return
        trouble = Trouble.UNAUTHORIZED if answer.outcome is Outcome.UNAUTHORIZED else Trouble.BUSY
        self._patience = self._patience.failed(trouble)
        wait_s = self._patience.wait_s(self._roll())
        self._go_carefully_after(wait_s)
        reason = f"publish to {topic}: {answer.reason}"
        self._standing.note(last_error=reason, trouble=trouble.value, next_try_s=wait_s)
        level = log.error if trouble is Trouble.UNAUTHORIZED else log.warning
        level("publish_refused", topic=topic, reason=answer.reason, next_try_s=round(wait_s, 1), hint=ADVICE[trouble])

    def _go_carefully_after(self, wait_s: float) -> None:
        self._pausing, self._pause_until = True, asyncio.get_running_loop().time() + wait_s
        self._careful = max(self._careful, 1)
        self.window.batches_max = 1

    def _hold_unheard(self, record: SpooledBatch, topic: str, answer: Answer) -> None:
        """Nobody got it: keep what is for the same vehicle, and ask again once in a while. The link itself is well."""
        reason = f"publish to {topic}: {answer.reason}"
        news = self._holds.unheard.strike(record.vehicle, reason, asyncio.get_running_loop().time())
        self._forget_unfit()
        self._tell_proved()
        if not self._pausing:
            self._tell_what_lasts()
        if news:
            log.error("no_subscribers", topic=topic, reason=answer.reason, hint=ADVICE[Trouble.NO_SUBSCRIBERS])

    def _tell_what_lasts(self) -> None:
        """Why not everything goes, beside what a pause is for."""
        trouble, reason = self._holds.trouble()
        wait_s = self._options.probe_s if trouble else 0.0
        self._standing.note(trouble=trouble, last_error=reason, next_try_s=wait_s)

    def _has_to_wait(self, record: SpooledBatch) -> bool:
        return self._holds.has_to_wait(record, asyncio.get_running_loop().time())


def _names(record: SpooledBatch) -> dict[str, Any]:
    """What a log line calls a batch: by its id, as the receiver does."""
    return {"stream": record.stream, "sequence": record.number}
