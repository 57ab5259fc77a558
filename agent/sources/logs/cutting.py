# SPDX-License-Identifier: Apache-2.0
"""A log's frames cut into blocks, in their order.

Promise: a block has at most `frames_max` frames and spans less than `span_ns` of log time, by each of the clocks that
its buses go by; a clock that was set begins a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.model import FrameBlock
from agent.system.bus_clocks import BusClocks, BusSpan, spans_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Cutter:
    """Takes frames as they are read, and gives blocks."""

    def __init__(self, frames_max: int, span_ns: int) -> None:
        self._frames_max = frames_max
        self._span_ns = span_ns
        self._clocks = BusClocks(span_ns)
        self._held = FrameBlock.empty()
        self._heard = 0  # of those held, from the first on: all in one block
        self._firsts: list[tuple[int | None, int]] = []  # bus and time, of each clock in it; None: any bus

    def cut(self, frames: FrameBlock) -> Iterator[FrameBlock]:
        """The blocks that are complete with these frames."""
        self._held = FrameBlock.concatenate([self._held, frames])
        while self._heard < len(self._held):
            if self._heard == self._frames_max or not self._hear_on():
                yield self._cut_off()

    def rest(self) -> FrameBlock:
        """What has come since the last block."""
        return self._held

    def _cut_off(self) -> FrameBlock:
        block = self._held.slice(0, self._heard)
        self._held = self._held.slice(self._heard, len(self._held))
        self._heard, self._firsts = 0, []
        self._clocks.clear()
        return block

    def _hear_on(self) -> bool:
        """As many frames as go on from those in the block, or the next if it does by a clock of its own."""
        following = self._held.slice(self._heard, min(self._frames_max, len(self._held)))
        if not self._firsts:
            self._firsts = [(None, int(following.time_ns[0]))]
        near = self._near(following)
        count = len(near) if near.all() else int(near.argmin())
        spans = spans_of(following.slice(0, count)) if count else (_span(following),)
        if self._heard and self._clocks.ends(spans):
            return False
        self._clocks.update(spans)
        self._clocks.include()
        if not count:
            self._firsts.append((spans[0].bus, spans[0].begin_ns))
        self._heard += count or 1
        return True

    def _near(self, frames: FrameBlock) -> NDArray[np.bool_]:
        """Which are less than a block's span from the first of a clock in it."""
        near = np.zeros(len(frames), np.bool_)
        for bus, first_ns in self._firsts:
            close = np.abs(frames.time_ns - first_ns) < self._span_ns
            near |= close if bus is None else close & (frames.bus == bus)
        return near


def _span(frames: FrameBlock) -> BusSpan:
    """Of the first frame."""
    return BusSpan(int(frames.bus[0]), int(frames.time_ns[0]), int(frames.time_ns[0]))
