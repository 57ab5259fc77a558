# SPDX-License-Identifier: Apache-2.0
"""The open batch: what has been decoded and not yet been sealed, and when it is time to seal.

Limits: a batch never spans more than its interval of the frames' own clock, see bus_clocks.py, and is sealed early when
it is likely to outgrow its payload, by how many bytes a value took in the batches before; or its tables, by
`GROUPS_MAX` ids with samples and `COUNTS_MAX` counts of frames that were not, or not wholly, decoded; or what a reader
takes, by `VALUES_MAX` values, as an hour of a bus on which nothing changes would. What counts is
the time of the frames received while it is open: samples that were put by, or recorded from the time before an event,
are older.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agent.blocks import merge_blocks, starts
from agent.collect.select_rows import cut_by_groups
from agent.decode.decoder import Decoded
from agent.model import RAW_SIGNALS, SignalBlock, group_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.batch.content import Batch, Group
    from agent.model import Event

_Number = TypeVar("_Number", bound=np.generic)

FIRST_BYTES_PER_VALUE = 1.0
"""Assumed until a batch has been sealed; real ones take 0.1 to 0.6."""
_HEADROOM = 0.85
_TELLING = 1 / 8
GROUPS_MAX, COUNTS_MAX, VALUES_MAX = 1_024, 32_768, 2 << 20
PART_COLUMNS_MAX = 4_096
"""What is kept of more columns is more than one part, so that a batch of it can be divided."""


@dataclass(frozen=True, slots=True)
class SealLimits:
    """When a batch is sealed: after this time of the frames' clock, or this size."""

    interval_ns: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """A decoded block, the time and number of its frames, decoded or not, and what happened in it."""

    begin_ns: int
    end_ns: int
    frames: int
    decoded: Decoded
    events: tuple[Event, ...] = ()

    @classmethod
    def kept(cls, block: SignalBlock) -> Part:
        """Samples that were kept of frames which are counted elsewhere; not none."""
        return cls(int(block.time_ns.min()), int(block.time_ns.max()), 0, Decoded(block, {}, {}))

    @classmethod
    def all_kept(cls, block: SignalBlock) -> list[Part]:
        """The same in parts that are not too large for a batch, however many ids there are; none of no samples."""
        return [cls.kept(piece) for piece in cut_by_groups(block, PART_COLUMNS_MAX) if len(piece)]

    @classmethod
    def of_events(cls, time_ns: int, events: Sequence[Event] = ()) -> Part:
        """Events, or nothing at all, at a time."""
        return cls(time_ns, time_ns, 0, Decoded(SignalBlock.empty(), {}, {}), tuple(events))


@dataclass(slots=True)
class OpenBatch:
    """The batch being filled.

    opened_ns, newest_ns    earliest and latest time of any frame in it, decoded or not
    frames                  data frames, decoded or not
    values                  decoded ones
    groups, counts          ids with samples; entries of its parts' counts of what was not decoded, or not wholly
    """

    parts: list[Part] = field(default_factory=list)
    opened_ns: int = 0
    newest_ns: int = 0
    frames: int = 0
    values: int = 0
    counts: int = 0
    _keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    @classmethod
    def of(cls, parts: Iterable[Part]) -> OpenBatch:
        """A batch of these parts."""
        batch = cls()
        for part in parts:
            batch.add(part)
        return batch

    def add(self, part: Part) -> None:
        """Take in a decoded block."""
        self.opened_ns = min(self.opened_ns, part.begin_ns) if self.parts else part.begin_ns
        self.newest_ns = max(self.newest_ns, part.end_ns) if self.parts else part.end_ns
        self.frames += part.frames
        self.values += len(part.decoded.signals.values)
        self.counts += len(part.decoded.unknown) + len(part.decoded.partial)
        self._keys = np.union1d(self._keys, part.decoded.signals.group_key)
        self.parts.append(part)

    @property
    def groups(self) -> int:
        """Different ids that there are samples of."""
        return len(self._keys)

    @property
    def rows(self) -> int:
        """Decoded frames."""
        return sum(len(part.decoded.signals) for part in self.parts)

    def block(self) -> SignalBlock:
        """All rows in one block."""
        blocks = [part.decoded.signals for part in self.parts if len(part.decoded.signals)]
        return merge_blocks(blocks) if blocks else SignalBlock.empty()

    def events(self) -> tuple[Event, ...]:
        """All that happened in it."""
        return tuple(event for part in self.parts for event in part.events)

    def unknown(self) -> Counter[tuple[int, int]]:
        """Frames that no DBC knows, by (bus index, arbitration id word)."""
        return _total(part.decoded.unknown for part in self.parts)

    def partial(self) -> Counter[tuple[int, int]]:
        """Frames decoded in part, by (`model.group_key`, `decode.plan.Defect`)."""
        return _total(part.decoded.partial for part in self.parts)

    def split(self, pieces: int) -> list[OpenBatch]:
        """The batch in this many, or as many as it has parts, one after the other in time."""
        return [OpenBatch.of(self.parts[begin:end]) for begin, end in cut_evenly(len(self.parts), pieces)]


def cut_evenly(parts: int, pieces: int) -> list[tuple[int, int]]:
    """Begin and end of this many pieces of so many parts, or of one a part."""
    pieces = min(pieces, parts)
    return list(pairwise(parts * piece // pieces for piece in range(pieces + 1)))


def _total(counts: Iterable[Mapping[tuple[int, int], int]]) -> Counter[tuple[int, int]]:
    total: Counter[tuple[int, int]] = Counter()
    for part in counts:
        total.update(part)
    return total


def must_seal(batch: OpenBatch, bytes_per_value: float, limits: SealLimits) -> bool:
    """Whether the batch is about as large as it may be."""
    if batch.groups >= GROUPS_MAX or batch.counts >= COUNTS_MAX or batch.values + batch.rows >= VALUES_MAX:
        return True
    return batch.values * bytes_per_value >= limits.payload_bytes * _HEADROOM


def learn_bytes_per_value(before: float, payload_bytes: int, values: int, limits: SealLimits) -> float:
    """What a value takes, judged by the batch just sealed: at once where it takes more, slowly where less.

    A small batch is mostly what a batch takes without values: it does not tell that they take more.
    """
    if not values:
        return before
    now = payload_bytes / values
    if now > before:
        return now if payload_bytes >= limits.payload_bytes * _TELLING else before
    return before + (now - before) / 4


def restore_block(batch: Batch, catalog: Catalog) -> SignalBlock:
    """The rows of a batch as the decoder gave them, times in the batch's resolution."""
    number: dict[tuple[int, ...], int] = {}
    shapes = []
    columns: list[tuple[int, int, int, NDArray[np.uint64]]] = []
    for index, group in enumerate(batch.groups):
        table = np.array([number.setdefault(shape, len(number)) for shape in group.shapes], np.int32)
        shapes.append(table[group.shape])
        signals = RAW_SIGNALS if group.message < 0 else catalog.messages[group.message].signals
        columns += [(index, signal, signals[signal].length, column) for signal, column in group.columns.items()]
    return SignalBlock(
        np.array([group_key(group.message, group.bus, group.can_id) for group in batch.groups], np.uint64),
        starts([len(group.time_ns) for group in batch.groups]),
        _joined([group.time_ns for group in batch.groups], np.int64),
        _joined(shapes, np.int32),
        np.array([group for group, _, _, _ in columns], np.int32),
        np.array([signal for _, signal, _, _ in columns], np.int32),
        starts([len(column) for _, _, _, column in columns]),
        _joined([column for _, _, _, column in columns], np.uint64),
        np.array([bits for _, _, bits, _ in columns], np.uint8),
        list(number),
    )


def _joined(arrays: Sequence[NDArray[_Number]], dtype: type[_Number]) -> NDArray[_Number]:
    return np.concatenate([np.empty(0, dtype), *arrays])


def split_batch(batch: Batch, pieces: int) -> list[Batch]:
    """The batch in this many, or as many as it has different times; what is no row stays with the first.

    Of the frames that it counts each piece has a share, by its rows.
    """
    times = np.sort(np.concatenate([np.empty(0, np.int64), *(group.time_ns for group in batch.groups)]))
    firsts = np.unique(times[[begin for begin, end in cut_evenly(len(times), pieces) if begin < end]])
    ends = [*firsts[1:].tolist(), None]
    found: list[Batch] = []
    counted = rows = 0
    for index, (first, end) in enumerate(zip(firsts.tolist(), ends, strict=True)):
        groups = tuple(filter(None, (_between(group, first, end) for group in batch.groups)))
        rows += sum(len(group.time_ns) for group in groups)
        frames, counted = batch.frames * rows // len(times) - counted, batch.frames * rows // len(times)
        opened = batch.opened_ns if index == 0 else first
        sealed = batch.sealed_ns if end is None else max(int(group.time_ns.max()) for group in groups)
        piece = replace(batch, groups=groups, frames=frames, opened_ns=opened, sealed_ns=sealed)
        found.append(piece if index == 0 else replace(piece, events=(), unknown=(), partial={}))
    return found or [batch]


def _between(group: Group, first_ns: int, end_ns: int | None) -> Group | None:
    """Its rows from one time on until before another; None where there are none."""
    chosen = group.time_ns >= first_ns
    if end_ns is not None:
        chosen &= group.time_ns < end_ns
    if not chosen.any():
        return None
    columns = {signal: column[chosen[group.rows(signal)]] for signal, column in group.columns.items()}
    carried = {signal: column for signal, column in columns.items() if len(column)}
    return replace(group, time_ns=group.time_ns[chosen], shape=group.shape[chosen], columns=carried)
