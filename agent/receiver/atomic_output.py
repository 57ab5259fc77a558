# SPDX-License-Identifier: Apache-2.0
"""Files and folders for people and their tools, which appear whole, under their name, or not at all.

Of a symbolic link its target is replaced. What is there and is no regular file, a device or a FIFO, stays what it is:
it gets everything once that is complete.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def whole(out: Path) -> Iterator[Path]:
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
