# SPDX-License-Identifier: Apache-2.0
"""The seam between the spool and the file system: every byte that must last goes through a `Disk`.

Promise: after `sync` returns, what was written before it survives a power cut; after `sync_directory`
returns, so do the names. Nothing here retries, hides or interprets a failure: an `OSError` reaches the
caller, who alone knows what it means (a full disk evicts, a failed sync never trusts the pages again).

Limits: one process; offsets and lengths below 2**63. `bytes_written` and `syncs` count what was asked of the
file system, to account for wear; the file system's own journal comes on top.

Tests replace it with a disk in memory which forgets or tears whatever was not synced.

Put back: an open file outlives its name. What was written to it can still be read; what is written on goes into
nothing. `put_back` writes each deleted, moved or replaced file anew from what is open, and the descriptor is the new
file's from then on. What is in no open file is gone (copies in ``corrupt/`` and ``refused/``). A power cut between
deletion and the next look costs what waited. SpoolError where another process has made a spool there.

Overwrite: when `blank` returns, zeros stand where something else stood, for every later reader of file or device.
What is zero already is read and not written again. Flash memory may keep old copies of a block until it needs their
room, and so may a file system that never writes in place (btrfs, snapshots).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from agent.errors import SpoolError
from agent.system.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


PAGE = 4096
"""Bytes: the file system's block, the cache's page. Writes begin and end on it, so nothing is read first."""
TRIED_ELSEWHERE = "another place is tried: look at the disk; a second failure ends the agent"
"""What is said of a write that failed, once."""
_BLANK_BYTES = 256 << 10
"""So much is looked at, and overwritten where it is no zeros, at a time."""

_ZEROS = bytes(1 << 20)


class Disk:
    """The real file system. Files are known by their descriptor."""

    def __init__(self) -> None:
        self.bytes_written = 0
        self.syncs = 0

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o640)

    def close(self, file: int) -> None:
        """Close without syncing."""
        os.close(file)

    def size(self, file: int) -> int:
        """Bytes in the file."""
        return os.fstat(file).st_size

    def read(self, file: int, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; fewer only at the end of the file."""
        data = os.pread(file, length, offset)
        while 0 < len(data) < length:
            more = os.pread(file, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, file: int, offset: int, data: bytes) -> None:
        """Write all of `data`; it lasts only after `sync`."""
        view = memoryview(data)
        while view:
            written = os.pwrite(file, view, offset)
            self.bytes_written += written
            offset += written
            view = view[written:]

    def sync(self, file: int) -> None:
        """Make the file's content last."""
        self.syncs += 1
        os.fdatasync(file)

    def allocate(self, file: int, size: int) -> None:
        """Fill the file with zeros up to `size`, so that later writes in place allocate nothing, and sync it.

        Zeros are really written. posix_fallocate would be quicker once, but leaves extents marked unwritten,
        and each first write into one makes fdatasync commit the file system's journal as well: some four
        blocks more per append, against one more write of each block in its whole life of being recycled.
        """
        offset = self.size(file)
        while offset < size:
            part = _ZEROS[: size - offset]
            self.write(file, offset, part)
            offset += len(part)
        self.syncs += 1
        os.fsync(file)

    def truncate(self, file: int, size: int) -> None:
        """Cut the file off at `size`; it may be as long as before after a power cut."""
        os.ftruncate(file, size)

    def forget_cached(self, file: int) -> None:
        """Drop the file's clean pages from the cache, so that the next read asks the device."""
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def names(self, directory: Path) -> list[str]:
        """Names in the directory, sorted."""
        return sorted(os.listdir(directory))  # noqa: PTH208  (pathlib's builds objects that nobody needs)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, replacing; lasts only after `sync_directory`."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Unlink; lasts only after `sync_directory`."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """Make the names in the directory last."""
        self.syncs += 1
        sync_folder(directory)

    def is_in_place(self, file: int, path: Path) -> bool:
        """Whether the open file is still the one of that name: nobody has deleted, moved or replaced it."""
        try:
            named = os.stat(path)  # noqa: PTH116  (asked of every file at every append)
        except (FileNotFoundError, NotADirectoryError):
            return False
        opened = os.fstat(file)
        return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)

    def put_back(self, file: int, path: Path) -> None:
        """Write the open file's content under that name, synced; from now on the descriptor is that file's."""
        fresh = path.with_name(f"{path.name}.new")
        copy = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            size = self.size(file)
            for offset in range(0, size, len(_ZEROS)):
                self.write(copy, offset, read_around(self, file, offset, min(len(_ZEROS), size - offset)))
            self.syncs += 1
            os.fsync(copy)
            os.replace(fresh, path)  # noqa: PTH105
            os.dup2(copy, file, inheritable=False)
        finally:
            os.close(copy)

    def lock_again(self, file: int, path: Path) -> None:
        """Take the lock of the file that has that name now, or raise BlockingIOError; the descriptor is its."""
        fresh = self.lock(path)
        os.dup2(fresh, file, inheritable=False)
        os.close(fresh)

    def make_directory(self, directory: Path) -> None:
        """Create the directory and its parents where missing."""
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)

    def free_bytes(self, directory: Path) -> int:
        """Bytes that this process may still allocate on the directory's file system."""
        usage = os.statvfs(directory)
        return usage.f_bavail * usage.f_frsize

    def lock(self, path: Path) -> int:
        """Take the file's lock or raise BlockingIOError; the lock ends with the descriptor or the process."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file


@contextlib.contextmanager
def naming(operation: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `SpoolError` that names the operation and the path."""
    try:
        yield
    except OSError as error:
        raise SpoolError(
            f"{path}: cannot {operation}: {error.strerror or error} (check the disk and its mount)"
        ) from error


def read_around(disk: Disk, file: int, offset: int, length: int) -> bytes:
    """Read as far as it can be read: zeros stand for each page that the device refuses."""
    try:
        return disk.read(file, offset, length)
    except OSError:
        if length <= PAGE:
            return bytes(length)
        pages = range(0, length, PAGE)
        return b"".join(read_around(disk, file, offset + page, min(PAGE, length - page)) for page in pages)


def padded(length: int) -> int:
    """`length` rounded up to whole pages."""
    return -(-length // PAGE) * PAGE


def locked(disk: Disk, directory: Path) -> int:
    """Take the lock of a spool's folder, or raise SpoolError."""
    try:
        return disk.lock(directory / "lock")
    except BlockingIOError as error:
        raise SpoolError(
            f"{directory}: another process has this spool open: stop it first (systemctl stop canferry)"
        ) from error


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


def blank(disk: Disk, file: int, end: int, kept: Iterable[tuple[int, int]] = ()) -> int:
    """Overwrite the file up to `end`, but for what is kept, (begin, end) ascending; synced. Bytes that were written."""
    written, begin = 0, 0
    for kept_begin, kept_end in (*kept, (end, end)):
        for offset in range(begin, kept_begin, _BLANK_BYTES):
            length = min(_BLANK_BYTES, kept_begin - offset)
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
