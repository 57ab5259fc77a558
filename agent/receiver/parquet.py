# SPDX-License-Identifier: Apache-2.0
"""Signal values as a Parquet table, one row a value, in time order.

    time     timestamp[ns, UTC]
    bus      dictionary of string
    id       uint32, the 11- or 29-bit identifier
    extended bool, whether it has 29 bits
    message  dictionary of string, null for a raw frame of an unknown id
    signal   dictionary of string, null for a raw frame
    value    double, the physical value; whole ones beyond 2**53 are rounded here, `raw` is not
    raw      uint64, the signal's field bits
    text     dictionary of string, the value table's name of the value, null where it has none
    unit     dictionary of string
    data     binary, the payload of a raw frame, else null

Limits: a row group is a window's rows or more, `GROUP_ROWS` at most by a window's worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from agent.physical import names, physical
from agent.receiver.lines import payloads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.model import Event
    from agent.receiver.windows import Shaped, WindowPart

GROUP_ROWS = 1_000_000
_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("ns", "UTC")),
        ("bus", _NAMES),
        ("id", pa.uint32()),
        ("extended", pa.bool_()),
        ("message", _NAMES),
        ("signal", _NAMES),
        ("value", pa.float64()),
        ("raw", pa.uint64()),
        ("text", _NAMES),
        ("unit", _NAMES),
        ("data", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Column:
    """Values of one signal in a part, or the payloads of raw frames: rows of the table that share their names.

    row   int64 (n,), the rows of the window that they belong to, before it is sorted
    """

    row: NDArray[np.int64]
    bus: str
    can_id: int
    extended: bool
    message: str | None
    signal: str | None
    unit: str | None
    value: NDArray[np.float64] | None
    raw: NDArray[np.uint64] | None
    text: list[str | None] | None
    data: list[bytes] | None


class ParquetWriter:
    """Collects windows into row groups."""

    def __init__(self, path: Path) -> None:
        self._file = parquet.ParquetWriter(path, SCHEMA, compression="zstd")
        self._tables: list[pa.Table] = []
        self._rows = 0

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:  # noqa: ARG002
        """Take the window's values. Events have no place here."""
        if not window:
            return
        table = _table(window)
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            table = pa.concat_tables(self._tables).unify_dictionaries()
            self._file.write_table(table, row_group_size=self._rows)
        self._tables, self._rows = [], 0


def _table(window: list[WindowPart]) -> pa.Table:
    columns: list[_Column] = []
    begin = 0
    for part in window:
        for shaped in part.shaped():
            columns += _columns(part, shaped, begin)
        begin += len(part.rows)
    if not columns:
        return SCHEMA.empty_table()
    times = np.concatenate([part.time_ns for part in window])
    rank = np.empty(len(times), np.int64)
    rank[np.argsort(times, kind="stable")] = np.arange(len(times))
    row = np.concatenate([column.row for column in columns])
    order = np.argsort(rank[row], kind="stable")  # within a frame: the order of its signals, as they come
    counts = [len(column.row) for column in columns]
    arrays = [
        pa.array(times[row]).cast(SCHEMA.field("time").type),
        _repeated([column.bus for column in columns], counts),
        pa.array(np.repeat(np.array([column.can_id for column in columns], np.uint32), counts)),
        pa.array(np.repeat(np.array([column.extended for column in columns], np.bool_), counts)),
        _repeated([column.message for column in columns], counts),
        _repeated([column.signal for column in columns], counts),
        _numbers([column.value for column in columns], counts, pa.float64()),
        _numbers([column.raw for column in columns], counts, pa.uint64()),
        _listed([column.text for column in columns], counts, pa.string()).dictionary_encode(),
        _repeated([column.unit for column in columns], counts),
        _listed([column.data for column in columns], counts, pa.binary()),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA).take(pa.array(order))


def _columns(part: WindowPart, shaped: Shaped, begin: int) -> list[_Column]:
    row = shaped.index + begin
    if part.message is None:
        data = [bytes.fromhex(text) for text in payloads(shaped)]
        return [_Column(row, part.bus, part.can_id, part.extended, None, None, None, None, None, None, data)]
    columns = []
    for number in shaped.signals:
        signal = part.message.signals[number]
        raw = shaped.raw(number)
        columns.append(
            _Column(
                row,
                part.bus,
                part.can_id,
                part.extended,
                part.message.name,
                signal.name,
                signal.unit,
                physical(signal, raw).astype(np.float64),
                raw,
                names(signal, raw) if signal.choices else None,
                None,
            )
        )
    return columns


def _repeated(texts: list[str | None], counts: list[int]) -> pa.Array:
    """Each text as often as its count, as a dictionary array."""
    known = list(dict.fromkeys(text for text in texts if text is not None))
    place = {text: index for index, text in enumerate(known)}
    index = np.repeat([-1 if text is None else place[text] for text in texts], counts).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=index < 0), pa.array(known, pa.string()))


def _numbers(columns: list[NDArray[Any] | None], counts: list[int], kind: pa.DataType) -> pa.Array:
    absent = [np.zeros(count, kind.to_pandas_dtype()) for count in counts]
    filled = [gap if column is None else column for column, gap in zip(columns, absent, strict=True)]
    return pa.array(np.concatenate(filled), kind, mask=np.repeat([column is None for column in columns], counts))


def _listed(columns: list[list[Any] | None], counts: list[int], kind: pa.DataType) -> pa.Array:
    pieces = [
        pa.nulls(count, kind) if column is None else pa.array(column, kind)
        for column, count in zip(columns, counts, strict=True)
    ]
    return pa.concat_arrays(pieces)
