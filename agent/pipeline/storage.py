# SPDX-License-Identifier: Apache-2.0
"""What lies under ``spool.path``: a spool and a journal for each priority, under one limit, and the catalogs.

    PATH/normal/  journal               PATH/critical/  journal-critical        PATH/bulk/  journal-bulk
    PATH/catalogs/

Promise: a priority that is used no more is opened as long as its folder is there, so that what it holds is sent like
all else; nothing new is written to it but batches that report its gaps. All files but the catalogs stay within the
limit. Where it is reached, or the disk is full, bulk is evicted first, then normal, then critical. Batches past the
time to live of their priority are evicted, and reported.

Limits: the age of a batch is counted on the wall clock, so only while that is trusted, and not for batches that bear
times before `YEAR_2020_NS`, which were recorded before it was set.

What another version of canferry has left is set aside whole (spool/quarantine.py).

Failure: SpoolError where the disk refuses or another process has it; nothing stays open then.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from agent.batch.catalog import is_catalog
from agent.config.collecting import priorities_in_use, ttls_ns
from agent.config.priorities import Priority
from agent.errors import SpoolVersionError
from agent.spool import retention
from agent.spool.catalogs import CatalogStore
from agent.spool.continuity import Continuity
from agent.spool.journal import Journal
from agent.spool.quarantine import report_set_aside, set_aside
from agent.spool.retention import SharedLimit
from agent.spool.segment import SUFFIX, extent
from agent.spool.state import STATE_BYTES
from agent.spool.store import Spool, SpoolOptions
from agent.system.clock import YEAR_2020_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.config import Config
    from agent.model import Gap, SealedBatch
    from agent.spool.index import StoreStatus
    from agent.spool.retention import Layout
    from agent.system.clock import Clock

T = TypeVar("T")


class ClassStore:
    """A priority's spool with its journal: what is sealed is spooled, what is open is in the journal.

    Journal entries carry the number that their batch will have, so a batch that has been spooled makes them void even
    if the process ends before the journal is begun anew. Where a batch is stored as several, these replace its entries
    in one step before the first is spooled: whenever the process ends, what is not yet in the spool is in the journal,
    and nothing is recovered that is in the spool.
    """

    has_journal = True

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

    def append_entry(self, entry: bytes) -> bool:
        """Append a part of the open batch to the journal; durable on return. False: no room, seal now."""
        return self.journal.append(self.spool.next_sequence, entry)

    def add_gap(self, gap: Gap) -> None:
        """Something is missing for ever; durable on return."""
        self.spool.add_gap(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        """What the next batch has to report."""
        return self.spool.pending_gaps()

    def append(self, batches: Sequence[SealedBatch]) -> None:
        """Spool what the open batch has become; durable on return."""
        if len(batches) > 1 or self.journal.is_replaced:
            self.journal.replace(self.spool.next_sequence, [batch.payload for batch in batches])
        self._spool(batches)

    def replace(self, gap: Gap, batches: Sequence[SealedBatch]) -> bool:
        """Spool these for the stored batch that the gap is about; nothing may be open. False: no room in the journal.

        The journal has them before the spool forgets the batch: startup recovery ends what a power cut interrupts.
        """
        if not self.journal.replace(self.spool.next_sequence, [batch.payload for batch in batches]):
            return False
        self.spool.forget_cut(gap)
        self._spool(batches)
        return True

    def _spool(self, batches: Sequence[SealedBatch]) -> None:
        for batch in batches:
            self.spool.append(batch)
        self.journal.recycle()


@dataclass(slots=True)
class Storage:
    """Opened; `stores` by priority, the highest first. `ttls_ns`: of the priorities that have a time to live."""

    stores: dict[Priority, ClassStore]
    catalogs: CatalogStore
    ttls_ns: dict[Priority, int]

    @classmethod
    def open(cls, config: Config, boot_id: str | None = None) -> Storage:
        """Open or make it; with a boot id the streams go on only where it is proven that they may, "": never."""
        path = config.spool.path
        layout = layout_of(config)
        shared = SharedLimit(layout, config.spool.min_free)
        stores: dict[Priority, ClassStore] = {}
        with contextlib.ExitStack() as opened:
            for priority in _opened(config):
                spool = _opened_spool(config, priority, shared, boot_id)
                opened.callback(spool.close)
                journal = _opened_journal(config, priority, layout)
                opened.callback(journal.close)
                report_set_aside(path, spool)
                stores[priority] = ClassStore(spool, journal)
            highest_first = dict(reversed(stores.items()))
            catalogs = CatalogStore(path / "catalogs", is_valid=is_catalog)
            opened.pop_all()
        return cls(highest_first, catalogs, ttls_ns(config.collect, config.triggers))

    @property
    def spools(self) -> list[Spool]:
        """The highest priority first."""
        return [store.spool for store in self.stores.values()]

    def stats(self) -> dict[Priority, StoreStatus]:
        """What each priority holds."""
        return {priority: store.spool.status() for priority, store in self.stores.items()}

    def larger_than(self, size_bytes: int) -> dict[Priority, int]:
        """How many batches of each priority are; none where that is 0."""
        if not size_bytes:
            return {}
        return {priority: store.spool.larger_than(size_bytes) for priority, store in self.stores.items()}

    @property
    def records(self) -> int:
        """Batches that wait, of all priorities."""
        return sum(stats.records for stats in self.stats().values())

    @property
    def payload_bytes(self) -> int:
        """Of these."""
        return sum(stats.payload_bytes for stats in self.stats().values())

    def keep_in_place(self) -> None:
        """Put back what somebody has deleted, moved or replaced beneath the agent; to be done now and then."""
        for store in self.stores.values():
            store.spool.keep_in_place()
            store.journal.keep_in_place()
        self.catalogs.keep_in_place()

    def expire(self, clock: Clock) -> None:
        """Evict what is past its time to live."""
        if self.ttls_ns and clock.wall_trusted():
            now_ns = clock.wall_ns()
            for priority, ttl_ns in self.ttls_ns.items():
                self.stores[priority].spool.expire(now_ns - ttl_ns, YEAR_2020_NS)

    def close(self, *, clean: bool) -> None:
        """Make everything durable."""
        with contextlib.ExitStack() as closing:
            for store in self.stores.values():
                closing.callback(store.spool.close)
                closing.callback(store.journal.close, clean=clean)


def _opened_spool(config: Config, priority: Priority, shared: SharedLimit, boot_id: str | None) -> Spool:
    """What another version has left of this priority is set aside first."""
    path = config.spool.path
    folder = path / str(priority)

    def opened() -> Spool:
        return Spool.open(
            folder,
            SpoolOptions(
                config.spool.limit,
                priority=priority,
                vehicle=config.vehicle.id,
                erase=config.spool.erase == "acknowledged",
            ),
            shared=shared,
            continuity=None if boot_id is None else Continuity.of(folder, boot_id),
        )

    return _kept_apart(path, [folder, _journal(path, priority)], opened)


def _opened_journal(config: Config, priority: Priority, layout: Layout) -> Journal:
    path, erase = config.spool.path, config.spool.erase == "acknowledged"
    file = _journal(path, priority)
    return _kept_apart(path, [file], lambda: Journal.open(file, layout.journal_bytes, erase=erase))


def _kept_apart(path: Path, left: Sequence[Path], opened: Callable[[], T]) -> T:
    """What opens, once what another version has `left` in its place is set aside."""
    try:
        return opened()
    except SpoolVersionError as error:
        set_aside(path, left, error)
        return opened()


def layout_of(config: Config) -> Layout:
    """How the limit is shared out."""
    return retention.layout(config.spool.limit, config.spool.segment, len(_opened(config)))


def batch_bytes_max(config: Config) -> int:
    """The largest batch that a segment has room for: larger ones are dropped."""
    return layout_of(config).segment_bytes - extent(0)


def bytes_at_once(config: Config, free_bytes: int) -> int:
    """What has to find room on a disk with so much free before the first batch, beyond what is there: states, the
    segments that are reserved as far as `min_free` lets them be, and journals.

    Not counted are the blocks of folders, and the catalog.
    """
    path, layout = config.spool.path, layout_of(config)
    needed = 0
    for priority in _opened(config):
        needed += _missing(path / str(priority) / "state", STATE_BYTES)
        has_segment = any((path / str(priority)).glob(f"*{SUFFIX}"))
        if not has_segment and free_bytes - needed - layout.segment_bytes >= config.spool.min_free:
            needed += layout.segment_bytes
    return needed + sum(_missing(_journal(path, priority), layout.journal_bytes) for priority in _opened(config))


def _missing(file: Path, size_bytes: int) -> int:
    return max(0, size_bytes - (file.stat().st_size if file.exists() else 0))


def _opened(config: Config) -> list[Priority]:
    used = priorities_in_use(config.collect, config.triggers)
    return [priority for priority in Priority if priority in used or (config.spool.path / str(priority)).is_dir()]


def _journal(path: Path, priority: Priority) -> Path:
    return path / ("journal" if priority is Priority.NORMAL else f"journal-{priority}")
