# SPDX-License-Identifier: Apache-2.0
"""From frames to stored batches: decode, collect, seal. Synchronous, for the one thread that owns the disk.

    FrameBlock ─ decode ─► SignalBlock ─ collect ─► open batch ─ seal ─► store

It knows no clock but the frames' own: the same frames make the same batches, live or replayed.

Promise: what it was given is noted in the store before it takes more; a batch is stored when it spans its
interval or has reached its size, and never holds a time twice.

Limits: a block of frames is cut so that it fits one batch even if nothing in it compresses; a batch that turns
out larger than its payload is stored as two or more.

Failure: a SpoolError of the store ends the process: restarting is the recovery.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog

from agent.batch.codec import ClockReading, Header, UnknownCount, encode_batch
from agent.collect.merging import merge_blocks
from agent.collect.open_batch import (
    FIRST_BYTES_PER_VALUE,
    OpenBatch,
    Part,
    SealLimits,
    cut_evenly,
    learn_bytes_per_value,
    must_seal,
    must_seal_before,
)
from agent.collect.recovered import signal_block
from agent.model import BatchId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.clock import Clock
    from agent.decode.decoder import Decoder
    from agent.model import FrameBlock, Gap

log = structlog.get_logger()

JOURNAL_LEVEL = 1
"""zstd level of what is noted while a batch is open: read once, if ever."""
UNKNOWN_IDS_MAX = 256
"""Of more unknown ids in a batch than this, the rarest are counted together."""
_FRAME_OVERHEAD_BYTES = 3


class Store(Protocol):
    """Where sealed batches go: the spool, or a folder."""

    @property
    def stream(self) -> str:
        """The stream that batches are numbered in."""

    @property
    def next_sequence(self) -> int:
        """The number of the batch that is open."""

    @property
    def journals(self) -> bool:
        """Whether parts of the open batch are to be written down."""

    def note(self, part: bytes) -> bool:
        """Write down a part of the open batch; durable on return. False: no room, seal now."""

    def add_gap(self, gap: Gap) -> None:
        """Something is missing for ever; kept until a batch has told it."""

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to tell."""

    def append(self, batches: Sequence[SealedBatch]) -> None:
        """Store what the open batch has become, in this order from `next_sequence` on; durable on return."""


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch's bytes, and what a store needs to know of them; `gaps` are those that it tells."""

    payload: bytes
    catalog: str
    begin_ns: int
    end_ns: int
    frames: int
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class PackerSettings:
    """How batches are made. `level` is zstd's, 1…22."""

    vehicle: str
    resolution_ns: int
    level: int
    limits: SealLimits


@dataclass(slots=True)
class PackerCounters:
    """What has passed, since the start.

    frames, frames_decoded, frames_unknown   data frames; decoded ones those of a known id, however short
    decode_errors                            decoded ones of which only a part could be decoded
    samples                                  values of signals
    batches, batch_bytes                     stored
    gaps                                     found in this process
    """

    frames: int = 0
    frames_decoded: int = 0
    frames_unknown: int = 0
    decode_errors: int = 0
    samples: int = 0
    batches: int = 0
    batch_bytes: int = 0
    gaps: int = 0


class Packer:
    """Decodes, collects, seals and stores. Synchronous, for one thread."""

    def __init__(
        self,
        decoder: Decoder,
        catalog: Catalog,
        store: Store,
        settings: PackerSettings,
        clock: Clock,
        counters: PackerCounters | None = None,
    ) -> None:
        self.counters = counters or PackerCounters()
        self._decoder = decoder
        self._catalog = catalog
        self._store = store
        self._settings = settings
        self._clock = clock
        self._open = OpenBatch()
        self._bytes_per_value = FIRST_BYTES_PER_VALUE

    @property
    def has_open_batch(self) -> bool:
        """Whether there is anything to seal."""
        return self._open.frames > 0

    def take(self, frames: FrameBlock) -> None:
        """Decode and collect; write down, or seal and store what is due."""
        for block in _bounded(frames, self._settings.limits.payload_bytes):
            self._take(block)

    def _take(self, frames: FrameBlock) -> None:
        if must_seal_before(self._open, frames, self._settings.limits):
            self.seal()
        part = Part.of(frames, self._decoder.decode(frames))
        self._open.add(part)
        self._count(part)
        if must_seal(self._open, self._bytes_per_value, self._settings.limits):
            self.seal()
        elif self._store.journals:
            note = self._encode(OpenBatch.of([part]), self._store.next_sequence, (), JOURNAL_LEVEL)
            if not self._store.note(note):
                self.seal()

    def _count(self, part: Part) -> None:
        counters, decoded = self.counters, part.decoded
        counters.frames += part.frames
        counters.frames_decoded += len(decoded.signals)
        counters.frames_unknown += sum(decoded.unknown.values())
        counters.decode_errors += sum(decoded.partial.values())
        counters.samples += len(decoded.signals.values)

    def lose(self, gap: Gap) -> None:
        """Something is missing for ever: told with the next batch."""
        self.counters.gaps += 1
        self._store.add_gap(gap)

    def seal(self) -> None:
        """Store the open batch, if there is one; as two or more where one would be too large."""
        batch, self._open = self._open, OpenBatch()
        if not batch.frames:
            return
        gaps = self._store.pending_gaps()

        def divided(pieces: int) -> list[SealedBatch]:
            return [
                self._sealed(piece, index, () if index else gaps) for index, piece in enumerate(batch.split(pieces))
            ]

        sealed = self._as_few_as_fit(divided)
        self._append(sealed)
        size = sum(len(piece.payload) for piece in sealed)
        self._bytes_per_value = learn_bytes_per_value(self._bytes_per_value, size, batch.values)

    def _sealed(self, batch: OpenBatch, index: int, gaps: tuple[Gap, ...]) -> SealedBatch:
        payload = self._encode(batch, self._store.next_sequence + index, gaps, self._settings.level)
        return SealedBatch(payload, self._catalog.hash, batch.opened_ns, batch.newest_ns, batch.frames, gaps)

    def _append(self, batches: Sequence[SealedBatch]) -> None:
        first = self._store.next_sequence
        self._store.append(batches)
        for sequence, batch in enumerate(batches, first):
            self.counters.batches += 1
            self.counters.batch_bytes += len(batch.payload)
            log.info(
                "batch_sealed",
                stream=self._store.stream,
                sequence=sequence,
                frames=batch.frames,
                bytes=len(batch.payload),
                seconds=round((batch.end_ns - batch.begin_ns) / 1e9, 3),
            )

    def recover(self, parts: Sequence[Batch], catalog: Catalog) -> None:
        """Seal what an earlier process had written down of its open batch, of the catalog that it used."""
        gaps = self._store.pending_gaps()

        def divided(pieces: int) -> list[SealedBatch]:
            cuts = cut_evenly(len(parts), pieces)
            return [
                self._recovered(parts[begin:end], catalog, index, () if index else gaps)
                for index, (begin, end) in enumerate(cuts)
            ]

        sealed = self._as_few_as_fit(divided)
        self._append(sealed)
        frames = sum(batch.frames for batch in sealed)
        log.info("batch_recovered", stream=self._store.stream, frames=frames, notes=len(parts), batches=len(sealed))

    def _recovered(self, parts: Sequence[Batch], catalog: Catalog, index: int, gaps: tuple[Gap, ...]) -> SealedBatch:
        unknown: Counter[tuple[int, int]] = Counter()
        partial: Counter[tuple[int, int]] = Counter()
        for part in parts:
            unknown.update({(count.bus, count.can_id): count.frames for count in part.unknown})
            partial.update(part.partial)
        header = replace(
            self._header(self._store.next_sequence + index, gaps),
            catalog=catalog.hash,
            resolution_ns=parts[0].resolution_ns,
            opened_ns=min(part.opened_ns for part in parts),
            sealed_ns=max(part.sealed_ns for part in parts),
            frames=sum(part.frames for part in parts),
            clock=parts[-1].clock,
            unknown=_counts(unknown),
            partial=partial,
        )
        block = merge_blocks([signal_block(part, catalog) for part in parts])
        payload = encode_batch(header, block, catalog.messages, self._settings.level)
        return SealedBatch(payload, catalog.hash, header.opened_ns, header.sealed_ns, header.frames, gaps)

    def _as_few_as_fit(self, divided: Callable[[int], list[SealedBatch]]) -> list[SealedBatch]:
        """One batch, or 2, 4, … until none is too large or they cannot be divided any more."""
        pieces = 1
        while True:
            sealed = divided(pieces)
            largest = max(len(batch.payload) for batch in sealed)
            if largest <= self._settings.limits.payload_bytes or len(sealed) < pieces:
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
        )
        return encode_batch(header, batch.block(), self._catalog.messages, level)

    def _header(self, sequence: int, gaps: tuple[Gap, ...]) -> Header:
        return Header(
            id=BatchId(self._settings.vehicle, self._store.stream, sequence),
            catalog=self._catalog.hash,
            resolution_ns=self._settings.resolution_ns,
            opened_ns=0,
            sealed_ns=0,
            frames=0,
            clock=ClockReading(
                uuid.UUID(self._clock.boot_id()).bytes,
                self._clock.wall_ns(),
                self._clock.monotonic_ns(),
                self._clock.wall_trusted(),
            ),
            gaps=gaps,
        )


def _counts(unknown: Counter[tuple[int, int]]) -> tuple[UnknownCount, ...]:
    """By id, the most frequent ones; what is beyond the limit is under id 0xFFFFFFFF, which no frame has."""
    listed = dict(unknown.most_common(UNKNOWN_IDS_MAX))
    beyond = unknown.total() - sum(listed.values())
    if beyond:
        listed[0, 0xFFFF_FFFF] = beyond
    return tuple(UnknownCount(bus, can_id, frames) for (bus, can_id), frames in sorted(listed.items()))


def _bounded(frames: FrameBlock, payload_bytes: int) -> Iterator[FrameBlock]:
    """The frames in blocks that fit a batch of this size even if nothing in them compresses."""
    if not len(frames):
        return
    size = np.cumsum(frames.length.astype(np.int64) + _FRAME_OVERHEAD_BYTES)
    cuts = np.searchsorted(size, np.arange(0, int(size[-1]), max(payload_bytes * 3 // 4, 128)), side="right")
    for begin, end in pairwise([*np.unique(cuts).tolist(), len(frames)]):
        yield frames if end - begin == len(frames) else frames.slice(begin, end)
