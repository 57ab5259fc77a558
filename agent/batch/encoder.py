# SPDX-License-Identifier: Apache-2.0
"""Batches to bytes; the format is drawn in `codec.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.batch import batch_pb2
from agent.batch.column_writer import encode_columns
from agent.batch.frame import compress
from agent.batch.wire import delimited_field, varints, zigzag
from agent.blocks import starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.batch.content import Header
    from agent.model import MessageDefinition, SignalBlock

VERSION = 1
PERIOD_FRACTION = 8
"""Bits of a period below one time unit."""


def encode_batch(header: Header, block: SignalBlock, messages: Sequence[MessageDefinition], level: int) -> bytes:
    """The bytes of a batch, as they are stored and travel.

    Args:
        header: everything but the rows.
        block: the rows; not empty columns, groups in the order of their keys.
        messages: the catalog's messages, for their ids and signals.
        level: zstd level, 1…22.

    """
    unit = header.resolution_ns
    base = header.opened_ns // unit
    keys = block.group_key.view(np.int64)
    message, bus, can_id = (keys >> 40) - 1, keys >> 32 & 0xFF, keys & 0xFFFF_FFFF
    numbers = message.tolist()
    declared = np.array([messages[number].can_id if number >= 0 else -1 for number in numbers], np.int64)
    begin, period, late = _expect_times(block, unit, base)
    shapes = _Shapes(block, numbers, messages)
    encoded = encode_columns(*_lay_columns(block, late, shapes))
    return compress(
        [
            _head(header, base, block),
            delimited_field(20, varints(zigzag(np.diff(message, prepend=0))))
            + _packed(21, bus)
            + _packed(22, np.where(can_id == declared, 0, can_id))
            + _packed(23, np.diff(block.row_start))
            + delimited_field(24, varints(zigzag(begin)))
            + delimited_field(25, varints(zigzag(period)))
            + _packed(26, shapes.of_group)
            + _packed(27, shapes.sizes)
            + _packed(28, shapes.signals),
            delimited_field(30, encoded.kind.tobytes()),
            delimited_field(31, varints(encoded.first))
            + delimited_field(32, varints(zigzag(encoded.linear_step)))
            + _packed(33, encoded.sparse_changes),
            _packed(34, encoded.sparse_gap),
            delimited_field(35, varints(zigzag(encoded.sparse_delta))),
            *(delimited_field(36 + n, pool.astype(np.uint8).tobytes()) for n, pool in enumerate(encoded.pools[:-1])),
            delimited_field(40, varints(encoded.pools[-1])),
        ],
        level,
    )


def _packed(number: int, numbers: NDArray[np.int64] | Sequence[int]) -> bytes:
    return delimited_field(number, varints(np.asarray(numbers, np.int64).view(np.uint64)))


def _head(header: Header, base: int, block: SignalBlock) -> bytes:
    group_of = {key: index for index, key in enumerate(block.group_key.tolist())}
    partial = [(group_of[key], defect, n) for (key, defect), n in header.partial.items() if key in group_of]
    clock = header.clock
    return batch_pb2.Batch(
        version=VERSION,
        vehicle=header.id.vehicle,
        stream=header.id.stream,
        sequence=header.id.sequence,
        catalog=bytes.fromhex(header.catalog),
        time_unit_ns=header.resolution_ns,
        base=base,
        opened_ns=header.opened_ns,
        sealed_ns=header.sealed_ns,
        frames=header.frames,
        clock=batch_pb2.Clock(
            boot_id=clock.boot_id,
            wall_ns=clock.wall_ns,
            monotonic_ns=clock.monotonic_ns,
            trusted=clock.trusted,
            holds=clock.holds,
        ),
        gaps=[
            batch_pb2.Gap(
                kind=gap.kind,
                begin_ns=gap.begin_ns,
                end_ns=gap.end_ns,
                frames=gap.frames,
                stream=gap.stream,
                first_sequence=gap.first_sequence,
                last_sequence=gap.last_sequence,
                detail=gap.detail,
            )
            for gap in header.gaps
        ],
        unknown_bus=[count.bus for count in header.unknown],
        unknown_id=[count.can_id for count in header.unknown],
        unknown_frames=[count.frames for count in header.unknown],
        partial_group=[group for group, _, _ in partial],
        partial_defect=[defect for _, defect, _ in partial],
        partial_frames=[frames for _, _, frames in partial],
        events=[
            batch_pb2.Event(
                kind=event.kind,
                time_ns=event.time_ns,
                subject=event.subject,
                id=event.can_id,
                detail=event.detail,
            )
            for event in header.events
        ],
    ).SerializeToString()


def _expect_times(
    block: SignalBlock, unit: int, base: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Begin and period of each group, and how much later than expected each row is, all in time units."""
    if not len(block):
        none = np.empty(0, np.int64)
        return none, none, none
    start, counts = block.row_start, np.diff(block.row_start)
    time = (block.time_ns + unit // 2) // unit - base
    begin = time[start[:-1]]
    span = time[start[1:] - 1] - begin
    delta = np.empty_like(time)
    np.subtract(time[1:], time[:-1], out=delta[1:])
    delta[start[:-1]] = 0
    typical = np.maximum(_medians(delta, start), 1)
    periods = typical << PERIOD_FRACTION, _average_period(delta, span, typical, start)
    row = np.arange(len(time)) - np.repeat(start[:-1], counts)
    late = [
        time - np.repeat(begin, counts) - (row * np.repeat(period, counts) >> PERIOD_FRACTION) for period in periods
    ]
    # Whole units fit most messages; a period such as 33.3 ms wants its fraction. Take what changes less often.
    changes = [np.searchsorted(np.flatnonzero(column[1:] != column[:-1]), start) for column in late]
    fraction = np.diff(changes[1]) < np.diff(changes[0])
    period = np.where(fraction, periods[1], periods[0])
    return begin, period, np.where(np.repeat(fraction, counts), late[1], late[0])


def _average_period(
    delta: NDArray[np.int64], span: NDArray[np.int64], typical: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The average period of each group in 1/256 units, frames that were missed counted in."""
    each = np.repeat(typical, np.diff(start))
    # As floats, which are exact as far as a difference of times goes, and divide in a tenth of the time.
    periods = np.add.reduceat(np.maximum(np.floor((delta + (each >> 1)) / each), 0).astype(np.int64), start[:-1])
    period = (span << PERIOD_FRACTION) // np.maximum(periods, 1)
    return np.where((periods > 0) & (period >= 0) & (period < 1 << 40), period, 0)


def _medians(delta: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """The median difference of each group, of a sample from its middle; 0 for groups of one row."""
    counts = np.diff(start)
    taken = np.minimum(counts - 1, 15)
    first = start[:-1] + 1 + (counts - 1 - taken) // 2
    at = np.minimum(first[:, None] + np.arange(15), len(delta) - 1)
    sample = np.where(np.arange(15) < taken[:, None], delta[at], np.iinfo(np.int64).max)
    sample.sort(axis=1)
    medians: NDArray[np.int64] = np.where(taken > 0, sample[np.arange(len(counts)), np.maximum(taken - 1, 0) // 2], 0)
    return medians


class _Shapes:
    """The shapes of the groups that need telling: of_group, sizes and signals are the message's fields 26 to 28."""

    def __init__(
        self,
        block: SignalBlock,
        message_of: Sequence[int],
        messages: Sequence[MessageDefinition],
    ) -> None:
        self.of_group: list[int] = []
        self.sizes: list[int] = []
        self.signals: list[int] = []
        self.local: dict[int, NDArray[np.int64]] = {}
        starts = block.row_start
        first = block.shape.take(starts[:-1]).tolist()
        turns = block.shape[1:] != block.shape[:-1]
        turns[starts[1:-1] - 1] = False
        mixed = set((starts.searchsorted(turns.nonzero()[0], side="right") - 1).tolist())
        for index, message in enumerate(message_of):
            all_signals = message >= 0 and len(block.shapes[first[index]]) == len(messages[message].signals)
            if all_signals and index not in mixed:
                self.of_group.append(0)
                continue
            numbers, local = np.unique(block.shape[starts[index] : starts[index + 1]], return_inverse=True)
            self.of_group.append(len(numbers))
            self.local[index] = local
            for number in numbers.tolist():
                carried = block.shapes[number]
                self.sizes.append(len(carried))
                self.signals += [b - a for a, b in zip((0, *carried), carried, strict=False)]


def _lay_columns(
    block: SignalBlock, late: NDArray[np.int64], shapes: _Shapes
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
    """Values, starts and bits of all columns: the groups' times, the shapes of those that tell them, the signals."""
    listed = [shapes.local[group].astype(np.uint64) for group in sorted(shapes.local)]
    counts = [
        np.diff(block.row_start),
        np.array([len(column) for column in listed], np.int64),
        np.diff(block.column_start),
    ]
    bits = [np.full(len(counts[0]), 64, np.uint8), np.full(len(listed), 32, np.uint8), block.bits]
    return (
        np.concatenate([late.view(np.uint64), *listed, block.values]),
        starts(np.concatenate(counts)),
        np.concatenate(bits),
    )
