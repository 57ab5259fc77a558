# SPDX-License-Identifier: Apache-2.0
"""What frames of the ids met so far carry, as flat tables: how often a slot and a shape come tells what columns there
are, and how long they are.

    column   a signal of a slot, with its field (place, shift, mask)
    variant  a shape in which frames of a slot came; a slot that is neither multiplexed nor was ever short has one
    member   a column of a variant

Columns are in the order of slots, then signals; variants in that of slots, then shapes. Variants are met as ids are;
all is numbered anew then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.arrays import starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.ids import Ids
    from agent.decode.plan import Plan
    from agent.decode.walk import Walk

ALWAYS_ODD = 0xFF
"""More bytes than any frame has."""


class Layout:
    """The tables of the slots met.

    need     uint8 (rest+1,)  bytes with which a frame of a slot has the shape `whole`; `ALWAYS_ODD` with multiplexors
    declared uint8 (N,)       bytes that the DBC file says
    state    int32 (N,)       where the walk along a slot's multiplexors begins
    shape    int32 (N,)       the shape of a slot's whole frames; 0 with multiplexors
    whole    int64 (N,)       the variant of that; P with multiplexors

    variant_shape  int32 (P,) · member_start int64 (P+1,), member_column int64 (M,)  the columns of a variant

    slot, byte, over int64 · signal int32 · bits uint8 · shift, mask uint64 · motorola bool (C,)  the columns
    frame_shift    uint64 (C,)  how far a classic frame, as one word, is shifted right
    sources_start  int64 (C,), sources int64 (M,)  the variants that have a column
    """

    def __init__(self, plan: Plan, walk: Walk, ids: Ids) -> None:
        self._plan, self._walk, self._ids = plan, walk, ids
        self._met: set[tuple[int, int]] = set()
        self.tabulate()

    @property
    def uniform(self) -> bool:
        """Whether each slot has one variant, the whole one."""
        return len(self.variant_shape) == len(self.whole)

    def variants_of(self, slots: NDArray[np.uint16], shapes: NDArray[np.int32]) -> NDArray[np.int64]:
        """The variant of each frame's slot and shape; unseen ones are met."""
        keys = (slots.astype(np.int64) << 32) | shapes
        at = self._variant_key.searchsorted(keys)
        if not len(self._variant_key) or (self._variant_key.take(at, mode="clip") != keys).any():
            met = np.unique(keys).tolist()
            self._met.update((int(self._ids.key[key >> 32]), key & 0xFFFF_FFFF) for key in met)
            self.tabulate()
            at = self._variant_key.searchsorted(keys)
        return at

    def column_counts(self, slot_counts: NDArray[np.int64], variants: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """int64 (C,): how many values each column has.

        slot_counts: int64 (N,), frames · variants: int64, of each frame; None where all are whole
        """
        if variants is None and self.uniform:
            counts: NDArray[np.int64] = slot_counts.take(self.slot)
            return counts
        if variants is None:
            counts = np.zeros(len(self.variant_shape) + 1, np.int64)
            counts[self.whole] = slot_counts
        else:
            counts = np.bincount(variants, minlength=len(self.variant_shape))
        if not len(self.slot):
            return np.zeros(0, np.int64)
        found: NDArray[np.int64] = np.add.reduceat(counts.take(self.sources), self.sources_start)
        return found

    def tabulate(self) -> None:
        """Number anew, for the slots that there are now."""
        plan, messages = self._plan, self._ids.message
        states = [self._walk.begin(message) for message in messages]
        shapes = [int(self._walk.table.shape[state]) for state in states]
        declared = [plan.length(message) for message in messages]
        self._need = [
            ALWAYS_ODD if shape < 0 else max(plan.shape[shape].extent, length)
            for length, shape in zip(declared, shapes, strict=True)
        ]
        self.declared = np.array(declared, np.uint8)
        self.tabulate_need()
        keys = self._ids.key.tolist()
        slot_of = {key: slot for slot, key in enumerate(keys)}
        pairs = {(slot_of[key], shape) for key, shape in self._met}
        variants = sorted(pairs | {(slot, shape) for slot, shape in enumerate(shapes) if shape >= 0})
        self.state = np.array(states, np.int32)
        self.shape = np.maximum(np.array(shapes, np.int32), 0)
        number = {variant: index for index, variant in enumerate(variants)}
        self.whole = np.array([number.get(pair, len(variants)) for pair in enumerate(shapes)], np.int64)
        self.variant_shape = np.array([shape for _, shape in variants], np.int32)
        self._variant_key = np.array([slot << 32 | shape for slot, shape in variants], np.int64)
        self._tabulate_columns(variants)

    def tabulate_need(self) -> None:
        """Take in new unknown ids, which need nothing."""
        self.need = np.array(self._need + [0] * (self._ids.rest + 1 - len(self._need)), np.uint8)

    def _tabulate_columns(self, variants: list[tuple[int, int]]) -> None:
        plan = self._plan
        carried = [plan.shapes[shape] for _, shape in variants]
        counts = [len(signals) for signals in carried]
        slots = np.repeat(np.array([slot for slot, _ in variants], np.int64), counts)
        signals = np.array([signal for each in carried for signal in each], np.int64)
        variant = np.repeat(np.arange(len(variants)), counts)
        columns, self.member_column = np.unique(slots << 16 | signals, return_inverse=True)
        self.member_start = starts(counts)
        by_column = np.argsort(self.member_column, kind="stable")
        self.sources = variant[by_column]
        self.sources_start = np.searchsorted(self.member_column[by_column], np.arange(len(columns)))
        self.slot, self.signal = columns >> 16, (columns & 0xFFFF).astype(np.int32)
        at = list(zip(self.slot.tolist(), self.signal.tolist(), strict=True))
        fields = [plan.fields(self._ids.message[slot])[signal] for slot, signal in at]
        self.byte = np.array([field.byte for field in fields], np.int64)
        self.over = np.array([field.over for field in fields], np.int64)
        self.shift = np.array([field.shift for field in fields], np.uint64)
        self.mask = np.array([field.mask for field in fields], np.uint64)
        self.motorola = np.array([field.motorola for field in fields], np.bool_)
        self.bits = np.array([field.bits for field in fields], np.uint8)
        # One shift of the whole frame to the right: a Motorola window that begins at byte b ends 8 * b bits before the
        # frame does, as a word of 64 bits.
        offset = self.byte << 3
        shift = self.shift.astype(np.int64) + np.where(self.motorola, -offset, offset)
        self.frame_shift = np.maximum(shift, 0).astype(np.uint64)
