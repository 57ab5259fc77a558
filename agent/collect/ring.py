# SPDX-License-Identifier: Apache-2.0
"""The frames of the last while, raw: what a trigger's window before its event is made of.

Frames lie in chunks, each one array that is allocated once; the oldest chunk is overwritten when all are full, so
that what is held takes the configured bytes, and never more. A frame takes 31 bytes, or 87 from the first CAN FD
frame of more than eight bytes on. What is asked for is cut by time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.model import FrameBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNKS = 32
"""How many chunks the ring has when it is full: the oldest of so many parts goes at once."""
_OVERHEAD_BYTES = 256
"""Of a chunk's array, the object around it and its place in the ring."""
_CLASSIC_BYTES = 8


def frame_bytes(width: int) -> int:
    """What a frame takes in the ring, in chunks for payloads of this width."""
    return _layout(width).itemsize


def _layout(width: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("time_ns", np.int64),
            ("steady", np.int64),
            ("can_id", np.uint32),
            ("bus", np.uint8),
            ("length", np.uint8),
            ("flags", np.uint8),
            ("data", np.uint8, (width,)),
        ]
    )


@dataclass(slots=True)
class _Chunk:
    rows: NDArray[Any]
    filled: int = 0

    @property
    def width(self) -> int:
        """Bytes of payload that a row has room for."""
        return int(self.rows["data"].shape[1])


class Ring:
    """The latest frames, as many as fit in `capacity_bytes`, in the order received."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._chunks: deque[_Chunk] = deque()
        self._width = _CLASSIC_BYTES

    @property
    def size_bytes(self) -> int:
        """What the ring takes in memory."""
        return sum(chunk.rows.nbytes + _OVERHEAD_BYTES for chunk in self._chunks)

    def append(self, frames: FrameBlock, steady: NDArray[np.int64]) -> None:
        """Take in a block; what is oldest goes where there is no more room."""
        width = frames.data.shape[1]
        self._width = max(self._width, width)
        begin = 0
        while begin < len(frames):
            chunk = self._chunk_with_room()
            end = min(len(frames), begin + len(chunk.rows) - chunk.filled)
            rows = chunk.rows[chunk.filled : chunk.filled + end - begin]
            for name in ("time_ns", "can_id", "bus", "length", "flags"):
                rows[name] = getattr(frames, name)[begin:end]
            rows["steady"] = steady[begin:end]
            rows["data"][:, :width] = frames.data[begin:end]
            if width < chunk.width:
                rows["data"][:, width:] = 0
            chunk.filled += end - begin
            begin = end

    def since(self, begin: int) -> tuple[FrameBlock, NDArray[np.int64]]:
        """All frames whose steady time is `begin` or later, and their steady times; in the order received."""
        blocks, times = [FrameBlock.empty()], [np.empty(0, np.int64)]
        for chunk in self._chunks:
            filled = chunk.rows[: chunk.filled]
            found = filled[filled["steady"] >= begin]
            if len(found):
                blocks.append(_block(found))
                times.append(found["steady"].copy())
        return FrameBlock.concatenate(blocks), np.concatenate(times)

    def _chunk_with_room(self) -> _Chunk:
        if (
            self._chunks
            and self._chunks[-1].filled < len(self._chunks[-1].rows)
            and self._chunks[-1].width >= self._width
        ):
            return self._chunks[-1]
        chunk_bytes = self._capacity // CHUNKS
        rows = None
        while self._chunks and self.size_bytes + chunk_bytes > self._capacity:
            rows = self._chunks.popleft().rows
        layout = _layout(self._width)
        if rows is None or rows.dtype != layout:
            rows = np.empty(max(1, (chunk_bytes - _OVERHEAD_BYTES) // layout.itemsize), layout)
        self._chunks.append(_Chunk(rows))
        return self._chunks[-1]


def _block(rows: NDArray[Any]) -> FrameBlock:
    names = ("time_ns", "bus", "can_id", "length", "flags", "data")
    return FrameBlock(*(np.ascontiguousarray(rows[name]) for name in names))
