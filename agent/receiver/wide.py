# SPDX-License-Identifier: Apache-2.0
"""Signals as Parquet tables, one table a message and one row a frame, in time order.

    time      timestamp[ns, UTC]
    id        uint32, the 11- or 29-bit identifier
    extended  bool, whether it has 29 bits
    <signal>  double, the physical value; null where the frame did not carry it; whole ones beyond 2**53 are rounded.
              The field's metadata has its `unit`, and its value table as JSON under `values`

A table is named ``bus.message``; raw frames of an unknown id are ``bus.unknown``, with their payload in `data`. A
message that was redefined on the way is a second table, ``bus.message.2``; a signal that is called like a column
before it gets a number, too. Signs that a file name should not have are written as in URLs; of a name that is too long
for a file's the end gives way to a hash. The schema's metadata has `bus` and `message` in full.

Limits: `VALUES` wait in memory, and `FILES_MAX` files are open: past that, the one written to longest ago is closed,
and further rows of its message go into another file: ``can0.STEER+1.parquet``, or ``part-1.parquet``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from agent.physical import physical
from agent.receiver.lines import payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from pathlib import Path

    from agent.model import Event, MessageDefinition
    from agent.receiver.windows import Part

    Place = Callable[[str, int], Path]
    """Where a table's file is: by its name and the number of the file, from 0 on."""

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

    def write(self, window: list[Part], events: Sequence[Event] = ()) -> None:  # noqa: ARG002
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

    def _table_of(self, part: Part) -> _Table:
        key = part.bus, part.message
        if key not in self._tables:
            name = file_name(f"{part.bus}.{part.message.name if part.message else 'unknown'}")
            taken = {table.name for table in self._tables.values()}
            schema = _schema(part.message).with_metadata(_origin(part))
            self._tables[key] = _Table(_unused(name, ".", taken), schema)
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


def _origin(part: Part) -> dict[str, str]:
    return {"bus": _metadata(part.bus)} | ({"message": _metadata(part.message.name)} if part.message else {})


def _metadata(text: str) -> str:
    """Arrow takes no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _unused(name: str, mark: str, taken: Container[str]) -> str:
    """The name, or the first one with a number that is not taken."""
    numbered = (f"{name}{mark}{number}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _schema(message: MessageDefinition | None) -> pa.Schema:
    if message is None:
        return _RAW
    columns = {each.name: each for each in _HEAD}
    for signal in message.signals:
        name = _unused(signal.name, "_", columns)
        values = {str(raw): text for raw, text in signal.choices}
        told = {"unit": signal.unit} | ({"values": json.dumps(values, ensure_ascii=False)} if values else {})
        columns[name] = pa.field(name, pa.float64(), metadata=told)
    return pa.schema(list(columns.values()))


def _rows(part: Part, schema: pa.Schema) -> pa.Table:
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
