# SPDX-License-Identifier: Apache-2.0
"""Decoding a block of frames: a handful of numpy operations over all its frames and signals at once.

The frames are sorted by slot (message, bus, id), which makes every column of the result one contiguous piece;
then one gather, one shift and one mask produce every raw value of the block. A loop over messages would lose
most of the gain: at 100 ms of a busy bus a message has only a handful of frames.

Classic frames are read as one 64-bit word each, in both byte orders. A block that holds a longer CAN FD frame
reads an 8-byte window at each signal's own first byte instead, and a ninth byte where a signal needs it.

The raw values equal those of cantools for every frame that cantools decodes. Frames that it refuses (shorter
than the DBC says, a multiplexor value that selects nothing) are decoded as far as they go and counted.

Blocks of more than about 40,000 frames fall out of the processor's cache: sources deliver smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.plan import UNKNOWN, Defect
from agent.model import SignalBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import FrameBlock


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
class _Sorted:
    """A block's known frames in the order of their groups.

    order  int64 (R,)   row of the block · key uint64 (G,) · row_start int64 (G+1,) · shape int32 (R,)
    """

    order: NDArray[np.int64]
    key: NDArray[np.uint64]
    row_start: NDArray[np.int64]
    shape: NDArray[np.int32]


class Decoder:
    """Decodes blocks by a plan, which learns from them what ids, multiplexor values and lengths occur."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def decode(self, block: FrameBlock) -> Decoded:
        """All raw values of a block, and counts of what could not be decoded."""
        plan = self.plan
        plan.forget()
        slots = plan.slots_of(block.bus, block.can_id)
        words = _Words(block.data)
        shapes = self._shapes(block, slots, words)
        table = _sort(plan, slots, shapes)
        signals = _columns(plan, table, words, block.time_ns.take(table.order))
        unknown, unknown_last = _count_unknown(block, slots)
        return Decoded(
            signals,
            unknown,
            self._count_short(block, slots) | _count_unselected(plan, table),
            table.order.take(table.row_start[1:] - 1),
            unknown_last,
        )

    def _shapes(self, block: FrameBlock, slots: NDArray[np.uint16], words: _Words) -> NDArray[np.int32]:
        """The shape of each frame; of no meaning for unknown ones."""
        plan = self.plan
        known = np.minimum(slots, max(0, len(plan.slots.state) - 1))
        if not len(plan.slots.state):
            return np.zeros(len(block), np.int32)
        states = plan.slots.state.take(known)
        shapes = plan.walk.shape.take(states)
        walking = np.flatnonzero((shapes < 0) & (slots != UNKNOWN))
        while len(walking):
            state = states[walking]
            values = words.read_multiplexors(plan, walking, state, block.length[walking])
            states[walking] = state = plan.advance(state, values)
            shapes[walking] = plan.walk.shape.take(state)
            walking = walking[shapes[walking] < 0]
        np.maximum(shapes, 0, out=shapes)
        cut = np.flatnonzero((plan.fields.extent.take(shapes) > block.length) & (slots != UNKNOWN))
        if len(cut):
            shapes[cut] = plan.truncate(shapes[cut], block.length[cut])
        return shapes

    def _count_short(self, block: FrameBlock, slots: NDArray[np.uint16]) -> dict[tuple[int, int], int]:
        if not len(self.plan.slots.key):
            return {}
        known = np.minimum(slots, len(self.plan.slots.key) - 1)
        short = (self.plan.slots.length.take(known) > block.length) & (slots != UNKNOWN)
        if not short.any():
            return {}
        keys, counts = np.unique(self.plan.slots.key[slots[short]], return_counts=True)
        return _by_defect(keys, counts, Defect.SHORT)


class _Words:
    """The payloads of a block, ready to be read as 64-bit words in either byte order."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._frames: int = data.shape[0]
        self._width: int = data.shape[1]
        if self._width == 8:
            intel = data.view("<u8").ravel()
            self._words = np.concatenate([intel, intel.byteswap()])
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

    def sorted_by(self, order: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Both readings of all frames in another order: (2 * len(order),), Intel first. Classic blocks only."""
        words: NDArray[np.uint64] = self._words.take(np.concatenate([order, order + self._frames]))
        return words

    def read_multiplexors(
        self, plan: Plan, rows: NDArray[np.intp], states: NDArray[np.int32], lengths: NDArray[np.uint8]
    ) -> NDArray[np.uint64]:
        """The value of the multiplexor that each row's state reads; 0 where the frame is too short for it."""
        walk = plan.walk
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
            windows = self._words.take(rows + np.where(motorola, self._frames, 0))
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


def _sort(plan: Plan, slots: NDArray[np.uint16], shapes: NDArray[np.int32]) -> _Sorted:
    known = len(slots) - int(np.count_nonzero(slots == UNKNOWN))
    order = np.argsort(slots, kind="stable")[:known]
    counts = np.bincount(slots, minlength=len(plan.slots.key))[: len(plan.slots.key)]
    present = np.flatnonzero(counts)
    starts = _starts(counts[present])
    keys = plan.slots.key[present]
    if len(keys) > 1 and not (keys[1:] > keys[:-1]).all():
        # Slots are numbered as they were met; groups go in the order of their keys.
        by_key = np.argsort(keys)
        order = order.take(_ragged(starts[by_key], counts[present][by_key]))
        keys, starts = keys[by_key], _starts(counts[present][by_key])
    return _Sorted(order, keys, starts, shapes.take(order))


def _columns(plan: Plan, table: _Sorted, words: _Words, time_ns: NDArray[np.int64]) -> SignalBlock:
    rows = len(table.order)
    row_start, shape = table.row_start, table.shape
    group_of_row = np.repeat(np.arange(len(table.key)), np.diff(row_start))
    changes = np.flatnonzero((shape[1:] != shape[:-1]) | (group_of_row[1:] != group_of_row[:-1])) + 1
    mixed = len(changes) + 1 > len(table.key) and rows > 0
    if mixed:
        # Some groups have frames of several shapes: sort those by shape, decode, and put the columns in order.
        within = np.argsort(group_of_row * (int(shape.max()) + 1) + shape, kind="stable")
        shape_sorted, group_sorted = shape.take(within), group_of_row.take(within)
        changes = np.flatnonzero((shape_sorted[1:] != shape_sorted[:-1]) | (group_sorted[1:] != group_sorted[:-1])) + 1
        piece_row = np.concatenate([[0], changes])
    else:
        within = np.arange(rows)
        shape_sorted, group_sorted = shape, group_of_row
        piece_row = row_start[:-1]
    if not rows:
        piece_row = np.empty(0, np.int64)
    piece_rows = np.diff(np.append(piece_row, rows))
    piece_shape, piece_group = shape_sorted.take(piece_row), group_sorted.take(piece_row)
    fields = plan.fields
    piece_fields = np.diff(fields.start).take(piece_shape)
    column_piece = np.repeat(np.arange(len(piece_row)), piece_fields)
    field = _ragged(fields.start.take(piece_shape), piece_fields)
    counts = piece_rows.take(column_piece)
    start = _starts(counts)
    values = _read_columns(plan, words, table.order.take(within), piece_row.take(column_piece), field, counts, start)
    group, signal = piece_group.take(column_piece), fields.signal.take(field)
    bits = fields.bits.take(field)
    if mixed:
        group, signal, bits, start, values = _merge_pieces(
            group, signal, bits, start, values, within.take(_ragged(piece_row.take(column_piece), counts))
        )
    return SignalBlock(
        table.key,
        row_start,
        time_ns,
        shape,
        group.astype(np.int32),
        signal,
        start,
        values,
        bits,
        plan.shapes,
    )


def _read_columns(
    plan: Plan,
    words: _Words,
    order: NDArray[np.int64],
    first_row: NDArray[np.int64],
    field: NDArray[np.int64],
    counts: NDArray[np.int64],
    start: NDArray[np.int64],
) -> NDArray[np.uint64]:
    """The values of all columns, end to end: column c is field[c] of counts[c] rows of `order` from first_row[c]."""
    fields = plan.fields
    shift, mask = fields.shift.take(field), fields.mask.take(field)
    byte, motorola = fields.byte.take(field), fields.motorola.take(field)
    if words.classic:
        both = words.sorted_by(order)
        # One shift to the right: a Motorola window that begins at byte b ends 8 * b bits before the word does.
        offset = (byte << 3).astype(np.uint64)
        shift = np.where(motorola, shift - offset, shift + offset)
        begin = first_row + np.where(motorola, len(order), 0) - start[:-1]
        values = both.take(np.arange(start[-1]) + np.repeat(begin, counts))
        values >>= np.repeat(shift, counts)
        values &= np.repeat(mask, counts)
        return values
    rows = order.take(_ragged(first_row, counts))
    at = np.repeat(byte, counts)
    over = fields.over.take(field)
    values = words.read(rows, at, np.repeat(np.where(over > 0, 0, shift), counts), np.repeat(motorola, counts))
    if over.any():
        long = np.flatnonzero(np.repeat(over > 0, counts))
        extra, intel = np.repeat(over, counts)[long].astype(np.uint64), ~np.repeat(motorola, counts)[long]
        ninth, window = words.ninth_bytes(rows[long], at[long]), values[long]
        low = np.repeat(shift, counts)[long]
        from_intel = (window >> np.where(intel, low, 0)) | (ninth << np.where(intel, np.uint64(64) - low, 0))
        from_motorola = (window << extra) | (ninth >> (np.uint64(8) - extra))
        values[long] = np.where(intel, from_intel, from_motorola)
    values &= np.repeat(mask, counts)
    return values


def _merge_pieces(
    group: NDArray[np.int64],
    signal: NDArray[np.int32],
    bits: NDArray[np.uint8],
    start: NDArray[np.int64],
    values: NDArray[np.uint64],
    row: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint64]]:
    """Join the pieces of each (group, signal) into one column, its values in the order of their rows."""
    key = group * 65_536 + signal
    columns, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    counts = np.diff(start)
    column_of_value = np.repeat(inverse, counts)
    order = np.argsort(column_of_value * (int(row.max(initial=0)) + 1) + row, kind="stable")
    total = np.bincount(inverse, weights=counts, minlength=len(columns)).astype(np.int64)
    return columns >> 16, signal[first], bits[first], _starts(total), values.take(order)


def _count_unknown(
    block: FrameBlock, slots: NDArray[np.uint16]
) -> tuple[dict[tuple[int, int], int], NDArray[np.int64]]:
    """Frames of each unknown id, and the rows of their last ones."""
    rows = np.flatnonzero(slots == UNKNOWN)[::-1]
    if not len(rows):
        return {}, rows
    keys = (block.bus[rows].astype(np.uint64) << np.uint64(32)) | block.can_id[rows]
    ids, first, counts = np.unique(keys, return_index=True, return_counts=True)
    pairs = zip(ids.tolist(), counts.tolist(), strict=True)
    return {(key >> 32, key & 0xFFFF_FFFF): count for key, count in pairs}, rows[first]


def _count_unselected(plan: Plan, table: _Sorted) -> dict[tuple[int, int], int]:
    bad = plan.fields.defect.take(table.shape) == Defect.MULTIPLEXOR if len(table.shape) else table.shape > 0
    if not bad.any():
        return {}
    groups = np.searchsorted(table.row_start, np.flatnonzero(bad), side="right") - 1
    keys, counts = np.unique(table.key[groups], return_counts=True)
    return _by_defect(keys, counts, Defect.MULTIPLEXOR)


def _by_defect(keys: NDArray[np.uint64], counts: NDArray[np.int64], defect: Defect) -> dict[tuple[int, int], int]:
    return {(key, int(defect)): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where pieces of these lengths begin when laid end to end, and where the last ends: (len + 1,)."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _ragged(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """first[0], first[0] + 1, … (counts[0] of them), first[1], …: the indexes of pieces laid end to end."""
    starts = _starts(counts)
    return np.arange(starts[-1]) + np.repeat(first - starts[:-1], counts)
