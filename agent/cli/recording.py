# SPDX-License-Identifier: Apache-2.0
"""A recorded log on its way through a command, for `replay`, `report` and `bench`, and a line that shows the progress.

Promise: a log that is damaged in its midst is read up to there, so that the command has something to show; then the
command fails and reports the damage. Progress is one line on stderr, overwritten, and removed in the end. It is shown
on a terminal only, so that pipes and logs hold results alone.
Limit: `REFRESH_S` between two updates of the line.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

from agent.errors import LogFileError
from agent.system.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.model import FrameBlock
    from agent.sources.replay import LogReader


REFRESH_S = 0.2
_LINE_BEGIN, _CLEAR_LINE = "\r", "\x1b[K"


class Recording:
    """What a command read of a log, and what it could not."""

    def __init__(self) -> None:
        self._reader: LogReader | None = None
        self._damage: LogFileError | None = None

    def blocks(self, reader: LogReader) -> Iterator[FrameBlock]:
        """The log's blocks, to its end or to where it is damaged; LogFileError where nothing comes before that."""
        self._reader = reader
        frames = 0
        try:
            for block in reader:
                frames += len(block)
                yield block
        except LogFileError as error:
            if not frames:
                raise
            self._damage = error

    def counters(self) -> dict[str, int]:
        """Of the log's items those that are no frames; with the frames they are all that was read."""
        if self._reader is None:
            return {}
        return {"lines_refused": self._reader.refused, "frames_ignored": self._reader.ignored}

    def raise_damage(self) -> None:
        """Raise LogFileError where the log could not be read to its end."""
        if self._damage is not None:
            raise self._damage


class Progress:
    """A context, which removes the line however it ends."""

    def __init__(self, out: TextIO | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out = sys.stderr if out is None else out
        self._enabled = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._monotonic = monotonic
        self._due_s = -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._enabled:
            self._out.write(_LINE_BEGIN + _CLEAR_LINE)
            self._out.flush()

    def show(self, text: str, *, now: bool = False) -> None:
        """Show it, if the last one has stood long enough; `now`: however long it has."""
        if self._enabled and (now or self._monotonic() >= self._due_s):
            self._due_s = self._monotonic() + REFRESH_S
            room = shutil.get_terminal_size().columns - 1
            self._out.write(_LINE_BEGIN + printable(text, room) + _CLEAR_LINE)
            self._out.flush()

    def frames(self, blocks: Iterable[FrameBlock], name: str) -> Iterator[FrameBlock]:
        """The same blocks, and how many of a log's frames have come."""
        frames, first_ns = 0, 0
        for block in blocks:
            yield block
            if self._enabled and len(block):
                first_ns = first_ns or int(block.time_ns[0])
                frames += len(block)
                minutes, seconds = divmod(int(block.time_ns[-1] - first_ns) // 10**9, 60)
                self.show(f"{name}: {frames:,} frames, {minutes} min {seconds} s of it")

    def batches(self, name: str) -> Callable[[int, int], None]:
        """To be called with how many of how many batches are done."""

        def show(done: int, total: int) -> None:
            self.show(f"{name}: batch {done:,} of {total:,}")

        return show
