# SPDX-License-Identifier: Apache-2.0
"""One spool as the sender goes through it: what was sealed since the link came up first, the backlog beside it.

A cursor has two places in the sequence numbers, with at most one record read ahead at each. Nothing is remembered of
what was sent: whoever must try again rewinds, and the spool says what is still there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from agent.model import SpooledBatch
    from agent.uplink.held_back import HeldBack

T = TypeVar("T")


class BatchQueue(Protocol):
    """What the sender needs of a spool; the methods are called in the worker's thread, the properties anywhere."""

    @property
    def stream(self) -> str:
        """The stream that new batches belong to."""

    @property
    def next_sequence(self) -> int:
        """What the queue will call the next batch."""

    def oldest(
        self, after: int = -1, limit: int = 1, held: Collection[str] = (), bytes_max: int | None = None
    ) -> Sequence[SpooledBatch]:
        """The oldest stored records with a number above `after`, at most `limit`, none of vehicles that are `held`,
        none with a payload of more than `bytes_max`."""

    def waiting_of(self, vehicle: str) -> int:
        """How many records of a vehicle are stored."""

    def larger_than(self, size_bytes: int) -> int:
        """How many records with more bytes than this are stored."""

    def acknowledge(self, sequence: int) -> None:
        """The broker has it; nothing where it is gone already."""

    def set_aside(self, sequence: int, reason: str) -> bool:
        """The broker will never take it. False: there is no place to keep it for a person, so it stays."""


class Worker(Protocol):
    """Runs a function in the one thread that owns the disk and returns what it returns."""

    async def __call__(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Run it."""


class QueueCursor:
    """The publisher's place in one queue; what is held back now is passed over."""

    def __init__(self, queue: BatchQueue, call: Worker, held_back: HeldBack) -> None:
        self.queue = queue
        self._call = call
        self._held_back = held_back
        self._live_from = 0
        self.begin()

    def begin(self) -> None:
        """A link came up: what is sealed from now on is live."""
        self._live_from = self.queue.next_sequence
        self.rewind()

    def rewind(self) -> None:
        """Start over with what is still stored; nothing may be in flight."""
        self._live_after = self._live_from - 1
        self._backlog_after = -1
        self._live: SpooledBatch | None = None
        self._backlog: SpooledBatch | None = None
        self._backlog_left = True

    async def live(self) -> SpooledBatch | None:
        """The next live record, read ahead."""
        while self._live is None and self.queue.next_sequence > self._live_after + 1:
            top = self.queue.next_sequence
            record = await self._after(self._live_after)
            if record is None:
                self._live_after = top - 1
            elif self._has_to_wait(record):
                self._live_after = record.sequence
            else:
                self._live = record
        return self._live

    async def backlog(self) -> SpooledBatch | None:
        """The next record of the backlog, oldest first, read ahead."""
        while self._backlog is None and self._backlog_left:
            record = await self._after(self._backlog_after)
            if record is None or record.sequence >= self._live_from:
                self._backlog_left = False
            elif self._has_to_wait(record):
                self._backlog_after = record.sequence
            else:
                self._backlog = record
        return self._backlog

    def advance(self, record: SpooledBatch) -> None:
        """It goes now: move on."""
        if record is self._live:
            self._live, self._live_after = None, record.sequence
        elif record is self._backlog:
            self._backlog, self._backlog_after = None, record.sequence

    def forget_unfit(self) -> None:
        """What was read ahead and may not go any more is read again after a rewind."""
        if self._live is not None and self._held_back.is_unfit(self._live):
            self._live = None
        if self._backlog is not None and self._held_back.is_unfit(self._backlog):
            self._backlog = None

    async def is_empty(self) -> bool:
        """Nothing is stored at all."""
        return not await self._call(self.queue.oldest)

    async def _after(self, sequence: int) -> SpooledBatch | None:
        vehicles, bytes_max = self._held_back.vehicles(), self._held_back.sizes.payload_bytes
        found = await self._call(self.queue.oldest, sequence, 1, vehicles, bytes_max)
        return found[0] if found else None

    def _has_to_wait(self, record: SpooledBatch) -> bool:
        return self._held_back.has_to_wait(record, asyncio.get_running_loop().time())
