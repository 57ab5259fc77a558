# SPDX-License-Identifier: Apache-2.0
"""Since when this unit's buses are listened to, on disk before they are: whatever ends the process is found out.

    FOLDER/listening    nanoseconds since the epoch, as text; not there after an end in good order

A process hears frames before it has stored any: its buses are opened, then what the process before left is taken over.
Where it ends meanwhile, or before its first note, at the very first start too, its journal knows nothing of it. So the
time is written down before the first bus is opened, moved on when all of the process before is told and taken over, and
gone when all that was heard is stored. What lies between this time and the next start is told as a gap.

Failure: SpoolError where the disk refuses, before anything is heard. A file that cannot be read counts from when it was
written. One that cannot be removed costs a gap that is none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from agent.spool.disk import naming
from agent.system.durable import is_there, make_folder, sync_folder, write_durably

if TYPE_CHECKING:
    from pathlib import Path

FILE = "listening"
_BYTES_MAX = 64


class ListeningMark:
    """The file in one folder. Blocks for the disk.

    since_ns   when a process began to listen that has not ended in order; 0 where there was none
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.since_ns = 0

    def begin(self, now_ns: int) -> None:
        """From now on frames are heard; durable on return."""
        with naming("note that the agent listens", self._path):
            make_folder(self._path.parent)
            if is_there(self._path):
                self.since_ns = self._read()
            else:
                self._write(now_ns)

    def recovered(self, listening_ns: int) -> None:
        """All that there was to tell of earlier processes is told: this one listens since then."""
        with naming("note since when the agent listens", self._path):
            self._write(listening_ns)
        self.since_ns = 0

    def end(self) -> None:
        """Nothing is heard any more, and all that was is stored."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            sync_folder(self._path.parent)

    def _write(self, time_ns: int) -> None:
        write_durably(self._path, f"{time_ns}\n".encode())

    def _read(self) -> int:
        with self._path.open("rb") as file:
            text = file.read(_BYTES_MAX)
        return int(text) if text.strip().isdigit() else self._path.stat().st_mtime_ns
