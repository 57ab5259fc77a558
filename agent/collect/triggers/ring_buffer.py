# SPDX-License-Identifier: Apache-2.0
"""The frames of the last while, raw: what a trigger's window before its event is made of.

Frames lie in chunks, whose arrays are allocated once; the oldest chunk is overwritten when all are full, so
that what is held takes the configured bytes, and never more. A frame takes 31 bytes, or 87 from the first CAN FD
frame of more than eight bytes on. What is asked for is cut by time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.model import FrameBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNKS = 32
"""How many chunks the ring has when it is full: the oldest of so many parts goes at once."""
_OVERHEAD_BYTES = 1024
"""Of a chunk's arrays, the objects around them and its place in the ring."""
_FRAME_BYTES = 8 + 8 + 4 + 3
"""Of a frame without its payload: both times, arbitration id, bus, length and flags."""
_CLASSIC_BYTES = 8


def frame_bytes(width: int) -> int:
    """What a frame takes in the ring, in chunks for payloads of this width."""
    return _FRAME_BYTES + width


@dataclass(slots=True)
class _Chunk:
    """Room for frames and their steady times, of which the first so many are `filled`."""

    frames: FrameBlock
    steady: NDArray[np.int64]
    filled: int = 0

    @classmethod
    def of(cls, size_bytes: int, width: int) -> _Chunk:
        """As many as fit, of payloads up to this width; at least one."""
        rows = max(1, (size_bytes - _OVERHEAD_BYTES) // frame_bytes(width))
        narrow = (np.empty(rows, np.uint8) for _ in range(3))
        bus, length, flags = narrow
        times, steady = np.empty(rows, np.int64), np.empty(rows, np.int64)
        ids, data = np.empty(rows, np.uint32), np.empty((rows, width), np.uint8)
        return cls(FrameBlock(times, bus, ids, length, flags, data), steady)

    @property
    def width(self) -> int:
        """Bytes of payload that a row has room for."""
        return int(self.frames.data.shape[1])

    @property
    def room(self) -> int:
        """How many more frames it takes."""
        return len(self.frames) - self.filled

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.frames) * frame_bytes(self.width) + _OVERHEAD_BYTES

    def append(self, frames: FrameBlock, steady: NDArray[np.int64]) -> None:
        """Take in frames, for which there is room."""
        begin, end, width = self.filled, self.filled + len(frames), frames.data.shape[1]
        own = self.frames
        own.time_ns[begin:end] = frames.time_ns
        own.bus[begin:end] = frames.bus
        own.can_id[begin:end] = frames.can_id
        own.length[begin:end] = frames.length
        own.flags[begin:end] = frames.flags
        own.data[begin:end, :width] = frames.data
        if width < self.width:
            own.data[begin:end, width:] = 0
        self.steady[begin:end] = steady
        self.filled = end

    def since(self, begin: int) -> tuple[FrameBlock, NDArray[np.int64]]:
        """Its frames whose steady time is `begin` or later, and their steady times; copies."""
        found = (self.steady[: self.filled] >= begin).nonzero()[0]
        own = self.frames
        frames = FrameBlock(
            own.time_ns.take(found),
            own.bus.take(found),
            own.can_id.take(found),
            own.length.take(found),
            own.flags.take(found),
            own.data.take(found, axis=0),
        )
        return frames, self.steady.take(found)


class Ring:
    """The latest frames, as many as fit in `capacity_bytes`, in the order received."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._chunks: deque[_Chunk] = deque()
        self._width = _CLASSIC_BYTES

    @property
    def size_bytes(self) -> int:
        """What the ring takes in memory."""
        return sum(chunk.size_bytes for chunk in self._chunks)

    def append(self, frames: FrameBlock, steady: NDArray[np.int64]) -> None:
        """Take in a block; what is oldest goes where there is no more room."""
        self._width = max(self._width, frames.data.shape[1])
        begin = 0
        while begin < len(frames):
            chunk = self._chunk_with_room()
            end = min(len(frames), begin + chunk.room)
            part = frames if end - begin == len(frames) else frames.slice(begin, end)
            chunk.append(part, steady[begin:end])
            begin = end

    def since(self, begin: int) -> tuple[FrameBlock, NDArray[np.int64]]:
        """All frames whose steady time is `begin` or later, and their steady times; in the order received."""
        found = [chunk.since(begin) for chunk in self._chunks]
        blocks, times = [frames for frames, _ in found], [steady for _, steady in found]
        return FrameBlock.concatenate(blocks), np.concatenate([np.empty(0, np.int64), *times])

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the frames' own times."""
        for chunk in self._chunks:
            chunk.frames.time_ns[: chunk.filled] += step_ns

    def _chunk_with_room(self) -> _Chunk:
        chunks = self._chunks
        if chunks and chunks[-1].room and chunks[-1].width >= self._width:
            return chunks[-1]
        chunk_bytes = self._capacity // CHUNKS
        chunk = None
        while chunks and self.size_bytes + chunk_bytes > self._capacity:
            chunk = chunks.popleft()
        if chunk is None or chunk.width != self._width:
            chunk = _Chunk.of(chunk_bytes, self._width)
        chunk.filled = 0
        chunks.append(chunk)
        return chunk
