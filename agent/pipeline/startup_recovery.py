# SPDX-License-Identifier: Apache-2.0
"""What the process before left behind, taken over at each start before anything new is stored.

Promise: what it had noted of its open batches is spooled once, in this start or, should this process end meanwhile,
in the next one. Its interruption is told as a gap that begins before the first frame that is missing and ends when
the agent listens again; what the journal lost is told as another. Each gap is durable before anything that it tells
of can be forgotten.

Failure: SpoolError where the disk refuses. Notes that cannot be read, or whose catalog is gone, are a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.config.priorities import Priority
from agent.errors import BatchError
from agent.model import Gap, GapKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.config.priorities import Priority
    from agent.pipeline.packer import Packer
    from agent.pipeline.storage import ClassStore
    from agent.spool.catalogs import CatalogStore
    from agent.spool.journal import Recovery
    from agent.spool.store import Spool

log = structlog.get_logger()


def take_over(
    vaults: Mapping[Priority, ClassStore],
    reporting: Priority,
    shelf: CatalogStore,
    packer: Packer,
    *,
    listening_ns: int,
    interval_ns: int,
    unsealed_since_ns: int = 0,
) -> None:
    """Seal what was noted, tell what is missing, begin the journals anew.

    Args:
        vaults: of each priority; opened, nothing done with them yet.
        reporting: the priority whose stream reports what is missing.
        shelf: holds the catalogs that the notes were made with.
        packer: stores into those vaults.
        listening_ns: wall clock when the sources had been opened.
        interval_ns: the most that lay between two notes.
        unsealed_since_ns: when an earlier process began to listen that has not ended in order; 0: none is known.

    """
    teller = _Teller(vaults[reporting].spool, packer)
    found = {priority: _find(vault, shelf, teller) for priority, vault in vaults.items()}
    if unsealed_since_ns or not all(each.recovery.clean for each in found.values()):
        begin_ns = _stored_until_ns(vaults[reporting].spool, shelf, found[reporting].notes)
        begin_ns = begin_ns if found[reporting].notes else max(begin_ns, unsealed_since_ns)
        begin_ns = begin_ns or max(each.recovery.last_written_ns for each in found.values()) - interval_ns
        seconds = round((listening_ns - begin_ns) / 1e9, 3)
        notes = sum(len(each.notes) for each in found.values())
        hint = "the process before did not end in order: look at the power supply, or the log before it"
        log.warning("interruption_found", seconds=seconds, notes=notes, hint=hint)
        begin_ns = begin_ns if 0 < begin_ns <= listening_ns else 0  # the clock was set meanwhile: nobody knows
        detail = "the agent ended without sealing"
        teller.tell(Gap(GapKind.INTERRUPTED, begin_ns, listening_ns, detail=detail))
    for priority, vault in vaults.items():
        each = found[priority]
        if each.recovery.lost:
            times = each.recovery.lost_begin_ns, each.recovery.lost_end_ns
            teller.tell(Gap(GapKind.CORRUPT, *times, detail=f"{each.recovery.lost} journal records"))
        for gap in (gap for note in each.notes for gap in note.gaps if gap.kind == GapKind.CUT):
            vault.spool.forget_cut(gap)
        if each.catalog is not None:
            packer.recover(priority, each.notes, each.catalog)
        vault.journal.recycle()
        vault.journal.start(listening_ns)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a journal held: the notes, and the catalog that they are of; none where they cannot be read."""

    recovery: Recovery
    catalog: Catalog | None = None
    notes: Sequence[Batch] = ()


@dataclass(frozen=True, slots=True)
class _Teller:
    """Tells each gap, unless a start that was interrupted in its turn has done so."""

    spool: Spool
    packer: Packer

    def tell(self, gap: Gap) -> None:
        if gap not in self.spool.pending_gaps():
            self.packer.lose(gap)


def _find(vault: ClassStore, shelf: CatalogStore, teller: _Teller) -> _Found:
    recovery = vault.journal.recover(vault.spool.unsealed_sequence)
    if not recovery.payloads:
        return _Found(recovery)
    try:
        catalog = stored_catalog(decode_batch(recovery.payloads[0]).catalog, shelf)
        return _Found(recovery, catalog, [decode_batch(payload, catalog) for payload in recovery.payloads])
    except BatchError as error:
        notes = len(recovery.payloads)
        log.error("recovery_failed", reason=str(error), notes=notes)  # noqa: TRY400
        teller.tell(Gap(GapKind.CORRUPT, detail=f"{notes} journal records: {error}"))
        return _Found(recovery)


def stored_catalog(name: str, shelf: CatalogStore) -> Catalog:
    """The catalog that a batch names; raises BatchError where it is not there."""
    content = shelf.get(name)
    if content is None:
        raise BatchError(f"their catalog {name} is not stored")
    return decode_catalog(content)


def _stored_until_ns(spool: Spool, shelf: CatalogStore, noted: Sequence[Batch]) -> int:
    """Every frame up to here is stored, on every bus that was heard at the end; 0 where nobody knows."""
    if noted:
        return _heard_until_ns(noted[-1])
    record = spool.read(spool.next_sequence - 1)
    if record is None:
        return 0
    try:
        return _heard_until_ns(decode_batch(record.payload, stored_catalog(record.catalog, shelf)))
    except BatchError:
        return record.end_ns


def _heard_until_ns(batch: Batch) -> int:
    """The newest frame of the bus that was read least recently: of the others, all before it are stored too."""
    newest: dict[int, int] = {}
    for group in batch.groups:
        newest[group.bus] = max(newest.get(group.bus, 0), int(group.time_ns.max()))
    return min(newest.values(), default=batch.sealed_ns) - batch.resolution_ns
