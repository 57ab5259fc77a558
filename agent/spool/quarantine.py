# SPDX-License-Identifier: Apache-2.0
"""Folders of records that cannot be delivered, kept for a person to look at.

What is there stays: no copy is deleted to make room for another one. A convenience all the same, not a promise: a full
disk or a bad sector loses the copy, never the account of it, which is in the gap ledger. Limit: `limit_bytes` a folder;
a record larger than that is cut short, and one for which there is no room is not kept.

A spool that another version of canferry has left under ``spool.path`` is set aside whole.

Promise: a priority's spool and journal are moved, with a copy of the catalogs that its batches name, into a folder that
is a spool of that version in its turn: the canferry that wrote it sends it with ``spool.path`` there. Nothing in it is
written, and nothing ever deleted. That it was set aside is told as a gap, once that is durable: until then the folder's
name says that it is not.

    PATH/set-aside-1/normal/  journal  catalogs/        PATH/set-aside-2.untold/ …

Limits: `SET_ASIDE_MAX` of them; they do not count towards ``spool.limit``, but ``spool.min_free`` sees them.
Failure: SpoolError where there are more, or where the disk refuses; a power cut between the steps leaves what is
finished at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING

import structlog

from agent.errors import SpoolError
from agent.model import Gap, GapKind
from agent.spool.disk import PAGE, Disk, naming, padded
from agent.system.durable import is_there, sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.errors import SpoolVersionError
    from agent.spool.store import Spool


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
            kept = [(name, self._size(name)) for name in self._disk.names(self._directory)]
            used = sum(size for _, size in kept)
            for name, size in kept:
                if used <= self._limit_bytes:
                    return
                self._disk.remove(self._directory / name)
                used -= size

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much can still be kept, or as much of it as the folder ever can."""
        size = min(padded(size_bytes), self._limit_bytes // PAGE * PAGE)
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

    def _size(self, name: str) -> int:
        file = self._disk.open(self._directory / name)
        try:
            return padded(self._disk.size(file))
        finally:
            self._disk.close(file)


SET_ASIDE_MAX = 8
_PREFIX, _UNREPORTED = "set-aside-", ".untold"


def set_aside(path: Path, parts: Sequence[Path], error: SpoolVersionError) -> None:
    """Move these parts of the spools under `path` into a folder of their own, which has yet to be told."""
    numbers = [int(_number(each)) for each in path.glob(f"{_PREFIX}*") if _number(each).isdecimal()]
    if len(numbers) >= SET_ASIDE_MAX:
        raise SpoolError(f"{error}; {len(numbers)} such spools lie in {path} already: send or remove {_PREFIX}*")
    folder = path / f"{_PREFIX}{max(numbers, default=0) + 1}{_UNREPORTED}"
    with naming("set aside what another version has left", folder):
        folder.mkdir(mode=0o750)
        if (path / "catalogs").is_dir():
            shutil.copytree(path / "catalogs", folder / "catalogs")
        for part in parts:
            if is_there(part):
                part.rename(folder / part.name)
        sync_folder(folder)
        sync_folder(path)
    kept = path / _reported_name(folder)
    hint = f"it lies whole in {kept}: the canferry that wrote it sends it, with spool.path there"
    log.error("spool_refused", path=str(path), reason=str(error), hint=hint)


def report_set_aside(path: Path, spool: Spool) -> None:
    """Tell, as a gap of this spool, what was set aside and is not told yet."""
    for folder in sorted(path.glob(f"{_PREFIX}*{_UNREPORTED}")):
        told = _reported_name(folder)
        detail = f"batches in the format of another version were set aside, in {told}"
        gap = Gap(GapKind.CORRUPT, detail=detail)
        if gap not in spool.pending_gaps():
            spool.add_gap(gap)
        with naming("set aside what another version has left", folder):
            folder.rename(path / told)
            sync_folder(path)


def _reported_name(folder: Path) -> str:
    return folder.name.removesuffix(_UNREPORTED)


def _number(folder: Path) -> str:
    return _reported_name(folder).removeprefix(_PREFIX)


def folders(path: Path) -> list[Path]:
    """What was set aside under this path, told or not."""
    return sorted(each for each in path.glob(f"{_PREFIX}*") if each.is_dir())
