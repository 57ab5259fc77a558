# SPDX-License-Identifier: Apache-2.0
"""Makes a ledger where there is none, or where it is damaged, from what was received before.

    .ledger.sqlite.damaged              the damaged one; its rows with a right checksum are copied
    <vehicle>/<stream>/received.log     of earlier versions, one line a range of batches: first last begin_ns end_ns
    <vehicle>/gaps.jsonl                of earlier versions, one line a gap record
    <vehicle>/<stream>/*.batch.zst      the batches that are there

Promise: one transaction; a process that is killed begins again. Nothing counts as received that was not: damaged lines
and rows are left out. A batch whose content is unknown is never a duplicate.
Failure: a batch file that cannot be read is left out, with a log line.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

import msgspec
import structlog

from agent.batch.codec import decode_batch
from agent.errors import BatchError
from agent.model import BatchId, Gap
from agent.receiver.gaps import SequenceRange, SequenceRanges
from agent.receiver.inventory import read_limited
from agent.receiver.layout import BATCH_SUFFIX, OTHER_BYTES, SEQUENCE_MAX, batch_path, folders, sequence_of
from agent.receiver.ledger import LEDGER, Ledger, LedgerDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.batch.codec import Batch

log = structlog.get_logger()

RECEIVED, GAPS = "received.log", "gaps.jsonl"
_LINE_BYTES_MAX = 1 << 20
_INT64_MAX = (1 << 63) - 1
_PARTS = ("", "-wal", "-shm")
Row = TypeVar("Row")
_HINT = "look at the disk; a batch that a consumer has moved away is taken again if it comes, where its row was lost"


def open_ledger(out: Path) -> Ledger:
    """The folder's ledger, made where there is none, made anew where it is damaged."""
    try:
        ledger = Ledger(out / LEDGER)
        if ledger.version:
            ledger.check()
        else:
            _fill(ledger, out)
    except LedgerDamagedError as error:
        return rebuild_ledger(out, str(error))
    return ledger


def rebuild_ledger(out: Path, reason: str) -> Ledger:
    """A new one in the place of one that is damaged, which is set aside. It must not be open."""
    damaged = out / f"{LEDGER}.damaged"
    for part in _PARTS:
        with suppress(FileNotFoundError):
            damaged.with_name(damaged.name + part).unlink()
        with suppress(FileNotFoundError):
            (out / f"{LEDGER}{part}").rename(damaged.with_name(damaged.name + part))
    ledger = Ledger(out / LEDGER)
    batches = _fill(ledger, out)
    log.warning("ledger_rebuilt", path=str(damaged), reason=reason, batches=batches, hint=_HINT)
    return ledger


def _fill(ledger: Ledger, out: Path) -> int:
    """Enter all that is known; gives how many batches."""
    with ledger.group():
        ledger.make()
        damaged = out / f"{LEDGER}.damaged"
        if damaged.exists():
            _salvage(ledger, damaged)
        for vehicle in folders(out):
            _take_over_gaps(ledger, vehicle)
            for stream in folders(vehicle):
                _take_over(ledger, stream)
        return sum(batches.last - batches.first + 1 for _, batches in ledger.runs())


def _salvage(ledger: Ledger, damaged: Path) -> None:
    """Take over what holds, table by table, as far as each can be read."""
    with suppress(LedgerDamagedError, OSError):
        old = Ledger(damaged, lenient=True)
        numbers = {}
        for number, vehicle, stream in _readable(old.streams()):
            numbers[number] = ledger.stream(vehicle, stream)
        for number, batches in _readable(old.runs()):
            if number in numbers:
                ledger.add(numbers[number], batches)
        for number, block, digests in _readable(old.digests()):
            if number in numbers:
                ledger.add_digests(numbers[number], block, digests)
        for number, sequence, digest in _readable(old.others()):
            if number in numbers:
                ledger.add_other(numbers[number], sequence, digest)
        for vehicle, gap in _readable(old.gaps()):
            ledger.add_gaps(vehicle, (gap,))
        old.close()


def _readable(rows: Iterator[Row]) -> Iterator[Row]:
    with suppress(LedgerDamagedError, OSError):
        yield from rows


def _take_over_gaps(ledger: Ledger, folder: Path) -> None:
    for line in _lines(folder / GAPS):
        with suppress(msgspec.DecodeError):
            ledger.add_gaps(unquote(folder.name), (msgspec.json.decode(line, type=Gap),))


def _take_over(ledger: Ledger, folder: Path) -> None:
    """A stream: what its log lists, then the files that are there beside."""
    stream = None
    for batches in SequenceRanges(filter(None, map(_sequence_range, _lines(folder / RECEIVED)))):
        if stream is None:
            stream = ledger.stream(unquote(folder.parent.name), unquote(folder.name))
        if ledger.digest(stream, batches.first) is None:  # else a damaged ledger knew of it
            ledger.add(stream, batches)
    for path in sorted(folder.glob(f"*{BATCH_SUFFIX}")):
        enter_file(ledger, path)


def enter_file(ledger: Ledger, path: Path) -> bool:
    """Enter a batch that lies at `path`, with its gaps, where nobody knows of it; whether it is what its name says."""
    sequence, names = sequence_of(path), (unquote(path.parent.parent.name), unquote(path.parent.name))
    if sequence is None:
        return False
    stream = ledger.stream(*names)
    known = ledger.digest(stream, sequence)
    other = path != batch_path(path.parent, sequence)
    if known is not None and not other:
        return True
    try:
        payload = read_limited(path)
        batch = decode_batch(payload)
    except BatchError as error:
        log.warning("batch_unreadable", path=str(path), reason=str(error))
        return False
    if batch.id != BatchId(*names, sequence):
        return False
    enter(ledger, stream, batch, hashlib.sha256(payload).digest(), other=other)
    return True


def enter(ledger: Ledger, stream: int, batch: Batch, digest: bytes, *, other: bool) -> None:
    """Enter a batch and the gaps that it tells of; `other`: another content under an id that is there."""
    ledger.add_gaps(batch.id.vehicle, batch.gaps)
    sequence = batch.id.sequence
    if other:
        ledger.add_other(stream, sequence, digest[:OTHER_BYTES])
    else:
        ledger.add(stream, SequenceRange(sequence, sequence, batch.opened_ns, batch.sealed_ns))
        ledger.set_digest(stream, sequence, digest)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, none where it is not there; one that is too long is none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        while line := file.readline(_LINE_BYTES_MAX):
            if line.endswith(b"\n"):
                yield line[:-1]


def _sequence_range(line: bytes) -> SequenceRange | None:
    try:
        first, last, begin_ns, end_ns = map(int, line.split(b" "))
    except ValueError:
        return None
    sound = 0 <= first <= last <= SEQUENCE_MAX and all(-_INT64_MAX <= time <= _INT64_MAX for time in (begin_ns, end_ns))
    return SequenceRange(first, last, begin_ns, end_ns) if sound else None
