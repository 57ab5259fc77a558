# SPDX-License-Identifier: Apache-2.0
"""Overwriting what is done with.

Promise: on return zeros stand where something else stood, as every later reader of the file or of the device's blocks
sees it. What is zero already is read and not written again.
Limits: flash memory may keep old copies of a block until it needs their room, where only its maker's tools reach them;
so may a file system that writes elsewhere what is written in place (btrfs, snapshots).
Failure: `OSError`. A region that cannot be read is written.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from agent.system.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent.spool.disk import Disk

_PART = 1 << 18
_ZEROS = bytes(_PART)


def blank(disk: Disk, file: int, end: int, kept: Iterable[tuple[int, int]] = ()) -> int:
    """Overwrite the file up to `end`, but for what is kept, (begin, end) ascending; synced. Bytes that were written."""
    written, begin = 0, 0
    for kept_begin, kept_end in (*kept, (end, end)):
        for offset in range(begin, kept_begin, _PART):
            length = min(_PART, kept_begin - offset)
            if not _is_blank(disk, file, offset, length):
                disk.write(file, offset, _ZEROS[:length])
                written += length
        begin = kept_end
    if written:
        disk.sync(file)
    return written


def blank_folder(disk: Disk, folder: Path) -> int:
    """Overwrite all files in a folder and in those below, and delete it; bytes that were written."""
    written = 0
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            written += blank_folder(disk, path)
            continue
        if path.is_file() and not path.is_symlink():
            file = disk.open(path)
            try:
                written += blank(disk, file, disk.size(file))
            finally:
                disk.close(file)
        path.unlink()
    if folder.is_dir():
        folder.rmdir()
        sync_folder(folder.parent)
    return written


def _is_blank(disk: Disk, file: int, offset: int, length: int) -> bool:
    with contextlib.suppress(OSError):
        return disk.read(file, offset, length) == _ZEROS[:length]
    return False
