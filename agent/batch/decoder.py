# SPDX-License-Identifier: Apache-2.0
"""Bytes to batches; `codec.py` draws the format.

Nothing in the bytes is trusted. They are counted before anything is made of them (`wire.screen`), and every index is
checked. Whatever does not fit raises `BatchError` with the reason.

Limits: far above what an agent makes, whose batches have 120 KiB at most. Within them a batch costs less than 256 MB
and one second. A constant column costs nothing until it is read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from agent.batch import batch_pb2
from agent.batch.columns import ColumnReader, EncodedColumns, constant
from agent.batch.content import Batch, Group, UnknownCount
from agent.batch.encoder import PERIOD_FRACTION, VERSION
from agent.batch.frame import decompress
from agent.batch.wire import Limit, numbers, screen
from agent.errors import BatchError
from agent.model import RAW_SIGNALS, BatchId, ClockReading, Event, Gap, group_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.model import SignalDefinition

BATCH_BYTES_MAX = 8 << 20
"""A batch that claims to be longer, uncompressed, is refused."""
ROWS_MAX = 4 << 20
VALUES_MAX = 64 << 20
"""A batch that claims to have more rows or values is refused: a few bytes can claim a lot."""
GROUPS_MAX, COLUMNS_MAX = 1 << 14, 1 << 16
SHAPES_MAX, SHAPE_SIGNALS_MAX = 1 << 17, 1 << 20
FIELDS_MAX = 1 << 17
GAPS_MAX, EVENTS_MAX, COUNTS_MAX = 1024, 1 << 16, 1 << 16
GAP_BYTES_MAX, EVENT_BYTES_MAX, NAME_BYTES_MAX, CLOCK_BYTES_MAX, HASH_BYTES_MAX = 1024, 8192, 1024, 256, 64
_HEAD_LAST = 19
"""The number of the last field of a batch's head; groups and columns follow."""
_LIMITS = {
    2: Limit("vehicle", FIELDS_MAX, NAME_BYTES_MAX),
    3: Limit("stream", FIELDS_MAX, NAME_BYTES_MAX),
    5: Limit("catalog", FIELDS_MAX, HASH_BYTES_MAX),
    11: Limit("clock", FIELDS_MAX, CLOCK_BYTES_MAX),
    12: Limit("gap", GAPS_MAX, GAP_BYTES_MAX),
    **{number: numbers("unknown frames", COUNTS_MAX) for number in (13, 14, 15)},
    **{number: numbers("partial frames", COUNTS_MAX) for number in (16, 17, 18)},
    19: Limit("event", EVENTS_MAX, EVENT_BYTES_MAX),
}


def decode_batch(payload: bytes, catalog: Catalog | None = None) -> Batch:
    """Read a batch.

    Args:
        payload: the bytes.
        catalog: the one that the batch names; without it the header is read, and no groups.

    Raises:
        BatchError: the bytes are damaged, no batch, one of a later version, or not of this catalog.

    """
    head, rows = _parts(decompress(payload, BATCH_BYTES_MAX))
    message = _parsed(head)
    if message.version != VERSION:
        raise BatchError(f"batch version {message.version} is unknown; this reader knows {VERSION}")
    if message.time_unit_ns < 1 or not message.vehicle or not message.stream:
        raise BatchError("not a batch: it has no id or no time unit")
    if catalog is None:
        return _batch(message, ())
    if catalog.hash != message.catalog.hex():
        raise BatchError(f"the batch is of catalog {message.catalog.hex()}, not of {catalog.hash}")
    try:
        return _batch(message, tuple(_groups(message, _parsed(rows), catalog)))
    except (IndexError, ValueError, OverflowError) as error:
        raise BatchError(f"not a sound batch: {error}") from None


def _parts(content: bytes) -> tuple[bytes, bytes]:
    """The fields of a batch's head, and those of its groups and columns; neither more nor longer ones than may be."""
    head: list[bytes] = []
    rows: list[bytes] = []
    for number, begin, end in screen(content, _LIMITS, FIELDS_MAX):
        (head if number <= _HEAD_LAST else rows).append(content[begin:end])
    return b"".join(head), b"".join(rows)


def _parsed(content: bytes) -> batch_pb2.Batch:
    message = batch_pb2.Batch()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise BatchError(f"not a batch: {error}") from None
    return message


def _batch(message: batch_pb2.Batch, groups: Sequence[Group]) -> Batch:
    clock = message.clock
    unknown = zip(message.unknown_bus, message.unknown_id, message.unknown_frames, strict=False)
    partial = zip(message.partial_group, message.partial_defect, message.partial_frames, strict=False)
    keys = [group_key(group.message, group.bus, group.can_id) for group in groups]
    return Batch(
        id=BatchId(message.vehicle, message.stream, message.sequence),
        catalog=message.catalog.hex(),
        resolution_ns=message.time_unit_ns,
        opened_ns=message.opened_ns,
        sealed_ns=message.sealed_ns,
        frames=message.frames,
        clock=ClockReading(clock.boot_id, clock.wall_ns, clock.monotonic_ns, clock.trusted, clock.holds),
        gaps=tuple(_gap(gap) for gap in message.gaps),
        unknown=tuple(UnknownCount(bus, can_id, frames) for bus, can_id, frames in unknown),
        events=tuple(Event(each.kind, each.time_ns, each.subject, each.id, each.detail) for each in message.events),
        partial={(keys[group], defect): frames for group, defect, frames in partial if group < len(keys)},
        groups=tuple(groups),
    )


def _gap(gap: batch_pb2.Gap) -> Gap:
    return Gap(
        gap.kind,
        gap.begin_ns,
        gap.end_ns,
        gap.frames,
        gap.stream,
        gap.first_sequence,
        gap.last_sequence,
        gap.detail,
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """A group as the message tells it, before its columns are read."""

    message: int
    bus: int
    can_id: int
    rows: int
    begin: int
    period: int
    has_shapes: bool
    shapes: tuple[tuple[int, ...], ...]
    signals: Sequence[SignalDefinition]


def _groups(head: batch_pb2.Batch, message: batch_pb2.Batch, catalog: Catalog) -> Iterator[Group]:
    _count(message)
    layouts = list(_layouts(message, catalog))
    if sum(layout.rows for layout in layouts) > ROWS_MAX:
        raise BatchError(f"claims more than {ROWS_MAX} rows")
    encoded = _columns(message)
    del message  # the library's numbers: as much memory again
    reader = ColumnReader(encoded)
    times = [_times(head, layout, reader.read(layout.rows, 64).view(np.int64)) for layout in layouts]
    shapes = [_row_shapes(layout, reader) for layout in layouts]
    values = 0
    for layout, time_ns, shape in zip(layouts, times, shapes, strict=True):
        rows_of_shape = [layout.rows]
        if layout.has_shapes:
            rows_of_shape = np.bincount(shape, minlength=len(layout.shapes)).tolist()
        columns = {}
        for signal, rows in _rows_of_signal(layout.shapes, rows_of_shape).items():
            values += rows
            if values > VALUES_MAX:
                raise BatchError(f"claims more than {VALUES_MAX} values")
            columns[signal] = reader.read(rows, layout.signals[signal].length)
        yield Group(layout.message, layout.bus, layout.can_id, time_ns, shape, layout.shapes, columns)
    reader.expect_nothing_left()


def _count(message: batch_pb2.Batch) -> None:
    if len(message.group_rows) > GROUPS_MAX:
        raise BatchError(f"claims more than {GROUPS_MAX} groups")
    if len(message.column_kind) > COLUMNS_MAX:
        raise BatchError(f"claims more than {COLUMNS_MAX} columns")
    if len(message.shape_signals) > SHAPES_MAX or len(message.shape_signal) > SHAPE_SIGNALS_MAX:
        raise BatchError(f"claims more than {SHAPES_MAX} shapes, or {SHAPE_SIGNALS_MAX} signals of them")


def _times(head: batch_pb2.Batch, layout: _Layout, late: NDArray[np.int64]) -> NDArray[np.int64]:
    time = np.arange(layout.rows)
    time *= layout.period
    time >>= PERIOD_FRACTION
    time += layout.begin
    time += head.base
    time += late
    time *= np.int64(head.time_unit_ns)
    return time


def _row_shapes(layout: _Layout, reader: ColumnReader) -> NDArray[np.uint32]:
    if not layout.has_shapes:
        return constant(np.uint32(0), layout.rows)
    shape = reader.read(layout.rows, 32).astype(np.uint32)
    if int(shape.max()) >= len(layout.shapes):
        raise BatchError("a row names a shape that its group does not have")
    return shape


def _rows_of_signal(shapes: Sequence[Sequence[int]], rows_of_shape: Sequence[int]) -> dict[int, int]:
    """How many rows carry each signal, in the order of the signals."""
    rows: dict[int, int] = {}
    for shape, count in zip(shapes, rows_of_shape, strict=True):
        for signal in shape:
            rows[signal] = rows.get(signal, 0) + count
    return dict(sorted(rows.items()))


def _layouts(message: batch_pb2.Batch, catalog: Catalog) -> Iterator[_Layout]:
    sizes, signals = iter(message.shape_signals), iter(message.shape_signal)
    number = columns = 0
    for step, bus, can_id, rows, begin, period, shapes in zip(
        message.group_message,
        message.group_bus,
        message.group_id,
        message.group_rows,
        message.group_begin,
        message.group_period,
        message.group_shapes,
        strict=True,
    ):
        number += step
        if not -1 <= number < len(catalog.messages) or bus >= len(catalog.buses) or not rows:
            raise BatchError("a group names a message or a bus that the catalog does not have, or has no rows")
        definition = catalog.messages[number] if number >= 0 else None
        fields = definition.signals if definition else RAW_SIGNALS
        columns += 0 if shapes else len(fields)
        if columns > COLUMNS_MAX:
            raise BatchError(f"claims more than {COLUMNS_MAX} columns")
        listed = tuple(_shape(signals, next(sizes, -1), len(fields)) for _ in range(shapes))
        yield _Layout(
            number,
            bus,
            definition.can_id if definition and not can_id else can_id,
            rows,
            begin,
            period,
            bool(listed),
            listed or (tuple(range(len(fields))),),
            fields,
        )


def _shape(signals: Iterator[int], size: int, known: int) -> tuple[int, ...]:
    shape: list[int] = []
    for step in itertools.islice(signals, max(size, 0)):
        if shape and not step:
            raise BatchError("a shape names a signal twice")
        shape.append(step + (shape[-1] if shape else 0))
    if len(shape) != size or (shape and shape[-1] >= known):
        raise BatchError("a shape names a signal that its message does not have")
    return tuple(shape)


def _columns(message: batch_pb2.Batch) -> EncodedColumns:
    pools = (message.pool0, message.pool1, message.pool2, message.pool3)
    return EncodedColumns(
        np.frombuffer(message.column_kind, np.uint8),
        np.array(message.column_first, np.uint64),
        np.array(message.linear_step, np.int64),
        np.array(message.sparse_changes, np.int64),
        np.array(message.sparse_gap, np.int64),
        np.array(message.sparse_delta, np.int64),
        (*(np.frombuffer(pool, np.uint8) for pool in pools), np.array(message.pool4, np.uint64)),
    )
