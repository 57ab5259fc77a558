# SPDX-License-Identifier: Apache-2.0
"""How far a command is that takes its time: one line on stderr that is written over, and gone in the end.

Promise: nothing where stderr is no terminal, so that pipes and logs hold results alone. Limit: `TELLS_S` apart.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

from agent.system.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.model import FrameBlock

TELLS_S = 0.2
_LINE_BEGIN, _CLEAR_LINE = "\r", "\x1b[K"


class Progress:
    """Used as a context, which takes the line away however it ends."""

    def __init__(self, out: TextIO | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out = sys.stderr if out is None else out
        self._shown = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._monotonic = monotonic
        self._due_s = -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._out.write(_LINE_BEGIN + _CLEAR_LINE)
            self._out.flush()

    def tell(self, text: str, *, now: bool = False) -> None:
        """Show it, if the last one has stood long enough; `now`: however long it has."""
        if self._shown and (now or self._monotonic() >= self._due_s):
            self._due_s = self._monotonic() + TELLS_S
            room = shutil.get_terminal_size().columns - 1
            self._out.write(_LINE_BEGIN + printable(text, room) + _CLEAR_LINE)
            self._out.flush()

    def frames(self, blocks: Iterable[FrameBlock], name: str) -> Iterator[FrameBlock]:
        """The same blocks, and how many of a log's frames have come."""
        frames, first_ns = 0, 0
        for block in blocks:
            yield block
            if self._shown and len(block):
                first_ns = first_ns or int(block.time_ns[0])
                frames += len(block)
                minutes, seconds = divmod(int(block.time_ns[-1] - first_ns) // 10**9, 60)
                self.tell(f"{name}: {frames:,} frames, {minutes} min {seconds} s of it")

    def batches(self, name: str) -> Callable[[int, int], None]:
        """To be called with how many of how many batches are done."""

        def tell(done: int, total: int) -> None:
            self.tell(f"{name}: batch {done:,} of {total:,}")

        return tell
