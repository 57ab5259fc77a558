# SPDX-License-Identifier: Apache-2.0
"""What triggers record: all samples of their signals in a window of time around each event, each once.

A window is the time from `before` an event to `after` it, in rebased time, on all buses. What came before the event is
taken from the ring and decoded anew. What comes from then on is kept at once, as by a rule, with the highest priority
of all that keep it. Windows that overlap are one. A sample is not recorded where a rule keeps all samples of its signal
with as high a priority, nor where another trigger of as high a priority has it in its window. What rules forbid
(``keep = false``) is recorded only by a trigger that names it.

The ring's frames lie in chunks, whose arrays are allocated once; the oldest chunk is overwritten when all are full, so
that what is held takes the configured bytes, and never more. A frame takes 31 bytes, or 87 from the first CAN FD
frame of more than eight bytes on.

Limits: `WINDOWS_MAX` windows of a trigger are remembered, the latest; the ring holds what it holds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from agent.config.patterns import SignalPatterns
from agent.model import FrameBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.rules.rules import RuleBook
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.config.collecting import TriggerConfig
    from agent.model import SignalDefinition


WINDOWS_MAX = 64


@dataclass(slots=True)
class _Window:
    """A stretch of rebased time, both ends included; frames before `arrival` in this block are not kept by it."""

    begin: int
    end: int
    arrival: int = 0


@dataclass(slots=True)
class _Recording:
    """A trigger's windows, and the slots that it records, bool (slots,)."""

    config: TriggerConfig
    record: SignalPatterns
    records: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    windows: list[_Window] = field(default_factory=list)
    of_message: dict[int, list[bool]] = field(default_factory=dict)

    def covers(self, rebased: NDArray[np.int64], arrival: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which of these frames lie in a window; with `arrival`, their places, in one that knew of them."""
        covered = np.zeros(len(rebased), np.bool_)
        for window in self.windows:
            inside = (rebased >= window.begin) & (rebased <= window.end)
            covered |= inside if arrival is None else inside & (arrival >= window.arrival)
        return covered


class Recorder:
    """The windows of all triggers."""

    def __init__(self, signal_index: SignalIndex, book: RuleBook, triggers: Sequence[TriggerConfig]) -> None:
        self._signal_index = signal_index
        self._book = book
        self._recordings = [_Recording(config, SignalPatterns(config.record)) for config in triggers]
        self._latest_end = -1
        signal_index.on_change(self._grow, self._shrink)

    def _grow(self, stream_keys: range) -> None:
        for recording in self._recordings:
            judge = partial(self._lets_record, recording.record)
            recorded = [
                self._signal_index.of_signals(stream_key, recording.of_message, judge) for stream_key in stream_keys
            ]
            fresh = [records for signals in recorded for records in signals]
            recording.records = np.concatenate([recording.records, np.array(fresh, np.bool_)])

    def _lets_record(self, record: SignalPatterns, bus: str, message: str, signal: SignalDefinition) -> bool:
        return self._book.lets_record(record, bus, message, signal.name)

    def _shrink(self, staying: Staying) -> None:
        for recording in self._recordings:
            recording.records = recording.records.take(staying.slots)

    def is_idle(self, begin: int) -> bool:
        """Whether no window reaches as far as this rebased time."""
        return begin > self._latest_end

    def open(self, number: int, arrival: int, event: int) -> None:
        """Begin a window of a trigger, for an event at a rebased time and place in the block."""
        recording = self._recordings[number]
        config = recording.config
        window = _Window(event - config.before, event + config.after, arrival)
        recording.windows.append(window)
        self._latest_end = max(self._latest_end, window.end)

    def missing(self, number: int, rebased: NDArray[np.int64], event: int) -> NDArray[np.bool_]:
        """Which of the frames before an event are to be recorded: in its window, and in none of the trigger before."""
        recording = self._recordings[number]
        begin, end = event - recording.config.before, event + recording.config.after
        return (rebased >= begin) & (rebased <= end) & ~recording.covers(rebased)

    def chosen(self, number: int, view: BlockView, always: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """bool (V,): the values that are recorded, of a block before an event.

        always   uint8 (slots,), the priority that rules keep all of each slot with
        """
        recording = self._recordings[number]
        own = recording.config.priority
        chosen = (recording.records & (always < own)).take(view.slot).take(view.value_column)
        for other, each in enumerate(self._recordings):
            if other != number and each.config.priority >= own and each.windows:
                covered = each.covers(view.row_rebased).take(view.value_row)
                chosen &= ~(covered & each.records.take(view.slot).take(view.value_column))
        return chosen

    def keep(self, view: BlockView, kept: NDArray[np.uint8], always: NDArray[np.uint8]) -> None:
        """Raise the priorities of the values of a block that lie in windows. `always`: as of `chosen`."""
        for recording in self._recordings:
            if recording.windows:
                priority = recording.config.priority
                covered = recording.covers(view.row_rebased, view.arrival).take(view.value_row)
                covered &= (recording.records & (always < priority)).take(view.slot).take(view.value_column)
                np.maximum(kept, np.uint8(priority), out=kept, where=covered, dtype=np.uint8)

    def settle(self) -> None:
        """At the end of a block: join windows that overlap."""
        for recording in self._recordings:
            if not recording.windows:
                continue
            joined: list[_Window] = []
            for window in sorted(recording.windows, key=lambda each: each.begin):
                window.arrival = 0
                if joined and window.begin <= joined[-1].end:
                    joined[-1].end = max(joined[-1].end, window.end)
                else:
                    joined.append(window)
            recording.windows = joined[-WINDOWS_MAX:]


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
    """Space for frames and their rebased times, of which the first so many are `filled`."""

    frames: FrameBlock
    rebased: NDArray[np.int64]
    filled: int = 0

    @classmethod
    def of(cls, size_bytes: int, width: int) -> _Chunk:
        """As many as fit, of payloads up to this width; at least one."""
        rows = max(1, (size_bytes - _OVERHEAD_BYTES) // frame_bytes(width))
        narrow = (np.empty(rows, np.uint8) for _ in range(3))
        bus, length, flags = narrow
        times, rebased = np.empty(rows, np.int64), np.empty(rows, np.int64)
        ids, data = np.empty(rows, np.uint32), np.empty((rows, width), np.uint8)
        return cls(FrameBlock(times, bus, ids, length, flags, data), rebased)

    @property
    def width(self) -> int:
        """Bytes of payload that a row holds."""
        return int(self.frames.data.shape[1])

    @property
    def free_frames(self) -> int:
        """How many more frames it takes."""
        return len(self.frames) - self.filled

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.frames) * frame_bytes(self.width) + _OVERHEAD_BYTES

    def append(self, frames: FrameBlock, rebased: NDArray[np.int64]) -> None:
        """Append frames, for which there must be space."""
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
        self.rebased[begin:end] = rebased
        self.filled = end

    def since(self, begin: int) -> tuple[FrameBlock, NDArray[np.int64]]:
        """Its frames whose rebased time is `begin` or later, and their rebased times; copies."""
        found = (self.rebased[: self.filled] >= begin).nonzero()[0]
        own = self.frames
        frames = FrameBlock(
            own.time_ns.take(found),
            own.bus.take(found),
            own.can_id.take(found),
            own.length.take(found),
            own.flags.take(found),
            own.data.take(found, axis=0),
        )
        return frames, self.rebased.take(found)


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

    def append(self, frames: FrameBlock, rebased: NDArray[np.int64]) -> None:
        """Append a block; the oldest frames go where there is no more space."""
        self._width = max(self._width, frames.data.shape[1])
        begin = 0
        while begin < len(frames):
            chunk = self._chunk_with_space()
            end = min(len(frames), begin + chunk.free_frames)
            part = frames if end - begin == len(frames) else frames.slice(begin, end)
            chunk.append(part, rebased[begin:end])
            begin = end

    def since(self, begin: int) -> tuple[FrameBlock, NDArray[np.int64]]:
        """All frames whose rebased time is `begin` or later, and their rebased times; in the order received."""
        found = [chunk.since(begin) for chunk in self._chunks]
        blocks, times = [frames for frames, _ in found], [rebased for _, rebased in found]
        return FrameBlock.concatenate(blocks), np.concatenate([np.empty(0, np.int64), *times])

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the frames' own times."""
        for chunk in self._chunks:
            chunk.frames.time_ns[: chunk.filled] += step_ns

    def _chunk_with_space(self) -> _Chunk:
        chunks = self._chunks
        if chunks and chunks[-1].free_frames and chunks[-1].width >= self._width:
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
