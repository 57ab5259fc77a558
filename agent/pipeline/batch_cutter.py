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
    """Goes through the spools once after each `fit`, those of the highest priority and the oldest batches first."""

    def __init__(
        self, stores: Mapping[Priority, ClassStore], catalogs: CatalogStore, packer: Packer, vehicle: str
    ) -> None:
        self._stores = stores
        self._catalogs = catalogs
        self._packer = packer
        self._vehicle = vehicle
        self._left: list[tuple[Priority, int]] | None = None  # the next one last; None: nobody has looked yet

    def fit(self, payload_bytes: int | None) -> None:
        """Seal to no more than this from now on (None: as configured), and look at all that is stored anew."""
        self._packer.fit(payload_bytes)
        self._left = None

    def cut_next(self, payload_bytes: int) -> bool:
        """Look at one batch that is larger, and cut it; False when there is none left to look at.

        For the thread that owns the disk: it reads one batch at most.
        """
        if self._left is None:
            self._left = [
                (priority, sequence)
                for priority, store in self._stores.items()
                for sequence in store.spool.larger(payload_bytes)
            ]
            self._left.reverse()
        if self._left:
            priority, sequence = self._left.pop()
            record = self._stores[priority].spool.read(sequence)
            if record is not None and record.vehicle in ("", self._vehicle):
                self._cut(priority, record, payload_bytes)
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
