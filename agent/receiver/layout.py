# SPDX-License-Identifier: Apache-2.0
"""Names in the folder that batches are received into, and the catalogs found there by their hash.

    OUT/<vehicle>/<stream>/<sequence, 12 digits>.batch.zst
    OUT/<vehicle>/<stream>/<sequence>-<hash>.batch.zst     another content under the same id
    OUT/<vehicle>/catalogs/<hash>.catalog.zst              OUT/catalogs/… where the topic names no vehicle
    OUT/rejected/<number>.payload

Promise: every name from the wire becomes a safe file name of its own. A catalog is used only if its content has the
hash of its name.
Limits: `KEPT` decoded catalogs in memory; a file longer than `CATALOG_MAX` is not read. `MISSING_MAX` missing catalogs
are known by name; what other batches need counts as missing to the end.
Failure: a catalog that cannot be read raises `BatchError` with its file when it is asked for.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.batch.catalog import decode_catalog
from agent.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.batch.catalog import Catalog

BATCH_SUFFIX = ".batch.zst"
REJECTED = "rejected"
NAME_MAX = 200
SEQUENCE_MAX = 10**12 - 1
OTHER_BYTES = 8
"""Of a hash, in the name of another content's file."""


def safe_name(name: str) -> str:
    """A file name for a vehicle or a stream, another one for every other name; `unquote` is its inverse."""
    safe = quote(name, safe=":")
    if safe.startswith(".") or safe in (FOLDER, REJECTED):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if not 0 < len(safe) <= NAME_MAX:
        raise BatchError(f"a name of {len(safe)} characters; 1 to {NAME_MAX} are accepted")
    return safe


def batch_path(folder: Path, sequence: int, other: bytes = b"") -> Path:
    """Where a batch of a stream's folder goes; `other`: the hash of another content than the first."""
    return folder / f"{sequence:012d}{f'-{other[:OTHER_BYTES].hex()}' if other else ''}{BATCH_SUFFIX}"


def sequence_of(path: Path) -> int | None:
    """Of a file that lies where `batch_path` says, other contents included."""
    digits, _, _ = path.name.removesuffix(BATCH_SUFFIX).partition("-")
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def folders(folder: Path) -> Iterator[Path]:
    """The folders of vehicles, or of one vehicle's streams."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in (FOLDER, REJECTED):
            yield path


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
        for catalogs in filter(Path.is_dir, _catalog_folders(folder)):
            for path in sorted(catalogs.glob(f"*{CATALOG_SUFFIX}")):
                self.add_file(path)

    def find(self, name: str, folder: Path) -> None:
        """Know the catalog of that hash, where it lies in a `catalogs` folder in this folder or a few levels above."""
        if name not in self._files:
            places = (catalogs / f"{name}{CATALOG_SUFFIX}" for catalogs in _catalog_folders(folder))
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


def _catalog_folders(folder: Path) -> list[Path]:
    """Where catalogs may be: in this folder, and in a few levels above it."""
    return [level / FOLDER for level in (folder, *folder.parents[: LEVELS_ABOVE - 1])]


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
