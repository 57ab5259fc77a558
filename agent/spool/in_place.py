# SPDX-License-Identifier: Apache-2.0
"""Files that somebody has deleted, moved or replaced beneath an open spool, put back under their names.

An open file outlives its name: what was written to it is still there to be read, and what is written on goes into
nothing. So each is written anew under its name, from what is open, and the descriptor is the new file's from then on.

Limits: it reads and writes all that waits, once. What is in no open file is gone: copies in ``corrupt/`` and
``refused/``, which are a convenience. A power cut between the deletion and the next look takes what waited.
Failure: SpoolError where another process has made a spool there; OSError where the disk refuses: then the process ends,
and the next start begins another stream, and tells how many batches the one before had (continuity.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent.spool.disk import Disk


def put_back(disk: Disk, directory: Path, lock: int, files: Iterable[tuple[int, Path]]) -> int:
    """Put back those that are not in their place, the lock first; how many."""
    locked = disk.is_in_place(lock, directory / "lock")
    gone = [(file, path) for file, path in files if not disk.is_in_place(file, path)]
    if locked and not gone:
        return 0
    disk.make_directory(directory)
    if not locked:
        try:
            disk.lock_again(lock, directory / "lock")
        except BlockingIOError as error:
            text = f"{directory}: another process has made a spool of its own here: stop one of them"
            raise SpoolError(text) from error
    for file, path in gone:
        disk.put_back(file, path)
    disk.sync_directory(directory)
    disk.sync_directory(directory.parent)
    return len(gone) + (not locked)
