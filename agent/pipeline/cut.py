# SPDX-License-Identifier: Apache-2.0
"""Cuts stored batches anew that are larger than the broker takes.

Promise: each row, event and count of the batch arrives once, in batches of new numbers; the number that it had is told
as a gap of kind `CUT`, which is no loss. The pieces stand in the journal before the batch leaves the spool, so a power
cut leaves the batch or its pieces, never both and never neither.

Limits: rows of one time are not divided. A batch that cannot be made to fit, was sealed for another vehicle, or whose
catalog is gone stays as it is.

Failure: SpoolError where the disk refuses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from agent.batch.codec import decode_batch
from agent.errors import BatchError
from agent.model import Gap, GapKind
from agent.pipeline.open_batch import cut_evenly
from agent.pipeline.startup_recovery import stored_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.batch.content import Batch, Group
    from agent.config import Priority
    from agent.model import SpooledBatch
    from agent.pipeline.packer import Packer
    from agent.pipeline.storage import ClassStore
    from agent.spool.catalogs import CatalogStore

log = structlog.get_logger()


class BatchCutter:
    """Goes through the spools once for each limit that it is given, oldest batches first."""

    def __init__(
        self, vaults: Mapping[Priority, ClassStore], shelf: CatalogStore, packer: Packer, vehicle: str
    ) -> None:
        self._vaults = vaults
        self._shelf = shelf
        self._packer = packer
        self._vehicle = vehicle
        self._limit: int | None = None
        self._left: list[tuple[Priority, int]] = []

    def cut_next(self, payload_bytes: int) -> bool:
        """Cut one batch that is larger; False when there is none left to look at. For the thread that owns the disk."""
        if payload_bytes != self._limit:
            self._limit = payload_bytes
            spools = {priority: vault.spool for priority, vault in self._vaults.items()}
            self._left = [
                (priority, each) for priority, spool in spools.items() for each in spool.larger(payload_bytes)
            ]
            self._left.reverse()
        while self._left:
            priority, sequence = self._left.pop()
            record = self._vaults[priority].spool.read(sequence)
            if record is not None and record.vehicle in ("", self._vehicle):
                self._cut(priority, record, payload_bytes)
                break
        return bool(self._left)

    def _cut(self, priority: Priority, record: SpooledBatch, payload_bytes: int) -> None:
        name = {"stream": record.stream, "sequence": record.number, "size_bytes": len(record.payload)}
        try:
            catalog = stored_catalog(record.catalog, self._shelf)
            batch = decode_batch(record.payload, catalog)
        except BatchError as error:
            log.warning("batch_kept_whole", **name, reason=str(error), hint="it waits until the broker takes it whole")
            return
        numbers = record.number, record.number
        gap = Gap(GapKind.CUT, record.begin_ns, record.end_ns, 0, record.stream, *numbers, "in later batches, smaller")
        pieces = self._packer.cut(priority, batch, catalog, gap, payload_bytes)
        if pieces and self._vaults[priority].replace(gap, pieces):
            log.info("batch_cut", **name, batches=len(pieces))
        else:
            log.warning("batch_kept_whole", **name, reason="it cannot be made to fit", hint="raise the broker's limit")


def divided(batch: Batch, pieces: int) -> list[Batch]:
    """The batch in this many, or as many as it has different times; what is no row stays with the first.

    Of the frames that it counts each piece has a share, by its rows.
    """
    times = np.sort(np.concatenate([np.empty(0, np.int64), *(group.time_ns for group in batch.groups)]))
    firsts = np.unique(times[[begin for begin, end in cut_evenly(len(times), pieces) if begin < end]])
    ends = [*firsts[1:].tolist(), None]
    found: list[Batch] = []
    counted = rows = 0
    for index, (first, end) in enumerate(zip(firsts.tolist(), ends, strict=True)):
        groups = tuple(filter(None, (_between(group, first, end) for group in batch.groups)))
        rows += sum(len(group.time_ns) for group in groups)
        frames, counted = batch.frames * rows // len(times) - counted, batch.frames * rows // len(times)
        opened = batch.opened_ns if index == 0 else first
        sealed = batch.sealed_ns if end is None else max(int(group.time_ns.max()) for group in groups)
        piece = replace(batch, groups=groups, frames=frames, opened_ns=opened, sealed_ns=sealed)
        found.append(piece if index == 0 else replace(piece, events=(), unknown=(), partial={}))
    return found or [batch]


def _between(group: Group, first_ns: int, end_ns: int | None) -> Group | None:
    """Its rows from one time on until before another; None where there are none."""
    chosen = group.time_ns >= first_ns
    if end_ns is not None:
        chosen &= group.time_ns < end_ns
    if not chosen.any():
        return None
    columns = {signal: column[chosen[group.rows(signal)]] for signal, column in group.columns.items()}
    carried = {signal: column for signal, column in columns.items() if len(column)}
    return replace(group, time_ns=group.time_ns[chosen], shape=group.shape[chosen], columns=carried)
