# SPDX-License-Identifier: Apache-2.0
"""Cuts stored batches anew that are larger than the broker takes.

Promise: each row, event and count of the batch arrives once, in batches of new numbers; its former number is a gap of
kind `CUT`, which is no loss. The pieces stand in the journal before the batch leaves the spool, so a power cut leaves
the batch or its pieces, never both and never neither.

Limits: rows of one time are not divided. A batch that cannot be made to fit, was sealed for another vehicle, or whose
catalog is gone stays as it is.

Failure: SpoolError where the disk refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.batch.codec import decode_batch
from agent.errors import BatchError
from agent.model import Gap, GapKind
from agent.pipeline.startup_recovery import stored_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.config import Priority
    from agent.model import SpooledBatch
    from agent.pipeline.packer import Packer
    from agent.pipeline.storage import ClassStore
    from agent.spool.catalogs import CatalogStore

log = structlog.get_logger()


class BatchCutter:
    """Goes through the spools once for each limit that it is given, oldest batches first."""

    def __init__(
        self, stores: Mapping[Priority, ClassStore], catalogs: CatalogStore, packer: Packer, vehicle: str
    ) -> None:
        self._stores = stores
        self._catalogs = catalogs
        self._packer = packer
        self._vehicle = vehicle
        self._limit: int | None = None
        self._left: list[tuple[Priority, int]] = []

    def cut_next(self, payload_bytes: int) -> bool:
        """Cut one batch that is larger; False when there is none left to look at. For the thread that owns the disk."""
        if payload_bytes != self._limit:
            self._limit = payload_bytes
            spools = {priority: store.spool for priority, store in self._stores.items()}
            self._left = [
                (priority, each) for priority, spool in spools.items() for each in spool.larger(payload_bytes)
            ]
            self._left.reverse()
        while self._left:
            priority, sequence = self._left.pop()
            record = self._stores[priority].spool.read(sequence)
            if record is not None and record.vehicle in ("", self._vehicle):
                self._cut(priority, record, payload_bytes)
                break
        return bool(self._left)

    def _cut(self, priority: Priority, record: SpooledBatch, payload_bytes: int) -> None:
        name = {"stream": record.stream, "sequence": record.number, "size_bytes": len(record.payload)}
        try:
            catalog = stored_catalog(record.catalog, self._catalogs)
            batch = decode_batch(record.payload, catalog)
        except BatchError as error:
            log.warning("batch_kept_whole", **name, reason=str(error), hint="it waits until the broker takes it whole")
            return
        numbers = record.number, record.number
        gap = Gap(GapKind.CUT, record.begin_ns, record.end_ns, 0, record.stream, *numbers, "in later batches, smaller")
        pieces = self._packer.cut(priority, batch, catalog, gap, payload_bytes)
        if pieces and self._stores[priority].replace(gap, pieces):
            log.info("batch_cut", **name, batches=len(pieces))
        else:
            log.warning("batch_kept_whole", **name, reason="it cannot be made to fit", hint="raise the broker's limit")
