# SPDX-License-Identifier: Apache-2.0
"""A recorded log on its way through a command, for `replay`, `report` and `bench`.

A log that is damaged in its midst is taken up to there, so that the command has something to show; what is wrong with
it comes last, and the command fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import LogFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.model import FrameBlock
    from agent.sources.replay import LogReader


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

    def counts(self) -> dict[str, int]:
        """Of the log's items those that are no frames; with the frames they are all that was read."""
        if self._reader is None:
            return {}
        return {"lines_refused": self._reader.refused, "frames_ignored": self._reader.ignored}

    def tell_damage(self) -> None:
        """Raise LogFileError where the log could not be read to its end."""
        if self._damage is not None:
            raise self._damage
