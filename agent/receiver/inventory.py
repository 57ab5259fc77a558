# SPDX-License-Identifier: Apache-2.0
"""What lies under the paths that an export is given: batch files, folders of them, spool folders, catalogs.

    <vehicle>/<stream>/<sequence>.batch.zst      as `replay` and `receive` write them, but any place will do
    <vehicle>/catalogs/<hash>.catalog.zst        found under the paths, or in a `catalogs` folder beside or above
    *.segment                                    a spool's, read without touching them, its daemon running or not; what
                                                 is acknowledged and still lies in them only where it is asked for

Promise: every batch is taken once, by its id and its content, whatever the file is called; one that is no batch costs
itself. Two contents under one id are two batches: a vehicle whose spool was restored from a copy sends such.
Where a vehicle's clock was wrong, its frames come with the times that they should have had (`placing.py`).
Limits: of each batch first the head is read, for what it tells of the clocks; then all of it, to learn its frames'
times, for these lie where its head says only if the clock was not set; and once more to be written. What is remembered
of it are its id, times and gaps. A file longer than `PAYLOAD_MAX` is not read.
Failure: a path that does not exist raises `ConfigError`; all else is a `Problem` with its file, and is passed over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from agent.batch.codec import decode_batch
from agent.errors import AgentError, BatchError, ConfigError
from agent.model import BatchId
from agent.receiver.catalogs import CATALOG_SUFFIX, CatalogFolders
from agent.receiver.clock_correction import ClockCorrection
from agent.receiver.merge import Stretch, stretches
from agent.receiver.spools import SEGMENT_SUFFIX, records
from agent.receiver.windows import Part, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.model import Event, Gap

BATCH_SUFFIX = ".batch.zst"
PAYLOAD_MAX = 64 << 20
CONTENT_BYTES = 8

Candidate = tuple[str, "Callable[[], bytes]"]
"""Where something that should be a batch is, and what reads its bytes."""


@dataclass(frozen=True, slots=True, order=True)
class ContentId(BatchId):
    """A batch's id, and the first bytes of its content's SHA-256."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One batch.

    opened_ns, sealed_ns   as they should have been
    unknown                frames of unknown ids that were not kept
    boot_id                of the vehicle's unit, in hexadecimal digits
    least_ns, most_ns      by how much its frames were moved, for the clock was wrong
    read                   gives its bytes again
    """

    id: ContentId
    place: str
    catalog: str
    opened_ns: int
    sealed_ns: int
    unknown: int
    gaps: tuple[Gap, ...]
    boot_id: str
    events: tuple[Event, ...]
    read: Callable[[], bytes]
    stretches: tuple[Stretch, ...] = ()
    least_ns: int = 0
    most_ns: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be exported, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A batch with its frames, in the times that they should have, and its catalog.

    parts        of each group, in their order
    size_bytes   of the batch as it travelled
    """

    batch: Batch
    catalog: Catalog
    parts: list[Part]
    size_bytes: int


class Inventory:
    """The batches under some paths, by id, and the catalogs they need.

    left_out   records in spools that are acknowledged, where these are not asked for
    """

    def __init__(self, paths: Iterable[Path], *, acknowledged: bool = False) -> None:
        self.batches: dict[BatchId, Found] = {}
        self.problems: list[Problem] = []
        self.duplicates = 0
        self.left_out = 0
        self._with_acknowledged = acknowledged
        self.catalogs = CatalogFolders()
        self._placing = ClockCorrection()
        for path in paths:
            for place, read in self._candidates(path):
                self._add_batch(place, read)
        for found in tuple(self.batches.values()):  # now that all catalogs and all clocks are known
            self._look_into(found)

    def vehicles(self) -> list[str]:
        """Names of the vehicles that batches were found of."""
        return sorted({batch_id.vehicle for batch_id in self.batches})

    def reused(self, vehicles: Collection[str]) -> int:
        """How many batches of these vehicles have an id that another one has, too."""
        ids = [(each.vehicle, each.stream, each.sequence) for each in self.batches if each.vehicle in vehicles]
        return len(ids) - len(set(ids))

    def exportable(self, vehicle: str) -> list[Found]:
        """The vehicle's batches whose catalog is at hand; each missing one becomes a problem."""
        found = [each for each in self.batches.values() if each.id.vehicle == vehicle]
        missing: dict[str, int] = {}
        for each in found:
            if not self.catalogs.has(each.catalog):
                missing[each.catalog] = missing.get(each.catalog, 0) + 1
        for name, batches in missing.items():
            reason = (
                f"this catalog is missing and {batches} batch{'es need' if batches > 1 else ' needs'} it: "
                f"put the file into a 'catalogs' folder beside the batches, or name its path too"
            )
            self.problems.append(Problem(f"{name}{CATALOG_SUFFIX}", reason))
        return [each for each in found if each.catalog not in missing]

    def load(self, batch_id: BatchId) -> list[Part]:
        """The batch decoded and joined with its catalog; nothing, and a problem, where that fails."""
        opened = self.open(batch_id)
        return [] if opened is None else opened.parts

    def leave_out(self, batch_id: BatchId, reason: str) -> None:
        """A batch that cannot be exported becomes a problem."""
        self._report(self.batches[batch_id].place, BatchError(reason))

    def open(self, batch_id: BatchId) -> Opened | None:
        """All of a batch; nothing, and a problem, where that fails."""
        found = self.batches[batch_id]
        try:
            catalog, payload = self.catalogs.get(found.catalog), found.read()
            batch = self._placing.place(decode_batch(payload, catalog)).batch
            return Opened(batch, catalog, whole(batch, catalog), len(payload))
        except (OSError, AgentError) as error:
            self._report(found.place, error)
            return None

    def _candidates(self, path: Path) -> Iterator[Candidate]:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
        if path.is_dir():
            self.catalogs.add_above(path.resolve())
            for each in _walk(path):
                if each.name.endswith((BATCH_SUFFIX, CATALOG_SUFFIX, SEGMENT_SUFFIX)):
                    yield from self._within(each)
        else:
            self.catalogs.add_above(path.resolve().parent)
            yield from self._within(path)

    def _within(self, path: Path) -> Iterator[Candidate]:
        if path.name.endswith(CATALOG_SUFFIX):
            self.catalogs.add_file(path)
        elif path.name.endswith(SEGMENT_SUFFIX):
            try:
                for record in records(path):
                    if record.waits or self._with_acknowledged:
                        yield record.place, record.read
                    else:
                        self.left_out += 1
            except OSError as error:
                self._report(str(path), error)
        else:
            yield str(path), partial(read_limited, path)

    def _add_batch(self, place: str, read: Callable[[], bytes]) -> None:
        try:
            payload = read()
            batch = decode_batch(payload)
        except (OSError, BatchError) as error:
            self._report(place, error)
            return
        found = _found(batch, payload, place, read)
        if found.id in self.batches:
            self.duplicates += 1
            return
        self.batches[found.id] = found
        self._placing.learn(batch.id.vehicle, batch.clock)

    def _look_into(self, found: Found) -> None:
        """Learn when a batch has frames; only its head tells where its catalog is missing."""
        try:
            catalog = self.catalogs.get(found.catalog) if self.catalogs.has(found.catalog) else None
            placed = self._placing.place(decode_batch(found.read(), catalog))
        except (OSError, BatchError) as error:
            self._report(found.place, error)
            return
        self.batches[found.id] = replace(
            found,
            opened_ns=placed.batch.opened_ns,
            sealed_ns=placed.batch.sealed_ns,
            events=placed.batch.events,
            stretches=tuple(stretches(found.id, [group.time_ns for group in placed.batch.groups])),
            least_ns=placed.least_ns,
            most_ns=placed.most_ns,
        )

    def _report(self, place: str, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problem = Problem(place, reason)
        if problem not in self.problems:
            self.problems.append(problem)


def read_limited(path: Path) -> bytes:
    """A file's bytes; raises `BatchError` where it is longer than any batch may be."""
    with path.open("rb") as file:
        payload = file.read(PAYLOAD_MAX + 1)
    if len(payload) > PAYLOAD_MAX:
        raise BatchError(f"longer than {PAYLOAD_MAX} bytes: not a batch")
    return payload


def _found(batch: Batch, payload: bytes, place: str, read: Callable[[], bytes]) -> Found:
    content = hashlib.sha256(payload).digest()[:CONTENT_BYTES]
    return Found(
        ContentId(batch.id.vehicle, batch.id.stream, batch.id.sequence, content),
        place,
        batch.catalog,
        batch.opened_ns,
        batch.sealed_ns,
        sum(count.frames for count in batch.unknown),
        batch.gaps,
        batch.clock.boot_id.hex(),
        batch.events,
        read,
    )


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file():
            yield path
