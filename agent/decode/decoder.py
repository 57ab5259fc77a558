# SPDX-License-Identifier: Apache-2.0
"""Decoding a block of frames: a handful of numpy operations over all its frames and signals at once.

The frames are sorted by slot (message, bus, id), which makes almost every column of the result one contiguous piece;
then one gather, one shift and one mask produce every raw value of the block. A loop over messages would lose
most of the gain: at 100 ms of a busy bus a message has only a handful of frames. So would tables that are put together
for each block: they are those of all ids met so far (`agent.decode.layout`), of which a block has the most.

Classic frames are read as one 64-bit word each, in either byte order. A block that holds a longer CAN FD frame
reads an 8-byte window at each signal's own first byte instead, and a ninth byte where a signal needs it.

Frames that are *odd*, multiplexed, raw or shorter than the DBC file says, have their shapes looked up, all at once. The
rows of a signal that only one shape of an id carries then lie end to end in the order of shapes; only those that some
shapes share are sorted out value by value.

The raw values equal those of cantools for every frame that cantools decodes. Frames that it refuses (shorter
than the DBC says, a multiplexor value that selects nothing) are decoded as far as they go and counted.

Blocks of more than about 40,000 frames fall out of the processor's cache: sources deliver smaller ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.blocks import runs, starts
from agent.decode.ids import Ids
from agent.decode.layout import Layout
from agent.decode.plan import Defect
from agent.decode.walk import MultiplexerWalk
from agent.decode.words import Words
from agent.model import SignalBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
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
    outside       frames of ids that a DBC file knows, or that are kept raw, but that there was no room for; among the
                  unknown ones
    """

    signals: SignalBlock
    unknown: dict[tuple[int, int], int]
    partial: dict[tuple[int, int], int]
    last: NDArray[np.int64] = field(default_factory=_no_rows)
    unknown_last: NDArray[np.int64] = field(default_factory=_no_rows)
    outside: int = 0


@dataclass(frozen=True, slots=True)
class _Rows:
    """A block's known frames in the order of their slots.

    order     int64 (R,)  row of the block · counts int64 (N,)  frames of each slot
    shape     int32 (R,)  of each frame
    variant   int64 (R,)  of each frame; None where all are whole
    variants  int64 (P,)  frames of each variant; likewise
    """

    order: NDArray[np.int64]
    counts: NDArray[np.int64]
    shape: NDArray[np.int32]
    variant: NDArray[np.int64] | None = None
    variants: NDArray[np.int64] | None = None


class Decoder:
    """Decodes blocks by a plan; learns from them which ids, multiplexor values and lengths occur."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._ids = Ids(plan)
        self._walk = MultiplexerWalk(plan)
        self._layout = Layout(plan, self._walk, self._ids)
        self._tabulated = self._ids.changes
        self._numbers = np.arange(NUMBERS_KEPT)

    def decode(self, block: FrameBlock) -> Decoded:
        """All raw values of a block, and counts of what could not be decoded."""
        return self._decode(block, meets=True)

    def decode_again(self, block: FrameBlock) -> SignalBlock:
        """The raw values of frames that have been decoded before, those of ids that are still known."""
        return self._decode(block, meets=False).signals

    def _decode(self, block: FrameBlock, *, meets: bool) -> Decoded:
        slots = self._ids.slots_of(block, meets=meets)
        if self._walk.forget(renews=meets):
            self._layout.forget()
        elif self._ids.changes > self._tabulated:
            self._layout.tabulate()
        self._tabulated = self._ids.changes
        known, rest = len(self._ids.key), self._ids.rest
        counts = np.bincount(slots, minlength=rest + 1)
        order = slots.argsort(kind="stable")
        words = Words(block.data)
        rows_known = len(order) - int(counts[known:].sum())
        unknown, unknown_last = self._unknown(block, order[rows_known:], counts[known:])
        order, counts = order[:rows_known], counts[:known]
        length = block.length.take(order)
        odd = (self._layout.need.repeat(counts) > length).nonzero()[0]
        partial: dict[tuple[int, int], int] = {}
        if len(odd):
            rows, partial = self._odd_rows(order, counts, odd, length, words)
        else:
            rows = _Rows(order, counts, self._layout.shape.repeat(counts))
        signals = self._columns(rows, words, block.time_ns)
        last = rows.order.take(signals.row_start[1:] - 1)
        return Decoded(signals, unknown, partial, last, unknown_last, self._ids.outside)

    def _odd_rows(
        self,
        order: NDArray[np.int64],
        counts: NDArray[np.int64],
        odd: NDArray[np.intp],
        length: NDArray[np.uint8],
        words: Words,
    ) -> tuple[_Rows, dict[tuple[int, int], int]]:
        """Frames that are not all of the shape that their id says, and how many are decoded in part."""
        layout = self._layout
        slot = self._counting(len(counts)).repeat(counts)
        all_odd = len(odd) == len(order)
        of, lengths, rows = (slot, length, order) if all_odd else (slot.take(odd), length.take(odd), order.take(odd))
        shortest = int(lengths.min())
        states = layout.state.take(of)
        raw = (states < 0).nonzero()[0] if layout.any_raw else _no_rows()
        if len(raw):
            shapes = np.empty(len(states), np.int64)
            shapes[raw] = self._walk.raw(lengths.take(raw))
            walks = (states >= 0).nonzero()[0]
            args = rows.take(walks), states.take(walks), lengths.take(walks)
            shapes[walks] = self._walk.shapes_of(words, *args, shortest)
        else:
            shapes = self._walk.shapes_of(words, rows, states, lengths, shortest)
        if shortest < self.plan.extent_max:
            cut = (self.plan.shape_tables()[0].take(shapes) > lengths).nonzero()[0]
            if len(cut):
                shapes[cut] = self._walk.truncate(shapes[cut], lengths[cut])
        variants = layout.variants_of(of, shapes)  # before the others are read: it may number anew
        if not all_odd:
            variant = layout.whole.repeat(counts)
            variant[odd] = variants
            variants = variant
        each = np.bincount(variants, minlength=len(layout.variant_shape))
        short = of.compress(lengths < layout.declared.take(of)) if shortest < layout.declared_max else None
        return _Rows(order, counts, layout.variant_shape.take(variants), variants, each), self._partial(each, short)

    def _partial(self, variants: NDArray[np.int64], short: NDArray[np.int64] | None) -> dict[tuple[int, int], int]:
        """How many frames are short, and how many lack what their multiplexors select, by group key.

        variants: int64 (P,), frames of each · short: the slots of short frames
        """
        layout, found = self._layout, Counter[tuple[int, int]]()
        if len(layout.defective):
            numbers = variants.take(layout.defective).tolist()
            for number, slot, defect in zip(numbers, layout.defective_slot, layout.defect, strict=True):
                if number:
                    found[int(self._ids.key[slot]), defect] += number
        if short is not None:
            numbers = np.bincount(short)
            for slot in numbers.nonzero()[0].tolist():
                found[int(self._ids.key[slot]), int(Defect.SHORT)] += int(numbers[slot])
        return dict(found)

    def _columns(self, rows: _Rows, words: Words, time_ns: NDArray[np.int64]) -> SignalBlock:
        layout = self._layout
        groups = rows.counts.nonzero()[0]
        group_rows = rows.counts.take(groups)
        row_start = starts(group_rows)
        counts = layout.column_counts(rows.counts, rows.variants)
        columns = counts.nonzero()[0]
        counts = counts.take(columns)
        slot = layout.slot.take(columns)
        group_of = np.zeros(len(rows.counts), np.int32)
        group_of[groups] = self._counting(len(groups))
        group = group_of.take(slot)
        start = starts(counts)
        first, order, some = row_start.take(group), rows.order, _no_rows()
        if rows.variant is not None and rows.variants is not None:
            # What only one variant has lies end to end where rows are in the order of variants: after all others.
            by_variant = rows.variant.astype(_narrow(len(rows.variants))).argsort(kind="stable")
            order = np.concatenate([order, order.take(by_variant)])
            only = layout.only.take(columns)
            first = np.where(only < 0, first, starts(rows.variants).take(only) + len(by_variant))
            if layout.any_shared:
                some = ((only < 0) & (counts < group_rows.take(group))).nonzero()[0]
        index = (first - start[:-1]).repeat(counts)
        index += self._counting(len(index))
        if rows.variant is not None and len(some):
            self._gather_rows(index, rows.variant, columns, some, start)
        return SignalBlock(
            self._ids.key.take(groups),
            row_start,
            time_ns.take(rows.order),
            rows.shape,
            group,
            layout.signal.take(columns),
            start,
            self._values(words, order, index, columns, counts),
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
        """Write into `index` the rows of those columns that several variants of an id carry, but not all."""
        layout = self._layout
        wanted = np.zeros(len(layout.slot), np.bool_)
        wanted[columns[some]] = True
        # Of each variant only such columns; of each row only variants that have any.
        members = wanted.take(layout.member_column).nonzero()[0]
        of_variant = np.searchsorted(members, layout.member_start)
        here, first = np.diff(of_variant), of_variant[:-1]
        rows = here.take(variant).nonzero()[0]
        each = here.take(variant[rows])
        cells = layout.member_column.take(members.take(runs(first.take(variant[rows]), each)))
        cells = cells.astype(_narrow(len(layout.slot)))
        index[runs(start[some], np.diff(start)[some])] = np.repeat(rows, each).take(np.argsort(cells, kind="stable"))

    def _values(
        self,
        words: Words,
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
        sorted_words = words.of_rows(order, swapped=mixed)
        if mixed and not motorola.all():
            sorted_words = np.concatenate([sorted_words, sorted_words.byteswap()])
            index += np.repeat(np.where(motorola, 0, len(order)), counts)
        values: NDArray[np.uint64] = sorted_words.take(index)
        values >>= layout.frame_shift.take(columns).repeat(counts)
        values &= layout.mask.take(columns).repeat(counts)
        return values

    def _windowed(
        self, words: Words, rows: NDArray[np.int64], columns: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """The same of a block with CAN FD frames. rows: of the block."""
        layout = self._layout
        shift, over, motorola = layout.shift.take(columns), layout.over.take(columns), layout.motorola.take(columns)
        at = np.repeat(layout.byte.take(columns), counts)
        values = words.read(rows, at, np.repeat(np.where(over > 0, 0, shift), counts), np.repeat(motorola, counts))
        if over.any():
            long = np.repeat(over > 0, counts).nonzero()[0]
            extra, intel = np.repeat(over, counts)[long].astype(np.uint64), ~np.repeat(motorola, counts)[long]
            ninth, window = words.ninth_bytes(rows[long], at[long]), values[long]
            low = np.repeat(shift, counts)[long]
            from_intel = (window >> np.where(intel, low, 0)) | (ninth << np.where(intel, np.uint64(64) - low, 0))
            from_motorola = (window << extra) | (ninth >> (np.uint64(8) - extra))
            values[long] = np.where(intel, from_intel, from_motorola)
        values &= layout.mask.take(columns).repeat(counts)
        return values

    def _unknown(
        self, block: FrameBlock, order: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[dict[tuple[int, int], int], NDArray[np.int64]]:
        """Frames of each unknown id, and the rows of their last ones."""
        listed = counts[:-1]
        ids = listed.nonzero()[0]
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


def _narrow(count: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest type of the numbers below `count`: a stable sort takes a pass for each of its bytes."""
    if count <= 1 << 8:
        return np.uint8
    return np.uint16 if count <= 1 << 16 else np.uint64
