# SPDX-License-Identifier: Apache-2.0
"""Finds batches and catalogs under the paths of an export: files, folders and spools.

    <vehicle>/<stream>/<sequence>.batch.zst      written by `replay` and `receive`; any other place will do
    <vehicle>/catalogs/<hash>.catalog.zst        under the paths, or in a `catalogs` folder beside or above them
    *.segment                                    of a spool, read without a lock; its daemon may run. Records that are
                                                 acknowledged, evicted or quarantined only on request

Promise: every batch is found once, by its id and its content, whatever its file is called. Two contents under one id
are two batches: a restored spool sends such. Frames received under a wrong clock get corrected times
(`clock_correction.py`). Which records wait is read from the spool's state, saved once a minute. Without a state all of
them wait.
Limits: a batch is read three times: its head for the clocks, all of it for the times of its frames, and all of it to be
exported. In memory are its id, times, events and gaps. A file longer than `PAYLOAD_MAX` is not read.
Failure: a missing path raises `ConfigError`; everything else is a `Problem` with its file. A record that the daemon has
overwritten meanwhile is one, too.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from agent.batch.codec import decode_batch
from agent.errors import AgentError, BatchError, ConfigError
from agent.model import BatchId
from agent.receiver.clock_correction import ClockCorrection
from agent.receiver.layout import BATCH_SUFFIX, CATALOG_SUFFIX, CatalogFolders
from agent.receiver.windows import TimeRange, WindowPart, batch_parts, time_ranges
from agent.spool.disk import Disk
from agent.spool.index import SequenceSet
from agent.spool.segment import HEAD_BYTES, Head, scan
from agent.spool.segment import SUFFIX as SEGMENT_SUFFIX
from agent.spool.state import read_state, stream_at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.model import Event, Gap
    from agent.spool.state import State

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
    time_ranges: tuple[TimeRange, ...] = ()
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
    parts: list[WindowPart]
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
        self._clock_correction = ClockCorrection()
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

    def load(self, batch_id: BatchId) -> list[WindowPart]:
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
            batch = self._clock_correction.correct(decode_batch(payload, catalog)).batch
            return Opened(batch, catalog, batch_parts(batch, catalog), len(payload))
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
        self._clock_correction.learn(batch.id.vehicle, batch.clock)

    def _look_into(self, found: Found) -> None:
        """Learn when a batch has frames; only its head tells where its catalog is missing."""
        try:
            catalog = self.catalogs.get(found.catalog) if self.catalogs.has(found.catalog) else None
            corrected = self._clock_correction.correct(decode_batch(found.read(), catalog))
        except (OSError, BatchError) as error:
            self._report(found.place, error)
            return
        self.batches[found.id] = replace(
            found,
            opened_ns=corrected.batch.opened_ns,
            sealed_ns=corrected.batch.sealed_ns,
            events=corrected.batch.events,
            time_ranges=tuple(time_ranges(found.id, [group.time_ns for group in corrected.batch.groups])),
            least_ns=corrected.least_ns,
            most_ns=corrected.most_ns,
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


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Where a record lies. `waits`: it has still to be sent."""

    path: Path
    head: Head
    waits: bool = True

    @property
    def place(self) -> str:
        """For a person."""
        return f"{self.path} at byte {self.head.offset}"

    def read(self) -> bytes:
        """The payload."""
        with _opened(self.path) as file:
            payload = Disk().read(file, self.head.offset + HEAD_BYTES, self.head.length)
        if len(payload) != self.head.length or crc32(payload) != self.head.checksum:
            raise BatchError("the record is damaged, or the running daemon has overwritten it")
        return payload


def refuse_spool(out: Path) -> None:
    """Raise `ConfigError` where a folder to write into is a spool, whole or of one priority: it is the agent's own."""
    if any(next(out.glob(pattern), None) for pattern in (f"*{SEGMENT_SUFFIX}", f"*/*{SEGMENT_SUFFIX}")):
        raise ConfigError(f"--out: {out} is a spool, and its agent's alone; accepted: another folder")


def records(path: Path) -> Iterator[StoredRecord]:
    """Records of a segment file in the order they lie in; none where its name is no segment's."""
    number = path.name.removesuffix(SEGMENT_SUFFIX)
    if not number.isdecimal():
        return
    waits = _waiting(_state_beside(path))
    with _opened(path) as file:
        for head in scan(Disk(), file, int(number)):
            yield StoredRecord(path, head, waits(head))


def _state_beside(segment: Path) -> State | None:
    try:
        with _opened(segment.with_name("state")) as file:
            return read_state(Disk(), file)
    except FileNotFoundError:
        return None


def _waiting(state: State | None) -> Callable[[Head], bool]:
    """Whether a record waits, as the daemon decides when it starts."""
    if state is None:
        return lambda _: True
    done, streams = SequenceSet(state.low, state.ranges), state.streams
    return lambda head: head.sequence not in done and head.stream == stream_at(streams, head.sequence).name


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)
