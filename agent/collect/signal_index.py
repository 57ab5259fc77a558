# SPDX-License-Identifier: Apache-2.0
"""Dense numbers of stream keys and signal slots, so that what is known of them lies in flat tables.

    stream key   one (message, bus, arbitration id), a block's group; numbered as it is met
    slot         one signal of a stream key; those of a stream key are numbered on end: first[stream_key] + signal

What the DBC files define is entered at the start, and stays. The ids of J1939 and of raw frames, guests, are entered
when they come. Of raw frames the bytes have slots as far as they came: eight, or all of CAN FD.

Limits: past `GUESTS_MAX` guests, or `GUEST_SLOTS_MAX` slots of theirs, those that came least recently leave between
blocks, until as many stay as the decoder has room for. All that stay are numbered anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agent.blocks import find, runs, starts
from agent.decode import ids
from agent.model import MESSAGE_SHIFT, RAW_SIGNALS, split_group_key
from agent.physical import key_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import MessageDefinition, SignalBlock, SignalDefinition

T = TypeVar("T")

GUESTS_MAX, GUEST_SLOTS_MAX = ids.UNLISTED_MAX * 5 // 4, ids.UNLISTED_SIGNALS_MAX * 5 // 4
_CLASSIC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Staying:
    """The stream keys and slots that stay, as they were numbered, ascending; and what their numbers are from now on.

    stream_keys, slots int64 · stream_key_of, slot_of int64, by old number, -1 of what leaves
    """

    stream_keys: NDArray[np.int64]
    slots: NDArray[np.int64]
    stream_key_of: NDArray[np.int64]
    slot_of: NDArray[np.int64]

    @classmethod
    def of(cls, stream_keys: NDArray[np.int64], first: NDArray[np.int64]) -> Staying:
        """These stream keys, whose slots begin there."""
        slots = runs(first.take(stream_keys), first.take(stream_keys + 1) - first.take(stream_keys))
        return cls(stream_keys, slots, _renumbered(stream_keys, len(first) - 1), _renumbered(slots, int(first[-1])))


def _renumbered(kept: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    numbers = np.full(count, -1)
    numbers[kept] = np.arange(len(kept))
    return numbers


class SignalIndex:
    """The stream keys and slots met so far.

    key          uint64 (K,)  `model.group_key` of the stream key
    bus          int64 (K,)   · message int64 (K,), -1 for raw frames
    first        int64 (K+1,) stream key k has slots first[k]…first[k+1]
    stream_key   int64 (S,)   of the slot
    bits         uint8 (S,)   field length of the signal
    sign         uint64 (S,)  what turns a raw value into its key: the sign bit of a signed whole number, else 0
    """

    def __init__(self, plan: Plan) -> None:
        self.messages: Sequence[MessageDefinition] = plan.messages
        self.buses = plan.buses
        self.key = np.empty(0, np.uint64)
        self.bus = np.empty(0, np.int64)
        self.message = np.empty(0, np.int64)
        self.first = np.zeros(1, np.int64)
        self.stream_key = np.empty(0, np.int64)
        self.bits = np.empty(0, np.uint8)
        self.sign = np.empty(0, np.uint64)
        self._plain = frozenset(plan.plain_keys.tolist())
        self._block = 0
        self._seen = np.empty(0, np.int64)  # the number of the block that a stream key came in last
        self._guest = np.empty(0, np.bool_)
        self._sorted = np.empty(0, np.uint64)
        self._stream_key_sorted = np.empty(0, np.int64)
        self._growing: list[Callable[[range], None]] = []
        self._shrinking: list[Callable[[Staying], None]] = []

    def on_change(self, grow: Callable[[range], None], shrink: Callable[[Staying], None]) -> None:
        """Call `grow` with new stream keys, those that are here already at once; and `shrink` when some leave."""
        self._growing.append(grow)
        self._shrinking.append(shrink)
        if len(self.key):
            grow(range(len(self.key)))

    def definitions(self, stream_key: int) -> Sequence[SignalDefinition]:
        """The signals of a stream key."""
        message = int(self.message[stream_key])
        if message < 0:
            return RAW_SIGNALS[: int(self.first[stream_key + 1] - self.first[stream_key])]
        return self.messages[message].signals

    def of_signals(
        self, stream_key: int, known: dict[int, list[T]], judge: Callable[[str, str, SignalDefinition], T]
    ) -> list[T]:
        """What `judge` says of a stream key's signals, by bus, message and signal; `known` keeps it by message.

        It is the same for all stream keys of a message, but for raw frames.
        """
        message = int(self.message[stream_key])
        found = known.get(message)
        if found is None:
            bus, name = self.bus_name(stream_key), self.message_name(stream_key)
            found = [judge(bus, name, signal) for signal in self.definitions(stream_key)]
            if message >= 0:
                known[message] = found
        return found

    def definition(self, slot: int) -> SignalDefinition:
        """The signal of a slot."""
        stream_key = int(self.stream_key[slot])
        return self.definitions(stream_key)[slot - int(self.first[stream_key])]

    def slots(self, stream_keys: range) -> range:
        """The slots of stream keys that follow one another."""
        return range(int(self.first[stream_keys.start]), int(self.first[stream_keys.stop]))

    def message_name(self, stream_key: int) -> str:
        """The message's name; of a raw frame its id, as in 0x1A0."""
        message, _, can_id = split_group_key(int(self.key[stream_key]))
        return f"0x{can_id & 0x1FFF_FFFF:X}" if message < 0 else self.messages[message].name

    def bus_name(self, stream_key: int) -> str:
        """The name of the stream key's bus."""
        return self.buses[int(self.bus[stream_key])]

    def stream_keys(self, block: SignalBlock) -> NDArray[np.int64]:
        """The stream key of each group of a block; unseen ones are entered."""
        keys = block.group_key
        at, known = find(self._sorted, keys)
        if not known.all():
            self.enter(keys, self._is_long(block))
            at, _ = find(self._sorted, keys)
        stream_keys = self._stream_key_sorted.take(at)
        if len(block.column_signal) and int(block.column_signal.max()) >= _CLASSIC_BYTES:
            long = self._is_long(block) & (
                self.first.take(stream_keys + 1) - self.first.take(stream_keys) <= _CLASSIC_BYTES
            )
            if long.any():  # raw frames have become longer: a stream key with more slots takes over
                self._forget(keys[long])
                return self.stream_keys(block)
        self._seen[stream_keys] = self._block
        return stream_keys

    def has(self, block: SignalBlock) -> NDArray[np.bool_]:
        """bool (G,): which groups of a block have a stream key that they would be given."""
        at, known = find(self._sorted, block.group_key)
        if known.any():
            stream_keys = self._stream_key_sorted.take(at)
            short = self.first.take(stream_keys + 1) - self.first.take(stream_keys) <= _CLASSIC_BYTES
            known &= ~(short & self._is_long(block))
        return known

    def _is_long(self, block: SignalBlock) -> NDArray[np.bool_]:
        """bool (G,): which groups are of raw frames that are longer than classic ones."""
        long = np.zeros(len(block.group_key), np.bool_)
        long[block.column_group.compress(block.column_signal >= _CLASSIC_BYTES)] = True
        return long & (block.group_key < np.uint64(1) << MESSAGE_SHIFT)

    def _forget(self, keys: NDArray[np.uint64]) -> None:
        stays = ~np.isin(self._sorted, keys)
        self._sorted, self._stream_key_sorted = self._sorted[stays], self._stream_key_sorted[stays]

    def enter(self, keys: NDArray[np.uint64], long: NDArray[np.bool_] | None = None) -> None:
        """Give numbers to the keys that have none, each once. long: raw frames that have more than eight bytes."""
        fresh = ~np.isin(keys, self._sorted)
        if not fresh.any():
            return
        wide = (np.zeros(len(keys), np.bool_) if long is None else long).compress(fresh).tolist()
        keys = keys.compress(fresh)
        split = [split_group_key(key) for key in keys.tolist()]
        stream_keys = range(len(self.key), len(self.key) + len(split))
        self.key = np.concatenate([self.key, keys])
        self.bus = np.concatenate([self.bus, np.array([bus for _, bus, _ in split], np.int64)])
        self.message = np.concatenate([self.message, np.array([message for message, _, _ in split], np.int64)])
        self._seen = np.concatenate([self._seen, np.full(len(keys), self._block)])
        self._guest = np.concatenate([self._guest, np.array([key not in self._plain for key in keys.tolist()])])
        raw = (RAW_SIGNALS[:_CLASSIC_BYTES], RAW_SIGNALS)
        carried = [
            raw[is_wide] if message < 0 else self.messages[message].signals
            for (message, _, _), is_wide in zip(split, wide, strict=True)
        ]
        signals = [signal for each in carried for signal in each]
        counts = [len(each) for each in carried]
        self.stream_key = np.concatenate(
            [self.stream_key, np.repeat(np.arange(stream_keys.start, stream_keys.stop), counts)]
        )
        self.first = np.concatenate([self.first, self.first[-1] + np.cumsum(counts, dtype=np.int64)])
        self.bits = np.concatenate([self.bits, np.array([signal.length for signal in signals], np.uint8)])
        self.sign = np.concatenate([self.sign, np.array([key_offset(signal) for signal in signals], np.uint64)])
        self._sort(
            np.concatenate([self._sorted, keys]),
            np.concatenate([self._stream_key_sorted, np.array(stream_keys, np.int64)]),
        )
        for grow in tuple(self._growing):
            grow(stream_keys)

    def _sort(self, keys: NDArray[np.uint64], stream_keys: NDArray[np.int64]) -> None:
        order = np.argsort(keys)
        self._sorted = keys.take(order)
        self._stream_key_sorted = stream_keys.take(order)

    def crowded_out(self) -> Staying | None:
        """Between blocks: what stays where there are too many guests; None where nothing leaves."""
        self._block += 1
        guests = self._guest.nonzero()[0]
        sizes = (self.first[1:] - self.first[:-1]).take(guests)
        if len(guests) <= GUESTS_MAX and int(sizes.sum()) <= GUEST_SLOTS_MAX:
            return None
        latest_first = (-self._seen.take(guests)).argsort(kind="stable")
        stay = int(sizes.take(latest_first).cumsum().searchsorted(ids.UNLISTED_SIGNALS_MAX, side="right"))
        staying = ~self._guest
        staying[guests.take(latest_first[: min(stay, ids.UNLISTED_MAX)])] = True
        return Staying.of(staying.nonzero()[0], self.first)

    def shrink(self, staying: Staying) -> None:
        """Let all others leave."""
        stream_keys, slots = staying.stream_keys, staying.slots
        sizes = (self.first[1:] - self.first[:-1]).take(stream_keys)
        self.key, self.bus, self.message = (
            self.key.take(stream_keys),
            self.bus.take(stream_keys),
            self.message.take(stream_keys),
        )
        self._seen, self._guest = self._seen.take(stream_keys), self._guest.take(stream_keys)
        self.first = starts(sizes)
        self.stream_key = np.arange(len(stream_keys)).repeat(sizes)
        self.bits, self.sign = self.bits.take(slots), self.sign.take(slots)
        numbers = staying.stream_key_of.take(self._stream_key_sorted)
        self._sort(self._sorted.compress(numbers >= 0), numbers.compress(numbers >= 0))
        for shrink in tuple(self._shrinking):
            shrink(staying)
