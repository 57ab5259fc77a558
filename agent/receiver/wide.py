# SPDX-License-Identifier: Apache-2.0
"""Parquet in a folder: one table a message, or partitions by vehicle and day as Hive and Arrow have them.

    long, partitioned   DIR/vehicle=car-1/day=2026-03-02/part-0.parquet
    wide                DIR/can0.STEER.parquet
    wide, partitioned   DIR/can0.STEER/vehicle=car-1/day=2026-03-02/part-0.parquet

A wide table has one row a frame, in time order:

    time      timestamp[ns, UTC]
    id        uint32, the 11- or 29-bit identifier
    extended  bool, whether it has 29 bits
    <signal>  double, the physical value; null where the frame did not carry it; integers beyond 2**53 are rounded.
              The field's metadata has its `unit`, and its value table as JSON under `values`

A table is named ``bus.message``. Raw frames of an unknown id are ``bus.unknown``, with their payload in `data`. A
redefined message is a second table, ``bus.message.2``. A signal with the name of a column gets a number. Characters
that a file name should not have are written as in URLs; the end of a long name becomes a hash. The schema's metadata
has `bus` and `message` in full. Days are UTC.

Limits: `VALUES` wait in memory; `FILES_MAX` files are open. Beyond that, the file written to longest ago is closed;
further rows of its message go to another file, ``can0.STEER+1.parquet`` or ``part-1.parquet``. One day is open at a
time, because windows ascend.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from agent.physical import physical
from agent.receiver.lines import payloads
from agent.receiver.parquet import ParquetWriter
from agent.receiver.windows import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from pathlib import Path

    from agent.model import Event, MessageDefinition
    from agent.receiver.windows import WindowPart
    from agent.receiver.writers import Writer

    Place = Callable[[str, int], Path]
    """Where a table's file is: by its name and the number of the file, from 0 on."""

_DAY_NS = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def folder_writer(folder: Path, vehicle: str, *, wide: bool, partition: bool) -> Writer:
    """A writer of one vehicle's windows into a folder, as one of the three above."""
    if not partition:
        return WideWriter(lambda name, number: folder / f"{_numbered(name, number)}.parquet")

    def of_day(day: str) -> Writer:
        inner = f"vehicle={file_name(vehicle)}/day={day}"
        if wide:
            return WideWriter(lambda name, number: folder / name / inner / f"part-{number}.parquet")
        (folder / inner).mkdir(parents=True, exist_ok=True)
        return ParquetWriter(folder / inner / "part-0.parquet")

    return ByDay(of_day)


class ByDay:
    """Gives each day's rows to a writer of its own."""

    def __init__(self, make: Callable[[str], Writer]) -> None:
        self._make = make
        self._day: int | None = None
        self._writer: Writer | None = None

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:
        """Take a window's rows; events go with its first day."""
        days = np.unique(np.concatenate([np.empty(0, np.int64), *(part.time_ns // _DAY_NS for part in window)]))
        for day in days.tolist():
            self._writer_of(day).write(cut(window, day * _DAY_NS, (day + 1) * _DAY_NS), events)
            events = ()

    def close(self) -> None:
        """Complete the last day's file."""
        if self._writer is not None:
            self._writer.close()

    def _writer_of(self, day: int) -> Writer:
        if self._writer is None or day != self._day:
            self.close()
            self._day, self._writer = day, self._make(f"{_EPOCH + timedelta(days=day):%Y-%m-%d}")
        return self._writer


def _numbered(name: str, number: int) -> str:
    return f"{name}+{number}" if number else name


VALUES = 4_000_000
FILES_MAX = 400
NAME_LENGTH_MAX, DIGEST_LENGTH = 200, 16
"""File systems take 255 bytes: the rest is for ``vehicle=``, numbers and ``.parquet``."""
_CUT_ESCAPE = re.compile("%.?$")
_TIME = pa.field("time", pa.timestamp("ns", "UTC"))
_HEAD = (_TIME, pa.field("id", pa.uint32()), pa.field("extended", pa.bool_()))
_RAW = pa.schema([*_HEAD, pa.field("data", pa.binary())])


@dataclass(slots=True)
class _Table:
    """One message's rows that wait to be written; `files` were begun."""

    name: str
    schema: pa.Schema
    pieces: list[pa.Table] = field(default_factory=list)
    files: int = 0


class WideWriter:
    """Collects windows into tables."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tables: dict[tuple[str, MessageDefinition | None], _Table] = {}
        self._open: OrderedDict[str, parquet.ParquetWriter] = OrderedDict()
        self._values = 0

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:  # noqa: ARG002
        """Take the window's rows. Events have no place here."""
        for part in window:
            table = self._table_of(part)
            table.pieces.append(_rows(part, table.schema))
            self._values += len(part.rows) * len(table.schema)
        if self._values >= VALUES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the files' ends."""
        self._flush()
        while self._open:
            self._open.popitem()[1].close()

    def _table_of(self, part: WindowPart) -> _Table:
        key = part.bus, part.message
        if key not in self._tables:
            name = file_name(f"{part.bus}.{part.message.name if part.message else 'unknown'}")
            used = {table.name for table in self._tables.values()}
            schema = _schema(part.message).with_metadata(_origin(part))
            self._tables[key] = _Table(_unused(name, ".", used), schema)
        return self._tables[key]

    def _flush(self) -> None:
        for table in self._tables.values():
            if table.pieces:
                rows = pa.concat_tables(table.pieces)
                order = np.argsort(rows["time"].cast(pa.int64()).to_numpy(), kind="stable")
                self._file_of(table).write_table(rows.take(pa.array(order)))
                table.pieces = []
        self._values = 0

    def _file_of(self, table: _Table) -> parquet.ParquetWriter:
        file = self._open.get(table.name)
        if file is None:
            if len(self._open) >= FILES_MAX:
                self._open.popitem(last=False)[1].close()
            path = self._place(table.name, table.files)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._open[table.name] = parquet.ParquetWriter(path, table.schema, compression="zstd")
            table.files += 1
        self._open.move_to_end(table.name)
        return file


def file_name(text: str) -> str:
    """A text as a file's or a folder's name, at most `NAME_LENGTH_MAX` characters; no two texts have the same one."""
    name = quote(text, safe="", errors="surrogatepass")
    name = "%2E" + name[1:] if name.startswith(".") else name
    if len(name) <= NAME_LENGTH_MAX:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{_CUT_ESCAPE.sub('', name[: NAME_LENGTH_MAX - DIGEST_LENGTH - 1])}+{digest}"  # no quoted name has a plus


def _origin(part: WindowPart) -> dict[str, str]:
    return {"bus": _metadata(part.bus)} | ({"message": _metadata(part.message.name)} if part.message else {})


def _metadata(text: str) -> str:
    """Arrow takes no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _unused(name: str, mark: str, used: Container[str]) -> str:
    """The name, or the first one with a number that is not used."""
    numbered = (f"{name}{mark}{number}" for number in count(2))
    return name if name not in used else next(each for each in numbered if each not in used)


def _schema(message: MessageDefinition | None) -> pa.Schema:
    if message is None:
        return _RAW
    columns = {each.name: each for each in _HEAD}
    for signal in message.signals:
        name = _unused(signal.name, "_", columns)
        values = {str(raw): text for raw, text in signal.choices}
        metadata = {"unit": signal.unit} | ({"values": json.dumps(values, ensure_ascii=False)} if values else {})
        columns[name] = pa.field(name, pa.float64(), metadata=metadata)
    return pa.schema(list(columns.values()))


def _rows(part: WindowPart, schema: pa.Schema) -> pa.Table:
    times = pa.array(part.time_ns).cast(_TIME.type)
    ids = pa.array(np.full(len(part.rows), part.can_id, np.uint32))
    head = [times, ids, pa.array(np.full(len(part.rows), part.extended))]
    if part.message is None:
        data: list[bytes | None] = [None] * len(part.rows)
        for shaped in part.shaped():
            for row, text in zip(shaped.index.tolist(), payloads(shaped), strict=True):
                data[row] = bytes.fromhex(text)
        return pa.Table.from_arrays([*head, pa.array(data, pa.binary())], schema=schema)
    signals = part.message.signals
    values: list[Any] = [np.zeros(len(part.rows)) for _ in signals]
    absent = [np.ones(len(part.rows), np.bool_) for _ in signals]
    for shaped in part.shaped():
        for number in shaped.signals:
            values[number][shaped.index] = physical(signals[number], shaped.raw(number)).astype(np.float64)
            absent[number][shaped.index] = False
    columns = [pa.array(column, mask=gone) for column, gone in zip(values, absent, strict=True)]
    return pa.Table.from_arrays([*head, *columns], schema=schema)
