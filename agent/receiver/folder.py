# SPDX-License-Identifier: Apache-2.0
"""A folder as the end of the pipeline: batches go to files at once, in the layout that `receive` writes, too.

Failure: ConfigError where the folder holds batches already: two recordings in one folder would become one export.
SpoolError where the disk refuses.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Protocol

from agent.errors import ConfigError, SpoolError
from agent.receiver.inbox import Inbox, Verdict
from agent.receiver.inventory import BATCH_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.model import Gap


class _Payload(Protocol):
    @property
    def payload(self) -> bytes: ...


class FolderStore:
    """Stores batches as files; nothing is journaled, because what is replayed can be replayed again."""

    journals = False

    def __init__(self, out: Path, vehicle: str, catalog: bytes) -> None:
        if out.is_dir() and next(out.rglob(f"*{BATCH_SUFFIX}"), None):
            raise ConfigError(f"--out: {out} holds batches already; accepted: a folder that is new or empty")
        self.stream = f"replay-{secrets.token_hex(6)}"
        self.next_sequence = 0
        self._inbox = Inbox(out)
        self._gaps: list[Gap] = []
        self._vehicle = vehicle
        self._put(catalog)

    def note(self, part: bytes) -> bool:  # noqa: ARG002
        """Nothing to do."""
        return True

    def add_gap(self, gap: Gap) -> None:
        """Something is missing: told with the next batch."""
        self._gaps.append(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to tell."""
        return tuple(self._gaps)

    def append(self, batches: Sequence[_Payload]) -> None:
        """Write a file each."""
        for batch in batches:
            self._put(batch.payload)
            self.next_sequence += 1
        self._gaps.clear()

    def _put(self, payload: bytes) -> None:
        accepted = self._inbox.accept(payload, vehicle=self._vehicle)
        if accepted.verdict not in (Verdict.BATCH, Verdict.CATALOG):
            raise SpoolError(f"cannot store what was just made: {accepted.reason or accepted.verdict}")
