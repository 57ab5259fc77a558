# SPDX-License-Identifier: Apache-2.0
"""DBC definitions compiled once into flat tables: from an arbitration id to a group, from a group to the fields
that a frame carries.

Three kinds of rows, all numbered densely, all grown only at their ends, so that a number once handed out keeps
its meaning for as long as the plan lives:

    slot    one (message, bus, arbitration id). Made at compile time for plain messages; at first sight for J1939
            messages, whose priority, source and destination vary, and for unknown ids that are kept raw.
    state   a point in the walk along a message's multiplexors: which one to read next, or the shape reached.
            Made at first sight of a multiplexor value, so that no product of value ranges is ever enumerated.
    shape   a set of signals of a message that a frame carries, with one field (place, shift, mask) each.

What is made at first sight comes from the bus, so all of it is bounded: past `SLOTS_MAX` an unseen id counts as
unknown; past `TRANSITIONS_MAX` the learned multiplexor values are forgotten and learned again; past `SHAPES_MAX`
frames of unseen shapes are counted and timed, but carry no signals.

Bit numbering is the DBC's: an Intel signal starts at its least significant bit, a Motorola one at its most
significant; bit n lies in byte n // 8, bit 0 of a byte is its least significant.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.model import EXTENDED, RAW_SIGNALS, STANDARD_MASK, group_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.model import MessageDefinition, SignalDefinition

SLOTS_MAX = 16_384
SHAPES_MAX = 16_384
TRANSITIONS_MAX = 65_536
UNKNOWN = 0xFFFF
"""The slot of an id that nothing is known about."""
RAW = -1
"""The message of a group of raw frames."""
MULTIPLEXOR_BITS_MAX = 40
"""A longer multiplexor is decoded as a plain signal; what it would select is absent."""


class Defect(enum.IntEnum):
    """What keeps a frame from being decoded whole."""

    NONE = 0
    SHORT = 1  # fewer bytes than the DBC says
    MULTIPLEXOR = 2  # a multiplexor value that selects nothing


@dataclass(frozen=True, slots=True)
class Field:
    """Where a signal's bits lie.

    byte      first byte of the 8-byte window that holds them
    shift     how far the window, read in the signal's byte order, is shifted right
    mask      the field's bits, all ones
    motorola  the window is read most significant byte first
    extent    bytes a frame must have to carry the signal
    over      bits that lie in a ninth byte, past the window; 0 for all but 58-bit and longer signals of CAN FD
    """

    byte: int
    shift: int
    mask: int
    motorola: bool
    extent: int
    over: int

    @classmethod
    def of(cls, signal: SignalDefinition) -> Field:
        """The field of a signal."""
        mask = (1 << signal.length) - 1
        if signal.little_endian:
            byte, bit = divmod(signal.start, 8)
            extent = (signal.start + signal.length + 7) // 8
            return cls(byte, bit, mask, False, extent, max(0, bit + signal.length - 64))
        byte, bit = divmod(signal.start, 8)
        begin = 7 - bit
        extent = byte + (begin + signal.length + 7) // 8
        over = max(0, begin + signal.length - 64)
        return cls(byte, 64 - begin - signal.length + over, mask, True, extent, over)


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of all shapes, end to end; arrays of one length F unless said otherwise.

    start   int64 (S+1,)  shape s has fields start[s]…start[s+1]
    byte, over int64 · shift, mask uint64 · motorola bool · signal int32 · bits uint8
    extent  int64 (S,)    bytes a frame must have to carry the whole shape
    defect  int8  (S,)    `Defect` of a frame of this shape
    """

    start: NDArray[np.int64]
    byte: NDArray[np.int64]
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    motorola: NDArray[np.bool_]
    over: NDArray[np.int64]
    signal: NDArray[np.int32]
    bits: NDArray[np.uint8]
    extent: NDArray[np.int64]
    defect: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class SlotTable:
    """What is known of each slot; arrays of length N.

    key     uint64  `model.group_key`
    state   int32   where the walk along the multiplexors begins
    length  uint8   payload bytes that the DBC declares, 0 for raw frames
    """

    key: NDArray[np.uint64]
    state: NDArray[np.int32]
    length: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class StateTable:
    """The walk along the multiplexors; arrays of length T.

    shape   int32   the shape reached, -1 while there is a multiplexor to read
    byte, shift, mask, motorola   that multiplexor's field
    extent  int64   bytes a frame must have to carry it
    """

    shape: NDArray[np.int32]
    byte: NDArray[np.int64]
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    motorola: NDArray[np.bool_]
    extent: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _State:
    """A point in a message's walk: the multiplexor values read, and the next to read or the shape reached."""

    message: int
    values: dict[str, int]
    reads: SignalDefinition | None
    shape: int


class Plan:
    """The compiled definitions of all buses.

    Args:
        buses: names of the buses; a frame's bus is an index into them.
        messages: what the DBC files define, each naming its bus. Where two define one id, the first counts.
        keep_unknown: buses whose unknown frames are kept raw.

    """

    def __init__(
        self,
        buses: Sequence[str],
        messages: Sequence[MessageDefinition],
        *,
        keep_unknown: frozenset[str] = frozenset(),
    ) -> None:
        self.buses = tuple(buses)
        self.messages = tuple(messages)
        self.shapes: list[tuple[int, ...]] = []
        self._keep_unknown = frozenset(self.buses.index(bus) for bus in keep_unknown)
        self._slots: list[tuple[int, int, int]] = []
        self._slot_of: dict[int, int] = {}
        self._pgn: dict[tuple[int, int], int] = {}
        self._standard = np.full(len(self.buses) * 2048, UNKNOWN, np.uint16)
        self._fields: list[tuple[int, int, int, bool, int, int, int]] = []
        self._shape_rows: list[tuple[int, int, int, int]] = []
        self._shape_of: dict[tuple[int, tuple[int, ...], Defect], int] = {}
        self._states: list[_State] = []
        self._state_of: dict[object, int] = {}
        self._transitions: dict[int, int] = {}
        for index, message in enumerate(self.messages):
            bus = self.buses.index(message.bus)
            if message.j1939 and message.can_id & EXTENDED:
                self._pgn.setdefault((bus, parameter_group(message.can_id)), index)
            else:
                self._add_slot(bus, message.can_id, index)
        self._tabulate_shapes()
        self._tabulate_slots()
        self._tabulate_walk()

    def forget(self) -> None:
        """Keep the bound on learned multiplexor values: past it, learn anew. Called between blocks."""
        if len(self._transitions) <= TRANSITIONS_MAX:
            return
        self._transitions.clear()
        self._states.clear()
        self._state_of.clear()
        self._tabulate_slots()
        self._tabulate_walk()

    # Ids to slots -------------------------------------------------------------------------------------------

    def slots_of(self, bus: NDArray[np.uint8], can_id: NDArray[np.uint32]) -> NDArray[np.uint16]:
        """The slot of each frame, `UNKNOWN` where no definition fits."""
        slots = self._look_up(bus, can_id)
        if self._pgn or self._keep_unknown:
            missing = slots == UNKNOWN
            if missing.any() and self._learn_slots(bus[missing], can_id[missing]):
                slots = self._look_up(bus, can_id)
        return slots

    def _look_up(self, bus: NDArray[np.uint8], can_id: NDArray[np.uint32]) -> NDArray[np.uint16]:
        slots = self._standard.take((bus.astype(np.int64) << 11) + (can_id & STANDARD_MASK))
        extended = can_id >= EXTENDED
        if extended.any():
            keys = (bus[extended].astype(np.uint64) << np.uint64(32)) | can_id[extended]
            slots[extended] = UNKNOWN
            if len(self._extended_key):
                at, known = _find(self._extended_key, keys)
                slots[extended] = np.where(known, self._extended_slot.take(at), UNKNOWN)
        return slots

    def _learn_slots(self, bus: NDArray[np.uint8], can_id: NDArray[np.uint32]) -> bool:
        """Make slots for ids seen for the first time; True if there were any to make."""
        before = len(self._slots)
        for key in np.unique((bus.astype(np.uint64) << np.uint64(32)) | can_id).tolist():
            index, word = key >> 32, key & 0xFFFF_FFFF
            message = self._pgn.get((index, parameter_group(word)), RAW) if word & EXTENDED else RAW
            if message != RAW or index in self._keep_unknown:
                self._add_slot(index, word, message)
        if len(self._slots) == before:
            return False
        self._tabulate_slots()
        self._tabulate_walk()
        return True

    def _add_slot(self, bus: int, can_id: int, message: int) -> None:
        key = bus << 32 | can_id
        if key in self._slot_of or len(self._slots) >= SLOTS_MAX:
            return
        slot = self._slot_of[key] = len(self._slots)
        self._slots.append((bus, can_id, message))
        if not can_id & EXTENDED:
            self._standard[bus * 2048 + can_id] = slot

    # Multiplexors and short frames to shapes ----------------------------------------------------------------

    def advance(self, states: NDArray[np.int32], values: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The state after each `states[i]` has read the multiplexor value `values[i]`."""
        return self._follow((states.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | values)

    def truncate(self, shapes: NDArray[np.int32], lengths: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The shape that is left of each `shapes[i]` in a frame of only `lengths[i]` bytes."""
        keys = np.uint64(1 << 63) | (shapes.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | lengths
        states = self._follow(keys)  # may make new tables
        return self.walk.shape.take(states)

    def _follow(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        at, known = _find(self._transition_key, keys)
        if not known.all():
            for key in np.unique(keys[~known]).tolist():
                self._transitions[key] = self._learn_transition(key)
            self._tabulate_walk()
            at, _ = _find(self._transition_key, keys)
        return self._transition_state.take(at)

    def _learn_transition(self, key: int) -> int:
        origin = key >> MULTIPLEXOR_BITS_MAX & 0x7F_FFFF
        value = key & (1 << MULTIPLEXOR_BITS_MAX) - 1
        if not key >> 63:
            state = self._states[origin]
            assert state.reads is not None
            return self._state(state.message, {**state.values, state.reads.name: value})
        start, end, message, _ = self._shape_rows[origin]
        kept = tuple(row[0] for row in self._fields[start:end] if row[5] <= value)
        shape = self._shape(message, kept, Defect.NONE if message == RAW else Defect.SHORT)
        return self._final_state(message, shape)

    def _state(self, message: int, values: dict[str, int]) -> int:
        """The state of a message of which these multiplexor values have been read."""
        signals = self._signals(message)
        here = [i for i, s in enumerate(signals) if s.selected_by is None or _selects(s, values)]
        unread = [
            signals[i]
            for i in here
            if signals[i].multiplexor and signals[i].name not in values and signals[i].length <= MULTIPLEXOR_BITS_MAX
        ]
        if unread:
            return self._add_state((message, *values.items()), _State(message, values, unread[0], -1))
        selecting = {signals[i].selected_by for i in here}
        defect = Defect.NONE if selecting.issuperset(values) else Defect.MULTIPLEXOR
        return self._final_state(message, self._shape(message, tuple(here), defect))

    def _final_state(self, message: int, shape: int) -> int:
        return self._add_state(shape, _State(message, {}, None, shape))

    def _add_state(self, key: object, state: _State) -> int:
        if key not in self._state_of:
            self._state_of[key] = len(self._states)
            self._states.append(state)
        return self._state_of[key]

    def _shape(self, message: int, carried: tuple[int, ...], defect: Defect) -> int:
        known = self._shape_of.get((message, carried, defect))
        if known is not None:
            return known
        if len(self.shapes) >= SHAPES_MAX and carried:
            return self._shape(message, (), defect)
        signals = self._signals(message)
        fields = [Field.of(signals[i]) for i in carried]
        start = len(self._fields)
        self._fields += [
            (i, f.byte, f.shift, f.motorola, f.over, f.extent, signals[i].length)
            for i, f in zip(carried, fields, strict=True)
        ]
        self._shape_rows.append((start, len(self._fields), message, defect))
        self.shapes.append(carried)
        self._shape_of[message, carried, defect] = len(self.shapes) - 1
        return len(self.shapes) - 1

    def _signals(self, message: int) -> Sequence[SignalDefinition]:
        return RAW_SIGNALS if message == RAW else self.messages[message].signals

    # Tables -------------------------------------------------------------------------------------------------

    def _tabulate_slots(self) -> None:
        words = sorted(
            (bus << 32 | can_id, slot) for slot, (bus, can_id, _) in enumerate(self._slots) if can_id & EXTENDED
        )
        self._extended_key = np.array([key for key, _ in words], np.uint64)
        self._extended_slot = np.array([slot for _, slot in words], np.uint16)
        lengths = [0 if message == RAW else self.messages[message].length for _, _, message in self._slots]
        self.slots = SlotTable(
            key=np.array([group_key(message, bus, can_id) for bus, can_id, message in self._slots], np.uint64),
            state=np.array([self._state(message, {}) for _, _, message in self._slots], np.int32),
            length=np.array(lengths, np.uint8),
        )

    def _tabulate_walk(self) -> None:
        keys = sorted(self._transitions)
        self._transition_key = np.array(keys, np.uint64)
        self._transition_state = np.array([self._transitions[key] for key in keys], np.int32)
        fields = [Field.of(state.reads) if state.reads else None for state in self._states]
        self.walk = StateTable(
            shape=np.array([state.shape for state in self._states], np.int32),
            byte=np.array([f.byte if f else 0 for f in fields], np.int64),
            shift=np.array([f.shift if f else 0 for f in fields], np.uint64),
            mask=np.array([f.mask if f else 0 for f in fields], np.uint64),
            motorola=np.array([f.motorola if f else False for f in fields], np.bool_),
            extent=np.array([f.extent if f else 0 for f in fields], np.int64),
        )
        if len(self.fields.extent) < len(self.shapes):
            self._tabulate_shapes()

    def _tabulate_shapes(self) -> None:
        rows, shapes = self._fields, self._shape_rows
        extents = [max((row[5] for row in rows[start:end]), default=0) for start, end, _, _ in shapes]
        self.fields = FieldTable(
            start=np.array([0, *(end for _, end, _, _ in shapes)], np.int64),
            byte=np.array([row[1] for row in rows], np.int64),
            shift=np.array([row[2] for row in rows], np.uint64),
            mask=np.array([(1 << row[6]) - 1 for row in rows], np.uint64),
            motorola=np.array([row[3] for row in rows], np.bool_),
            over=np.array([row[4] for row in rows], np.int64),
            signal=np.array([row[0] for row in rows], np.int32),
            bits=np.array([row[6] for row in rows], np.uint8),
            extent=np.array(extents, np.int64),
            defect=np.array([defect for _, _, _, defect in shapes], np.int8),
        )


def parameter_group(can_id: int) -> int:
    """What two J1939 frames of one parameter group share (SAE J1939-21, 5.2): data page, PDU format and, from
    PDU format 240 on, the group extension; below that the byte is a destination address.
    """
    return can_id & 0x03FF_FF00 if can_id >> 16 & 0xFF >= 240 else can_id & 0x03FF_0000


def _selects(signal: SignalDefinition, values: dict[str, int]) -> bool:
    value = values.get(signal.selected_by or "")
    return value is not None and any(low <= value <= high for low, high in signal.selected_when)


def _find(table: NDArray[np.uint64], keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each key stands in a sorted table, and whether it really does."""
    if not len(table):
        return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table.take(at) == keys
