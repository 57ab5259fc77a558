# SPDX-License-Identifier: Apache-2.0
"""Writes received batches and catalogs to files (`layout.py`). Drops duplicates; moves anything else to `rejected/`.

Promise: `accept` and `accept_some` return when the payloads are durable; the caller may then acknowledge them. A batch
with a known id and known content is a duplicate and changes nothing, even if its file was moved away. Another content
under a known id is stored beside the first, with a warning. A file is there whole or not at all. A file that a kill
kept out of the ledger is entered, with its gaps, when its batch comes again.

A payload is not trusted. A batch of another vehicle than its topic's is rejected. So is a payload longer than
`PAYLOAD_MAX`, or one that holds more than the codec allows, or one that has ended the process twice.

Limits: `REJECTED_MAX` rejected payloads are kept, `REJECTED_BYTES_MAX` of each; further ones are only counted.
Failure: a disk that refuses raises `SpoolError`. Nothing of that group may be acknowledged then.
"""

from __future__ import annotations

import enum
import hashlib
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.batch.catalog import Catalog, decode_catalog
from agent.batch.codec import Batch, decode_batch
from agent.errors import BatchError, SpoolError
from agent.receiver.atomic_output import FileGroup
from agent.receiver.gaps import GapAccount, NamedGap
from agent.receiver.handling import DEADLY, Handling
from agent.receiver.inventory import read_limited
from agent.receiver.layout import CATALOG_SUFFIX, FOLDER, OTHER_BYTES, REJECTED, SEQUENCE_MAX, batch_path, safe_name
from agent.receiver.ledger import DIGEST_BYTES, LedgerDamagedError
from agent.receiver.rebuilding import enter, enter_file, open_ledger, rebuild_ledger
from agent.system.durable import is_there, make_folder
from agent.system.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

log = structlog.get_logger()

PAYLOAD_MAX = 4 << 20
REJECTED_MAX = 1000
REJECTED_BYTES_MAX = 256 << 10
REASON_MAX = 500
READING_S = 1.0
_REUSED_HINT = (
    "a spool was restored from a copy, or two vehicles have one name; both contents are kept: export has them both"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A payload as it arrived.

    vehicle         whose topic it came on, None where the topic does not tell
    omitted_bytes   at its end, that were not kept: it is too long
    """

    payload: bytes
    vehicle: str | None = None
    omitted_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Of the whole."""
        return len(self.payload) + self.omitted_bytes


class Verdict(enum.Enum):
    """What became of a payload."""

    BATCH = "batch"
    DUPLICATE = "duplicate"
    REUSED = "reused"  # a batch with another content than the first of its id
    CATALOG = "catalog"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A payload's fate.

    batch   its head, without groups, where it was a batch or a duplicate of one
    path    the file; of a duplicate: where it was stored
    """

    verdict: Verdict
    path: Path | None = None
    batch: Batch | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Read:
    """A payload, and what was found in it: a batch's head, a catalog's hash, or why it is neither."""

    arrival: Arrival
    digest: bytes
    batch: Batch | None = None
    catalog: str = ""
    reason: str = ""


class BatchReceiver:
    """The folder where everything that arrives is put. One thread at a time."""

    def __init__(self, out: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self.counts = dict.fromkeys(Verdict, 0)
        with _disk(f"cannot use {out}"):
            make_folder(out)
            self._ledger = open_ledger(out)
            self.handling = Handling(out, self._ledger)
            names = [path.stem for path in (out / REJECTED).glob("*.payload")]
        self._files = FileGroup()
        self._rejected = len(names)
        self._rejected_next = max((int(name) for name in names if name.isdecimal()), default=-1) + 1

    def close(self) -> None:
        """Let go of its files; that happens, too, when nobody has it any more."""
        self._ledger.close()
        self.handling.close()

    def accept(self, payload: bytes, *, vehicle: str | None = None) -> Accepted:
        """Store a batch or a catalog; `vehicle` is whose topic it came on, None where the topic does not tell."""
        return self.accept_some([Arrival(payload, vehicle)])[0]

    def accept_some(self, arrived: Sequence[Arrival]) -> list[Accepted]:
        """Store what has arrived together, at the price of one.

        All of it as a rule; where reading takes longer than `READING_S`, as many as were read by then, from the first
        on: what is in memory at a time is as little as that. Where the disk refuses what came together, the first
        alone: one that refuses now and then would never take them all.
        """
        read: list[_Read] = []
        end_s = self._clock() + READING_S
        while len(read) < len(arrived) and (not read or self._clock() < end_s):
            read.append(self._read(arrived[len(read)]))
        with _disk(f"cannot store under {self._out}"):
            try:
                accepted = self._store(read)
            except LedgerDamagedError as error:
                self._rebuild(error)
                accepted = self._store(read)
            except OSError:
                if len(read) == 1:
                    raise
                accepted = self._store(read[:1])
        for arrival, each in zip(arrived, accepted, strict=False):
            self.counts[each.verdict] += 1
            _log(each, arrival)
        return accepted

    def report(self) -> list[NamedGap]:
        """Every gap in what lies, or has lain, in the folder."""
        with _disk(f"cannot read {self._out}"):
            try:
                return self._named()
            except LedgerDamagedError as error:
                self._rebuild(error)
                return self._named()

    def _named(self) -> list[NamedGap]:
        """Vehicle by vehicle: what is held is one vehicle's streams, and the gaps."""
        named: list[NamedGap] = []
        for vehicle in self._ledger.vehicles():
            account = GapAccount()
            account.add_records(vehicle, (gap for _, gap in self._ledger.gaps(vehicle)))
            for number, _, stream in self._ledger.streams(vehicle):
                account.streams[vehicle, stream] = self._ledger.ranges(number)
            named += account.report()
        return named

    def _rebuild(self, error: LedgerDamagedError) -> None:
        self._ledger.close()
        self._ledger = rebuild_ledger(self._out, str(error))

    def _read(self, arrival: Arrival) -> _Read:
        digest = hashlib.sha256(arrival.payload).digest()
        if self.handling.is_deadly(digest):
            return _Read(arrival, digest, reason=DEADLY)
        with self.handling.of(digest):
            try:
                found = _understood(arrival)
            except BatchError as error:
                return _Read(arrival, digest, reason=str(error))
        if isinstance(found, Batch):
            return _Read(arrival, digest, found)
        return _Read(arrival, digest, catalog=found.hash)

    def _store(self, read: Sequence[_Read]) -> list[Accepted]:
        accepted: list[Accepted] = []
        try:
            with self._ledger.group():
                accepted.extend(map(self._place, read))
                self._files.write()
        except BaseException:
            self._files.clear()
            self._release_rejected(accepted)
            raise
        return accepted

    def _release_rejected(self, accepted: Sequence[Accepted]) -> None:
        """Delete the files of what comes again."""
        for each in accepted:
            if each.verdict is Verdict.REJECTED and each.path is not None:
                self._rejected -= 1
                with suppress(OSError):
                    each.path.unlink()

    def _place(self, read: _Read) -> Accepted:
        if read.batch is not None:
            return self._place_batch(read, read.batch)
        return self._place_catalog(read) if read.catalog else self._reject(read)

    def _place_batch(self, read: _Read, batch: Batch) -> Accepted:
        folder = self._out / safe_name(batch.id.vehicle) / safe_name(batch.id.stream)
        path = batch_path(folder, batch.id.sequence)
        stream = self._ledger.stream(batch.id.vehicle, batch.id.stream)
        known = self._ledger.digest(stream, batch.id.sequence)
        if known is None and is_there(path) and enter_file(self._ledger, path):  # it was stored, and no more
            known = self._ledger.digest(stream, batch.id.sequence)
        if known is None:
            enter(self._ledger, stream, batch, read.digest, other=False)
            self._files.add(path, read.arrival.payload)
            return Accepted(Verdict.BATCH, path, batch)
        if known != read.digest[:DIGEST_BYTES]:  # or damaged, or never known
            known = self._witness(stream, batch, path)
        if known == read.digest[:DIGEST_BYTES]:
            return Accepted(Verdict.DUPLICATE, path, batch)
        return self._place_other(read, batch, folder, stream)

    def _witness(self, stream: int, batch: Batch, path: Path) -> bytes:
        """What the file itself holds; nothing where it has been moved away."""
        try:
            digest = hashlib.sha256(read_limited(path)).digest()
        except (OSError, BatchError):
            return b""
        self._ledger.set_digest(stream, batch.id.sequence, digest)
        return digest[:DIGEST_BYTES]

    def _place_other(self, read: _Read, batch: Batch, folder: Path, stream: int) -> Accepted:
        """Another content under an id that was received."""
        path, digest = batch_path(folder, batch.id.sequence, read.digest), read.digest[:OTHER_BYTES]
        if self._ledger.has_other(stream, batch.id.sequence, digest):
            return Accepted(Verdict.DUPLICATE, path, batch)
        enter(self._ledger, stream, batch, read.digest, other=True)
        self._files.add(path, read.arrival.payload)
        return Accepted(Verdict.REUSED, path, batch)

    def _place_catalog(self, read: _Read) -> Accepted:
        vehicle = read.arrival.vehicle
        folder = (self._out if vehicle is None else self._out / safe_name(vehicle)) / FOLDER
        path = folder / f"{read.catalog}{CATALOG_SUFFIX}"
        if not is_there(path):
            self._files.add(path, read.arrival.payload)
        return Accepted(Verdict.CATALOG, path)

    def _reject(self, read: _Read) -> Accepted:
        path = None
        if self._rejected < REJECTED_MAX:
            path = self._rejected_path()
            self._files.add(path, read.arrival.payload[:REJECTED_BYTES_MAX])
            self._rejected += 1
        return Accepted(Verdict.REJECTED, path, reason=printable(read.reason, REASON_MAX))

    def _rejected_path(self) -> Path:
        """A file of its own, made empty: above all that are there, whoever else sets aside in this folder."""
        make_folder(self._out / REJECTED)
        while True:
            path = self._out / REJECTED / f"{self._rejected_next:06d}.payload"
            self._rejected_next += 1
            with suppress(FileExistsError):
                path.open("xb").close()
                return path


def _log(accepted: Accepted, arrival: Arrival) -> None:
    path = str(accepted.path) if accepted.path else ""
    if accepted.verdict is Verdict.REUSED:
        log.warning("id_reused", path=path, hint=_REUSED_HINT)
    elif accepted.verdict is Verdict.REJECTED:
        log.warning("payload_rejected", reason=accepted.reason, size_bytes=arrival.size_bytes, path=path)


def _understood(arrival: Arrival) -> Batch | Catalog:
    payload, vehicle = arrival.payload, arrival.vehicle
    if arrival.size_bytes > PAYLOAD_MAX:
        raise BatchError(f"{arrival.size_bytes} bytes; at most {PAYLOAD_MAX} are accepted")
    if vehicle is not None:
        safe_name(vehicle)
    try:
        batch = decode_batch(payload)
    except BatchError as no_batch:
        try:
            return decode_catalog(payload)
        except BatchError as error:
            raise BatchError(f"neither a batch ({no_batch}) nor a catalog ({error})") from None
    if vehicle is not None and batch.id.vehicle != vehicle:
        raise BatchError(f"it says vehicle {batch.id.vehicle!r} on the topic of {vehicle!r}")
    if batch.id.sequence > SEQUENCE_MAX:
        raise BatchError(f"sequence {batch.id.sequence} is beyond all bounds")
    safe_name(batch.id.vehicle), safe_name(batch.id.stream)
    return batch


@contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{what}: {error.strerror or error}") from error
    except LedgerDamagedError as error:  # once more, just after it was made anew
        raise SpoolError(f"{what}: its ledger is damaged: {error}") from error
