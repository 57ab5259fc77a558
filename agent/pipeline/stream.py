# SPDX-License-Identifier: Apache-2.0
"""One stream of batches: the open batch of a priority, and where it goes when it is sealed.

    parts ─► open batch ─ seal ─► encode ─► store
                 └─ append an entry ─► store's journal

Promise: what `process` was given is in the store's journal when it returns. A batch is stored when it spans its
interval or has reached its size; where the settings say so after each block. No batch holds a bus's time twice, nor
frames from before and after a clock step. Gaps go with the next batch; where nothing else is to be sent, with one of no
frames.

Limits: a batch that turns out larger than its payload is stored as two or more, down to a part each.

Failure: a SpoolError of the store ends the process: restarting is the recovery.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from agent.batch.codec import Header, UnknownCount, encode_batch
from agent.blocks import merge_blocks
from agent.model import BatchId, SealedBatch, SignalBlock
from agent.pipeline.open_batch import (
    FIRST_BYTES_PER_VALUE,
    GROUPS_MAX,
    OpenBatch,
    Part,
    SealLimits,
    cut_evenly,
    learn_bytes_per_value,
    must_seal,
    restore_block,
    split_batch,
)
from agent.system.bus_clocks import BusClocks
from agent.system.clock import read, was_stepped
from agent.system.process import release_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.model import ClockReading, Gap
    from agent.system.bus_clocks import BusSpan
    from agent.system.clock import Clock

log = structlog.get_logger()

P = TypeVar("P")
"""A piece of what is to be stored: to be sealed as one batch."""

JOURNAL_LEVEL = 6
"""zstd level of journal entries: read once, if ever, but a page less of them wears the disk less."""
UNKNOWN_IDS_MAX = 256
"""Of more unknown ids in a batch than this, the rarest are counted together."""
RELEASED_VALUES = 100_000
"""A batch of more, or of as many ids as there may be, has taken megabytes: they go back to the system."""


class Store(Protocol):
    """Where sealed batches go: the spool, or a folder."""

    @property
    def stream(self) -> str:
        """The stream that batches are numbered in."""

    @property
    def next_sequence(self) -> int:
        """The number of the batch that is open."""

    @property
    def has_journal(self) -> bool:
        """Whether parts of the open batch are appended to a journal."""

    def append_entry(self, entry: bytes) -> bool:
        """Append a part of the open batch to the journal; durable on return. False: no room, seal now."""

    def add_gap(self, gap: Gap) -> None:
        """Something is missing for ever; kept until a batch has reported it."""

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to report."""

    def append(self, batches: Sequence[SealedBatch]) -> None:
        """Store what the open batch has become, in this order from `next_sequence` on; durable on return."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How batches are made. `level` is zstd's, 1…22; `seals_each_block`: after each block."""

    vehicle: str
    resolution_ns: int
    level: int
    limits: SealLimits
    seals_each_block: bool = False


@dataclass(slots=True)
class StreamCounters:
    """What has passed with one priority, since the start: samples and events kept, batches stored."""

    samples: int = 0
    events: int = 0
    batches: int = 0
    batch_bytes: int = 0


class Stream:
    """Collects, seals and stores into `store`. Synchronous, for one thread."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        settings: StreamSettings,
        clock: Clock,
        counters: StreamCounters | None = None,
    ) -> None:
        self.counters = counters or StreamCounters()
        self.settings = settings
        self._configured = settings.limits
        self._catalog = catalog
        self.store = store
        self.clock = clock
        self._reading: ClockReading | None = None  # of the open batch
        self._latest: ClockReading | None = None
        self._open = OpenBatch()
        self._bus_clocks = BusClocks(settings.limits.interval_ns)
        self._bytes_per_value = FIRST_BYTES_PER_VALUE

    @property
    def has_open_batch(self) -> bool:
        """Whether there is anything to seal."""
        return bool(self._open.parts)

    def fit(self, payload_bytes: int | None) -> None:
        """Seal to no more than this from now on; None: as configured, which it never exceeds."""
        most = self._configured.payload_bytes
        limits = replace(self._configured, payload_bytes=min(most, payload_bytes or most))
        self.settings = replace(self.settings, limits=limits)

    def update_clock(self, reading: ClockReading) -> bool:
        """What the clocks say of the frames to come; after a step they open a new batch. Whether one was stored.

        A batch that a trusted reading holds for keeps that: it says more than a later one that is not.
        """
        before, self._latest = self._latest, reading
        stored = before is not None and was_stepped(before, reading) and self.seal()
        if self._reading is None or reading.trusted or not (self._open.parts and self._reading.trusted):
            self._reading = reading
        return stored

    def process(self, spans: Sequence[BusSpan], parts: Sequence[Part]) -> bool:
        """Frames of these times have been received, and these parts are kept. Whether a batch was stored."""
        stored = self._bus_clocks.ends(spans) and self.seal()
        self._bus_clocks.update(spans)
        if self._open.parts:
            self._bus_clocks.include()
        new: list[Part] = []
        for part in parts:
            self._open.add(part)
            self._bus_clocks.include()
            new.append(part)
            self.counters.samples += len(part.decoded.signals.values)
            self.counters.events += len(part.events)
            if must_seal(self._open, self._bytes_per_value, self.settings.limits):
                stored |= self.seal()
                new.clear()
        if self.settings.seals_each_block:
            stored |= self.seal()
        elif new and self.store.has_journal:
            entry = self._encode(OpenBatch.of(new), self.store.next_sequence, (), JOURNAL_LEVEL)
            stored |= not self.store.append_entry(entry) and self.seal()
        return stored

    def report_gaps(self) -> bool:
        """Seal what is open where there are gaps to report; a batch of no frames where nothing is. Whether it was."""
        if not self.store.pending_gaps():
            return False
        if not self._open.parts:
            self._open.add(Part.of_events(self.clock.wall_ns()))
        return self.seal()

    def seal(self) -> bool:
        """Store the open batch, as two or more where one would be too large. False: nothing was open."""
        batch, self._open = self._open, OpenBatch()
        self._bus_clocks.clear()
        is_large = batch.values > RELEASED_VALUES or batch.groups >= GROUPS_MAX
        stored = bool(batch.parts)
        if stored:
            self._seal(batch)
        self._reading = self._latest
        del batch
        if is_large:
            release_memory()
        return stored

    def _seal(self, batch: OpenBatch) -> None:
        sealed = self._as_few_as_fit(batch.split, self._sealed, self.store.pending_gaps())
        self._append(sealed)
        size = sum(len(piece.payload) for piece in sealed)
        self._bytes_per_value = learn_bytes_per_value(self._bytes_per_value, size, batch.values, self.settings.limits)

    def _sealed(self, batch: OpenBatch, index: int, gaps: tuple[Gap, ...]) -> SealedBatch:
        payload = self._encode(batch, self.store.next_sequence + index, gaps, self.settings.level)
        frames = batch.frames or batch.rows
        return SealedBatch(payload, self._catalog.hash, batch.opened_ns, batch.newest_ns, frames, gaps)

    def _append(self, batches: Sequence[SealedBatch]) -> None:
        first = self.store.next_sequence
        self.store.append(batches)
        for sequence, batch in enumerate(batches, first):
            self.counters.batches += 1
            self.counters.batch_bytes += len(batch.payload)
            log.debug(
                "batch_sealed",
                stream=self.store.stream,
                sequence=sequence,
                frames=batch.frames,
                size_bytes=len(batch.payload),
                seconds=round((batch.end_ns - batch.begin_ns) / 1e9, 3),
            )

    def recover(self, parts: Sequence[Batch], catalog: Catalog) -> None:
        """Seal the journal entries of an earlier process's open batch, of the catalog that it used."""

        def split(pieces: int) -> list[Sequence[Batch]]:
            return [parts[begin:end] for begin, end in cut_evenly(len(parts), pieces)]

        sealed = self._as_few_as_fit(split, functools.partial(self._restored, catalog), self.store.pending_gaps())
        self._append(sealed)
        frames = sum(batch.frames for batch in sealed)
        log.info("batch_recovered", stream=self.store.stream, frames=frames, entries=len(parts), batches=len(sealed))

    def cut(self, batch: Batch, catalog: Catalog, gap: Gap, payload_bytes: int) -> list[SealedBatch]:
        """The content of a stored batch in smaller ones, to be stored next, which report its `gap`.

        None where they would not fit. What is open is sealed first.
        """
        self.seal()

        def split(pieces: int) -> list[Sequence[Batch]]:
            return [[piece] for piece in split_batch(batch, pieces)]

        gaps = (*self.store.pending_gaps(), gap)
        sealed = self._as_few_as_fit(split, functools.partial(self._restored, catalog), gaps)
        return sealed if max(len(each.payload) for each in sealed) <= payload_bytes else []

    def _restored(self, catalog: Catalog, parts: Sequence[Batch], index: int, gaps: tuple[Gap, ...]) -> SealedBatch:
        unknown: Counter[tuple[int, int]] = Counter()
        partial: Counter[tuple[int, int]] = Counter()
        for part in parts:
            unknown.update({(count.bus, count.can_id): count.frames for count in part.unknown})
            partial.update(part.partial)
        header = replace(
            self._header(self.store.next_sequence + index, gaps),
            catalog=catalog.hash,
            resolution_ns=parts[0].resolution_ns,
            opened_ns=min(part.opened_ns for part in parts),
            sealed_ns=max(part.sealed_ns for part in parts),
            frames=sum(part.frames for part in parts),
            clock=parts[-1].clock,
            unknown=_counts(unknown),
            partial=partial,
            events=tuple(event for part in parts for event in part.events),
        )
        blocks = [restore_block(part, catalog) for part in parts if part.groups]
        block = merge_blocks(blocks) if blocks else SignalBlock.empty()
        payload = encode_batch(header, block, catalog.messages, self.settings.level)
        frames = header.frames or len(block)
        return SealedBatch(payload, catalog.hash, header.opened_ns, header.sealed_ns, frames, gaps)

    def _as_few_as_fit(
        self,
        split: Callable[[int], Sequence[P]],
        sealed_of: Callable[[P, int, tuple[Gap, ...]], SealedBatch],
        gaps: tuple[Gap, ...],
    ) -> list[SealedBatch]:
        """One batch, or 2, 4, … until none is too large or they cannot be split any more.

        Args:
            split: into so many pieces, or as many as there can be.
            sealed_of: seals a piece, the next batch but so many, with the gaps that it reports.
            gaps: reported by the first.

        """
        pieces = 1
        while True:
            sealed = [sealed_of(piece, index, () if index else gaps) for index, piece in enumerate(split(pieces))]
            largest = max(len(batch.payload) for batch in sealed)
            if largest <= self.settings.limits.payload_bytes or len(sealed) < pieces:
                return sealed
            pieces *= 2

    def _encode(self, batch: OpenBatch, sequence: int, gaps: tuple[Gap, ...], level: int) -> bytes:
        header = replace(
            self._header(sequence, gaps),
            opened_ns=batch.opened_ns,
            sealed_ns=batch.newest_ns,
            frames=batch.frames,
            unknown=_counts(batch.unknown()),
            partial=batch.partial(),
            events=batch.events(),
        )
        return encode_batch(header, batch.block(), self._catalog.messages, level)

    def _header(self, sequence: int, gaps: tuple[Gap, ...]) -> Header:
        return Header(
            id=BatchId(self.settings.vehicle, self.store.stream, sequence),
            catalog=self._catalog.hash,
            resolution_ns=self.settings.resolution_ns,
            opened_ns=0,
            sealed_ns=0,
            frames=0,
            clock=self._reading or read(self.clock),
            gaps=gaps,
        )


def _counts(unknown: Counter[tuple[int, int]]) -> tuple[UnknownCount, ...]:
    """By id, the most frequent ones; what is beyond the limit is under id 0xFFFFFFFF, which no frame has."""
    listed = dict(unknown.most_common(UNKNOWN_IDS_MAX))
    beyond = unknown.total() - sum(listed.values())
    if beyond:
        listed[0, 0xFFFF_FFFF] = beyond
    return tuple(UnknownCount(bus, can_id, frames) for (bus, can_id), frames in sorted(listed.items()))
