# SPDX-License-Identifier: Apache-2.0
"""A decoded block as rules and triggers look at it, and the latest samples before it.

What costs something is made when it is first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from agent.blocks import find, runs, starts
from agent.collect.rebased_time import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import FrameBlock, SignalBlock


@dataclass(frozen=True, slots=True)
class Gathered:
    """The values of some columns, end to end.

    columns int64 (n,) · begin int64 (n+1,): the c-th has values begin[c]…begin[c+1] · counts int64 (n,)
    place   int64, of each value in the block
    """

    columns: NDArray[np.int64]
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]
    place: NDArray[np.int64]


class BlockView:
    """A block, what it was decoded from, and the rebased time of each frame.

    ahead    by how much rebased times are ahead of the frames' own, where that is the same for all and they run on
    stream_key     int64 (G,), of the groups · slot int64 (C,), of the columns
    counts   int64 (C,), values of each column
    """

    def __init__(
        self,
        signal_index: SignalIndex,
        frames: FrameBlock,
        block: SignalBlock,
        rebased: NDArray[np.int64],
        ahead: int | None = None,
    ) -> None:
        self.signal_index = signal_index
        self.frames = frames
        self.block = block
        self.rebased = rebased
        self.ahead = ahead
        self.stream_key = signal_index.stream_keys(block)
        self.slot = signal_index.first.take(self.stream_key).take(block.column_group) + block.column_signal
        self._start = start = block.column_start[:-1]
        self.counts = block.column_start[1:] - start
        self._rows = rows = block.row_start[1:] - block.row_start[:-1]
        first = block.row_start.take(block.column_group)
        self._lag = start - first  # of a column's values behind its rows, where all rows carry it
        self._is_whole = not (self.counts != rows.take(block.column_group)).any()

    @cached_property
    def span(self) -> tuple[int, int]:
        """The rebased times between which the frames lie."""
        rebased = self.rebased
        if self.ahead is not None:
            return int(rebased[0]), int(rebased[-1])
        return int(rebased.min()), int(rebased.max())

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """int64 (C,): the columns, 0, 1, …"""
        return np.arange(len(self.counts))

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """int64: the column of each slot, -1 where the block has none."""
        place = np.full(len(self.signal_index.stream_key), -1, np.int64)
        place[self.slot] = self.columns
        return place

    def present(self, slots: NDArray[np.int64] | list[int]) -> NDArray[np.int64]:
        """The columns of those of these slots that the block has."""
        columns = self.place.take(slots)
        return columns[columns >= 0]

    def rows_of_stream_key(self, stream_key: int) -> tuple[int, int]:
        """The first row of a stream key, and the one after its last."""
        group = (self.stream_key == stream_key).nonzero()[0].tolist()
        return (int(self.block.row_start[group[0]]), int(self.block.row_start[group[0] + 1])) if group else (0, 0)

    @cached_property
    def row_group(self) -> NDArray[np.int64]:
        """int64 (R,): the group of each row."""
        return np.arange(len(self.stream_key)).repeat(self._rows)

    @cached_property
    def row_stream_key(self) -> NDArray[np.int64]:
        """int64 (R,): the stream key of each row."""
        return self.stream_key.repeat(self._rows)

    @cached_property
    def value_column(self) -> NDArray[np.int64]:
        """int64 (V,): the column of each value."""
        return self.columns.repeat(self.counts)

    @cached_property
    def value_row(self) -> NDArray[np.int64]:
        """int64 (V,): the row of each value."""
        block = self.block
        rows = np.arange(len(block.values)) - self._lag.repeat(self.counts)
        if not self._is_whole:
            partial = self.counts != self._rows.take(block.column_group)
            column, row = self._cells(partial)
            columns = partial.nonzero()[0]
            order = column.argsort(kind="stable")
            rows[runs(block.column_start.take(columns), self.counts.take(columns))] = row.take(order)
        return rows

    def _cells(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Column and row of each value of some columns, row by row. chosen: bool (C,)."""
        block = self.block
        pairs, of = np.unique((self.row_group << 32) | block.shape, return_inverse=True)
        carried = [block.shapes[shape] for shape in (pairs & 0xFFFF_FFFF).tolist()]
        sizes = np.array([len(signals) for signals in carried], np.int64)
        signal = np.fromiter(chain.from_iterable(carried), np.int64, int(sizes.sum()))
        place = (block.column_group.astype(np.int64) << 32) | block.column_signal
        member = place.searchsorted(((pairs >> 32) << 32).repeat(sizes) | signal)
        is_chosen = chosen.take(member)
        member = member.compress(is_chosen)
        sizes = np.bincount(np.arange(len(pairs)).repeat(sizes).compress(is_chosen), minlength=len(pairs))
        first, each = starts(sizes)[of], sizes[of]
        column: NDArray[np.int64] = member.take(runs(first, each))
        return column, np.arange(len(of)).repeat(each)

    def row_of(self, place: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some values, whose columns are known."""
        if not self._is_whole:
            return self.value_row.take(place)
        row: NDArray[np.int64] = place - self._lag.take(column)
        return row

    def gather(self, columns: NDArray[np.int64]) -> Gathered:
        """The values of some columns."""
        counts = self.counts.take(columns)
        begin = starts(counts)
        place = np.arange(begin[-1])
        place += (self._start.take(columns) - begin[:-1]).repeat(counts)
        return Gathered(columns, begin, counts, place)

    def rows_of(self, gathered: Gathered) -> NDArray[np.int64]:
        """int64: the row of each value gathered."""
        if not self._is_whole:
            return self.value_row.take(gathered.place)
        rows: NDArray[np.int64] = gathered.place - self._lag.take(gathered.columns).repeat(gathered.counts)
        return rows

    @cached_property
    def arrival(self) -> NDArray[np.int64]:
        """int64 (R,): the place of each row's frame among the frames received."""
        frames, block = self.frames, self.block
        if not len(block):
            return np.empty(0, np.int64)
        words = (frames.bus.astype(np.uint64) << np.uint64(32)) | frames.can_id
        group_word = block.group_key & np.uint64(0xFF_FFFF_FFFF)
        order = group_word.argsort()
        at, known = find(group_word[order], words)
        rows = known.nonzero()[0]
        arrival: NDArray[np.int64] = rows[order[at[rows]].argsort(kind="stable")]
        assert len(arrival) == len(block), "each frame of a known id is a row"
        return arrival

    @cached_property
    def row_rebased(self) -> NDArray[np.int64]:
        """int64 (R,): the rebased time of each row."""
        if self.ahead is None:
            return self.rebased.take(self.arrival)
        return self.block.time_ns + self.ahead if self.ahead else self.block.time_ns


class LastSamples:
    """The latest sample of each slot, before the block at hand; arrays by slot. `values`: how many have come.

    raw uint64 · time_ns int64, its frame's own · rebased int64, `NEVER` where there was none yet
    kept      uint8, the highest priority that it was kept with so far, by a rule that does not keep all of the slot
    serial    int64, its number among all values that have come, of all slots
    returns   int64, how often its stream key had returned (`absence`)
    """

    def __init__(self, signal_index: SignalIndex) -> None:
        self.raw = np.empty(0, np.uint64)
        self.time_ns = np.empty(0, np.int64)
        self.rebased = np.empty(0, np.int64)
        self.kept = np.empty(0, np.uint8)
        self.serial = np.empty(0, np.int64)
        self.values = 0
        self.returns = np.empty(0, np.int64)
        self._signal_index = signal_index
        signal_index.on_change(self._grow, self._shrink)

    def _shrink(self, staying: Staying) -> None:
        slots = staying.slots
        self.raw = self.raw.take(slots)
        self.time_ns, self.rebased = self.time_ns.take(slots), self.rebased.take(slots)
        self.kept, self.serial = self.kept.take(slots), self.serial.take(slots)
        self.returns = self.returns.take(slots)

    def _grow(self, stream_keys: range) -> None:
        more = len(self._signal_index.slots(stream_keys))
        self.raw = np.concatenate([self.raw, np.zeros(more, np.uint64)])
        self.time_ns = np.concatenate([self.time_ns, np.zeros(more, np.int64)])
        self.rebased = np.concatenate([self.rebased, np.full(more, NEVER)])
        self.kept = np.concatenate([self.kept, np.zeros(more, np.uint8)])
        self.serial = np.concatenate([self.serial, np.full(more, -1)])
        self.returns = np.concatenate([self.returns, np.zeros(more, np.int64)])

    def update(self, view: BlockView, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None) -> None:
        """Update with a block. kept: uint8 (V,), as above · returns: int64 (R,), None where none has ever returned."""
        slot, place = view.slot, view.block.column_start[1:] - 1
        row = view.row_of(place, view.columns)
        self.raw[slot] = view.block.values.take(place)
        self.time_ns[slot] = view.block.time_ns.take(row)
        self.rebased[slot] = view.row_rebased.take(row)
        self.kept[slot] = kept.take(place)
        self.serial[slot] = place + self.values
        if returns is not None:
            self.returns[slot] = returns.take(row)
        self.values += len(view.block.values)

    def mark(self, slot: NDArray[np.int64], serial: NDArray[np.int64], priority: NDArray[np.uint8]) -> None:
        """Samples have been kept with these priorities now, higher ones than before; of one sample the last counts."""
        latest = (self.serial.take(slot) == serial).nonzero()[0]
        self.kept[slot.take(latest)] = priority.take(latest)
