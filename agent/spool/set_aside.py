# SPDX-License-Identifier: Apache-2.0
"""What another version of canferry has left under ``spool.path``, set aside whole.

Promise: spool and journal of a class are moved, with a copy of the catalogs that its batches name, into a folder that
is a spool of that version in its turn: the canferry that wrote it sends it with ``spool.path`` there. Nothing in it is
written, and nothing ever deleted. That it was set aside is told as a gap, once that is durable: until then the folder's
name says that it is not.

    PATH/set-aside-1/normal/  journal  catalogs/        PATH/set-aside-2.untold/ …

Limits: `SET_ASIDE_MAX` of them; they do not count towards ``spool.limit``, but ``spool.min_free`` sees them.
Failure: SpoolError where there are more, or where the disk refuses; a power cut between the steps leaves what is
finished at the next start.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import structlog

from agent.errors import SpoolError
from agent.model import Gap, GapKind
from agent.spool.disk import naming
from agent.system.durable import is_there, sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.errors import SpoolVersionError
    from agent.spool.store import Spool

log = structlog.get_logger()

SET_ASIDE_MAX = 8
_PREFIX, _UNTOLD = "set-aside-", ".untold"


def set_aside(path: Path, parts: Sequence[Path], error: SpoolVersionError) -> None:
    """Move these parts of the spools under `path` into a folder of their own, which has yet to be told."""
    numbers = [int(_number(each)) for each in path.glob(f"{_PREFIX}*") if _number(each).isdecimal()]
    if len(numbers) >= SET_ASIDE_MAX:
        raise SpoolError(f"{error}; {len(numbers)} such spools lie in {path} already: send or remove {_PREFIX}*")
    folder = path / f"{_PREFIX}{max(numbers, default=0) + 1}{_UNTOLD}"
    with naming("set aside what another version has left", folder):
        folder.mkdir(mode=0o750)
        if (path / "catalogs").is_dir():
            shutil.copytree(path / "catalogs", folder / "catalogs")
        for part in parts:
            if is_there(part):
                part.rename(folder / part.name)
        sync_folder(folder)
        sync_folder(path)
    kept = path / _told(folder)
    hint = f"it lies whole in {kept}: the canferry that wrote it sends it, with spool.path there"
    log.error("spool_refused", path=str(path), reason=str(error), hint=hint)


def tell_set_aside(path: Path, spool: Spool) -> None:
    """Tell, as a gap of this spool, what was set aside and is not told yet."""
    for folder in sorted(path.glob(f"{_PREFIX}*{_UNTOLD}")):
        told = _told(folder)
        detail = f"batches in the format of another version were set aside, in {told}"
        gap = Gap(GapKind.CORRUPT, detail=detail)
        if gap not in spool.pending_gaps():
            spool.add_gap(gap)
        with naming("set aside what another version has left", folder):
            folder.rename(path / told)
            sync_folder(path)


def _told(folder: Path) -> str:
    return folder.name.removesuffix(_UNTOLD)


def _number(folder: Path) -> str:
    return _told(folder).removeprefix(_PREFIX)


def folders(path: Path) -> list[Path]:
    """What was set aside under this path, told or not."""
    return sorted(each for each in path.glob(f"{_PREFIX}*") if each.is_dir())
