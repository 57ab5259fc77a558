# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear whole under their name, or not at all.

    atomic_output   one file or folder for a person; a symbolic link's target is replaced, and a device or a FIFO
                    gets everything once it is complete
    FileGroup       many files at once: all are on the disk, under their names, when `write` returns

Limits: `FileGroup` syncs `THREADS` files at a time. A power cut may leave a file that ends in ``.part``.
Failure: `atomic_output` raises `AgentError` with the path. `FileGroup` raises `OSError`; some files may be there then,
and no draft is.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.system.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    Item = TypeVar("Item")


@contextmanager
def atomic_output(out: Path) -> Iterator[Path]:
    """Where to make a file or a folder that `out` names, or gets, when the context ends well.

    Nothing is left of it otherwise. What the disk refuses raises AgentError with the path.
    """
    try:
        replaceable = out.is_file() or out.is_dir() or not out.exists()
        with _replacing(Path(os.path.realpath(out))) if replaceable else _through(out) as draft:
            yield draft
    except OSError as error:
        raise AgentError(f"{out}: {error.strerror or error}") from None


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Beside it, for a rename within one file system."""
    fresh = out.with_name(f".{out.name}.part")
    try:
        _remove(fresh)  # of one that was killed
        yield fresh
        fresh.replace(out)
    finally:
        _remove(fresh)


@contextmanager
def _through(out: Path) -> Iterator[Path]:
    """Opened first: whoever reads a FIFO sees its end even where there will be nothing to read."""
    with out.open("wb") as end, TemporaryDirectory(prefix="canferry-") as folder:
        draft = Path(folder, out.name)
        yield draft
        with draft.open("rb") as made:
            shutil.copyfileobj(made, end)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


THREADS = 16


class FileGroup:
    """What waits to be written, by path."""

    def __init__(self) -> None:
        self._contents: dict[Path, bytes] = {}
        self._pool: ThreadPoolExecutor | None = None

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
