# SPDX-License-Identifier: Apache-2.0
"""Writes batches decoded as they arrive: a file beside each batch, or lines on stdout.

Promise: a batch whose catalog has not come waits for it.
Limits: `WAITING_MAX` batches wait; beyond that the oldest is left to ``canferry export``, with a log line. The same
happens to a batch that does not fit its catalog, that the writer refuses, that has ended the process twice, or whose
text would be too long. The bound is `TEXT_BYTES_MIN` plus `GROWTH_MAX` times the payload, at most `TEXT_BYTES_MAX`: a
payload of 120 bytes can hold four million equal frames.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog

from agent.batch.codec import decode_batch
from agent.errors import AgentError, BatchError
from agent.receiver.export import open_writer
from agent.receiver.handling import DEADLY
from agent.receiver.inventory import read_limited
from agent.receiver.layout import BATCH_SUFFIX, CatalogFolders
from agent.receiver.windows import batch_parts
from agent.receiver.writers import text_bytes, text_writer
from agent.system.printable import printable

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from agent.batch.codec import Batch
    from agent.receiver.handling import Handling
    from agent.receiver.windows import WindowPart

log = structlog.get_logger()
WAITING_MAX = 10_000
TEXT_BYTES_MIN, TEXT_BYTES_MAX, GROWTH_MAX = 16 << 20, 160 << 20, 1000


class DecodedOutput:
    """Writes each batch in a format; with `lines`, as JSON lines there, and then deletes the batch file."""

    def __init__(
        self,
        name: str,
        *,
        choices: bool = False,
        lines: BinaryIO | None = None,
        handling: Handling | None = None,
    ) -> None:
        self._name = name
        self._choices = choices
        self._lines = lines
        self._handling = handling
        self._catalogs = CatalogFolders()
        self._waiting: OrderedDict[Path, str] = OrderedDict()

    def add_batch(self, batch: Batch, path: Path) -> None:
        """Write a batch that lies at `path`, now or when its catalog comes; nothing where that is done already."""
        if not path.exists() or self._beside(path).exists():
            return
        self._catalogs.find(batch.catalog, path.parent)
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
        key = hashlib.sha256(f"decoded {path}".encode()).digest()
        if self._handling is not None and self._handling.is_deadly(key):
            log.warning("batch_undecoded", path=str(path), reason=DEADLY)
            return
        try:
            with self._handling.of(key) if self._handling is not None else nullcontext():
                self._decode(name, path)
        except BatchError as error:
            log.warning("batch_undecoded", path=str(path), reason=printable(str(error)))

    def _decode(self, name: str, path: Path) -> None:
        catalog, payload = self._catalogs.get(name), read_limited(path)
        batch = decode_batch(payload, catalog)
        parts = batch_parts(batch, catalog)
        if text_bytes(parts) > min(TEXT_BYTES_MIN + GROWTH_MAX * len(payload), TEXT_BYTES_MAX):
            size = text_bytes(parts) >> 20
            raise BatchError(f"it has {len(payload)} bytes, and would become some {size} MiB of text")
        try:
            self._put(batch, parts, path)
        except (AgentError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever a library says of a batch that is odd and sound
            raise BatchError(f"{self._name} cannot hold it: {error}") from error

    def _put(self, batch: Batch, parts: list[WindowPart], path: Path) -> None:
        if self._lines is not None:
            writer = text_writer("jsonl", self._lines, choices=self._choices, vehicle=batch.id.vehicle)
            writer.write(parts, batch.events)
            writer.close()
            path.unlink()
        else:
            with open_writer(self._name, self._beside(path), choices=self._choices) as file:
                if parts or batch.events:
                    file.write(parts, batch.events)

    def _beside(self, path: Path) -> Path:
        return path.with_name(f"{path.name.removesuffix(BATCH_SUFFIX)}.{self._name}")
