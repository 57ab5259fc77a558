# SPDX-License-Identifier: Apache-2.0
"""Arbitration ids as they are met on the buses, numbered so that frames in the order of those numbers are grouped.

    slot    of a known id, 0…N-1 in the order of `model.group_key`; then of an unknown one, N…N+U-1 in the order of bus
            and id; then of all that there is no room for, `rest`

Known ids are *listed* or *unlisted*. A DBC file names the listed ones as they are; they always have a slot. Unlisted
are those of a J1939 parameter group, and those that are kept raw. A bus may bring any number of unlisted ids, so their
number and their signals are bounded:

- While there is room, each has a slot at first sight.
- Where there is none, an id is evicted that has no frame in the block at hand: first those that came in one block only,
  and of these the one seen least recently. A block evicts no more than `EVICTED_MAX` signals, so that tables are not
  made anew for every frame. Of the ids that wait, those with most frames are admitted first.
- An id without a slot is one of the rest. Its frames are counted, and it is tried again with its next frame.

Slots are numbered anew when an id is met or evicted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from agent.blocks import find
from agent.decode.plan import RAW
from agent.model import EXTENDED, STANDARD_MASK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import FrameBlock

LISTED_MAX = 40_000
UNLISTED_MAX, UNLISTED_SIGNALS_MAX = 4_096, 40_960
EVICTED_MAX, EVICTED_MIN = 4_096, 512
"""Signals of unlisted ids that a block evicts: one for each of its frames, within these bounds."""
UNKNOWN_MAX = 4_096
RAW_SIGNALS = 8
"""What a raw id counts for, the bytes of a classic frame; one that is met with longer ones for as many as they have."""
_UNMET = 0xFFFF


@dataclass(slots=True)
class _UnlistedIds:
    """Unlisted ids: arrays in no order.

    word     bus index in bits 32…39 and arbitration id word
    message  `RAW` of none
    signals  what it counts for
    seen     number of the last block that it came in
    again    it has come in two
    """

    word: NDArray[np.uint64]
    message: NDArray[np.int64]
    signals: NDArray[np.int64]
    seen: NDArray[np.int64]
    again: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.word)

    @classmethod
    def of(cls, words: list[int], messages: list[int], signals: list[int], block: int) -> _UnlistedIds:
        """Ids that come in a block for the first time."""
        return cls(
            np.array(words, np.uint64),
            np.array(messages, np.int64),
            np.array(signals, np.int64),
            np.full(len(words), block),
            np.zeros(len(words), np.bool_),
        )

    def at(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> _UnlistedIds:
        """Some of them."""
        return _UnlistedIds(*(getattr(self, each.name)[places] for each in fields(self)))

    def with_more(self, more: _UnlistedIds) -> _UnlistedIds:
        """These and others."""
        return _UnlistedIds(
            *(np.concatenate([getattr(self, each.name), getattr(more, each.name)]) for each in fields(self))
        )


class Ids:
    """The ids met of a plan's buses.

    key      uint64 (N,)  `model.group_key` of each known one, ascending
    message  int64 (N,)   its message, `RAW` for a raw frame, likewise
    unknown  uint64 (U,)  bus index in bits 32…39 and arbitration id word of each unknown one, ascending
    changes  how often the known ones were numbered anew
    outside  frames of unlisted ids that there was no room for, of the latest block
    """

    def __init__(self, plan: Plan) -> None:
        self.changes = 0
        self.outside = 0
        self._plan = plan
        self._block = 0
        self._evicted_max = EVICTED_MAX
        self._listed: dict[int, int] = {}
        self._unlisted = _UnlistedIds.of([], [], [], 0)
        self._unknown: set[int] = set()
        self._tabulate()

    @property
    def rest(self) -> int:
        """The slot of ids that there is no room for."""
        return len(self.key) + len(self.unknown)

    def slots_of(self, block: FrameBlock, *, meets: bool = True) -> NDArray[np.uint16]:
        """The slot of each frame of a block. Unseen ids are met; not where frames are looked at once more."""
        self._block += meets
        self._evicted_max = min(max(len(block), EVICTED_MIN), EVICTED_MAX)
        bus, can_id = block.bus, block.can_id
        slots = self._look_up(bus, can_id)
        self.outside = 0
        if slots.max(initial=0) == _UNMET:
            unmet = slots == _UNMET
            if meets:
                words = (bus[unmet].astype(np.uint64) << np.uint64(32)) | can_id[unmet]
                words, of, counts = np.unique(words, return_inverse=True, return_counts=True)
                longest = np.full(len(words), RAW_SIGNALS, np.uint8)
                np.maximum.at(longest, of, block.length[unmet])
                if self._meet(words, counts, longest, slots[~unmet]):
                    slots = self._look_up(bus, can_id)
                    unmet = slots == _UNMET
            slots[unmet] = self.rest
        if meets and len(self._unlisted):
            self._mark(slots)
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

    def _mark(self, slots: NDArray[np.uint16]) -> None:
        """Mark the unlisted ids that came as seen."""
        came = self._unlisted_of.take(np.flatnonzero(np.bincount(slots, minlength=self.rest + 1)))
        came = came.compress(came >= 0)
        unlisted = self._unlisted
        unlisted.again[came] |= unlisted.seen[came] < self._block
        unlisted.seen[came] = self._block

    def _meet(
        self,
        words: NDArray[np.uint64],
        counts: NDArray[np.int64],
        longest: NDArray[np.uint8],
        others: NDArray[np.uint16],
    ) -> bool:
        """Make slots for ids, with so many frames and bytes; True if there were any to make.

        others   the slots of the block's other frames
        """
        unlisted: list[tuple[int, int, int, int]] = []
        met = False
        for word, frames, length in zip(words.tolist(), counts.tolist(), longest.tolist(), strict=True):
            bus, can_id = word >> 32, word & 0xFFFF_FFFF
            message = self._plan.plain.get((bus, can_id))
            if message is not None and len(self._listed) < LISTED_MAX:
                self._listed[word] = message
                met = True
                continue
            message = self._plan.found_message(bus, can_id) if message is None else None
            if message is not None:
                signals = length if message == RAW else len(self._plan.signals(message)) + 1
                unlisted.append((-frames, word, message, signals))
            elif len(self._unknown) < UNKNOWN_MAX:
                self._unknown.add(word)
                met = True
        met = (bool(unlisted) and self._admit(sorted(unlisted), others)) or met
        if met:
            self._tabulate()
        return met

    def _admit(self, waiting: list[tuple[int, int, int, int]], others: NDArray[np.uint16]) -> bool:
        """Give slots to unlisted ids, the first ones first, where there is room or can be made; True if any got one."""
        self._mark(others)
        before = len(self._unlisted)
        signals = np.array([each[3] for each in waiting]).cumsum()
        needed = (
            len(waiting) + len(self._unlisted) - UNLISTED_MAX,
            int(signals[-1] + self._signals) - UNLISTED_SIGNALS_MAX,
        )
        if max(needed) > 0:
            self._evict(*needed)
        room = min(
            UNLISTED_MAX - len(self._unlisted),
            int(signals.searchsorted(UNLISTED_SIGNALS_MAX - self._signals, side="right")),
        )
        self.outside = -sum(each[0] for each in waiting[max(room, 0) :])
        if room <= 0:
            return len(self._unlisted) < before
        _, words, messages, counts = zip(*waiting[:room], strict=True)
        self._unlisted = self._unlisted.with_more(
            _UnlistedIds.of(list(words), list(messages), list(counts), self._block)
        )
        return True

    def _evict(self, number: int, signals: int) -> None:
        """Evict so many unlisted ids, or ids with so many signals, as far as there are any."""
        unlisted = self._unlisted
        idle = np.flatnonzero(unlisted.seen < self._block)
        order = idle.take(np.lexsort((unlisted.seen.take(idle), unlisted.again.take(idle))))
        freed = unlisted.signals.take(order).cumsum()
        wanted = max(number, int(freed.searchsorted(signals)) + 1 if signals > 0 else 0)
        going = order[: min(wanted, int(freed.searchsorted(self._evicted_max, side="right")))]
        stays = np.ones(len(unlisted), np.bool_)
        stays[going] = False
        self._unlisted = unlisted.at(stays)

    @property
    def _signals(self) -> int:
        return int(self._unlisted.signals.sum())

    def _tabulate(self) -> None:
        self.changes += 1
        listed = np.array(list(self._listed), np.uint64)
        words = np.concatenate([listed, self._unlisted.word])
        message = np.concatenate([np.array(list(self._listed.values()), np.int64), self._unlisted.message])
        key = ((message + 1).astype(np.uint64) << np.uint64(40)) | words
        order = np.argsort(key)
        self.key, self.message, words = key.take(order), message.take(order), words.take(order)
        self.unknown = np.array(sorted(self._unknown), np.uint64)
        self._unlisted_of = np.concatenate([np.maximum(order - len(listed), -1), np.full(len(self.unknown) + 1, -1)])
        words = np.concatenate([words, self.unknown])
        slots = np.arange(len(words), dtype=np.uint16)
        extended = (words & np.uint64(EXTENDED)) != 0
        standard = words[~extended]
        self._standard = np.full(len(self._plan.buses) << 11, _UNMET, np.uint16)
        at = (standard >> np.uint64(32) << np.uint64(11)) | (standard & np.uint64(STANDARD_MASK))
        self._standard[at.astype(np.int64)] = slots[~extended]
        order = np.argsort(words[extended])
        self._extended_key, self._extended_slot = words[extended].take(order), slots[extended].take(order)
