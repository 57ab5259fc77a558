# SPDX-License-Identifier: Apache-2.0
"""DBC definitions compiled once: which message an arbitration id is, and which signals lie where in a frame of it.

    message  of the DBC files; `RAW` for an unknown id that is kept
    shape    a set of signals of a message that a frame carries. Numbered densely, in a list that is only ever appended
             to, so that a number once handed out keeps its meaning in the blocks that have the list. A list that is
             full, by `SHAPES_MAX` or `CARRIED_MAX`, gives way to a new one between blocks (`begin_shapes`); until then
             frames of unseen shapes are counted (`Defect.UNREAD`) and timed, but carry no signals.

Which shape a frame has is found by `agent.decode.walk`; ids and shapes become flat tables as they are met on the buses,
in `agent.decode.ids` and `agent.decode.layout`.

Bit numbering is the DBC's: an Intel signal starts at its least significant bit, a Motorola one at its most
significant; bit n lies in byte n // 8, bit 0 of a byte is its least significant.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.model import EXTENDED, RAW_SIGNALS, group_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.model import MessageDefinition, SignalDefinition

SHAPES_MAX = 16_384
CARRIED_MAX = 1 << 19
"""Signals of all shapes together."""
MULTIPLEXOR_BITS_MAX = 40
_VALUE_MAX = (1 << 62) - 1
RAW = -1
"""The message of a group of raw frames."""


class Defect(enum.IntEnum):
    """What keeps a frame from being decoded whole."""

    NONE = 0
    SHORT = 1  # fewer bytes than the DBC says
    MULTIPLEXOR = 2  # a multiplexor value that selects nothing
    UNREAD = 3  # more different multiplexor values than can be learned in time: what they select was left out


@dataclass(frozen=True, slots=True)
class Field:
    """Where a signal's bits lie.

    byte      first byte of the 8-byte window that holds them
    shift     how far the window, read in the signal's byte order, is shifted right
    mask      the field's bits, all ones
    motorola  the window is read most significant byte first
    extent    bytes a frame must have to carry the signal
    over      bits that lie in a ninth byte, past the window; 0 for all but 58-bit and longer signals of CAN FD
    bits      the field's length
    """

    byte: int
    shift: int
    mask: int
    motorola: bool
    extent: int
    over: int
    bits: int

    @classmethod
    def of(cls, signal: SignalDefinition) -> Field:
        """The field of a signal."""
        mask = (1 << signal.length) - 1
        if signal.little_endian:
            byte, bit = divmod(signal.start, 8)
            extent = (signal.start + signal.length + 7) // 8
            return cls(byte, bit, mask, False, extent, max(0, bit + signal.length - 64), signal.length)
        byte, bit = divmod(signal.start, 8)
        begin = 7 - bit
        extent = byte + (begin + signal.length + 7) // 8
        over = max(0, begin + signal.length - 64)
        return cls(byte, 64 - begin - signal.length + over, mask, True, extent, over, signal.length)


def field_bits(signal: SignalDefinition) -> list[int]:
    """The bits of the payload that a signal lies in, as the DBC numbers them, from the one that it starts at."""
    if signal.little_endian:
        return list(range(signal.start, signal.start + signal.length))
    bits, bit = [], signal.start
    for _ in range(signal.length):
        bits.append(bit)
        bit += 15 if bit % 8 == 0 else -1
    return bits


@dataclass(frozen=True, slots=True)
class Shape:
    """A set of signals of a message that a frame carries.

    signals  their indexes into the message's, ascending · extent  bytes a frame must have to carry them all
    nth      its number among the shapes of its message
    """

    message: int
    signals: tuple[int, ...]
    extent: int
    defect: Defect
    nth: int


class Plan:
    """The compiled definitions of all buses.

    Args:
        buses: names of the buses; a frame's bus is an index into them.
        messages: what the DBC files define, each naming its bus. Where two define one id, the first counts.
        keep_unknown: buses whose unknown frames are kept raw.

    plain   the message of each (bus, id) that a DBC file names as it is · extent_max: the largest of all shapes
    shapes  the signal indexes of each shape · shape  the same with what belongs to them

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
        self._fields: dict[int, list[Field]] = {}
        self._selections: dict[int, Selection] = {}
        self.begin_shapes()
        self._keep_unknown = frozenset(self.buses.index(bus) for bus in keep_unknown)
        self._shapes_max = SHAPES_MAX + len(messages)
        self._carried_max = CARRIED_MAX + sum(len(message.signals) for message in messages)
        self.plain: dict[tuple[int, int], int] = {}
        self._pgn: dict[tuple[int, int], int] = {}
        for index, message in enumerate(self.messages):
            bus = self.buses.index(message.bus)
            if message.j1939 and message.can_id & EXTENDED:
                self._pgn.setdefault((bus, parameter_group(message.can_id)), index)
            else:
                self.plain.setdefault((bus, message.can_id), index)

    @property
    def plain_keys(self) -> NDArray[np.uint64]:
        """`model.group_key` of each id that a DBC file names as it is."""
        return np.array([group_key(message, *at) for at, message in self.plain.items()], np.uint64)

    def found_message(self, bus: int, can_id: int) -> int | None:
        """The message of an id that no DBC file names as it is: of its parameter group, or `RAW`."""
        found = self._pgn.get((bus, parameter_group(can_id))) if can_id & EXTENDED else None
        return RAW if found is None and bus in self._keep_unknown else found

    def signals(self, message: int) -> Sequence[SignalDefinition]:
        """The signals of a message, or of `RAW`."""
        return RAW_SIGNALS if message == RAW else self.messages[message].signals

    def length(self, message: int) -> int:
        """Payload bytes that the DBC file declares, 0 for raw frames."""
        return 0 if message == RAW else self.messages[message].length

    def fields(self, message: int) -> Sequence[Field]:
        """The fields of a message's signals."""
        found = self._fields.get(message)
        if found is None:
            found = self._fields[message] = [Field.of(signal) for signal in self.signals(message)]
        return found

    def selection(self, message: int) -> Selection:
        """What a message's multiplexors select."""
        found = self._selections.get(message)
        if found is None:
            found = self._selections[message] = Selection(self.signals(message))
        return found

    def begin_shapes(self) -> None:
        """Begin a new list of shapes; blocks keep the one that they were made with."""
        self.shapes: list[tuple[int, ...]] = []
        self.shape: list[Shape] = []
        self.extent_max = 0
        self._carried = 0
        self._tables = np.empty(0, np.uint8), np.empty(0, np.uint8), np.empty(0, np.int64)
        self._shape_of: dict[tuple[int, tuple[int, ...], Defect], int] = {}
        self._of_message: Counter[int] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether there is no room for shapes any more."""
        return len(self.shapes) >= self._shapes_max or self._carried >= self._carried_max

    def shapes_of(self, message: int) -> int:
        """How many shapes of a message there are: so many numbers `Shape.nth` has."""
        return self._of_message[message]

    def shape_tables(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
        """(S,), of each shape: uint8, bytes a frame must have to carry all of it; uint8, its `Defect`; its number among
        those of its message.
        """
        if len(self._tables[0]) < len(self.shape):
            more = self.shape[len(self._tables[0]) :]
            extent, defect, nth = self._tables
            self._tables = (
                np.concatenate([extent, np.array([shape.extent for shape in more], np.uint8)]),
                np.concatenate([defect, np.array([shape.defect for shape in more], np.uint8)]),
                np.concatenate([nth, np.array([shape.nth for shape in more], np.int64)]),
            )
        return self._tables

    def shape_of(self, message: int, carried: tuple[int, ...], defect: Defect) -> int:
        """The number of a shape, a new one where it was not met before."""
        known = self._shape_of.get((message, carried, defect))
        if known is not None:
            return known
        if self.is_full and carried:
            return self.shape_of(message, (), Defect.UNREAD)
        fields, nth = self.fields(message), self._of_message[message]
        extent = max((fields[i].extent for i in carried), default=0)
        self.extent_max = max(self.extent_max, extent)
        self.shape.append(Shape(message, carried, extent, defect, nth))
        self.shapes.append(carried)
        self._carried += len(carried)
        self._of_message[message] += 1
        self._shape_of[message, carried, defect] = len(self.shapes) - 1
        return len(self.shapes) - 1


class Selection:
    """What the multiplexors of one message select, as flat tables by index of its signals.

    One look at all signals finds those of a frame. A multiplexor is known by its name. One of more than
    `MULTIPLEXOR_BITS_MAX` bits is decoded as a plain signal; what it would select is absent.
    """

    def __init__(self, signals: Sequence[SignalDefinition]) -> None:
        self._signals = signals
        self._always = np.array([signal.selected_by is None for signal in signals], np.bool_)
        names = dict.fromkeys(signal.selected_by for signal in signals if signal.selected_by is not None)
        self._number = {name: number for number, name in enumerate(names)}
        ranges = [
            (index, self._number[signal.selected_by], max(low, 0), min(high, _VALUE_MAX))
            for index, signal in enumerate(signals)
            if signal.selected_by is not None
            for low, high in signal.selected_when
            if low <= _VALUE_MAX
        ]
        self._signal, self._selector, self._low, self._high = np.array(ranges, np.int64).reshape(-1, 4).T
        self._multiplexors = np.array(
            [i for i, s in enumerate(signals) if s.multiplexor and s.length <= MULTIPLEXOR_BITS_MAX], np.int64
        )

    def present(self, values: Mapping[str, int]) -> NDArray[np.bool_]:
        """bool (signals,): those of a frame of whose multiplexors these values have been read, and no others."""
        here = self._always.copy()
        if values:
            read = np.full(len(self._number), -1, np.int64)
            for name, value in values.items():
                if name in self._number:
                    read[self._number[name]] = value
            of_range = read.take(self._selector)
            here[self._signal.compress((self._low <= of_range) & (of_range <= self._high))] = True
        return here

    def unread(self, here: NDArray[np.bool_], values: Mapping[str, int]) -> SignalDefinition | None:
        """The first multiplexor that is present and has not been read; None where there is none."""
        for index in self._multiplexors.compress(here.take(self._multiplexors)).tolist():
            signal: SignalDefinition = self._signals[index]
            if signal.name not in values:
                return signal
        return None

    def selects(self, here: NDArray[np.bool_], values: Mapping[str, int]) -> bool:
        """Whether each of the multiplexors read selects a signal that is present."""
        chosen = here.take(self._signal)
        selecting = set(self._selector.compress(chosen).tolist())
        return all(self._number.get(name) in selecting for name in values)


def parameter_group(can_id: int) -> int:
    """What two J1939 frames of one parameter group share (SAE J1939-21, 5.2): data page, PDU format and, from
    PDU format 240 on, the group extension; below that the byte is a destination address.
    """
    return can_id & parameter_group_mask(can_id)


def parameter_group_mask(can_id: int) -> int:
    """The bits of an arbitration id word that are its parameter group."""
    return 0x03FF_FF00 if can_id >> 16 & 0xFF >= 240 else 0x03FF_0000
