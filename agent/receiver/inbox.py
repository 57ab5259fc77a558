# SPDX-License-Identifier: Apache-2.0
"""What arrives, made files: each batch once, each catalog once, what is neither set aside.

    OUT/<vehicle>/<stream>/<sequence, 12 digits>.batch.zst
    OUT/<vehicle>/catalogs/<hash>.catalog.zst    OUT/catalogs/… where the topic does not tell the vehicle
    OUT/rejected/<number>.payload

Promise: `accept` returns when the payload is durable, so that the caller may acknowledge it. A batch whose id was
accepted before, in this run or an earlier one, is a duplicate and changes nothing, even if a consumer has moved its
file away. A file is there whole or not at all; one that a kill or a power cut kept from being entered in the ledgers is
entered, with its gaps, before the next batch of its stream is looked at.

Nothing in a payload is trusted: names become safe file names, a batch of another vehicle than its topic's is no
batch, and a payload may be neither longer than `PAYLOAD_MAX` nor grow, uncompressed, beyond what the codec allows.

Limits: `LEDGERS_MAX` streams' ledgers in memory; `REJECTED_MAX` payloads of at most `REJECTED_BYTES_MAX` set
aside, further ones are counted only.
Failure: a disk that refuses raises `SpoolError`; the payload must not be acknowledged then.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import structlog

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.durable import make_folder, write_durably
from agent.errors import BatchError, SpoolError
from agent.receiver.catalogs import CATALOG_SUFFIX, FOLDER
from agent.receiver.gaps import GapAccount, NamedGap
from agent.receiver.inventory import BATCH_SUFFIX, read_limited
from agent.receiver.ledger import RECEIVED, GapLedger, StreamLedger
from agent.receiver.spans import Span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.batch.codec import Batch

log = structlog.get_logger()

PAYLOAD_MAX = 16 << 20
LEDGERS_MAX = 4096
REJECTED = "rejected"
REJECTED_MAX = 1000
REJECTED_BYTES_MAX = 256 << 10
NAME_MAX = 200
SEQUENCE_MAX = 10**12 - 1


class Verdict(enum.Enum):
    """What became of a payload."""

    BATCH = "batch"
    DUPLICATE = "duplicate"
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


class Inbox:
    """The folder where everything that arrives is put. One thread at a time."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._streams: OrderedDict[tuple[str, str], StreamLedger] = OrderedDict()
        self._gaps: OrderedDict[Path, GapLedger] = OrderedDict()
        self.counts = dict.fromkeys(Verdict, 0)
        with _disk(f"cannot use {out}"):
            make_folder(out)
            names = [path.stem for path in (out / REJECTED).glob("*.payload")]
        self._rejected = len(names)
        self._rejected_next = max((int(name) for name in names if name.isdecimal()), default=-1) + 1

    def accept(self, payload: bytes, *, vehicle: str | None = None) -> Accepted:
        """Store a batch or a catalog; `vehicle` is whose topic it came on, None where the topic does not tell."""
        with _disk(f"cannot store under {self._out}"):
            accepted = self._accept(payload, vehicle)
        self.counts[accepted.verdict] += 1
        return accepted

    def report(self) -> list[NamedGap]:
        """Every gap in what lies, or has lain, in the folder."""
        account = GapAccount()
        with _disk(f"cannot read {self._out}"):
            for folder in sorted(each for each in self._out.iterdir() if each.is_dir()):
                vehicle = unquote(folder.name)
                account.tell(vehicle, GapLedger(folder).records)
                for path in sorted(folder.glob(f"*/{RECEIVED}")):
                    account.streams[vehicle, unquote(path.parent.name)] = StreamLedger(path.parent).spans
        return account.report()

    def _accept(self, payload: bytes, vehicle: str | None) -> Accepted:
        try:
            return self._take(payload, vehicle)
        except BatchError as error:
            return self._reject(payload, str(error))

    def _take(self, payload: bytes, vehicle: str | None) -> Accepted:
        if len(payload) > PAYLOAD_MAX:
            raise BatchError(f"{len(payload)} bytes; at most {PAYLOAD_MAX} are accepted")
        try:
            batch = decode_batch(payload)
        except BatchError as error:
            return self._accept_catalog(payload, vehicle, error)
        if vehicle is not None and batch.id.vehicle != vehicle:
            raise BatchError(f"it says vehicle {batch.id.vehicle!r} on the topic of {vehicle!r}")
        if batch.id.sequence > SEQUENCE_MAX:
            raise BatchError(f"sequence {batch.id.sequence} is beyond all bounds")
        return self._accept_batch(payload, batch, self._out / safe_name(batch.id.vehicle) / safe_name(batch.id.stream))

    def _accept_batch(self, payload: bytes, batch: Batch, folder: Path) -> Accepted:
        ledger = self._ledger(batch, folder)
        path = folder / f"{batch.id.sequence:012d}{BATCH_SUFFIX}"
        if batch.id.sequence in ledger.spans:
            return Accepted(Verdict.DUPLICATE, path, batch)
        make_folder(folder)
        write_durably(path, payload)
        self._enter(batch, folder, ledger)
        return Accepted(Verdict.BATCH, path, batch)

    def _enter(self, batch: Batch, folder: Path, ledger: StreamLedger) -> None:
        """Note a batch whose file is there: its gaps first, because what the ledger lists is not looked at again."""
        if batch.gaps:
            self._gap_ledger(folder.parent).add(batch.gaps)
        sequence = batch.id.sequence
        ledger.add(Span(sequence, sequence, batch.opened_ns, batch.sealed_ns))

    def _accept_catalog(self, payload: bytes, vehicle: str | None, no_batch: BatchError) -> Accepted:
        try:
            catalog = decode_catalog(payload)
        except BatchError as error:
            raise BatchError(f"neither a batch ({no_batch}) nor a catalog ({error})") from None
        folder = (self._out if vehicle is None else self._out / safe_name(vehicle)) / FOLDER
        path = folder / f"{catalog.hash}{CATALOG_SUFFIX}"
        if not path.exists():
            make_folder(folder)
            write_durably(path, payload)
        return Accepted(Verdict.CATALOG, path)

    def _reject(self, payload: bytes, reason: str) -> Accepted:
        path = None
        if self._rejected < REJECTED_MAX:
            path = self._rejected_path()
            write_durably(path, payload[:REJECTED_BYTES_MAX])
            self._rejected += 1
        log.warning("payload_rejected", reason=reason, size_bytes=len(payload), path=str(path) if path else "")
        return Accepted(Verdict.REJECTED, path, reason=reason)

    def _rejected_path(self) -> Path:
        """A file of its own, made empty: above all that are there, whoever else sets aside in this folder."""
        make_folder(self._out / REJECTED)
        while True:
            path = self._out / REJECTED / f"{self._rejected_next:06d}.payload"
            self._rejected_next += 1
            with suppress(FileExistsError):
                path.open("xb").close()
                return path

    def _ledger(self, batch: Batch, folder: Path) -> StreamLedger:
        key = (batch.id.vehicle, batch.id.stream)
        if key not in self._streams:
            ledger = StreamLedger(folder)
            for unlisted in _unlisted(folder, ledger):
                self._enter(unlisted, folder, ledger)
            self._streams[key] = ledger
            if len(self._streams) > LEDGERS_MAX:
                self._streams.popitem(last=False)
        self._streams.move_to_end(key)
        return self._streams[key]

    def _gap_ledger(self, folder: Path) -> GapLedger:
        if folder not in self._gaps:
            self._gaps[folder] = GapLedger(folder)
            if len(self._gaps) > LEDGERS_MAX:
                self._gaps.popitem(last=False)
        self._gaps.move_to_end(folder)
        return self._gaps[folder]


def safe_name(name: str) -> str:
    """A file name for a vehicle or a stream, another one for every other name; `unquote` is its inverse."""
    safe = quote(name, safe=":")
    if safe.startswith(".") or safe in (FOLDER, REJECTED):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if not 0 < len(safe) <= NAME_MAX:
        raise BatchError(f"a name of {len(safe)} characters; 1 to {NAME_MAX} are accepted")
    return safe


def _unlisted(folder: Path, ledger: StreamLedger) -> Iterator[Batch]:
    """Batch files that are there and of which the ledger does not know: the power went in between."""
    for path in sorted(folder.glob(f"*{BATCH_SUFFIX}")):
        digits = path.name.removesuffix(BATCH_SUFFIX)
        if digits.isdecimal() and int(digits) not in ledger.spans:
            try:
                yield decode_batch(read_limited(path))
            except BatchError as error:
                log.warning("batch_unreadable", path=str(path), reason=str(error))


@contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{what}: {error.strerror or error}") from error
