# SPDX-License-Identifier: Apache-2.0
"""A folder of batch files: the end of a replay, and the lock of the process that writes there.

A replay writes batches in the layout of `receive`, each priority as a stream with a folder of its own. The lock is the
kernel's, on ``OUT/.lock``; it ends with the process.

Failure: `ConfigError` where the folder is a spool, or where a replay finds batches in it: two recordings in one folder
would become one export. `SpoolError` where another process has the lock, or the disk refuses.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.config.priorities import Priority
from agent.errors import ConfigError, SpoolError
from agent.receiver.batch_receiver import BatchReceiver, Verdict
from agent.receiver.inventory import refuse_spool
from agent.receiver.layout import BATCH_SUFFIX
from agent.spool.disk import Disk
from agent.system.durable import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from agent.model import Gap, SealedBatch

_STREAMS = {Priority.CRITICAL: "replay-critical", Priority.NORMAL: "replay", Priority.BULK: "replay-bulk"}


def open_folder(out: Path, vehicle: str, catalog: bytes, priorities: Iterable[Priority]) -> dict[Priority, FolderStore]:
    """A store for each priority; the catalog is stored."""
    refuse_spool(out)
    if out.is_dir() and next(out.rglob(f"*{BATCH_SUFFIX}"), None):
        raise ConfigError(f"--out: {out} holds batches already; accepted: a folder that is new or empty")
    receiver = BatchReceiver(out)

    def put(payload: bytes) -> None:
        accepted = receiver.accept(payload, vehicle=vehicle)
        if accepted.verdict not in (Verdict.BATCH, Verdict.CATALOG):
            raise SpoolError(f"cannot store what was just made: {accepted.reason or accepted.verdict}")

    put(catalog)
    return {
        priority: FolderStore(f"{_STREAMS[priority]}-{secrets.token_hex(6)}", lambda _, payload: put(payload))
        for priority in priorities
    }


class FolderStore:
    """Stores batches as files; nothing is journaled, because what is replayed can be replayed again.

    write   makes a file of a batch: its sequence number and its bytes
    """

    has_journal = False

    def __init__(self, stream: str, write: Callable[[int, bytes], None]) -> None:
        self.stream = stream
        self.next_sequence = 0
        self._write = write
        self._gaps: list[Gap] = []

    def append_entry(self, entry: bytes) -> bool:  # noqa: ARG002
        """Nothing to do."""
        return True

    def add_gap(self, gap: Gap) -> None:
        """Something is missing: reported with the next batch."""
        self._gaps.append(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to report."""
        return tuple(self._gaps)

    def append(self, batches: Sequence[SealedBatch]) -> None:
        """Write a file each."""
        for batch in batches:
            self._write(self.next_sequence, batch.payload)
            self.next_sequence += 1
        self._gaps.clear()


LOCK = ".lock"


@contextmanager
def folder_lock(out: Path) -> Iterator[None]:
    """Have the folder, made where it is missing, to oneself."""
    refuse_spool(out)
    try:
        make_folder(out)
        lock = Disk().lock(out / LOCK)
    except BlockingIOError:
        raise SpoolError(f"{out}: another process receives into this folder: end it first, or name another") from None
    except OSError as error:
        raise SpoolError(f"cannot use {out}: {error.strerror or error}") from error
    try:
        yield
    finally:
        os.close(lock)
