# SPDX-License-Identifier: Apache-2.0
"""Dense numbers for what blocks consist of, so that what is known of it lies in flat tables.

    lane     one (message, bus, arbitration id), a block's group; numbered as it is met
    channel  one signal of a lane; those of a lane are numbered on end: first[lane] + signal

What the DBC files define is met at the start, and stays; the ids of J1939 and of raw frames, guests, are met on the
bus. Of raw frames the bytes have channels as far as they came: eight, or all of CAN FD.

Limits: past `GUESTS_MAX` guests, or `GUEST_CHANNELS_MAX` channels of theirs, those that came least recently leave,
between blocks, until as many stay as the decoder has room for; all that stay are numbered anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agent.blocks import find, runs, starts
from agent.decode import ids
from agent.model import MESSAGE_SHIFT, RAW_SIGNALS, split_group_key
from agent.physical import reads_as_float

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.decode.plan import Plan
    from agent.model import MessageDefinition, SignalBlock, SignalDefinition

T = TypeVar("T")

GUESTS_MAX, GUEST_CHANNELS_MAX = ids.GUESTS_MAX * 5 // 4, ids.GUEST_SIGNALS_MAX * 5 // 4
_CLASSIC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Staying:
    """The lanes and channels that stay, as they were numbered, ascending; and what their numbers are from now on.

    lanes, channels int64 · lane_of, channel_of int64, by old number, -1 of what leaves
    """

    lanes: NDArray[np.int64]
    channels: NDArray[np.int64]
    lane_of: NDArray[np.int64]
    channel_of: NDArray[np.int64]

    @classmethod
    def of(cls, lanes: NDArray[np.int64], first: NDArray[np.int64]) -> Staying:
        """These lanes, whose channels begin there."""
        channels = runs(first.take(lanes), first.take(lanes + 1) - first.take(lanes))
        return cls(lanes, channels, _renumbered(lanes, len(first) - 1), _renumbered(channels, int(first[-1])))


def _renumbered(kept: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    numbers = np.full(count, -1)
    numbers[kept] = np.arange(len(kept))
    return numbers


class SignalIndex:
    """The lanes and channels met so far.

    key      uint64 (L,)  `model.group_key` of the lane
    bus      int64 (L,)   · message int64 (L,), -1 for raw frames
    first    int64 (L+1,) lane l has channels first[l]…first[l+1]
    lane     int64 (C,)   of the channel
    bits     uint8 (C,)   field length of the signal
    sign     uint64 (C,)  what turns a raw value into its key: the sign bit of a signed whole number, else 0
    """

    def __init__(self, plan: Plan) -> None:
        self.messages: Sequence[MessageDefinition] = plan.messages
        self.buses = plan.buses
        self.key = np.empty(0, np.uint64)
        self.bus = np.empty(0, np.int64)
        self.message = np.empty(0, np.int64)
        self.first = np.zeros(1, np.int64)
        self.lane = np.empty(0, np.int64)
        self.bits = np.empty(0, np.uint8)
        self.sign = np.empty(0, np.uint64)
        self._plain = frozenset(plan.plain_keys.tolist())
        self._block = 0
        self._seen = np.empty(0, np.int64)  # the number of the block that a lane came in last
        self._guest = np.empty(0, np.bool_)
        self._sorted = np.empty(0, np.uint64)
        self._lane_sorted = np.empty(0, np.int64)
        self._growing: list[Callable[[range], None]] = []
        self._shrinking: list[Callable[[Staying], None]] = []

    def on_change(self, grow: Callable[[range], None], shrink: Callable[[Staying], None]) -> None:
        """Have one function called with the new lanes whenever there are some, those that are here already at once; and
        another one when some leave.
        """
        self._growing.append(grow)
        self._shrinking.append(shrink)
        if len(self.key):
            grow(range(len(self.key)))

    def definitions(self, lane: int) -> Sequence[SignalDefinition]:
        """The signals of a lane."""
        message = int(self.message[lane])
        if message < 0:
            return RAW_SIGNALS[: int(self.first[lane + 1] - self.first[lane])]
        return self.messages[message].signals

    def of_signals(
        self, lane: int, known: dict[int, list[T]], judge: Callable[[str, str, SignalDefinition], T]
    ) -> list[T]:
        """What is judged of a lane's signals, by bus, message and signal; `known`, by message, is for the next lane.

        It is the same for all lanes of a message, but for raw frames.
        """
        message = int(self.message[lane])
        found = known.get(message)
        if found is None:
            bus, name = self.bus_name(lane), self.message_name(lane)
            found = [judge(bus, name, signal) for signal in self.definitions(lane)]
            if message >= 0:
                known[message] = found
        return found

    def definition(self, channel: int) -> SignalDefinition:
        """The signal of a channel."""
        lane = int(self.lane[channel])
        return self.definitions(lane)[channel - int(self.first[lane])]

    def channels(self, lanes: range) -> range:
        """The channels of lanes that follow one another."""
        return range(int(self.first[lanes.start]), int(self.first[lanes.stop]))

    def message_name(self, lane: int) -> str:
        """The message's name; of a raw frame its id, as in 0x1A0."""
        message, _, can_id = split_group_key(int(self.key[lane]))
        return f"0x{can_id & 0x1FFF_FFFF:X}" if message < 0 else self.messages[message].name

    def bus_name(self, lane: int) -> str:
        """The name of the lane's bus."""
        return self.buses[int(self.bus[lane])]

    def lanes(self, block: SignalBlock) -> NDArray[np.int64]:
        """The lane of each group of a block; unseen ones are entered."""
        keys = block.group_key
        at, known = find(self._sorted, keys)
        if not known.all():
            self.enter(keys, self._is_long(block))
            at, _ = find(self._sorted, keys)
        lanes = self._lane_sorted.take(at)
        if len(block.column_signal) and int(block.column_signal.max()) >= _CLASSIC_BYTES:
            long = self._is_long(block) & (self.first.take(lanes + 1) - self.first.take(lanes) <= _CLASSIC_BYTES)
            if long.any():  # raw frames have become longer: a lane with more channels takes over
                self._forget(keys[long])
                return self.lanes(block)
        self._seen[lanes] = self._block
        return lanes

    def has(self, block: SignalBlock) -> NDArray[np.bool_]:
        """bool (G,): which groups of a block have a lane that they would be given."""
        at, known = find(self._sorted, block.group_key)
        if known.any():
            lanes = self._lane_sorted.take(at)
            short = self.first.take(lanes + 1) - self.first.take(lanes) <= _CLASSIC_BYTES
            known &= ~(short & self._is_long(block))
        return known

    def _is_long(self, block: SignalBlock) -> NDArray[np.bool_]:
        """bool (G,): which groups are of raw frames that are longer than classic ones."""
        long = np.zeros(len(block.group_key), np.bool_)
        long[block.column_group.compress(block.column_signal >= _CLASSIC_BYTES)] = True
        return long & (block.group_key < np.uint64(1) << MESSAGE_SHIFT)

    def _forget(self, keys: NDArray[np.uint64]) -> None:
        stays = ~np.isin(self._sorted, keys)
        self._sorted, self._lane_sorted = self._sorted[stays], self._lane_sorted[stays]

    def enter(self, keys: NDArray[np.uint64], long: NDArray[np.bool_] | None = None) -> None:
        """Give numbers to the keys that have none, each once. long: raw frames that have more than eight bytes."""
        fresh = ~np.isin(keys, self._sorted)
        if not fresh.any():
            return
        wide = (np.zeros(len(keys), np.bool_) if long is None else long).compress(fresh).tolist()
        keys = keys.compress(fresh)
        split = [split_group_key(key) for key in keys.tolist()]
        lanes = range(len(self.key), len(self.key) + len(split))
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
        self.lane = np.concatenate([self.lane, np.repeat(np.arange(lanes.start, lanes.stop), counts)])
        self.first = np.concatenate([self.first, self.first[-1] + np.cumsum(counts, dtype=np.int64)])
        self.bits = np.concatenate([self.bits, np.array([signal.length for signal in signals], np.uint8)])
        sign = [1 << signal.length - 1 if signal.signed and not reads_as_float(signal) else 0 for signal in signals]
        self.sign = np.concatenate([self.sign, np.array(sign, np.uint64)])
        self._sort(np.concatenate([self._sorted, keys]), np.concatenate([self._lane_sorted, np.array(lanes, np.int64)]))
        for grow in tuple(self._growing):
            grow(lanes)

    def _sort(self, keys: NDArray[np.uint64], lanes: NDArray[np.int64]) -> None:
        order = np.argsort(keys)
        self._sorted = keys.take(order)
        self._lane_sorted = lanes.take(order)

    def crowded_out(self) -> Staying | None:
        """Between blocks: who stays where there are more guests than there is room for; None where nobody leaves."""
        self._block += 1
        guests = self._guest.nonzero()[0]
        sizes = (self.first[1:] - self.first[:-1]).take(guests)
        if len(guests) <= GUESTS_MAX and int(sizes.sum()) <= GUEST_CHANNELS_MAX:
            return None
        latest_first = (-self._seen.take(guests)).argsort(kind="stable")
        stay = int(sizes.take(latest_first).cumsum().searchsorted(ids.GUEST_SIGNALS_MAX, side="right"))
        staying = ~self._guest
        staying[guests.take(latest_first[: min(stay, ids.GUESTS_MAX)])] = True
        return Staying.of(staying.nonzero()[0], self.first)

    def shrink(self, staying: Staying) -> None:
        """Let all others leave."""
        lanes, channels = staying.lanes, staying.channels
        sizes = (self.first[1:] - self.first[:-1]).take(lanes)
        self.key, self.bus, self.message = self.key.take(lanes), self.bus.take(lanes), self.message.take(lanes)
        self._seen, self._guest = self._seen.take(lanes), self._guest.take(lanes)
        self.first = starts(sizes)
        self.lane = np.arange(len(lanes)).repeat(sizes)
        self.bits, self.sign = self.bits.take(channels), self.sign.take(channels)
        numbers = staying.lane_of.take(self._lane_sorted)
        self._sort(self._sorted.compress(numbers >= 0), numbers.compress(numbers >= 0))
        for shrink in tuple(self._shrinking):
            shrink(staying)
