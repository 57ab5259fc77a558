# SPDX-License-Identifier: Apache-2.0
"""Remembers what was received in one SQLite file beside the batches, so that batch files may be moved away.

    OUT/.ledger.sqlite      in WAL mode, synchronous = FULL
      streams   vehicle, stream                       one row a stream
      runs      stream, first, last, begin, end       one row a range of sequence numbers without a hole
      digests   stream, block                         6 bytes a batch, 128 batches a row: the first of its SHA-256
      others    stream, sequence, digest              one row for each further content under a known id
      gaps      vehicle, record                       one row a gap record
      deaths    key, times                            payloads that ended the process

Promise: everything entered within `group` is durable when it ends, or nothing of it is. A batch is a duplicate only by
its own content: by its digest, or by the file itself. Rows of streams, runs and gaps carry a checksum.
Cost: 6.4 bytes of disk a batch, for ever; some 200 a stream. Memory: SQLite's cache, and `STREAMS_MAX` ids.
Limits: `RECORDS_MAX` gap records a vehicle, the oldest are forgotten first; `DEATHS_MAX` keys.
Failure: a damaged file raises `LedgerDamagedError`; `rebuilding.py` makes a new one. A disk that refuses raises
`OSError`; the caller must not acknowledge then.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections import OrderedDict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from agent.errors import SpoolError
from agent.model import Gap
from agent.receiver.gaps import RECORDS_MAX, SequenceRange, SequenceRanges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LEDGER = ".ledger.sqlite"
VERSION = 1
DIGEST_BYTES = 6
"""Of a batch's SHA-256: another content passes as the same once in 280 million million."""
BLOCK = 128
STREAMS_MAX = 16_384
DEATHS_MAX = 1000
_CACHE_KIB = 32 << 10
_CHECKPOINT_PAGES = 8192
_BUSY_S = 60.0
_DAMAGED = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_ERROR,  # a table or a column is not there
        sqlite3.SQLITE_READONLY,  # its head says so, or it was moved away
    }
)
_APPLICATION = 0x63_66_00_00
"""With the version added, SQLite's application id: a damaged version is not taken for a later one."""
_SCHEMA = """
CREATE TABLE streams (id INTEGER PRIMARY KEY, vehicle TEXT NOT NULL, stream TEXT NOT NULL, checksum INTEGER NOT NULL,
    UNIQUE (vehicle, stream));
CREATE TABLE runs (stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, begin_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (stream, first)) WITHOUT ROWID;
CREATE TABLE digests (stream INTEGER NOT NULL, block INTEGER NOT NULL, digests BLOB NOT NULL,
    PRIMARY KEY (stream, block)) WITHOUT ROWID;
CREATE TABLE others (stream INTEGER NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (stream, sequence, digest)) WITHOUT ROWID;
CREATE TABLE gaps (number INTEGER PRIMARY KEY, vehicle TEXT NOT NULL, checksum INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX gaps_told ON gaps (vehicle, checksum);
CREATE TABLE deaths (key BLOB PRIMARY KEY, times INTEGER NOT NULL);
"""
_FOUND = "SELECT first, last, begin_ns, end_ns, checksum FROM runs WHERE stream = ? AND first"
_encode = msgspec.json.Encoder().encode


class LedgerDamagedError(Exception):
    """The file is no ledger any more, or not what was written."""


class Ledger:
    """The file of one folder, open. One thread at a time."""

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        """Open it; `version` is 0 where there was none. A lenient one leaves out rows that do not hold."""
        self.path = path
        self._lenient = lenient
        with damage():
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self.close = weakref.finalize(self, self._db.close)
            self._ids: OrderedDict[tuple[str, str], int] = OrderedDict()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self.version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != (_APPLICATION + self.version if self.version else 0):
            raise LedgerDamagedError("its version is damaged")
        if self.version > VERSION:
            raise SpoolError(f"{path} is of version {self.version}, a later one; this receiver knows {VERSION}")

    def make(self) -> None:
        """Make the tables of an empty one, within a group."""
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute(f"PRAGMA application_id = {_APPLICATION + VERSION}")
        self.version = VERSION

    def check(self) -> None:
        """Raise LedgerDamagedError where what decides about batches is not what was written."""
        with damage():
            found = {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_schema") if sql is not None}
            if found != {statement.strip() for statement in _SCHEMA.split(";") if statement.strip()}:
                raise LedgerDamagedError("its tables are not as they were made")
            for table in ("streams", "runs", "gaps", "others", "deaths"):
                if self._db.execute(f"PRAGMA integrity_check({table})").fetchone()[0] != "ok":
                    raise LedgerDamagedError(f"its table of {table} is damaged")
            for read in (self.streams(), self.gaps(), self.runs()):
                deque(read, 0)

    @contextmanager
    def group(self) -> Iterator[None]:
        """What is done within is durable when it ends, or undone."""
        with damage():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._ids.clear()  # of streams that were made within
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def stream(self, vehicle: str, stream: str) -> int:
        """The number of a stream, from now on."""
        name = (vehicle, stream)
        known = self._ids.get(name)
        if known is None:
            row = self._db.execute("SELECT id FROM streams WHERE vehicle = ? AND stream = ?", name).fetchone()
            known = row[0] if row else self._new_stream(vehicle, stream)
            self._ids[name] = known
            if len(self._ids) > STREAMS_MAX:
                self._ids.popitem(last=False)
        return known

    def _new_stream(self, vehicle: str, stream: str) -> int:
        (last,) = self._db.execute("SELECT COALESCE(MAX(id), 0) FROM streams").fetchone()
        number = int(last) + 1
        row = (number, vehicle, stream, _checksum(number, vehicle, stream))
        self._db.execute("INSERT INTO streams VALUES (?, ?, ?, ?)", row)
        return number

    def digest(self, stream: int, sequence: int) -> bytes | None:
        """Of the batch that was received first; b"" where it was, and nobody knows its content; else None."""
        run = self._run(stream, f"{_FOUND} <= ? ORDER BY first DESC LIMIT 1", sequence)
        if run is None or run.last < sequence:
            return None
        begin = sequence % BLOCK * DIGEST_BYTES
        digest = self._digests(stream, sequence // BLOCK)[begin : begin + DIGEST_BYTES]
        return digest if any(digest) else b""

    def add(self, stream: int, batches: SequenceRange) -> None:
        """Enter batches none of which is there."""
        left = self._run(stream, f"{_FOUND} < ? ORDER BY first DESC LIMIT 1", batches.first)
        right = self._run(stream, f"{_FOUND} = ?", batches.last + 1)
        if left is not None and left.last + 1 == batches.first:
            batches = SequenceRange(left.first, batches.last, left.begin_ns, batches.end_ns)
        if right is not None:
            self._db.execute("DELETE FROM runs WHERE stream = ? AND first = ?", (stream, right.first))
        joined = batches if right is None else SequenceRange(batches.first, right.last, batches.begin_ns, right.end_ns)
        row = (stream, joined.first, joined.last, joined.begin_ns, joined.end_ns)
        self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", (*row, _checksum(*row)))

    def set_digest(self, stream: int, sequence: int, digest: bytes) -> None:
        """Remember what a batch held."""
        block, place = divmod(sequence, BLOCK)
        known = self._digests(stream, block).ljust(place * DIGEST_BYTES, b"\0")
        digests = known[: place * DIGEST_BYTES] + digest[:DIGEST_BYTES] + known[(place + 1) * DIGEST_BYTES :]
        self._db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (stream, block, digests))

    def has_other(self, stream: int, sequence: int, digest: bytes) -> bool:
        """Whether this further content of an id was received."""
        where = "stream = ? AND sequence = ? AND digest = ?"
        return bool(self._db.execute(f"SELECT 1 FROM others WHERE {where}", (stream, sequence, digest)).fetchone())  # noqa: S608

    def add_other(self, stream: int, sequence: int, digest: bytes) -> None:
        """Enter it."""
        self._db.execute("INSERT OR IGNORE INTO others VALUES (?, ?, ?)", (stream, sequence, digest))

    def add_gaps(self, vehicle: str, gaps: Iterable[Gap]) -> None:
        """Remember records, each once."""
        fresh = 0
        for gap in dict.fromkeys(gaps):
            record = _encode(gap)
            row = (vehicle, _checksum(vehicle, record))
            same = self._db.execute("SELECT record FROM gaps WHERE vehicle = ? AND checksum = ?", row)
            if (record,) not in same.fetchall():
                self._db.execute("INSERT INTO gaps (vehicle, checksum, record) VALUES (?, ?, ?)", (*row, record))
                fresh += 1
        if fresh:
            newest = "SELECT number FROM gaps WHERE vehicle = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            sql = f"DELETE FROM gaps WHERE vehicle = ? AND number <= ({newest})"  # noqa: S608
            self._db.execute(sql, (vehicle, vehicle, RECORDS_MAX))

    def add_death(self, key: bytes) -> None:
        """The process died while it handled this, once more."""
        upsert = "INSERT INTO deaths VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET times = times + 1"
        self._db.execute(upsert, (key,))
        oldest = "SELECT rowid FROM deaths ORDER BY rowid DESC LIMIT -1 OFFSET ?"
        self._db.execute(f"DELETE FROM deaths WHERE rowid IN ({oldest})", (DEATHS_MAX,))  # noqa: S608

    def deaths(self) -> dict[bytes, int]:
        """How often, by key."""
        with damage():
            return dict(self._db.execute("SELECT key, times FROM deaths WHERE typeof(times) = 'integer'"))

    def digests(self) -> Iterator[tuple[int, int, bytes]]:
        """Stream, block and digests, as they are stored."""
        with damage():
            yield from self._db.execute("SELECT stream, block, digests FROM digests WHERE typeof(digests) = 'blob'")

    def add_digests(self, stream: int, block: int, digests: bytes) -> None:
        """Enter a block of them."""
        self._db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (stream, block, digests))

    def others(self) -> Iterator[tuple[int, int, bytes]]:
        """Stream, sequence and digest of further contents."""
        with damage():
            yield from self._db.execute("SELECT stream, sequence, digest FROM others")

    def vehicles(self) -> list[str]:
        """All that something is known of, by name."""
        with damage():
            found = self._db.execute("SELECT vehicle FROM streams UNION SELECT vehicle FROM gaps ORDER BY 1")
            return [vehicle for (vehicle,) in found]

    def streams(self, vehicle: str | None = None) -> Iterator[tuple[int, str, str]]:
        """Number, vehicle and stream of one vehicle's, or of all, by name."""
        sql = "SELECT id, vehicle, stream, checksum FROM streams{} ORDER BY vehicle, stream"
        with damage():
            for number, name, stream, checksum in self._db.execute(*_of(sql, vehicle)):
                if self._holds(checksum, number, name, stream):
                    yield number, name, stream

    def runs(self) -> Iterator[tuple[int, SequenceRange]]:
        """What has been received, by the numbers of streams."""
        with damage():
            for *row, checksum in self._db.execute("SELECT stream, first, last, begin_ns, end_ns, checksum FROM runs"):
                if self._holds(checksum, *row):
                    yield row[0], SequenceRange(*row[1:])

    def ranges(self, stream: int) -> SequenceRanges:
        """What has been received of a stream."""
        with damage():
            found = self._db.execute(f"{_FOUND} >= 0 ORDER BY first", (stream,))
            return SequenceRanges(self._sequence_range(stream, row) for row in found)

    def gaps(self, vehicle: str | None = None) -> Iterator[tuple[str, Gap]]:
        """Records of one vehicle, or all, with their vehicles, in the order in which they came."""
        sql = "SELECT vehicle, checksum, record FROM gaps{} ORDER BY number"
        with damage():
            for name, checksum, record in self._db.execute(*_of(sql, vehicle)):
                if self._holds(checksum, name, record):
                    yield name, msgspec.json.decode(record, type=Gap)

    def _run(self, stream: int, sql: str, sequence: int) -> SequenceRange | None:
        row = self._db.execute(sql, (stream, sequence)).fetchone()
        return None if row is None else self._sequence_range(stream, row)

    def _sequence_range(self, stream: int, row: tuple[int, int, int, int, int]) -> SequenceRange:
        *run, checksum = row
        self._holds(checksum, stream, *run)
        return SequenceRange(*run)

    def _holds(self, checksum: int, *values: object) -> bool:
        if checksum == _checksum(*values):
            return True
        if self._lenient:
            return False
        raise LedgerDamagedError("a row is not what was written")

    def _digests(self, stream: int, block: int) -> bytes:
        sql = "SELECT digests FROM digests WHERE stream = ? AND block = ? AND typeof(digests) = 'blob'"
        row = self._db.execute(sql, (stream, block)).fetchone()
        return b"" if row is None else bytes(row[0])


@contextmanager
def damage() -> Iterator[None]:
    """What SQLite says, as the caller acts on it."""
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own message
        raise LedgerDamagedError("its schema is damaged") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # none: a text is not UTF-8
        if code in _DAMAGED or isinstance(error, sqlite3.IntegrityError):
            raise LedgerDamagedError(str(error)) from error
        raise OSError(f"its ledger: {error}") from error


def _checksum(*values: object) -> int:
    return crc32(repr(values).encode())


def _of(sql: str, vehicle: str | None) -> tuple[str, tuple[str, ...]]:
    """A query of one vehicle, or of all."""
    return (sql.format(""), ()) if vehicle is None else (sql.format(" WHERE vehicle = ?"), (vehicle,))
