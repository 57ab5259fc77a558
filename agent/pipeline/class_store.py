# SPDX-License-Identifier: Apache-2.0
"""Spool and journal as one store: what is sealed is spooled, what is open is in the journal.

The journal's notes carry the number that their batch will have, so a batch that has been spooled makes them
void even if the process ends before the journal is begun anew. Where a batch is stored as several, these replace
its notes in one step before the first is spooled: whatever the moment at which the process ends, what is not yet in
the spool is in the journal, and nothing is recovered that is in the spool.

Failure: SpoolError, see store.py and journal.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Gap
    from agent.spool.journal import Journal
    from agent.spool.store import Spool


class Sealed(Protocol):
    """A batch to be spooled, see `Spool.append`."""

    @property
    def payload(self) -> bytes: ...  # noqa: D102
    @property
    def catalog(self) -> str: ...  # noqa: D102
    @property
    def begin_ns(self) -> int: ...  # noqa: D102
    @property
    def end_ns(self) -> int: ...  # noqa: D102
    @property
    def frames(self) -> int: ...  # noqa: D102
    @property
    def gaps(self) -> tuple[Gap, ...]: ...  # noqa: D102


class ClassStore:
    """A spool with its journal; opened and closed by whoever made them."""

    journals = True

    def __init__(self, spool: Spool, journal: Journal) -> None:
        self.spool = spool
        self.journal = journal

    @property
    def stream(self) -> str:
        """The stream that batches are numbered in."""
        return self.spool.stream

    @property
    def next_sequence(self) -> int:
        """The number of the batch that is open."""
        return self.spool.next_number

    def note(self, part: bytes) -> bool:
        """Write down a part of the open batch; durable on return. False: no room, seal now."""
        return self.journal.append(self.spool.next_sequence, part)

    def add_gap(self, gap: Gap) -> None:
        """Something is missing for ever; durable on return."""
        self.spool.add_gap(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to tell."""
        return self.spool.pending_gaps()

    def append(self, batches: Sequence[Sealed]) -> None:
        """Spool what the open batch has become; durable on return."""
        if len(batches) > 1 or self.journal.is_replaced:
            self.journal.replace(self.spool.next_sequence, [batch.payload for batch in batches])
        self._spool(batches)

    def replace(self, gap: Gap, batches: Sequence[Sealed]) -> bool:
        """Spool these for the stored batch that the gap tells of; nothing may be open. False: no room in the journal.

        The journal has them before the spool forgets the batch: `take_over` ends what a power cut interrupts.
        """
        if not self.journal.replace(self.spool.next_sequence, [batch.payload for batch in batches]):
            return False
        self.spool.forget_cut(gap)
        self._spool(batches)
        return True

    def _spool(self, batches: Sequence[Sealed]) -> None:
        for batch in batches:
            self.spool.append(
                batch.payload,
                catalog=batch.catalog,
                begin_ns=batch.begin_ns,
                end_ns=batch.end_ns,
                frames=batch.frames,
                gaps=batch.gaps,
            )
        self.journal.recycle()
