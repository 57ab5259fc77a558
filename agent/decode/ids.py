# SPDX-License-Identifier: Apache-2.0
"""Arbitration ids as they are met on the buses, numbered so that frames in the order of those numbers are grouped.

    slot    of a known id, 0…N-1 in the order of `model.group_key`; then of an unknown one, N…N+U-1 in the order of bus
            and id; then of all that there is no room for, `rest`

What comes from the bus is bounded: past `SLOTS_MAX` known ids, room for those that the DBC files name as they are among
them, and `UNKNOWN_MAX` unknown ones, an unseen id is one of the rest. Slots are numbered anew when an id is first met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.decode.walk import find
from agent.model import EXTENDED, STANDARD_MASK, group_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan

SLOTS_MAX = 16_384
UNKNOWN_MAX = 4_096
_UNMET = 0xFFFF


class Ids:
    """The ids met of a plan's buses.

    key      uint64 (N,)  `model.group_key` of each known one, ascending
    message  its message, `RAW` for a raw frame, likewise
    unknown  uint64 (U,)  bus index in bits 32…39 and arbitration id word of each unknown one, ascending
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._messages: dict[int, int] = {}
        self._unknown: set[int] = set()
        self._tabulate()

    @property
    def rest(self) -> int:
        """The slot of ids that there is no room for."""
        return len(self.key) + len(self.unknown)

    def slots_of(self, bus: NDArray[np.uint8], can_id: NDArray[np.uint32]) -> NDArray[np.uint16]:
        """The slot of each frame; unseen ids are met."""
        slots = self._look_up(bus, can_id)
        if slots.max(initial=0) == _UNMET:
            unmet = slots == _UNMET
            if self._meet(np.unique((bus[unmet].astype(np.uint64) << np.uint64(32)) | can_id[unmet]).tolist()):
                slots = self._look_up(bus, can_id)
            slots[slots == _UNMET] = self.rest
        return slots

    def _look_up(self, bus: NDArray[np.uint8], can_id: NDArray[np.uint32]) -> NDArray[np.uint16]:
        standard = can_id & STANDARD_MASK
        if len(self._plan.buses) > 1:
            standard |= bus.astype(np.uint32) << 11
        slots = self._standard.take(standard)
        if can_id.max(initial=0) >= EXTENDED:
            extended = np.flatnonzero(can_id >= EXTENDED)
            keys = (bus[extended].astype(np.uint64) << np.uint64(32)) | can_id[extended]
            at, known = find(self._extended_key, keys)
            slots[extended] = (
                np.where(known, self._extended_slot.take(at), _UNMET) if len(self._extended_key) else _UNMET
            )
        return slots

    def _meet(self, keys: list[int]) -> bool:
        """Make slots for ids; True if there were any to make."""
        before = len(self._messages) + len(self._unknown)
        room = SLOTS_MAX - len(self._plan.plain)
        for key in keys:
            bus, can_id = key >> 32, key & 0xFFFF_FFFF
            message = self._plan.plain.get((bus, can_id))
            if message is None and len(self._messages) < room:
                message = self._plan.found_message(bus, can_id)
            if message is not None and len(self._messages) < SLOTS_MAX:
                self._messages[key] = message
            elif len(self._unknown) < UNKNOWN_MAX:
                self._unknown.add(key)
        if len(self._messages) + len(self._unknown) == before:
            return False
        self._tabulate()
        return True

    def _tabulate(self) -> None:
        met = sorted((group_key(message, key >> 32, key & 0xFFFF_FFFF), key) for key, message in self._messages.items())
        self.key = np.array([group for group, _ in met], np.uint64)
        self.message = [self._messages[key] for _, key in met]
        self.unknown = np.array(sorted(self._unknown), np.uint64)
        keys = [*(key for _, key in met), *self.unknown.tolist()]
        self._standard = np.full(len(self._plan.buses) << 11, _UNMET, np.uint16)
        extended = []
        for slot, key in enumerate(keys):
            if key & EXTENDED:
                extended.append((key, slot))
            else:
                self._standard[key >> 32 << 11 | key & STANDARD_MASK] = slot
        extended.sort()
        self._extended_key = np.array([key for key, _ in extended], np.uint64)
        self._extended_slot = np.array([slot for _, slot in extended], np.uint16)
