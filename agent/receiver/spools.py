# SPDX-License-Identifier: Apache-2.0
"""The records of a spool's segment files, read without opening the spool.

Promise: nothing is written, locked or held open; the daemon may run. Every record whose checksum holds is found,
acknowledged or not, for a segment keeps its records until it is recycled.
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
from agent.spool.segment import HEAD_BYTES, SUFFIX, Head, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT_SUFFIX = SUFFIX


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Where a record lies."""

    path: Path
    head: Head

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
    """Raise `ConfigError` where a folder to write into is a spool, whole or of one class: it is the agent's own."""
    if any(next(out.glob(pattern), None) for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}")):
        raise ConfigError(f"--out: {out} is a spool, and its agent's alone; accepted: another folder")


def records(path: Path) -> Iterator[StoredRecord]:
    """Records of a segment file in the order they lie in; none where its name is no segment's."""
    number = path.name.removesuffix(SUFFIX)
    if not number.isdecimal():
        return
    with _opened(path) as file:
        for head in scan(Disk(), file, int(number)):
            yield StoredRecord(path, head)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
