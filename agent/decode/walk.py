# SPDX-License-Identifier: Apache-2.0
"""Which shape a frame has, where that depends on its content: along a message's multiplexors, and where it is short.

    state       a point on the way along a message's multiplexors: which one to read next, or the shape reached
    transition  from a state and the value read to the next one; from a shape and a frame's length to a shorter shape

Both are made at first sight, so that no product of value ranges is ever enumerated. The transitions of a multiplexor of
at most `DENSE_BITS` bits lie in a table by value, as long as there is room (`DENSE_MAX`); all others in one that is
searched.

What is made at first sight comes from the bus, so it is bounded, by the values and signals that it is made of: of a
block no more than `LEARNED_MAX` of them are learned, and a frame beyond carries what it is known to carry without
(`Defect.UNREAD`); past `HELD_MAX` in all everything is forgotten and learned again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.blocks import find
from agent.decode.plan import MULTIPLEXOR_BITS_MAX, RAW, Defect, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.decode.words import Words
    from agent.model import SignalDefinition

LEARNED_MAX = 65_536
HELD_MAX = 262_144
DENSE_BITS = 12
DENSE_MAX = 1 << 18
TOGETHER_MAX = 2
"""So many multiplexors in a row are read of all frames at once; deeper ones only of frames that have one."""
_SHORT = 1 << 63
_UNKNOWN = 0
"""The state that values lead to which were never met."""


@dataclass(frozen=True, slots=True)
class StateTable:
    """The states; arrays of length T.

    shape   int64   the shape reached, -1 while there is a multiplexor to read, and of `_UNKNOWN`
    byte, shift, mask, motorola   that multiplexor's field
    frame_shift  uint64  how far a classic frame, as one word, is shifted right
    extent  int64   bytes a frame must have to carry it
    base    int64   where its values begin in the table by value, -1 where they are searched for. A state that reads
                    nothing any more, or `_UNKNOWN`, has a value of no bits there, which leads to itself
    extent_max, any_motorola, all_motorola   of all multiplexors · all_dense: none is searched for
    depth   how many multiplexors the longest way has
    """

    shape: NDArray[np.int64]
    byte: NDArray[np.int64]
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    motorola: NDArray[np.bool_]
    frame_shift: NDArray[np.uint64]
    extent: NDArray[np.int64]
    base: NDArray[np.int64]
    extent_max: int
    any_motorola: bool
    all_motorola: bool
    all_dense: bool
    depth: int


@dataclass(frozen=True, slots=True)
class _State:
    """The multiplexor values read of a message, and the next to read or the shape reached."""

    message: int
    values: dict[str, int]
    reads: SignalDefinition | None
    shape: int


_NO_FIELD = Field(0, 0, 0, False, 0, 0, 0)


class MultiplexerWalk:
    """The states that frames went through, of a plan's messages."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._budget = LEARNED_MAX
        self._clear()

    def _clear(self) -> None:
        self._held = 0
        self._states: list[_State] = []
        self._fields: list[Field] = []
        self._bases: list[int] = []
        self._state_of: dict[object, int] = {}
        self._begin: dict[int, int] = {}
        self._unread_of: dict[int, int] = {}
        self._key = np.empty(0, np.uint64)
        self._to = np.empty(0, np.int64)
        self._dense = np.zeros(1, np.int64)
        self._dense_used = 0
        self._raw = np.full(256, -1, np.int64)
        self._table: StateTable | None = None
        self._add(None, _State(-1, {}, None, -1))

    @property
    def table(self) -> StateTable:
        """The states met so far."""
        if self._table is None:
            self._table = self._tabulated()
        return self._table

    def begin(self, message: int) -> int:
        """The state of a message's frame of which nothing has been read; good until `forget`."""
        state = self._begin.get(message)
        if state is None:
            state = self._begin[message] = self._state(message, {})
        return state

    def forget(self, *, renews: bool = True) -> bool:
        """Keep the bounds, between blocks; True where all states and shapes are to be asked for anew.

        renews   so much may be learned again; not where frames are looked at once more
        """
        if renews:
            self._budget = LEARNED_MAX
        if self._held <= HELD_MAX and not self._plan.is_full:
            return False
        self._plan.begin_shapes()
        self._clear()
        return True

    def shapes_of(
        self,
        words: Words,
        rows: NDArray[np.int64],
        states: NDArray[np.int64],
        lengths: NDArray[np.uint8],
        shortest: int,
    ) -> NDArray[np.int64]:
        """The shape that each row's walk ends at, however long the frame.

        states: where each begins; they are written to · shortest: the least of `lengths`
        """
        table = self.table
        if table.all_dense and table.depth <= TOGETHER_MAX:
            reached = states
            for _ in range(table.depth):
                at = self._read(words, rows, reached, lengths, shortest).view(np.int64)
                at += table.base.take(reached)
                reached = self._dense.take(at)
            shapes = table.shape.take(reached)
            if shapes.min(initial=0) >= 0:
                return shapes
        shapes = table.shape.take(states)
        while len(walking := (shapes < 0).nonzero()[0]):
            here, long = states.take(walking), lengths.take(walking)
            values = self._read(words, rows.take(walking), here, long, shortest)
            states[walking] = here = self._advance(here, values)
            shapes[walking] = self.table.shape.take(here)
        return shapes

    def _read(
        self,
        words: Words,
        rows: NDArray[np.int64],
        states: NDArray[np.int64],
        lengths: NDArray[np.uint8],
        shortest: int,
    ) -> NDArray[np.uint64]:
        """The value of the multiplexor that each row's state reads; 0 where the frame is too short for it."""
        table = self.table
        if words.classic:
            values = words.of_rows(rows, swapped=table.all_motorola)
            if table.any_motorola and not table.all_motorola:
                values = np.where(table.motorola.take(states), values.byteswap(), values)
            values >>= table.frame_shift.take(states)
        else:
            values = words.read(rows, table.byte.take(states), table.shift.take(states), table.motorola.take(states))
        values &= table.mask.take(states)
        if shortest < table.extent_max:
            values[table.extent.take(states) > lengths] = 0
        return values

    def _advance(self, states: NDArray[np.int64], values: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The state after each `states[i]` has read the multiplexor value `values[i]`."""
        keys = (states.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | values
        return self._follow(keys, self.table.base.take(states))

    def truncate(self, shapes: NDArray[np.int64], lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The shape that is left of each `shapes[i]` in a frame of only `lengths[i]` bytes."""
        keys = np.uint64(_SHORT) | (shapes.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | lengths
        states = self._follow(keys, np.full(len(keys), -1))  # may make a new table
        return self.table.shape.take(states)

    def raw(self, lengths: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The shapes of raw frames of these lengths."""
        shapes = self._raw.take(lengths)
        if shapes.min(initial=0) < 0:
            for length in np.unique(lengths).tolist():
                self._raw[length] = self._plan.shape_of(RAW, tuple(range(length)), Defect.NONE)
            shapes = self._raw.take(lengths)
        return shapes

    def _follow(self, keys: NDArray[np.uint64], base: NDArray[np.int64]) -> NDArray[np.int64]:
        """The states that transitions lead to, those of states with a base by value."""
        found = np.zeros(len(keys), np.int64)
        dense = np.flatnonzero(base >= 0)
        if len(dense):
            value = keys[dense] & np.uint64((1 << MULTIPLEXOR_BITS_MAX) - 1)
            found[dense] = self._dense.take(base[dense] + value.astype(np.int64))
        if len(dense) < len(keys):
            at, known = find(self._key, keys)
            known &= base < 0
            found[known] = self._to.take(at[known])
        unknown = np.flatnonzero(found == _UNKNOWN)
        if len(unknown):
            fresh, which = np.unique(keys[unknown], return_inverse=True)
            found[unknown] = self._learn_all(fresh).take(which)
        return found

    def _learn_all(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where unseen transitions lead, as many as may be learned in this block; all others to what is unread."""
        learned, sought = [], []
        for key in keys.tolist():
            if self._budget <= 0:
                learned.append(self._unread(key))
                continue
            state = self._learn(key)
            learned.append(state)
            origin = key >> MULTIPLEXOR_BITS_MAX
            if key < _SHORT and self._bases[origin] >= 0:
                self._dense[self._bases[origin] + (key & (1 << MULTIPLEXOR_BITS_MAX) - 1)] = state
            else:
                sought.append((key, state))
        if sought:
            merged = np.concatenate([self._key, np.array([key for key, _ in sought], np.uint64)])
            to = np.concatenate([self._to, np.array([state for _, state in sought], np.int64)])
            order = np.argsort(merged, kind="stable")
            self._key, self._to = merged.take(order), to.take(order)
        return np.array(learned, np.int64)

    def _learn(self, key: int) -> int:
        origin = key >> MULTIPLEXOR_BITS_MAX & 0x7F_FFFF
        value = key & (1 << MULTIPLEXOR_BITS_MAX) - 1
        if key < _SHORT:
            state = self._states[origin]
            assert state.reads is not None
            return self._state(state.message, {**state.values, state.reads.name: value})
        whole, fields = self._plan.shape[origin], self._plan.fields(self._plan.shape[origin].message)
        kept = tuple(signal for signal in whole.signals if fields[signal].extent <= value)
        self._spend(len(whole.signals))
        return self._final(whole.message, kept, Defect.SHORT)

    def _unread(self, key: int) -> int:
        """The state of a frame of which there is no time to learn what else it carries."""
        origin = key >> MULTIPLEXOR_BITS_MAX & 0x7F_FFFF
        if key >= _SHORT:
            return self._final(self._plan.shape[origin].message, (), Defect.UNREAD)
        found = self._unread_of.get(origin)
        if found is None:
            state = self._states[origin]
            here = self._plan.selection(state.message).present(state.values)
            carried = tuple(np.flatnonzero(here).tolist())
            found = self._unread_of[origin] = self._final(state.message, carried, Defect.UNREAD)
        return found

    def _spend(self, amount: int) -> None:
        self._budget -= amount + 1
        self._held += amount + 1

    def _state(self, message: int, values: dict[str, int]) -> int:
        """The state of a message of which these multiplexor values have been read."""
        selection = self._plan.selection(message)
        here = selection.present(values)
        reads = selection.unread(here, values)
        if reads is not None:
            self._spend(len(values))
            return self._add((message, *values.items()), _State(message, values, reads, -1))
        defect = Defect.NONE if selection.selects(here, values) else Defect.MULTIPLEXOR
        carried = tuple(np.flatnonzero(here).tolist())
        self._spend(len(carried) if values else 0)
        return self._final(message, carried, defect)

    def _final(self, message: int, carried: tuple[int, ...], defect: Defect) -> int:
        shape = self._plan.shape_of(message, carried, defect)
        return self._add(shape, _State(message, {}, None, shape))

    def _add(self, key: object, state: _State) -> int:
        number = self._state_of.get(key)
        if number is None:
            number = self._state_of[key] = len(self._states)
            self._states.append(state)
            self._fields.append(Field.of(state.reads) if state.reads else _NO_FIELD)
            self._bases.append(self._base_of(number, state.reads))
            self._table = None
        return number

    def _base_of(self, state: int, reads: SignalDefinition | None) -> int:
        """Where the values of what a state reads begin in the table by value, -1 where they do not lie there."""
        bits = reads.length if reads else 0
        base, end = self._dense_used, self._dense_used + (1 << bits)
        if bits > DENSE_BITS or end > DENSE_MAX:
            return -1
        if end > len(self._dense):
            self._dense = np.concatenate([self._dense, np.full(max(end, 1 << 10), _UNKNOWN)])
        self._dense_used = end
        if reads is None:
            self._dense[base] = state
        return base

    def _tabulated(self) -> StateTable:
        fields = self._fields
        motorola = np.array([field.motorola for field in fields], np.bool_)
        byte = np.array([field.byte for field in fields], np.int64)
        shift = np.array([field.shift for field in fields], np.uint64)
        extent = np.array([field.extent for field in fields], np.int64)
        return StateTable(
            shape=np.array([state.shape for state in self._states], np.int64),
            byte=byte,
            shift=shift,
            mask=np.array([field.mask for field in fields], np.uint64),
            motorola=motorola,
            frame_shift=frame_shift(byte, shift, motorola),
            extent=extent,
            base=np.array(self._bases, np.int64),
            extent_max=int(extent.max(initial=0)),
            any_motorola=bool(motorola.any()),
            all_motorola=all(field.motorola for field in fields if field.bits),
            all_dense=min(self._bases) >= 0,
            depth=max((len(state.values) + 1 for state in self._states if state.reads), default=0),
        )


def frame_shift(byte: NDArray[np.int64], shift: NDArray[np.uint64], motorola: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """How far a classic frame, as one word in a field's byte order, is shifted right to have its lowest bit first.

    A Motorola window that begins at byte b ends 8 * b bits before the frame does, as a word of 64 bits.
    """
    offset = byte << 3
    return np.maximum(shift.astype(np.int64) + np.where(motorola, -offset, offset), 0).astype(np.uint64)
