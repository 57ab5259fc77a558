# SPDX-License-Identifier: Apache-2.0
"""Folders of records that cannot be delivered, kept for a person to look at.

What is there stays: no copy is deleted to make room for another one. A convenience all the same, not a promise: a full
disk or a bad sector loses the copy, never the account of it, which is in the gap ledger. Limit: `limit_bytes` a folder;
a record larger than that is cut short, and one for which there is no room is not kept."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import structlog

from agent.spool.disk import PAGE, Disk

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()


class Quarantine:
    """One folder of set-aside records, made when the first one comes."""

    def __init__(self, disk: Disk, directory: Path, limit_bytes: int) -> None:
        self._disk = disk
        self._directory = directory
        self._limit_bytes = limit_bytes

    def trim(self) -> None:
        """Let go of what exceeds the limit, which may be smaller than when it was kept."""
        with contextlib.suppress(OSError):  # nothing may have been set aside yet
            self._make_room(0)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much can still be kept, or as much of it as the folder ever can."""
        size = min(-(-size_bytes // PAGE) * PAGE, self._limit_bytes // PAGE * PAGE)
        try:
            return sum(self._size(name) for name in self._disk.names(self._directory)) + size <= self._limit_bytes
        except OSError:
            return True  # nothing may have been set aside yet

    def keep(self, name: str, data: bytes) -> None:
        """Keep the bytes under the name; names sort by age."""
        data = data[: self._limit_bytes // PAGE * PAGE]
        if not data:
            return
        path = self._directory / name
        try:
            self._disk.make_directory(self._directory)
            if not self.has_room(len(data)):
                raise OSError(errno.EDQUOT, "the folder is full")  # noqa: TRY301 - one way out
            file = self._disk.open(path, create=True)
            try:
                self._disk.write(file, 0, data)
            finally:
                self._disk.close(file)
        except OSError as error:
            hint = "its loss is told all the same: free room on the disk, or in the folder"
            log.warning("record_copy_failed", path=str(path), reason=error.strerror, hint=hint)

    def _make_room(self, needed: int) -> None:
        kept = [(name, self._size(name)) for name in self._disk.names(self._directory)]
        used = sum(size for _, size in kept)
        for name, size in kept:
            if used + needed <= self._limit_bytes:
                return
            self._disk.remove(self._directory / name)
            used -= size

    def _size(self, name: str) -> int:
        file = self._disk.open(self._directory / name)
        try:
            return -(-self._disk.size(file) // PAGE) * PAGE
        finally:
            self._disk.close(file)
