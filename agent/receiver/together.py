# SPDX-License-Identifier: Apache-2.0
"""Files that are put in place together: all are on the disk, under their names, when `write` returns.

Promise: a file is there whole or not at all; what a power cut leaves of one ends in ``.part``. Syncing costs a wait for
the device each, and waits side by side: `THREADS` at a time.
Failure: `OSError`; none of the files need be there then, and some may.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.system.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import TypeVar

    Item = TypeVar("Item")

THREADS = 16


class Together:
    """What waits to be written, by path."""

    def __init__(self) -> None:
        self._contents: dict[Path, bytes] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __contains__(self, path: Path) -> bool:
        return path in self._contents

    def add(self, path: Path, content: bytes) -> None:
        """To be written; in place of what is there."""
        self._contents[path] = content

    def clear(self) -> None:
        """Nothing is to be written any more."""
        self._contents.clear()

    def write(self) -> None:
        """Write all of them, their folders too."""
        contents, self._contents = self._contents, {}
        folders = {path.parent for path in contents}
        folders |= {above for folder in folders for above in _made(folder)}
        try:
            self._each(_draft, contents.items())
            for path in contents:
                _part(path).replace(path)
        except OSError:
            for path in contents:
                with suppress(OSError):  # they would take the room of what matters more
                    _part(path).unlink()
            raise
        self._each(sync_folder, folders)

    def _each(self, act: Callable[[Item], None], items: Iterable[Item]) -> None:
        items = list(items)
        if len(items) < 2:
            for item in items:
                act(item)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "sync")
        for _ in self._pool.map(act, items):  # all of them, whichever failed
            pass


def _made(folder: Path) -> list[Path]:
    """Make a folder, and those above it; gives those that have a new name in them."""
    if folder.is_dir():
        return []
    above = _made(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*above, folder.parent]


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _draft(item: tuple[Path, bytes]) -> None:
    path, content = item
    with _part(path).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
