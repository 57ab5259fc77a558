# SPDX-License-Identifier: Apache-2.0
"""The records of a spool's segment files, read without opening the spool.

Promise: nothing is written, locked or held open; the daemon may run. Every record that waits is found, if its checksum
holds; one that is done with (acknowledged, evicted, set aside), which a segment keeps until it is written again, only
where it is asked for. What is done with is what the state beside the segment says; the daemon may know of more since
its last save, a minute ago at most. Without a readable state all is taken to wait, as the daemon would.
Limits: one record in memory at a time.
Failure: a record that the daemon has overwritten since it was found raises `BatchError` when it is read again;
damaged records are stepped over, as the daemon itself does, which tells of them in a gap.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from agent.errors import BatchError, ConfigError
from agent.spool.disk import Disk
from agent.spool.index import SequenceSet
from agent.spool.segment import HEAD_BYTES, SUFFIX, Head, scan
from agent.spool.state import read_state, stream_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.spool.state import State

SEGMENT_SUFFIX = SUFFIX


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Where a record lies. `waits`: it has still to be sent."""

    path: Path
    head: Head
    waits: bool = True

    @property
    def place(self) -> str:
        """For a person."""
        return f"{self.path} at byte {self.head.offset}"

    def read(self) -> bytes:
        """The payload."""
        with _opened(self.path) as file:
            payload = Disk().read(file, self.head.offset + HEAD_BYTES, self.head.length)
        if len(payload) != self.head.length or crc32(payload) != self.head.checksum:
            raise BatchError("the record is damaged, or the running daemon has overwritten it")
        return payload


def refuse_spool(out: Path) -> None:
    """Raise `ConfigError` where a folder to write into is a spool, whole or of one priority: it is the agent's own."""
    if any(next(out.glob(pattern), None) for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}")):
        raise ConfigError(f"--out: {out} is a spool, and its agent's alone; accepted: another folder")


def records(path: Path) -> Iterator[StoredRecord]:
    """Records of a segment file in the order they lie in; none where its name is no segment's."""
    number = path.name.removesuffix(SUFFIX)
    if not number.isdecimal():
        return
    waits = _waiting(_state_beside(path))
    with _opened(path) as file:
        for head in scan(Disk(), file, int(number)):
            yield StoredRecord(path, head, waits(head))


def _state_beside(segment: Path) -> State | None:
    try:
        with _opened(segment.with_name("state")) as file:
            return read_state(Disk(), file)
    except FileNotFoundError:
        return None


def _waiting(state: State | None) -> Callable[[Head], bool]:
    """Whether a record waits, as the daemon decides when it starts."""
    if state is None:
        return lambda _: True
    done, streams = SequenceSet(state.low, state.ranges), state.streams
    return lambda head: head.sequence not in done and head.stream == stream_at(streams, head.sequence).name


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
