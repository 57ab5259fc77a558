# SPDX-License-Identifier: Apache-2.0
"""A log written, read and looked at, for the tests of its formats."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from agent.errors import LogFileError
from agent.model import FrameBlock
from agent.sources.logs.logfile import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from pathlib import Path
    from typing import Any


@dataclass(frozen=True)
class Seen:
    """What came of a log: its frames, what it counted, said and failed with."""

    frames: FrameBlock
    buses: list[str]
    ignored: int
    refused: int
    torn: bool
    errors: dict[str, int]
    remotes: dict[str, int]
    said: list[MutableMapping[str, Any]]
    failure: str

    @property
    def events(self) -> list[str]:
        """The names of what it logged."""
        return [line["event"] for line in self.said]

    @property
    def times_ns(self) -> list[int]:
        """Of all frames."""
        return list(self.frames.time_ns.tolist())

    @property
    def payloads(self) -> list[str]:
        """In hexadecimal."""
        rows = zip(self.frames.data, self.frames.length.tolist(), strict=True)
        return [data[:length].tobytes().hex() for data, length in rows]

    @property
    def items(self) -> int:
        """All that was in it."""
        return len(self.frames) + self.ignored + self.refused


def seen(path: Path) -> Seen:
    """Read a log to its end, or to its failure."""
    blocks: list[FrameBlock] = []
    failure = ""
    reader = None
    with capture_logs() as said:
        try:
            reader = read_log(path)
            blocks.extend(reader)
        except LogFileError as error:
            failure = str(error)
    frames = FrameBlock.concatenate(blocks)
    if reader is None:
        return Seen(frames, [], 0, 0, False, {}, {}, said, failure)
    names = {index: name for name, index in reader.buses.items()}
    buses = [names[bus] for bus in frames.bus.tolist()]
    counters = reader.counters()
    left_out = (reader.ignored, reader.refused, reader.torn, counters.error_frames, counters.remote_frames)
    return Seen(frames, buses, *left_out, said, failure)


def seen_of(folder: Path, name: str, content: str | bytes) -> Seen:
    """The same of a log with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return seen(path)


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    """Local time is of this zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
