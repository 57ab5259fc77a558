# SPDX-License-Identifier: Apache-2.0
"""Catalogs on disk, found by the hash that a batch names.

Promise: a catalog is used only if its content has the hash that its name claims.
Limits: `KEPT` decoded catalogs in memory; a file longer than `CATALOG_MAX` is not read. `MISSING_MAX` catalogs are
waited for by name; what further batches name counts as missing to the end.
Failure: an unreadable or unfit catalog raises `BatchError` with its file when it is asked for.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from agent.batch.catalog import decode_catalog
from agent.errors import BatchError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.batch.catalog import Catalog

CATALOG_SUFFIX = ".catalog.zst"
CATALOG_MAX = 16 << 20
FOLDER = "catalogs"
LEVELS_ABOVE = 4
KEPT = 16
MISSING_MAX = 10_000


class CatalogFolders:
    """Files by hash, and the catalogs used last."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._kept: OrderedDict[str, Catalog] = OrderedDict()

    def add_file(self, path: Path) -> None:
        """Know a catalog file by its name."""
        self._files.setdefault(path.name.removesuffix(CATALOG_SUFFIX), path)

    def add_above(self, folder: Path) -> None:
        """Know the files of a `catalogs` folder in this folder or a few levels above it."""
        for level in (folder, *folder.parents[: LEVELS_ABOVE - 1]):
            if (level / FOLDER).is_dir():
                for path in sorted((level / FOLDER).glob(f"*{CATALOG_SUFFIX}")):
                    self.add_file(path)

    def find(self, name: str, folder: Path) -> None:
        """Know the catalog of that hash, where it lies in a `catalogs` folder in this folder or a few levels above."""
        if name not in self._files:
            levels = (folder, *folder.parents[: LEVELS_ABOVE - 1])
            places = (level / FOLDER / f"{name}{CATALOG_SUFFIX}" for level in levels)
            found = next((path for path in places if path.is_file()), None)
            if found is not None:
                self.add_file(found)

    def has(self, name: str) -> bool:
        """Whether a file of that hash is known."""
        return name in self._files

    def get(self, name: str) -> Catalog:
        """The catalog of that hash."""
        kept = self._kept.get(name)
        if kept is not None:
            self._kept.move_to_end(name)
            return kept
        catalog = self._read(name)
        self._kept[name] = catalog
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return catalog

    def _read(self, name: str) -> Catalog:
        path = self._files.get(name)
        if path is None:
            raise BatchError(f"catalog {name} is missing")
        try:
            with path.open("rb") as file:
                payload = file.read(CATALOG_MAX + 1)
        except OSError as error:
            raise BatchError(f"catalog {path}: {error.strerror}") from None
        if len(payload) > CATALOG_MAX:
            raise BatchError(f"catalog {path} is longer than {CATALOG_MAX} bytes")
        try:
            catalog = decode_catalog(payload)
        except BatchError as error:
            raise BatchError(f"catalog {path}: {error}") from None
        if catalog.hash != name:
            raise BatchError(f"catalog {path} has the content of {catalog.hash}")
        return catalog


class MissingCatalogs:
    """Counts the batches whose catalog has not come."""

    def __init__(self) -> None:
        self._known = CatalogFolders()
        self._batches: Counter[str] = Counter()

    @property
    def batches(self) -> int:
        """How many there are."""
        return self._batches.total()

    def add_batch(self, name: str, path: Path) -> None:
        """A batch that names a catalog has come, and lies at `path`."""
        self._known.find(name, path.parent)
        if not self._known.has(name):
            self._batches[name if len(self._batches) < MISSING_MAX or name in self._batches else ""] += 1

    def add_catalog(self, path: Path) -> None:
        """A catalog has come."""
        self._known.add_file(path)
        self._batches.pop(path.name.removesuffix(CATALOG_SUFFIX), None)
