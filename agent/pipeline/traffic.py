# SPDX-License-Identifier: Apache-2.0
"""Traffic statistics: of each id on each bus how many frames have come, and the last one. Kept always.

Promise: an exact count of the frames of each (bus, arbitration id), its last frame, and per bus what the DBC files
know. The cost is per block, not per frame: sums over the block, a search of its ids among those seen, one scatter of
their last frames. Reading costs per id: columns are turned into rows all at once.

Limits: `IDS_MAX` ids. Where there are more, the one that came longest ago gives its place up, one that no DBC file
describes before one that a file does; the totals of its bus keep its frames. Rates are those of the blocks of the last
`RATE_S` seconds, by the given monotonic clock. One thread.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.blocks import find
from agent.model import EXTENDED, FrameFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agent.decode.decoder import Decoded
    from agent.model import FrameBlock

IDS_MAX = 32_768
RATE_S = 5.0
_MARKS_MAX = 64
_LATE_S = 1.0
"""When nothing has come for a block's time and this, the rate falls."""
STANDARD_BITS, EXTENDED_BITS = 47, 67
"""A classic data frame without its payload and without stuff bits, the three of the interframe space included
(ISO 11898-1, 10.4.2: SOF, arbitration, control, CRC, ACK, EOF, intermission)."""
_ID = np.uint64(0xFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class BusTraffic:
    """What has come on one bus.

    frames, known   data frames, and those whose id a DBC file describes
    partial         known ones that could be decoded only in part
    ids, unknown_ids   different arbitration ids that are remembered, and those that no DBC file describes
    frames_s        the rate of late
    bits_s          the same in bits on the wire, stuff bits not counted; None where CAN FD frames are among them, whose
                    bits are of two lengths
    last_ns         wall clock; the last frame's own time, 0 where there was none
    """

    frames: int = 0
    known: int = 0
    partial: int = 0
    ids: int = 0
    unknown_ids: int = 0
    frames_s: float = 0.0
    bits_s: float | None = 0.0
    last_ns: int = 0


class LastFrame(NamedTuple):
    """The last frame of an id, and how many there were: a row of `protocol.Frames`.

    message   its index among the definitions, -1 of none
    payload   in hexadecimal
    """

    bus: int
    can_id: int
    message: int
    frames: int
    time_ns: int
    payload: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """The totals at the end of a block."""

    at_s: float
    frames: NDArray[np.int64]
    bits: NDArray[np.int64]


class TrafficStatistics:
    """Of buses that are named by their index, since it was made; blocks come every `block_s` at the latest."""

    def __init__(self, buses: int, block_s: float = 1.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._block_s = block_s
        self._monotonic = monotonic
        self._frames = np.zeros(buses, np.int64)
        self._known = np.zeros(buses, np.int64)
        self._partial = np.zeros(buses, np.int64)
        self._bits = np.zeros(buses, np.int64)
        self._last_ns = np.zeros(buses, np.int64)
        self._fd = np.zeros(buses, np.bool_)
        self._marks = deque([_Mark(monotonic(), self._frames.copy(), self._bits.copy())], _MARKS_MAX)
        self._next_stamp = self._block_stamp = 1
        self._sorted = np.empty(0, np.uint64)
        self._row_sorted = np.empty(0, np.int64)
        self._key = np.empty(0, np.uint64)
        self._message = np.empty(0, np.int64)
        self._count = np.empty(0, np.int64)
        self._time_ns = np.empty(0, np.int64)
        self._length = np.empty(0, np.uint8)
        self._stamp = np.empty(0, np.int64)
        self._data = np.empty((0, 8), np.uint8)

    def update(self, frames: FrameBlock, decoded: Decoded) -> None:
        """Count a block; at least one frame."""
        self._count_buses(frames)
        self._block_stamp = self._next_stamp
        signals = decoded.signals
        message = (signals.group_key >> np.uint64(40)).astype(np.int64) - 1
        counts = np.diff(signals.row_start)
        bus = (signals.group_key >> np.uint64(32) & np.uint64(0xFF)).astype(np.int64)
        known = message >= 0
        np.add.at(self._known, bus[known], counts[known])
        for (key, _), partial in decoded.partial.items():
            self._partial[key >> 32 & 0xFF] += partial
        self._update_ids(frames, signals.group_key & _ID, message, counts, decoded.last)
        if decoded.unknown:
            keys = np.array([index << 32 | can_id for index, can_id in decoded.unknown], np.uint64)
            unknown = np.array(list(decoded.unknown.values()), np.int64)
            self._update_ids(frames, keys, np.full(len(keys), -1), unknown, decoded.unknown_last)
        self._marks.append(_Mark(self._monotonic(), self._frames.copy(), self._bits.copy()))

    def _count_buses(self, frames: FrameBlock) -> None:
        buses = len(self._frames)
        overhead = np.where(frames.can_id >= EXTENDED, EXTENDED_BITS, STANDARD_BITS)
        bits = overhead + (frames.length.astype(np.int64) << 3)
        self._frames += np.bincount(frames.bus, minlength=buses)
        self._bits += np.bincount(frames.bus, weights=bits, minlength=buses).astype(np.int64)
        np.maximum.at(self._last_ns, frames.bus, frames.time_ns)
        fd = frames.flags & np.uint8(FrameFlag.FD) != 0
        if fd.any():
            self._fd[frames.bus[fd]] = True

    def _update_ids(
        self,
        frames: FrameBlock,
        keys: NDArray[np.uint64],
        message: NDArray[np.int64],
        counts: NDArray[np.int64],
        last: NDArray[np.int64],
    ) -> None:
        """Ids, each once, and the rows of their last frames."""
        at, known = find(self._sorted, keys)
        if not known.all():
            self._stamp[self._row_sorted.take(at[known])] = self._block_stamp  # they have come, and stay
            self._add(keys[~known], message[~known])
            at, known = find(self._sorted, keys)
            if not known.all():  # there is no room for more
                at, counts, last, message = at[known], counts[known], last[known], message[known]
        row = self._row_sorted.take(at)
        self._message[row] = np.maximum(self._message[row], message)  # -1 while the decoder had no room for it
        data = frames.data.take(last, axis=0)
        if data.shape[1] > self._data.shape[1]:
            self._data = np.pad(self._data, ((0, 0), (0, data.shape[1] - self._data.shape[1])))
        self._count[row] += counts
        self._time_ns[row] = frames.time_ns.take(last)
        self._length[row] = frames.length.take(last)
        self._stamp[row] = np.arange(self._next_stamp, self._next_stamp + len(row))
        self._next_stamp += len(row)
        self._data[row, : data.shape[1]] = data

    def _add(self, keys: NDArray[np.uint64], message: NDArray[np.int64]) -> None:
        room = IDS_MAX - len(self._key)
        if len(keys) > room:
            self._replace(keys[room:], message[room:])
            keys, message = keys[:room], message[:room]
        more = len(keys)
        self._key = np.concatenate([self._key, keys])
        self._message = np.concatenate([self._message, message])
        self._count = np.concatenate([self._count, np.zeros(more, np.int64)])
        self._time_ns = np.concatenate([self._time_ns, np.zeros(more, np.int64)])
        self._length = np.concatenate([self._length, np.zeros(more, np.uint8)])
        self._stamp = np.concatenate([self._stamp, np.zeros(more, np.int64)])
        self._data = np.concatenate([self._data, np.zeros((more, self._data.shape[1]), np.uint8)])
        order = np.argsort(self._key)
        self._sorted, self._row_sorted = self._key[order], order

    def _replace(self, keys: NDArray[np.uint64], message: NDArray[np.int64]) -> None:
        """Give ids the places of others, as far as there are any that did not come in this block."""
        idle = np.flatnonzero(self._stamp < self._block_stamp)
        order = idle.take(np.lexsort((self._stamp.take(idle), self._message.take(idle) >= 0)))
        rows = order[: len(keys)]
        self._key[rows], self._message[rows] = keys[: len(rows)], message[: len(rows)]
        self._count[rows] = 0

    def buses(self) -> list[BusTraffic]:
        """The traffic of each bus, by index."""
        frames_s, bits_s = self._rates()
        bus = (self._key >> np.uint64(32)).astype(np.int64)
        ids = np.bincount(bus, minlength=len(self._frames)).tolist()
        unknown = np.bincount(bus[self._message < 0], minlength=len(self._frames)).tolist()
        return [
            BusTraffic(
                frames=int(self._frames[index]),
                known=int(self._known[index]),
                partial=int(self._partial[index]),
                ids=ids[index],
                unknown_ids=unknown[index],
                frames_s=float(frames_s[index]),
                bits_s=None if self._fd[index] else float(bits_s[index]),
                last_ns=int(self._last_ns[index]),
            )
            for index in range(len(self._frames))
        ]

    def messages(self) -> list[int]:
        """The definitions of which frames have come, as indexes."""
        found: list[int] = np.unique(self._message[self._message >= 0]).tolist()
        return found

    def changes(self, after: int = 0, limit: int = -1) -> tuple[list[LastFrame], int]:
        """The last frames of the ids that have come after a stamp, and the stamp to ask after next time.

        At most `limit` (all where it is negative), those that came longest ago first; the others come at the next call.
        """
        rows = np.flatnonzero(self._stamp > after)
        rows = rows[np.argsort(self._stamp[rows])][: limit if limit >= 0 else None]
        return self._last_frames(rows), int(self._stamp[rows[-1]]) if len(rows) else after

    def _last_frames(self, rows: NDArray[np.intp]) -> list[LastFrame]:
        key, width = self._key.take(rows), 2 * self._data.shape[1]
        digits = self._data.take(rows, axis=0).tobytes().hex()
        length = (self._length.take(rows).astype(np.int64) << 1).tolist()
        payloads = [digits[begin : begin + held] for begin, held in zip(count(0, width), length, strict=False)]
        columns = (
            (key >> np.uint64(32)).tolist(),
            (key & np.uint64(0xFFFF_FFFF)).tolist(),
            self._message.take(rows).tolist(),
            self._count.take(rows).tolist(),
            self._time_ns.take(rows).tolist(),
            payloads,
        )
        return list(map(LastFrame._make, zip(*columns, strict=True)))

    def _rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frames and bits a second of each bus, of late."""
        now_s, marks = self._monotonic(), list(self._marks)
        newest = marks[-1]
        until_s = newest.at_s if now_s - newest.at_s <= self._block_s + _LATE_S else now_s
        late = [mark for mark in marks if until_s - mark.at_s <= max(RATE_S, 2 * self._block_s)]
        if not late or len(marks) < 2:
            nothing = np.zeros(len(self._frames))
            return nothing, nothing
        oldest = late[0] if len(late) > 1 else marks[-2]
        span_s = max(until_s - oldest.at_s if len(late) > 1 else self._block_s, 1e-3)
        return (newest.frames - oldest.frames) / span_s, (newest.bits - oldest.bits) / span_s
