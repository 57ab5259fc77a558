# SPDX-License-Identifier: Apache-2.0
"""What frames of the ids met so far carry, as flat tables: how often a slot and a shape come tells what columns there
are, and how long they are.

    column   a signal of a slot, with its field (place, shift, mask)
    variant  a shape in which frames of a slot came; a slot that is neither multiplexed, raw nor was ever short has one
    member   a column of a variant

Columns are in the order of slots, then signals; variants in that of slots, then shapes. Variants are met as ids are;
all is numbered anew then, in a handful of numpy operations, for on a bus of strangers it is done with each block. Past
`MEMBERS_MAX` members the variants met are forgotten, and met again as they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.blocks import find, runs, starts
from agent.decode.plan import RAW, Defect
from agent.decode.walk import frame_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.ids import Ids
    from agent.decode.plan import Field, Plan
    from agent.decode.walk import MultiplexerWalk

ALWAYS_ODD = 0xFF
"""More bytes than any frame has."""
MEMBERS_MAX = 262_144
NUMBERED_MAX = 1 << 19
"""Room for the variants of slots by the shapes of their messages; where it is too little they are searched for."""
MANY = -1


class Layout:
    """The tables of the slots met.

    need     uint8 (N,)  bytes with which a frame of a slot has the shape `whole`; `ALWAYS_ODD` where that depends
    declared uint8 (N,)  bytes that the DBC file says · declared_max: the most of them
    state    int64 (N,)  where the walk along a slot's multiplexors begins, -1 of raw frames; any_raw
    shape    int32 (N,)  the shape of a slot's whole frames; 0 where that depends
    whole    int64 (N,)  the variant of that; P where that depends

    variant_shape  int32 (P,) · member_start int64 (P+1,), member_column int64 (M,)  the columns of a variant

    slot, byte, over int64 · signal int32 · bits uint8 · shift, mask uint64 · motorola bool (C,)  the columns
    frame_shift    uint64 (C,)  how far a classic frame, as one word, is shifted right
    sources_start  int64 (C,), sources int64 (M,)  the variants that have a column
    only           int64 (C,)  the one variant that does, `MANY` where there are more
    any_shared     whether a column is of several variants of a slot, but not of all

    defective      int64 (D,)  the variants that carry less than their id says, but for short ones
    defective_slot, defect  lists of D  the slot and the `Defect` of each
    """

    def __init__(self, plan: Plan, walk: MultiplexerWalk, ids: Ids) -> None:
        self._plan, self._walk, self._ids = plan, walk, ids
        self._fields = _Fields(plan)
        self._met_key = np.empty(0, np.uint64)
        self._met_shape = np.empty(0, np.int64)
        self.tabulate()

    def forget(self) -> None:
        """Shapes have other numbers now: no variant has been met."""
        self._met_key, self._met_shape = np.empty(0, np.uint64), np.empty(0, np.int64)
        self.tabulate()

    def variants_of(self, slots: NDArray[np.int64], shapes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The variant of each frame's slot and shape; unseen ones are met."""
        found = self._find(slots, shapes)
        if found.min(initial=0) < 0:
            keys = np.unique((slots << 32) | shapes)  # all of them: none of the block's may be forgotten now
            self._met_key = np.concatenate([self._met_key, self._ids.key.take(keys >> 32)])
            self._met_shape = np.concatenate([self._met_shape, keys & 0xFFFF_FFFF])
            self.tabulate(len(keys))
            found = self._find(slots, shapes)
        return found

    def _find(self, slots: NDArray[np.int64], shapes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Likewise; -1 where it is not met."""
        if self._variant_at is not None:
            if len(self._plan.shapes) > self._shapes_known and int(shapes.max(initial=0)) >= self._shapes_known:
                return np.full(len(slots), -1)
            at = self._first_nth.take(slots)
            at += self._plan.shape_tables()[2].take(shapes)
            return self._variant_at.take(at)
        at, known = find(self._variant_key, (slots << 32) | shapes)
        return np.where(known, at, -1)

    def column_counts(self, slot_counts: NDArray[np.int64], variants: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """int64 (C,): how many values each column has.

        slot_counts: int64 (N,), frames · variants: int64 (P,), frames of each; None where all are whole
        """
        if variants is None and self._is_uniform:
            counts: NDArray[np.int64] = slot_counts.take(self.slot)
            return counts
        if variants is None:
            variants = np.zeros(len(self.variant_shape) + 1, np.int64)
            variants[self.whole] = slot_counts
        if not len(self.slot):
            return np.zeros(0, np.int64)
        found: NDArray[np.int64] = np.add.reduceat(variants.take(self.sources), self.sources_start)
        return found

    def tabulate(self, latest: int = 0) -> None:
        """Number anew, for the slots that there are now. latest: so many variants met last are not forgotten."""
        messages = self._ids.message
        each, of = np.unique(messages, return_inverse=True)
        states, shapes, declared, need = self._of_messages(each.tolist())
        self.state, self.declared, self.need = states.take(of), declared.take(of), need.take(of)
        self.any_raw = bool((states < 0).any())
        shape = shapes.take(of)
        fixed = np.flatnonzero(shape >= 0)
        variants = np.unique(np.concatenate([self._met(latest), (fixed << 32) | shape.take(fixed)]))
        self.declared_max = int(declared.max(initial=0))
        self.shape = np.maximum(shape, 0).astype(np.int32)
        self.whole = np.full(len(messages), len(variants))
        self.whole[fixed] = variants.searchsorted((fixed << 32) | shape.take(fixed))
        self._variant_key = variants
        self.variant_shape = (variants & 0xFFFF_FFFF).astype(np.int32)
        defects = self._plan.shape_tables()[1].take(self.variant_shape)
        self.defective = (defects >= Defect.MULTIPLEXOR).nonzero()[0]
        self.defective_slot = (variants.take(self.defective) >> 32).tolist()
        self.defect = defects.take(self.defective).tolist()
        self._is_uniform = len(variants) == len(messages) == len(fixed)  # each slot has one variant, the whole one
        self._number_variants(messages, each, of, variants >> 32)
        self._tabulate_columns(variants >> 32)

    def _of_messages(
        self, messages: list[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        """Of each: the state that its walk begins in, the shape of whole frames or -1, bytes declared and needed."""
        plan = self._plan
        states = [-1 if message == RAW else self._walk.begin(message) for message in messages]
        found = self._walk.table.shape
        shapes = [-1 if state < 0 else int(found[state]) for state in states]
        declared = [plan.length(message) for message in messages]
        need = [
            ALWAYS_ODD if shape < 0 else max(plan.shape[shape].extent, length)
            for length, shape in zip(declared, shapes, strict=True)
        ]
        return (
            np.array(states, np.int64),
            np.array(shapes, np.int64),
            np.array(declared, np.uint8),
            np.array(need, np.uint8),
        )

    def _met(self, latest: int) -> NDArray[np.int64]:
        """Slot and shape, as one number, of the variants met, of slots that are still there."""
        slots, stays = find(self._ids.key, self._met_key)
        key, shape = self._met_key.compress(stays), self._met_shape.compress(stays)
        pairs = (slots.compress(stays) << 32) | shape
        _, last = np.unique(pairs[::-1], return_index=True)
        at = np.sort(len(pairs) - 1 - last)
        carried = np.cumsum([len(self._plan.shapes[each]) for each in shape.take(at).tolist()])
        if len(at) and carried[-1] > MEMBERS_MAX:
            at = at[min(int(carried.searchsorted(carried[-1] - MEMBERS_MAX // 2)), len(at) - latest) :]
        self._met_key, self._met_shape = key.take(at), shape.take(at)
        found: NDArray[np.int64] = pairs.take(at)
        return found

    def _number_variants(
        self, messages: NDArray[np.int64], each: NDArray[np.int64], of: NDArray[np.intp], slots: NDArray[np.int64]
    ) -> None:
        """Room for the variants of each slot, by the number of their shape among those of its message."""
        room = np.array([self._plan.shapes_of(message) for message in each.tolist()], np.int64)
        self._shapes_known = len(self._plan.shapes)
        self._first_nth = starts(room.take(of)) if len(messages) else np.zeros(1, np.int64)
        self._variant_at = None
        if self._first_nth[-1] <= NUMBERED_MAX:
            self._variant_at = np.full(int(self._first_nth[-1]), -1)
            nth = self._plan.shape_tables()[2].take(self.variant_shape)
            self._variant_at[self._first_nth.take(slots) + nth] = np.arange(len(slots))

    def _tabulate_columns(self, slots: NDArray[np.int64]) -> None:
        carried, counts = self._carried()
        variant = np.repeat(np.arange(len(slots)), counts)
        identity = np.repeat(slots << 16, counts) | carried
        if self._is_uniform:
            columns, self.member_column = identity, np.arange(len(identity))
        else:
            columns, self.member_column = np.unique(identity, return_inverse=True)
        self.member_start = starts(counts)
        by_column = np.argsort(self.member_column, kind="stable")
        self.sources = variant[by_column]
        self.sources_start = np.searchsorted(self.member_column[by_column], np.arange(len(columns)))
        self.only = self.sources.take(self.sources_start) if len(columns) else np.empty(0, np.int64)
        self.slot, self.signal = columns >> 16, (columns & 0xFFFF).astype(np.int32)
        sources = np.diff(self.sources_start, append=len(self.sources))
        self.only[sources > 1] = MANY
        self.any_shared = bool(((sources > 1) & (sources < np.bincount(slots).take(self.slot))).any())
        table = self._fields
        at = table.places(self._ids.message.take(self.slot), self.signal)
        self.byte, self.over = table.byte.take(at), table.over.take(at)
        self.shift, self.mask = table.shift.take(at), table.mask.take(at)
        self.motorola, self.bits = table.motorola.take(at), table.bits.take(at)
        self.frame_shift = frame_shift(self.byte, self.shift, self.motorola)

    def _carried(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The signals of each variant, end to end, and how many they are."""
        each, of = np.unique(self.variant_shape, return_inverse=True)
        shapes = [self._plan.shapes[shape] for shape in each.tolist()]
        sizes = np.array([len(shape) for shape in shapes], np.int64)
        flat = np.array([signal for shape in shapes for signal in shape], np.int64)
        counts = sizes.take(of) if len(sizes) else np.empty(0, np.int64)
        return flat.take(runs(starts(sizes)[:-1].take(of), counts)), counts


class _Fields:
    """The fields of the messages met, end to end; arrays as of `Layout`, by place."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._first: dict[int, int] = {}
        self.byte, self.over = np.empty((2, 0), np.int64)
        self.shift, self.mask = np.empty((2, 0), np.uint64)
        self.motorola, self.bits = np.empty(0, np.bool_), np.empty(0, np.uint8)

    def places(self, messages: NDArray[np.int64], signals: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where the fields of these signals stand."""
        each, of = np.unique(messages, return_inverse=True)
        fresh = [message for message in each.tolist() if message not in self._first]
        if fresh:
            self._enter(fresh)
        first = np.array([self._first[message] for message in each.tolist()], np.int64)
        return first.take(of) + signals if len(first) else np.empty(0, np.int64)

    def _enter(self, messages: list[int]) -> None:
        fields: list[Field] = []
        for message in messages:
            self._first[message] = len(self.byte) + len(fields)
            fields += self._plan.fields(message)
        self.byte = np.concatenate([self.byte, np.array([field.byte for field in fields], np.int64)])
        self.over = np.concatenate([self.over, np.array([field.over for field in fields], np.int64)])
        self.shift = np.concatenate([self.shift, np.array([field.shift for field in fields], np.uint64)])
        self.mask = np.concatenate([self.mask, np.array([field.mask for field in fields], np.uint64)])
        self.motorola = np.concatenate([self.motorola, np.array([field.motorola for field in fields], np.bool_)])
        self.bits = np.concatenate([self.bits, np.array([field.bits for field in fields], np.uint8)])
