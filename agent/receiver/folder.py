# SPDX-License-Identifier: Apache-2.0
"""A folder as the end of the pipeline: batches go to files at once, in the layout that `receive` writes, too.

Each priority is a stream of its own, in a folder of its own.

Failure: ConfigError where the folder holds batches already: two recordings in one folder would become one export; or
where it is a spool.
SpoolError where the disk refuses.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from agent.config.priorities import Priority
from agent.errors import ConfigError, SpoolError
from agent.receiver.batch_receiver import BatchReceiver, Verdict
from agent.receiver.inventory import BATCH_SUFFIX
from agent.receiver.spools import refuse_spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from agent.model import Gap, SealedBatch


_STREAMS = {Priority.CRITICAL: "replay-critical", Priority.NORMAL: "replay", Priority.BULK: "replay-bulk"}


def open_folder(out: Path, vehicle: str, catalog: bytes, priorities: Iterable[Priority]) -> dict[Priority, FolderStore]:
    """A store for each priority; the catalog is stored."""
    refuse_spool(out)
    if out.is_dir() and next(out.rglob(f"*{BATCH_SUFFIX}"), None):
        raise ConfigError(f"--out: {out} holds batches already; accepted: a folder that is new or empty")
    inbox = BatchReceiver(out)
    _put(inbox, vehicle, catalog)
    return {priority: FolderStore(inbox, vehicle, _STREAMS[priority]) for priority in priorities}


class FolderStore:
    """Stores batches as files; nothing is journaled, because what is replayed can be replayed again."""

    has_journal = False

    def __init__(self, inbox: BatchReceiver, vehicle: str, stream: str) -> None:
        self.stream = f"{stream}-{secrets.token_hex(6)}"
        self.next_sequence = 0
        self._inbox = inbox
        self._gaps: list[Gap] = []
        self._vehicle = vehicle

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
            _put(self._inbox, self._vehicle, batch.payload)
            self.next_sequence += 1
        self._gaps.clear()


def _put(inbox: BatchReceiver, vehicle: str, payload: bytes) -> None:
    accepted = inbox.accept(payload, vehicle=vehicle)
    if accepted.verdict not in (Verdict.BATCH, Verdict.CATALOG):
        raise SpoolError(f"cannot store what was just made: {accepted.reason or accepted.verdict}")
