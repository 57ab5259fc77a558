# SPDX-License-Identifier: Apache-2.0
"""Finds payloads that end the process: the key of a payload is written down before it is read.

    OUT/.handling     16 bytes of SHA-256 of the payload being handled, or zeros; 2 µs a message, never synced

A write outlives the process. A payload that was being handled when a process died is counted in the ledger. After
`DEATHS` deaths it `is_deadly`. An unexpected exception counts as a death, because it ends the process.

Limits: without the folder lock, only the first of several processes watches. Two kills from outside that hit the same
message, within the microseconds of reading it, are taken for its fault; it is then rejected whole.
Failure: where the disk refuses the mark, that payload is not watched.
"""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.spool.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.receiver.ledger import Ledger

MARK = ".handling"
KEY_BYTES = 16
DEATHS = 2
DEADLY = "the process has died twice while it was being handled"
_NOTHING = bytes(KEY_BYTES)


class Handling:
    """The mark of one folder, and what processes have died of."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._file: int | None = None
        with suppress(BlockingIOError):
            self._file = Disk().lock(folder / MARK)
            self._release = weakref.finalize(self, os.close, self._file)
            self._count_death(ledger)
        self._deaths = ledger.deaths()

    def close(self) -> None:
        """Let go of the mark."""
        if self._file is not None:
            self._file = None
            self._release()

    def is_deadly(self, key: bytes) -> bool:
        """Whether processes have died of it often enough."""
        return self._deaths.get(key[:KEY_BYTES], 0) >= DEATHS

    @contextmanager
    def of(self, key: bytes) -> Iterator[None]:
        """Within, this is being handled. What cannot be handled, `AgentError`, or stored, `OSError`, is no death."""
        self._mark(key[:KEY_BYTES])
        try:
            yield
        except (AgentError, OSError):
            self._mark(_NOTHING)
            raise
        self._mark(_NOTHING)

    def _mark(self, key: bytes) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, key, 0)

    def _count_death(self, ledger: Ledger) -> None:
        assert self._file is not None
        key = os.pread(self._file, KEY_BYTES, 0)
        if len(key) == KEY_BYTES and key != _NOTHING:
            with ledger.group():
                ledger.add_death(key)
        self._mark(_NOTHING)
