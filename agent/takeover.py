# SPDX-License-Identifier: Apache-2.0
"""What the process before left behind, taken over at each start before anything new is stored.

Promise: what it had noted of its open batch is spooled once, in this start or, should this process end meanwhile,
in the next one. Its interruption is told as a gap that begins before the first frame that is missing and ends when
the agent listens again; what the journal lost is told as another. Each gap is durable before anything that it tells
of can be forgotten.

Failure: SpoolError where the disk refuses. Notes that cannot be read, or whose catalog is gone, are a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.batch.catalog import Catalog, decode_catalog
from agent.batch.codec import decode_batch
from agent.errors import BatchError
from agent.model import Gap, GapKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.batch.codec import Batch
    from agent.packer import Packer
    from agent.spool.journal import Journal, Recovery
    from agent.spool.store import Spool
    from agent.uplink.catalogs import CatalogShelf

log = structlog.get_logger()


def take_over(
    spool: Spool, journal: Journal, shelf: CatalogShelf, packer: Packer, *, listening_ns: int, interval_ns: int
) -> None:
    """Seal what was noted, tell what is missing, begin the journal anew.

    Args:
        spool: opened.
        journal: opened, nothing done with it yet.
        shelf: holds the catalog that the notes were made with.
        packer: stores into that spool and that journal.
        listening_ns: wall clock when the sources had been opened.
        interval_ns: the most that lay between two notes.

    """
    found = journal.recover(spool.unsealed_sequence)
    catalog, batches = _readable(found, spool, shelf, packer)
    if not found.clean:
        begin_ns = _stored_until_ns(spool, shelf, batches) or found.last_written_ns - interval_ns
        seconds = round((listening_ns - begin_ns) / 1e9, 3)
        log.warning("interruption_found", seconds=seconds, notes=len(batches))
        begin_ns = begin_ns if 0 < begin_ns <= listening_ns else 0  # the clock was set meanwhile: nobody knows
        detail = "the agent ended without sealing"
        _tell(spool, packer, Gap(GapKind.INTERRUPTED, begin_ns, listening_ns, detail=detail))
    if found.lost:
        times = found.lost_begin_ns, found.lost_end_ns
        _tell(spool, packer, Gap(GapKind.CORRUPT, *times, detail=f"{found.lost} journal records"))
    if catalog is not None:
        packer.recover(batches, catalog)
    journal.recycle()
    journal.start(listening_ns)


def _readable(
    found: Recovery, spool: Spool, shelf: CatalogShelf, packer: Packer
) -> tuple[Catalog | None, Sequence[Batch]]:
    """The notes, and the catalog that they are of; none where they cannot be read."""
    if not found.payloads:
        return None, ()
    try:
        catalog = _catalog(decode_batch(found.payloads[0]).catalog, shelf)
        return catalog, [decode_batch(payload, catalog) for payload in found.payloads]
    except BatchError as error:
        notes = len(found.payloads)
        log.error("recovery_failed", reason=str(error), notes=notes)  # noqa: TRY400
        _tell(spool, packer, Gap(GapKind.CORRUPT, detail=f"{notes} journal records: {error}"))
        return None, ()


def _catalog(name: str, shelf: CatalogShelf) -> Catalog:
    content = shelf.get(name)
    if content is None:
        raise BatchError(f"their catalog {name} is not stored")
    return decode_catalog(content)


def _tell(spool: Spool, packer: Packer, gap: Gap) -> None:
    """Unless a start that was interrupted in its turn has done so."""
    if gap not in spool.pending_gaps():
        packer.lose(gap)


def _stored_until_ns(spool: Spool, shelf: CatalogShelf, noted: Sequence[Batch]) -> int:
    """Every frame up to here is stored, on every bus that was heard at the end; 0 where nobody knows."""
    if noted:
        return _heard_until_ns(noted[-1])
    record = spool.read(spool.next_sequence - 1)
    if record is None:
        return 0
    try:
        return _heard_until_ns(decode_batch(record.payload, _catalog(record.catalog, shelf)))
    except BatchError:
        return record.end_ns


def _heard_until_ns(batch: Batch) -> int:
    """The newest frame of the bus that was read least recently: of the others, all before it are stored too."""
    newest: dict[int, int] = {}
    for group in batch.groups:
        newest[group.bus] = max(newest.get(group.bus, 0), int(group.time_ns.max()))
    return min(newest.values(), default=batch.sealed_ns) - batch.resolution_ns
