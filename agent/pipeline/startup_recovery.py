# SPDX-License-Identifier: Apache-2.0
"""Startup recovery: what the process before left behind, stored before anything new is.

Promise: what its journals hold of open batches is spooled once, in this start or, should this process end meanwhile, in
the next one. Its interruption is reported as a gap that begins before the first frame that is missing and ends when the
agent listens again; what the journal lost is reported as another. Each gap is durable before anything that it reports
can be forgotten.

Failure: SpoolError where the disk refuses. Entries that cannot be read, or whose catalog is gone, are a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
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


@dataclass(frozen=True, slots=True)
class Start:
    """What is known of this start and of the process before.

    listening_ns        wall clock when the sources had been opened
    interval_ns         the most that lay between two journal entries
    unsealed_since_ns   when an earlier process began to listen that has not ended cleanly; 0: none is known
    """

    listening_ns: int
    interval_ns: int
    unsealed_since_ns: int = 0


def recover(
    stores: Mapping[Priority, ClassStore], reporting: Priority, catalogs: CatalogStore, packer: Packer, start: Start
) -> None:
    """Seal what the journals hold, report what is missing, begin the journals anew.

    Args:
        stores: of each priority; opened, nothing done with them yet.
        reporting: the priority whose stream reports what is missing.
        catalogs: those that the entries were made with.
        packer: stores into those stores.
        start: when it began, and after what.

    """
    reporter = _Reporter(stores[reporting].spool, packer)
    found = {priority: _find(store, catalogs, reporter) for priority, store in stores.items()}
    if start.unsealed_since_ns or not all(each.recovery.clean for each in found.values()):
        entries = found[reporting].entries
        begin_ns = _stored_until_ns(stores[reporting].spool, catalogs, entries)
        if not entries or stores[reporting].journal.is_replaced:  # which pieces of a much older batch may have done
            begin_ns = max(begin_ns, start.unsealed_since_ns)
        begin_ns = begin_ns or max(each.recovery.last_written_ns for each in found.values()) - start.interval_ns
        log.warning(
            "interruption_found",
            seconds=round((start.listening_ns - begin_ns) / 1e9, 3),
            entries=sum(len(each.entries) for each in found.values()),
            hint="the process before did not end in order: look at the power supply, or the log before it",
        )
        begin_ns = begin_ns if 0 < begin_ns <= start.listening_ns else 0  # the clock was set meanwhile: nobody knows
        detail = "the agent ended without sealing"
        reporter.report_gap(Gap(GapKind.INTERRUPTED, begin_ns, start.listening_ns, detail=detail))
    for priority, store in stores.items():
        each = found[priority]
        if each.recovery.lost:
            times = each.recovery.lost_begin_ns, each.recovery.lost_end_ns
            reporter.report_gap(Gap(GapKind.CORRUPT, *times, detail=f"{each.recovery.lost} journal records"))
        for gap in (gap for entry in each.entries for gap in entry.gaps if gap.kind == GapKind.CUT):
            store.spool.forget_cut(gap)
        if each.catalog is not None:
            packer.recover(priority, each.entries, each.catalog)
        store.journal.recycle()
        store.journal.start(start.listening_ns)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a journal held: its entries, and the catalog that they are of; none where they cannot be read."""

    recovery: Recovery
    catalog: Catalog | None = None
    entries: Sequence[Batch] = ()


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Reports each gap, unless a start that was interrupted in its turn has done so."""

    spool: Spool
    packer: Packer

    def report_gap(self, gap: Gap) -> None:
        if gap not in self.spool.pending_gaps():
            self.packer.report_gap(gap)


def _find(store: ClassStore, catalogs: CatalogStore, reporter: _Reporter) -> _Found:
    recovery = store.journal.recover(store.spool.unsealed_sequence)
    if not recovery.payloads:
        return _Found(recovery)
    try:
        catalog = stored_catalog(decode_batch(recovery.payloads[0]).catalog, catalogs)
        return _Found(recovery, catalog, [decode_batch(payload, catalog) for payload in recovery.payloads])
    except BatchError as error:
        entries = len(recovery.payloads)
        log.error("recovery_failed", reason=str(error), entries=entries)  # noqa: TRY400
        reporter.report_gap(Gap(GapKind.CORRUPT, detail=f"{entries} journal records: {error}"))
        return _Found(recovery)


def stored_catalog(name: str, catalogs: CatalogStore) -> Catalog:
    """The catalog that a batch names; raises BatchError where it is not there."""
    content = catalogs.get(name)
    if content is None:
        raise BatchError(f"their catalog {name} is not stored")
    return decode_catalog(content)


def _stored_until_ns(spool: Spool, catalogs: CatalogStore, entries: Sequence[Batch]) -> int:
    """Every frame up to here is stored, on every bus that sent at the end; 0 where nobody knows."""
    if entries:
        return _complete_until_ns(entries[-1])
    record = spool.read(spool.next_sequence - 1)
    if record is None:
        return 0
    try:
        return _complete_until_ns(decode_batch(record.payload, stored_catalog(record.catalog, catalogs)))
    except BatchError:
        return record.end_ns


def _complete_until_ns(batch: Batch) -> int:
    """The newest frame of the bus that was read least recently: of the others, all before it are stored too."""
    newest: dict[int, int] = {}
    for group in batch.groups:
        newest[group.bus] = max(newest.get(group.bus, 0), int(group.time_ns.max()))
    return min(newest.values(), default=batch.sealed_ns) - batch.resolution_ns
