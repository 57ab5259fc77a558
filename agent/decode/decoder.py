# SPDX-License-Identifier: Apache-2.0
"""Decoding a block of frames: a handful of numpy operations over all its frames and signals at once.

The frames are sorted by slot (message, bus, id), which makes almost every column of the result one contiguous piece;
then one gather, one shift and one mask produce every raw value of the block. A loop over messages would lose
most of the gain: at 100 ms of a busy bus a message has only a handful of frames. So would tables that are put together
for each block: they are those of all ids met so far (`agent.decode.layout`), of which a block has the most.

Classic frames are read as one 64-bit word each, in either byte order. A block that holds a longer CAN FD frame
reads an 8-byte window at each signal's own first byte instead, and a ninth byte where a signal needs it.

Frames that are *odd*, multiplexed or shorter than the DBC file says, have their shapes looked up one by one; so are the
rows of columns that only some frames of an id carry.

The raw values equal those of cantools for every frame that cantools decodes. Frames that it refuses (shorter
than the DBC says, a multiplexor value that selects nothing) are decoded as far as they go and counted.

Blocks of more than about 40,000 frames fall out of the processor's cache: sources deliver smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.arrays import runs, starts
from agent.decode.ids import Ids
from agent.decode.layout import Layout
from agent.decode.plan import Defect
from agent.decode.walk import Walk
from agent.model import SignalBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.decode.walk import StateTable
    from agent.model import FrameBlock

NUMBERS_KEPT = 65_536
"""0, 1, 2, … to this are there for every block."""


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded block and what could not be decoded.

    signals       every known frame's raw values
    unknown       frames that no DBC knows, by (bus index, arbitration id word); kept raw ones are not among them
    partial       frames decoded only in part, by (`model.group_key`, `Defect`)
    last          int64 (G,), the block's row of the last frame of each group of `signals`
    unknown_last  int64, the same of each id in `unknown`, in their order
    """

    signals: SignalBlock
    unknown: dict[tuple[int, int], int]
    partial: dict[tuple[int, int], int]
    last: NDArray[np.int64] = field(default_factory=_no_rows)
    unknown_last: NDArray[np.int64] = field(default_factory=_no_rows)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A block's known frames in the order of their slots.

    order    int64 (R,)  row of the block · counts int64 (N,)  frames of each slot
    variant  int64 (R,)  of each frame; None where all are whole
    shape    int32 (R,)  of each frame
    """

    order: NDArray[np.int64]
    counts: NDArray[np.int64]
    variant: NDArray[np.int64] | None
    shape: NDArray[np.int32]


class Decoder:
    """Decodes blocks by a plan; learns from them which ids, multiplexor values and lengths occur."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._ids = Ids(plan)
        self._walk = Walk(plan)
        self._layout = Layout(plan, self._walk, self._ids)
        self._numbers = np.arange(NUMBERS_KEPT)

    def decode(self, block: FrameBlock) -> Decoded:
        """All raw values of a block, and counts of what could not be decoded."""
        known, rest = len(self._ids.key), self._ids.rest
        slots = self._ids.slots_of(block.bus, block.can_id)
        if self._walk.forget() or len(self._ids.key) > known:
            self._layout.tabulate()
        elif self._ids.rest > rest:
            self._layout.tabulate_need()
        known, rest = len(self._ids.key), self._ids.rest
        counts = np.bincount(slots, minlength=rest + 1)
        order = np.argsort(slots, kind="stable")
        words = _Words(block.data)
        odd = np.flatnonzero(self._layout.need.take(slots) > block.length)
        partial: dict[tuple[int, int], int] = {}
        rows_known = len(order) - int(counts[known:].sum())
        if len(odd):
            rows, partial = self._odd_rows(block, slots, odd, order[:rows_known], counts[:known], words)
        else:
            shape = np.repeat(self._layout.shape, counts[:known])
            rows = _Rows(order[:rows_known], counts[:known], None, shape)
        signals = self._columns(rows, words, block.time_ns)
        unknown, unknown_last = self._unknown(block, order[rows_known:], counts[known:])
        return Decoded(signals, unknown, partial, rows.order.take(signals.row_start[1:] - 1), unknown_last)

    def _odd_rows(
        self,
        block: FrameBlock,
        slots: NDArray[np.uint16],
        odd: NDArray[np.intp],
        order: NDArray[np.int64],
        counts: NDArray[np.int64],
        words: _Words,
    ) -> tuple[_Rows, dict[tuple[int, int], int]]:
        """Frames that are not all of the shape that their id says, and how many are decoded in part."""
        plan, layout = self.plan, self._layout
        slot, length = slots.take(odd), block.length.take(odd)
        shapes = self._walked(words, odd, layout.state.take(slot), length)
        cut = np.flatnonzero(plan.shape_tables()[0].take(shapes) > length)
        if len(cut):
            shapes[cut] = self._walk.truncate(shapes[cut], length[cut])
        variants = layout.variants_of(slot, shapes)  # before the others are read: it may number anew
        variant = layout.whole.take(slots, mode="clip") if len(layout.whole) else np.zeros(len(slots), np.int64)
        variant[odd] = variants
        variant = variant.take(order)
        return _Rows(order, counts, variant, layout.variant_shape.take(variant)), self._partial(slot, shapes, length)

    def _walked(
        self, words: _Words, rows: NDArray[np.intp], states: NDArray[np.int32], lengths: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """The shape at the end of each row's way along the multiplexors, however long the frame."""
        shapes = self._walk.table.shape.take(states)
        walking = np.flatnonzero(shapes < 0)
        while len(walking):
            state = states[walking]
            values = words.read_multiplexors(self._walk.table, rows[walking], state, lengths[walking])
            states[walking] = state = self._walk.advance(state, values)
            shapes[walking] = self._walk.table.shape.take(state)
            walking = walking[shapes[walking] < 0]
        return shapes

    def _partial(
        self, slots: NDArray[np.uint16], shapes: NDArray[np.int32], lengths: NDArray[np.uint8]
    ) -> dict[tuple[int, int], int]:
        """How many of these frames are short, and how many select nothing, by group key."""
        short = lengths < self._layout.declared.take(slots)
        unselected = self.plan.shape_tables()[1].take(shapes) == Defect.MULTIPLEXOR
        found = {}
        for defect, rows in ((Defect.SHORT, short), (Defect.MULTIPLEXOR, unselected)):
            if rows.any():
                numbers = np.bincount(slots[rows])
                for slot in np.flatnonzero(numbers).tolist():
                    found[int(self._ids.key[slot]), int(defect)] = int(numbers[slot])
        return found

    def _columns(self, rows: _Rows, words: _Words, time_ns: NDArray[np.int64]) -> SignalBlock:
        layout = self._layout
        groups = np.flatnonzero(rows.counts)
        group_rows = rows.counts.take(groups)
        row_start = starts(group_rows)
        counts = layout.column_counts(rows.counts, rows.variant)
        columns = np.flatnonzero(counts)
        counts = counts.take(columns)
        slot = layout.slot.take(columns)
        group_of = np.zeros(len(rows.counts), np.int32)
        group_of[groups] = self._counting(len(groups))
        group = group_of.take(slot)
        start = starts(counts)
        index = np.repeat(row_start.take(group) - start[:-1], counts)
        index += self._counting(len(index))
        if rows.variant is not None:
            some = np.flatnonzero(counts < group_rows.take(group))
            if len(some):
                self._gather_rows(index, rows.variant, columns, some, start)
        return SignalBlock(
            self._ids.key.take(groups),
            row_start,
            time_ns.take(rows.order),
            rows.shape,
            group,
            layout.signal.take(columns),
            start,
            self._values(words, rows.order, index, columns, counts),
            layout.bits.take(columns),
            self.plan.shapes,
        )

    def _counting(self, count: int) -> NDArray[np.int64]:
        """0, 1, … count - 1."""
        return self._numbers[:count] if count <= NUMBERS_KEPT else np.arange(count)

    def _gather_rows(
        self,
        index: NDArray[np.int64],
        variant: NDArray[np.int64],
        columns: NDArray[np.int64],
        some: NDArray[np.int64],
        start: NDArray[np.int64],
    ) -> None:
        """Write into `index` the rows of those columns that not all frames of their id carry."""
        layout = self._layout
        wanted = np.zeros(len(layout.slot), np.bool_)
        wanted[columns[some]] = True
        # Of each variant only such columns; of each row only variants that have any.
        members = np.flatnonzero(wanted.take(layout.member_column))
        of_variant = np.searchsorted(members, layout.member_start)
        here, first = np.diff(of_variant), of_variant[:-1]
        rows = np.flatnonzero(here.take(variant))
        each = here.take(variant[rows])
        cells = layout.member_column.take(members.take(runs(first.take(variant[rows]), each)))
        if len(layout.slot) <= 1 << 16:
            cells = cells.astype(np.uint16)  # which is sorted in one pass
        index[runs(start[some], np.diff(start)[some])] = np.repeat(rows, each).take(np.argsort(cells, kind="stable"))

    def _values(
        self,
        words: _Words,
        order: NDArray[np.int64],
        index: NDArray[np.int64],
        columns: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.uint64]:
        """The raw value of each column's each row. index: into `order`."""
        layout = self._layout
        if not words.classic:
            return self._windowed(words, order.take(index), columns, counts)
        motorola = layout.motorola.take(columns)
        mixed = bool(motorola.any())
        sorted_words = words.sorted_by(order, swapped=mixed)
        if mixed and not motorola.all():
            sorted_words = np.concatenate([sorted_words, sorted_words.byteswap()])
            index += np.repeat(np.where(motorola, 0, len(order)), counts)
        values: NDArray[np.uint64] = sorted_words.take(index)
        values >>= np.repeat(layout.frame_shift.take(columns), counts)
        values &= np.repeat(layout.mask.take(columns), counts)
        return values

    def _windowed(
        self, words: _Words, rows: NDArray[np.int64], columns: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """The same of a block with CAN FD frames. rows: of the block."""
        layout = self._layout
        shift, over, motorola = layout.shift.take(columns), layout.over.take(columns), layout.motorola.take(columns)
        at = np.repeat(layout.byte.take(columns), counts)
        values = words.read(rows, at, np.repeat(np.where(over > 0, 0, shift), counts), np.repeat(motorola, counts))
        if over.any():
            long = np.flatnonzero(np.repeat(over > 0, counts))
            extra, intel = np.repeat(over, counts)[long].astype(np.uint64), ~np.repeat(motorola, counts)[long]
            ninth, window = words.ninth_bytes(rows[long], at[long]), values[long]
            low = np.repeat(shift, counts)[long]
            from_intel = (window >> np.where(intel, low, 0)) | (ninth << np.where(intel, np.uint64(64) - low, 0))
            from_motorola = (window << extra) | (ninth >> (np.uint64(8) - extra))
            values[long] = np.where(intel, from_intel, from_motorola)
        values &= np.repeat(layout.mask.take(columns), counts)
        return values

    def _unknown(
        self, block: FrameBlock, order: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[dict[tuple[int, int], int], NDArray[np.int64]]:
        """Frames of each unknown id, and the rows of their last ones."""
        listed = counts[:-1]
        ids = np.flatnonzero(listed)
        found = zip(self._ids.unknown.take(ids).tolist(), listed.take(ids).tolist(), strict=True)
        unknown = {(key >> 32, key & 0xFFFF_FFFF): count for key, count in found}
        last = order.take(np.cumsum(listed.take(ids)) - 1)
        if counts[-1]:
            rest = order[-int(counts[-1]) :][::-1]
            keys = (block.bus[rest].astype(np.uint64) << np.uint64(32)) | block.can_id[rest]
            each, first, numbers = np.unique(keys, return_index=True, return_counts=True)
            unknown |= {(k >> 32, k & 0xFFFF_FFFF): n for k, n in zip(each.tolist(), numbers.tolist(), strict=True)}
            last = np.concatenate([last, rest[first]])
        return unknown, last


class _Words:
    """The payloads of a block, ready to be read as 64-bit words in either byte order."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._width: int = data.shape[1]
        if self._width == 8:
            self._words = data.view("<u8").ravel()
        else:
            self._bytes = np.zeros(data.size + 9, np.uint8)
            self._bytes[: data.size] = data.ravel()
            # A window of eight bytes may begin at any byte: strides of 1, not of 8.
            self._windows: NDArray[np.uint64] = np.ndarray(
                data.size + 1, dtype="<u8", buffer=self._bytes.data, strides=(1,)
            )

    @property
    def classic(self) -> bool:
        """True where every frame has at most eight bytes."""
        return self._width == 8

    def sorted_by(self, order: NDArray[np.int64], *, swapped: bool) -> NDArray[np.uint64]:
        """All frames in another order, read as Intel words, or swapped as Motorola ones. Classic blocks only."""
        words: NDArray[np.uint64] = self._words.take(order)
        return words.byteswap(inplace=True) if swapped else words

    def read_multiplexors(
        self, walk: StateTable, rows: NDArray[np.intp], states: NDArray[np.int32], lengths: NDArray[np.uint8]
    ) -> NDArray[np.uint64]:
        """The value of the multiplexor that each row's state reads; 0 where the frame is too short for it."""
        shift, mask = walk.shift.take(states), walk.mask.take(states)
        byte, motorola = walk.byte.take(states), walk.motorola.take(states)
        values = self.read(rows, byte, shift, motorola) & mask
        values[walk.extent.take(states) > lengths] = 0
        return values

    def read(
        self,
        rows: NDArray[np.intp],
        byte: NDArray[np.int64],
        shift: NDArray[np.uint64],
        motorola: NDArray[np.bool_],
    ) -> NDArray[np.uint64]:
        """The windows of eight bytes that begin at a byte of a row, read in either order and shifted right."""
        if self.classic:
            windows = self._words.take(rows)
            windows = np.where(motorola, windows.byteswap(), windows)
            # The whole frame is the window: what an Intel one has before its first byte is shifted out, and
            # what a Motorola one has after its last.
            offset = (byte << 3).astype(np.uint64)
            windows >>= np.where(motorola, 0, offset).astype(np.uint64)
            windows <<= np.where(motorola, offset, 0).astype(np.uint64)
        else:
            windows = self._windows[rows * self._width + byte]
            windows = np.where(motorola, windows.byteswap(), windows)
        shifted: NDArray[np.uint64] = windows >> shift
        return shifted

    def ninth_bytes(self, rows: NDArray[np.intp], byte: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The byte after each window."""
        ninth: NDArray[np.uint64] = self._bytes[rows * self._width + byte + 8].astype(np.uint64)
        return ninth
