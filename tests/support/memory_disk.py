# SPDX-License-Identifier: Apache-2.0
"""A disk in memory which forgets like a real one: a power cut loses, tears or reorders what was not synced.

Content is lost by sectors of 512 bytes; of the changes of names since the directory was last synced a prefix
survives. A sync that fails marks its pages clean without having written them, as Linux does: they read back
until the cache is dropped, and are gone then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.spool.disk import Disk

if TYPE_CHECKING:
    import random
    from pathlib import Path

SECTOR = 512


Change = Callable[[dict[str, "Inode"]], object]


class PowerCutError(BaseException):
    """The machine is off; nothing that follows happens."""


@dataclass
class Inode:
    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)


def put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


class MemoryDisk(Disk):
    """`fail` may return the error of an operation; `cut_after` counts down operations to a power cut."""

    def __init__(self, capacity: int = 1 << 40) -> None:
        super().__init__()
        self.capacity = capacity
        self.cut_after = -1
        self.fail: Callable[[str, str], OSError | None] = lambda operation, path: None
        self.inodes: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.operations: list[Change] = []
        self.handles: dict[int, Inode] = {}
        self.locked: set[str] = set()
        self.trace: list[str] = []
        self._next = 100

    def crash(self, chance: random.Random) -> None:
        """Power off and on: every handle is gone, and so is some of what was not synced."""
        self.cut_after = -1
        self.handles.clear()
        self.locked.clear()
        survive = chance.randint(0, len(self.operations))
        for operation in self.operations[:survive]:
            operation(self.durable_names)
        self.operations.clear()
        keep = chance.choice((0.0, 0.5, 1.0))
        for inode in {id(inode): inode for inode in (*self.inodes.values(), *self.durable_names.values())}.values():
            for offset, data in inode.unsynced:
                for at in range(0, len(data), SECTOR):
                    if chance.random() < keep:
                        put(inode.durable, offset + at, data[at : at + SECTOR])
            inode.unsynced.clear()
            inode.cached = bytearray(inode.durable)
        self.inodes = dict(self.durable_names)

    def kill(self) -> None:
        """End the process without a word: handles and locks go, the cache stays."""
        self.cut_after = -1
        self.handles.clear()
        self.locked.clear()

    def damage(self, path: str, offset: int, bits: int = 0xFF) -> None:
        inode = self.inodes[path]
        inode.cached[offset] ^= bits
        put(inode.durable, 0, bytes(inode.cached))

    def used(self) -> int:
        return sum(len(inode.cached) for inode in self.inodes.values())

    def open(self, path: Path, *, create: bool = False) -> int:
        if str(path) not in self.inodes:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            self._step("open", str(path))
            inode = Inode()
            self._change(lambda names: names.update({str(path): inode}))
        self._next += 1
        self.handles[self._next] = self.inodes[str(path)]
        return self._next

    def close(self, file: int) -> None:
        if file in self.handles:
            self.locked.discard(self._path(self.handles.pop(file)))

    def size(self, file: int) -> int:
        return len(self.handles[file].cached)

    def read(self, file: int, offset: int, length: int) -> bytes:
        inode = self.handles[file]
        self._maybe_fail("read", self._path(inode))
        return bytes(inode.cached[offset : offset + length])

    def write(self, file: int, offset: int, data: bytes) -> None:
        inode = self.handles[file]
        growth = max(0, offset + len(data) - len(inode.cached))
        if growth and self.used() + growth > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(inode.cached, offset, data)
        inode.unsynced.append((offset, bytes(data)))
        self.bytes_written += len(data)
        self._step("write", self._path(inode))

    def sync(self, file: int) -> None:
        inode = self.handles[file]
        self.syncs += 1
        try:
            self._step("sync", self._path(inode))
        except OSError:
            inode.unsynced.clear()
            raise
        for offset, data in inode.unsynced:
            put(inode.durable, offset, data)
        inode.unsynced.clear()

    def allocate(self, file: int, size: int) -> None:
        offset = self.size(file)
        self.write(file, offset, bytes(size - offset))
        self.sync(file)

    def truncate(self, file: int, size: int) -> None:
        inode = self.handles[file]
        self._step("truncate", self._path(inode))
        del inode.cached[size:]
        del inode.durable[size:]
        inode.unsynced = [(offset, data[: size - offset]) for offset, data in inode.unsynced if offset < size]

    def forget_cached(self, file: int) -> None:
        inode = self.handles[file]
        inode.cached = bytearray(inode.durable)
        for offset, data in inode.unsynced:
            put(inode.cached, offset, data)

    def names(self, directory: Path) -> list[str]:
        prefix = f"{directory}/"
        return sorted(path[len(prefix) :] for path in self.inodes if path.rpartition("/")[0] + "/" == prefix)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", str(target))
        self._change(lambda names: names.update({str(target): names.pop(str(source))}))

    def remove(self, path: Path) -> None:
        if str(path) not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._step("remove", str(path))
        self._change(lambda names: names.pop(str(path)))

    def sync_directory(self, directory: Path) -> None:
        self.syncs += 1
        self._step("sync_directory", str(directory))
        for operation in self.operations:
            operation(self.durable_names)
        self.operations.clear()

    def is_in_place(self, file: int, path: Path) -> bool:
        return self.inodes.get(str(path)) is self.handles[file]

    def put_back(self, file: int, path: Path) -> None:
        inode = self.handles[file]
        self._change(lambda names: names.update({str(path): inode}))

    def lock_again(self, file: int, path: Path) -> None:
        self.put_back(file, path)

    def make_directory(self, directory: Path) -> None:
        pass

    def free_bytes(self, directory: Path) -> int:
        return self.capacity - self.used()

    def lock(self, path: Path) -> int:
        if str(path) in self.locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        file = self.open(path, create=True)
        self.locked.add(str(path))
        return file

    def _path(self, inode: Inode) -> str:
        return next((path for path, each in self.inodes.items() if each is inode), "")

    def _change(self, change: Change) -> None:
        change(self.inodes)
        self.operations.append(change)

    def _step(self, operation: str, path: str) -> None:
        self.trace.append(operation)
        if self.cut_after == 0:
            raise PowerCutError
        self.cut_after -= 1
        self._maybe_fail(operation, path)

    def _maybe_fail(self, operation: str, path: str) -> None:
        error = self.fail(operation, path)
        if error is not None:
            raise error
