# SPDX-License-Identifier: Apache-2.0
"""What is left of drives under ``spool.path``, overwritten at once: ``canferry erase``.

Promise: on return no byte of a batch that need not be sent any more is in any file there: not of acknowledged ones in
the segments, not of sealed ones in the journals, not of those in ``refused/`` and ``corrupt/``.
What waits, and the open batch that a killed agent has left, stay; with `everything` they go too, each reported as a gap
by the next start, and so do spools that another version has left.

Not touched: the catalogs, which hold the names of signals and nothing of a drive; the ledger of the data plan. Flash
memory may keep old copies of blocks, which only its maker's tools reach (spool/disk.py).

Failure: SpoolError where an agent runs, or the disk refuses; ConfigError where the folder is another user's: files made
by root would lock the agent out.
"""

from __future__ import annotations

import os
import pwd
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent.errors import ConfigError
from agent.model import Gap, GapKind
from agent.pipeline.storage import Storage
from agent.spool.disk import Disk, blank_folder, naming
from agent.spool.quarantine import folders

if TYPE_CHECKING:
    from agent.config import Config
    from agent.pipeline.storage import ClassStore


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done.

    overwritten_bytes   that were something, and are zeros now
    waiting             batches that stay, for they are not acknowledged
    open_batches        journals of an open batch that stay, for a killed agent has left them
    set_aside           folders of another version's that stay
    """

    overwritten_bytes: int
    waiting: int
    open_batches: int
    set_aside: int


def erase(config: Config, *, everything: bool = False) -> Erased:
    """Overwrite what need not be sent any more, or everything."""
    path = config.spool.path
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no spool; accepted: the spool.path of an agent that has run")
    _refuse_other_user(config)
    config = msgspec.structs.replace(config, spool=msgspec.structs.replace(config.spool, erase="acknowledged"))
    with naming("erase", path), ExitStack() as opened:
        storage = Storage.open(config)
        opened.callback(storage.close, clean=False)
        written = sum(_erased(store, everything=everything) for store in storage.stores.values())
        left = folders(path)
        if everything:
            written += sum(blank_folder(Disk(), folder) for folder in left)
        open_batches = sum(store.journal.holds_open_batch for store in storage.stores.values())
        return Erased(written, storage.records, open_batches, 0 if everything else len(left))


def _erased(store: ClassStore, *, everything: bool) -> int:
    store.journal.recover(store.spool.unsealed_sequence)
    if everything and store.journal.holds_open_batch:
        store.spool.add_gap(Gap(GapKind.INTERRUPTED, detail="the open batch was erased by hand"))
        store.journal.forget()
    return store.spool.erase(everything=everything) + store.journal.erase()


def _refuse_other_user(config: Config) -> None:
    owner = config.spool.path.stat().st_uid
    if owner != os.geteuid():
        name = _name(owner)
        raise ConfigError(f"{config.spool.path} belongs to {name}; accepted: sudo -u {name} canferry erase")


def _name(owner: int) -> str:
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"#{owner}"
