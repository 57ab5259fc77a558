# SPDX-License-Identifier: Apache-2.0
"""Which shape a frame has, where that depends on its content: along a message's multiplexors, and where it is short.

    state       a point on the way along a message's multiplexors: which one to read next, or the shape reached
    transition  from a state and the value read to the next one; from a shape and a frame's length to a shorter shape

Both are made at first sight, so that no product of value ranges is ever enumerated. What is made at first sight comes
from the bus, so it is bounded: past `TRANSITIONS_MAX` all is forgotten and learned again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.plan import RAW, Defect, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import SignalDefinition

TRANSITIONS_MAX = 65_536
MULTIPLEXOR_BITS_MAX = 40
"""A longer multiplexor is decoded as a plain signal; what it would select is absent."""


@dataclass(frozen=True, slots=True)
class StateTable:
    """The states; arrays of length T.

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
    """The multiplexor values read of a message, and the next to read or the shape reached."""

    message: int
    values: dict[str, int]
    reads: SignalDefinition | None
    shape: int


class Walk:
    """The states that frames went through, of a plan's messages."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._states: list[_State] = []
        self._state_of: dict[object, int] = {}
        self._begin: dict[int, int] = {}
        self._transitions: dict[int, int] = {}
        self._tabulate()

    def begin(self, message: int) -> int:
        """The state of a message's frame of which nothing has been read; good until `forget`."""
        state = self._begin.get(message)
        if state is None:
            state = self._begin[message] = self._state(message, {})
            self._tabulate()
        return state

    def forget(self) -> bool:
        """Keep the bound, between blocks; True where all states are to be asked for anew."""
        if len(self._transitions) <= TRANSITIONS_MAX:
            return False
        self._begin.clear()
        self._transitions.clear()
        self._states.clear()
        self._state_of.clear()
        self._tabulate()
        return True

    def advance(self, states: NDArray[np.int32], values: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The state after each `states[i]` has read the multiplexor value `values[i]`."""
        return self._follow((states.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | values)

    def truncate(self, shapes: NDArray[np.int32], lengths: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The shape that is left of each `shapes[i]` in a frame of only `lengths[i]` bytes."""
        keys = np.uint64(1 << 63) | (shapes.astype(np.uint64) << np.uint64(MULTIPLEXOR_BITS_MAX)) | lengths
        states = self._follow(keys)  # may make a new table
        return self.table.shape.take(states)

    def _follow(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        at, known = find(self._transition_key, keys)
        if not known.all():
            for key in np.unique(keys[~known]).tolist():
                self._transitions[key] = self._learn(key)
            self._tabulate()
            at, _ = find(self._transition_key, keys)
        return self._transition_state.take(at)

    def _learn(self, key: int) -> int:
        origin = key >> MULTIPLEXOR_BITS_MAX & 0x7F_FFFF
        value = key & (1 << MULTIPLEXOR_BITS_MAX) - 1
        if not key >> 63:
            state = self._states[origin]
            assert state.reads is not None
            return self._state(state.message, {**state.values, state.reads.name: value})
        whole, fields = self._plan.shape[origin], self._plan.fields(self._plan.shape[origin].message)
        kept = tuple(signal for signal in whole.signals if fields[signal].extent <= value)
        defect = Defect.NONE if whole.message == RAW else Defect.SHORT
        return self._final(whole.message, self._plan.shape_of(whole.message, kept, defect))

    def _state(self, message: int, values: dict[str, int]) -> int:
        """The state of a message of which these multiplexor values have been read."""
        signals = self._plan.signals(message)
        here = [i for i, s in enumerate(signals) if s.selected_by is None or _selects(s, values)]
        unread = [
            signals[i]
            for i in here
            if signals[i].multiplexor and signals[i].name not in values and signals[i].length <= MULTIPLEXOR_BITS_MAX
        ]
        if unread:
            return self._add((message, *values.items()), _State(message, values, unread[0], -1))
        selecting = {signals[i].selected_by for i in here}
        defect = Defect.NONE if selecting.issuperset(values) else Defect.MULTIPLEXOR
        return self._final(message, self._plan.shape_of(message, tuple(here), defect))

    def _final(self, message: int, shape: int) -> int:
        return self._add(shape, _State(message, {}, None, shape))

    def _add(self, key: object, state: _State) -> int:
        if key not in self._state_of:
            self._state_of[key] = len(self._states)
            self._states.append(state)
        return self._state_of[key]

    def _tabulate(self) -> None:
        keys = sorted(self._transitions)
        self._transition_key = np.array(keys, np.uint64)
        self._transition_state = np.array([self._transitions[key] for key in keys], np.int32)
        fields = [Field.of(state.reads) if state.reads else None for state in self._states]
        self.table = StateTable(
            shape=np.array([state.shape for state in self._states], np.int32),
            byte=np.array([f.byte if f else 0 for f in fields], np.int64),
            shift=np.array([f.shift if f else 0 for f in fields], np.uint64),
            mask=np.array([f.mask if f else 0 for f in fields], np.uint64),
            motorola=np.array([f.motorola if f else False for f in fields], np.bool_),
            extent=np.array([f.extent if f else 0 for f in fields], np.int64),
        )


def find(table: NDArray[np.uint64], keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each key stands in a sorted table, and whether it really does."""
    if not len(table):
        return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table.take(at) == keys


def _selects(signal: SignalDefinition, values: dict[str, int]) -> bool:
    value = values.get(signal.selected_by or "")
    return value is not None and any(low <= value <= high for low, high in signal.selected_when)
