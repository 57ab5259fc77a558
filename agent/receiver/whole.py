# SPDX-License-Identifier: Apache-2.0
"""Files and folders for people and their tools, which appear whole, under their name, or not at all."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Where to make a file or a folder, beside `out`, whose name it gets when the context ends well.

    Nothing is left of it otherwise. What the disk refuses raises AgentError with the path.
    """
    fresh = out.with_name(f".{out.name}.part")
    try:
        _remove(fresh)  # of one that was killed
        yield fresh
        fresh.replace(out)
    except OSError as error:
        raise AgentError(f"{out}: {error.strerror or error}") from None
    finally:
        _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
