# SPDX-License-Identifier: Apache-2.0
"""Dense numbers for what blocks consist of, so that what is known of it lies in flat tables.

    lane     one (message, bus, arbitration id), a block's group; numbered as it is met, and for good
    channel  one signal of a lane; those of a lane are numbered on end: first[lane] + signal

What the DBC files define is met at the start; the ids of J1939 and of raw frames on the bus. Limits: as many lanes
as `decode.plan` has slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.batch.physical import reads_as_float
from agent.collect.steady import NEVER
from agent.model import RAW_SIGNALS, split_group_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.collect.view import View
    from agent.decode.plan import Plan
    from agent.model import MessageDefinition, SignalDefinition


class Roster:
    """The lanes and channels met so far. All tables only grow.

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
        self._sorted = np.empty(0, np.uint64)
        self._lane_sorted = np.empty(0, np.int64)
        self._growing: list[Callable[[range], None]] = []

    def on_growth(self, grow: Callable[[range], None]) -> None:
        """Have a function called with the new lanes whenever there are some, those that are here already at once."""
        self._growing.append(grow)
        if len(self.key):
            grow(range(len(self.key)))

    def definitions(self, lane: int) -> Sequence[SignalDefinition]:
        """The signals of a lane."""
        message = int(self.message[lane])
        return RAW_SIGNALS if message < 0 else self.messages[message].signals

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

    def lanes(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The lane of each group key; unseen ones are entered."""
        at = self._sorted.searchsorted(keys)
        if not len(self._sorted) or (self._sorted.take(at, mode="clip") != keys).any():
            self.enter(keys)
            at = self._sorted.searchsorted(keys)
        return self._lane_sorted.take(at)

    def enter(self, keys: NDArray[np.uint64]) -> None:
        """Give numbers to the keys that have none."""
        fresh = np.setdiff1d(keys, self.key)
        if not len(fresh):
            return
        split = [split_group_key(key) for key in fresh.tolist()]
        lanes = range(len(self.key), len(self.key) + len(split))
        self.key = np.concatenate([self.key, fresh])
        self.bus = np.concatenate([self.bus, np.array([bus for _, bus, _ in split], np.int64)])
        self.message = np.concatenate([self.message, np.array([message for message, _, _ in split], np.int64)])
        signals = [signal for lane in lanes for signal in self.definitions(lane)]
        counts = [len(self.definitions(lane)) for lane in lanes]
        self.lane = np.concatenate([self.lane, np.repeat(np.arange(lanes.start, lanes.stop), counts)])
        self.first = np.concatenate([self.first, self.first[-1] + np.cumsum(counts, dtype=np.int64)])
        self.bits = np.concatenate([self.bits, np.array([signal.length for signal in signals], np.uint8)])
        sign = [1 << signal.length - 1 if signal.signed and not reads_as_float(signal) else 0 for signal in signals]
        self.sign = np.concatenate([self.sign, np.array(sign, np.uint64)])
        order = np.argsort(self.key)
        self._sorted, self._lane_sorted = self.key[order], order
        for grow in tuple(self._growing):
            grow(lanes)


class Latest:
    """The latest sample of each channel, before the block at hand; arrays by channel. `values`: how many have come.

    raw uint64 · time_ns int64, its frame's own · steady int64, `NEVER` where there was none yet
    kept      uint8, the highest rank that it was kept with so far, by a rule that does not keep all of the channel
    serial    int64, its number among all values that have come, of all channels
    returns   int64, how often its lane had returned (`silence`)
    fresh     bool, it has come since all intervals were closed
    """

    def __init__(self, roster: Roster) -> None:
        self.raw = np.empty(0, np.uint64)
        self.time_ns = np.empty(0, np.int64)
        self.steady = np.empty(0, np.int64)
        self.kept = np.empty(0, np.uint8)
        self.serial = np.empty(0, np.int64)
        self.values = 0
        self.returns = np.empty(0, np.int64)
        self.fresh = np.empty(0, np.bool_)
        self._roster = roster
        roster.on_growth(self._grow)

    def _grow(self, lanes: range) -> None:
        more = len(self._roster.channels(lanes))
        self.raw = np.concatenate([self.raw, np.zeros(more, np.uint64)])
        self.time_ns = np.concatenate([self.time_ns, np.zeros(more, np.int64)])
        self.steady = np.concatenate([self.steady, np.full(more, NEVER)])
        self.kept = np.concatenate([self.kept, np.zeros(more, np.uint8)])
        self.serial = np.concatenate([self.serial, np.full(more, -1)])
        self.returns = np.concatenate([self.returns, np.zeros(more, np.int64)])
        self.fresh = np.concatenate([self.fresh, np.zeros(more, np.bool_)])

    def remember(self, view: View, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None) -> None:
        """Take in a block. kept: uint8 (V,), as above · returns: int64 (R,), None where no lane has ever returned."""
        channel, place = view.channel, view.block.column_start[1:] - 1
        row = view.row_of(place, view.columns)
        self.raw[channel] = view.block.values.take(place)
        self.time_ns[channel] = view.block.time_ns.take(row)
        self.steady[channel] = view.row_steady.take(row)
        self.kept[channel] = kept.take(place)
        self.serial[channel] = place + self.values
        self.fresh[channel] = True
        if returns is not None:
            self.returns[channel] = returns.take(row)
        self.values += len(view.block.values)

    def mark(self, channel: NDArray[np.int64], serial: NDArray[np.int64], rank: NDArray[np.uint8]) -> None:
        """Samples have been kept with these ranks now, higher ones than before; of one sample the last counts."""
        latest = (self.serial.take(channel) == serial).nonzero()[0]
        self.kept[channel.take(latest)] = rank.take(latest)
