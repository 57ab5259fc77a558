# SPDX-License-Identifier: Apache-2.0
"""Batches decoded as they arrive: a file beside each batch, or lines on stdout.

Promise: a batch whose catalog has not come yet waits for it. Limits: `WAITING_MAX` batches wait; past that the oldest
is left to ``canferry export``, with a log line, as is a batch that its catalog does not fit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from agent.batch.codec import decode_batch
from agent.errors import BatchError
from agent.receiver.catalogs import CatalogFolders
from agent.receiver.export import opened
from agent.receiver.inventory import BATCH_SUFFIX, read_limited
from agent.receiver.parts import whole
from agent.receiver.writers import text_writer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from agent.batch.codec import Batch

log = structlog.get_logger()
WAITING_MAX = 10_000


class DecodedOutput:
    """Writes each batch in a format; with `lines`, as JSON lines there, and then deletes the batch file."""

    def __init__(self, name: str, *, choices: bool = False, lines: BinaryIO | None = None) -> None:
        self._name = name
        self._choices = choices
        self._lines = lines
        self._catalogs = CatalogFolders()
        self._waiting: OrderedDict[Path, str] = OrderedDict()

    def add_batch(self, batch: Batch, path: Path) -> None:
        """Write a batch that lies at `path`, now or when its catalog comes; nothing where that is done already."""
        if not path.exists() or self._beside(path).exists():
            return
        if not self._catalogs.has(batch.catalog):
            self._catalogs.add_above(path.parent)
        if self._catalogs.has(batch.catalog):
            self._write(batch.catalog, path)
            return
        self._waiting[path] = batch.catalog
        if len(self._waiting) > WAITING_MAX:
            left_out, catalog = self._waiting.popitem(last=False)
            log.warning("batch_undecoded", path=str(left_out), reason=f"catalog {catalog} has not come")

    def add_catalog(self, path: Path) -> None:
        """Write the batches that have waited for this catalog."""
        self._catalogs.add_file(path)
        ready = [(batch, name) for batch, name in self._waiting.items() if self._catalogs.has(name)]
        for batch, name in ready:
            del self._waiting[batch]
            self._write(name, batch)

    def _write(self, name: str, path: Path) -> None:
        try:
            catalog = self._catalogs.get(name)
            batch = decode_batch(read_limited(path), catalog)
            parts = whole(batch, catalog)
        except BatchError as error:
            log.warning("batch_undecoded", path=str(path), reason=str(error))
            return
        if self._lines is not None:
            writer = text_writer("jsonl", self._lines, choices=self._choices, vehicle=batch.id.vehicle)
            writer.write(parts, batch.events)
            writer.close()
            path.unlink()
        else:
            with opened(self._name, self._beside(path), choices=self._choices) as file:
                if parts or batch.events:
                    file.write(parts, batch.events)

    def _beside(self, path: Path) -> Path:
        return path.with_name(f"{path.name.removesuffix(BATCH_SUFFIX)}.{self._name}")
