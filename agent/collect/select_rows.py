# SPDX-License-Identifier: Apache-2.0
"""Blocks made of some of the samples of others: the chosen values of a block, or samples of earlier ones.

A row of the result is a frame of which at least one sample is chosen; its shape is the set of those. Rows keep
their frame's time, groups and columns their order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.model import SignalBlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.signal_index import SignalIndex

SHAPES_MAX = 65_536
"""Past so many shapes a new list of them is begun; blocks keep the list that they were made with."""
_MASK_SIGNALS_MAX = 53
"""A set of so many signals is a number whose bits they are, which a float holds exactly."""
_BITS = 2.0 ** np.arange(_MASK_SIGNALS_MAX)


class Shapes:
    """The sets of signals that kept rows carry, numbered as they are met."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.list: list[tuple[int, ...]] = []
        self._number: dict[tuple[int, ...], int] = {}
        self._of_mask: dict[int, int] = {}

    def bound(self) -> None:
        """Begin a new list where the old one is full; to be called before a block is made."""
        if len(self.list) > SHAPES_MAX:
            self._begin()

    def number(self, signals: tuple[int, ...]) -> int:
        """The number of a set of signals, ascending."""
        found = self._number.get(signals)
        if found is None:
            found = self._number[signals] = len(self.list)
            self.list.append(signals)
        return found

    def numbers_of_masks(self, masks: Iterable[int]) -> list[int]:
        """The numbers of sets of signals, each given as a number whose bits they are."""
        known = self._of_mask
        numbers = []
        for mask in masks:
            number = known.get(mask)
            if number is None:
                bits = tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
                number = known[mask] = self.number(bits)
            numbers.append(number)
        return numbers


def chosen_block(view: BlockView, chosen: NDArray[np.bool_], shapes: Shapes) -> SignalBlock | None:
    """The values of a block that are chosen, bool (V,); None where none is."""
    block = view.block
    at = chosen.nonzero()[0]
    if not len(at):
        return None
    shapes.bound()
    column = view.value_column.take(at)
    column_first = _firsts(column)
    columns = column.take(column_first)
    row = view.row_of(at, column)
    signal = block.column_signal.take(columns)
    column_start = _ended(column_first, len(at))
    rows, shape = _rows(shapes, row, signal.repeat(column_start[1:] - column_first))
    group = view.row_group.take(rows)
    group_first = _firsts(group)
    groups = group.take(group_first)
    return SignalBlock(
        block.group_key.take(groups),
        _ended(group_first, len(rows)),
        block.time_ns.take(rows),
        shape,
        groups.searchsorted(block.column_group.take(columns)).astype(np.int32),
        signal,
        column_start,
        block.values.take(at),
        block.bits.take(columns),
        shapes.list,
    )


def _rows(
    shapes: Shapes, row: NDArray[np.int64], signal: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The rows that occur, ascending, and the shape of each; `signal` ascends among the values of each row."""
    if signal.max() >= _MASK_SIGNALS_MAX:
        order = row.argsort(kind="stable")
        row, signal = row.take(order), signal.take(order)
        begin = _firsts(row)
        sets = (tuple(each.tolist()) for each in np.split(signal, begin[1:]))
        return row.take(begin), np.array([shapes.number(each) for each in sets], np.int32)
    masks = np.bincount(row, _BITS.take(signal))
    rows = masks.nonzero()[0]
    masks = masks.take(rows)
    first = _firsts(masks)  # neighbours mostly agree
    numbers = np.array(shapes.numbers_of_masks(masks.take(first).astype(np.int64).tolist()), np.int32)
    return rows, numbers.repeat(_sizes(first, len(masks)))


def _firsts(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Where runs of equal numbers begin; of at least one number."""
    other = np.empty(len(numbers), np.bool_)
    other[0] = True
    np.not_equal(numbers[1:], numbers[:-1], out=other[1:])
    return other.nonzero()[0]


def _ended(first: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Where runs begin, and where the last one ends."""
    start = np.empty(len(first) + 1, np.int64)
    start[:-1] = first
    start[-1] = end
    return start


def _sizes(first: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """How long the runs are that begin there."""
    start = _ended(first, end)
    return start[1:] - start[:-1]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that are no part of the block at hand; arrays of one length.

    slot int64 · time_ns int64, of their frame · raw uint64 · priority uint8, that they are kept with
    """

    slot: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    raw: NDArray[np.uint64]

    priority: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """All of them."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def at(self, places: NDArray[np.int64]) -> Samples:
        """Some of them."""
        return Samples(
            self.slot.take(places), self.time_ns.take(places), self.raw.take(places), self.priority.take(places)
        )


def samples_at(view: BlockView, places: NDArray[np.int64], priority: int) -> Samples:
    """Values of a block as samples, kept with a priority."""
    column = view.value_column.take(places)
    time_ns = view.block.time_ns.take(view.row_of(places, column))
    priorities = np.full(len(places), priority, np.uint8)
    return Samples(view.slot.take(column), time_ns, view.block.values.take(places), priorities)


def samples_blocks(signal_index: SignalIndex, samples: Samples, shapes: Shapes) -> list[tuple[int, SignalBlock]]:
    """For each priority that occurs the block of its samples; those of one time and stream key are one row."""
    if not len(samples.slot):
        return []
    shapes.bound()
    samples, key, turn = _in_order(signal_index, samples)
    slot, time, priority = samples.slot, samples.time_ns, samples.priority
    stream_key = signal_index.stream_key.take(slot)
    row_first = _changes(priority, key, time, turn)
    row = _numbered(row_first, len(slot))
    row_group_first = _changes(priority.take(row_first), key.take(row_first))
    group_first = row_first.take(row_group_first)
    group = _numbered(row_group_first, len(row_first))
    signal = slot - signal_index.first.take(stream_key)
    column = (group.take(row) << 16) | signal
    order = column.argsort(kind="stable")
    column_first = _firsts(column.take(order))
    of_column = order.take(column_first)
    signal = signal.astype(np.int32)
    whole = SignalBlock(
        key.take(group_first),
        _ended(row_group_first, len(row_first)),
        time.take(row_first),
        _rows(shapes, row, signal)[1],
        group.take(row.take(of_column)).astype(np.int32),
        signal.take(of_column),
        _ended(column_first, len(slot)),
        samples.raw.take(order),
        signal_index.bits.take(slot.take(of_column)),
        shapes.list,
    )
    cuts = [*_firsts(priority.take(group_first)).tolist(), len(group_first)]
    if len(cuts) == 2:
        return [(int(priority[0]), whole)]
    return [(int(priority[group_first[begin]]), groups_of(whole, begin, end)) for begin, end in pairwise(cuts)]


def _in_order(signal_index: SignalIndex, samples: Samples) -> tuple[Samples, NDArray[np.uint64], NDArray[np.int64]]:
    """Samples by priority, group key, time, turn and signal; the keys, and the turns.

    Of several samples of one signal and time, which are of different frames or summaries, each has another turn.
    """
    key = signal_index.key.take(signal_index.stream_key.take(samples.slot))
    order = np.lexsort((samples.raw, samples.slot, samples.time_ns, key, samples.priority))
    samples = samples.at(order)
    key, turn = key.take(order), np.zeros(len(order), np.int64)
    first = _changes(samples.priority, samples.time_ns, samples.slot)
    if len(first) < len(key):
        turn = np.arange(len(key)) - first.take(_numbered(first, len(key)))
        order = np.lexsort((samples.slot, turn, samples.time_ns, key, samples.priority))
        samples, key, turn = samples.at(order), key.take(order), turn.take(order)
    return samples, key, turn


def groups_of(block: SignalBlock, begin: int, end: int) -> SignalBlock:
    """Some groups of a block."""
    first_row, last_row = int(block.row_start[begin]), int(block.row_start[end])
    first_column, last_column = block.column_group.searchsorted((begin, end)).tolist()
    first_value, last_value = int(block.column_start[first_column]), int(block.column_start[last_column])
    return SignalBlock(
        block.group_key[begin:end],
        block.row_start[begin : end + 1] - first_row,
        block.time_ns[first_row:last_row],
        block.shape[first_row:last_row],
        block.column_group[first_column:last_column] - np.int32(begin),
        block.column_signal[first_column:last_column],
        block.column_start[first_column : last_column + 1] - first_value,
        block.values[first_value:last_value],
        block.bits[first_column:last_column],
        block.shapes,
    )


def cut_by_groups(block: SignalBlock, columns_max: int) -> list[SignalBlock]:
    """A block in pieces of whole groups that have no more than about so many columns each."""
    if len(block.column_group) <= columns_max:
        return [block]
    first = block.column_group.searchsorted(np.arange(len(block.group_key) + 1))
    cuts = [0, *((first[1:-1] // columns_max != first[:-2] // columns_max).nonzero()[0] + 1).tolist()]
    return [groups_of(block, begin, end) for begin, end in pairwise([*cuts, len(block.group_key)])]


def _changes(*numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Where runs of numbers begin that are equal in all of these arrays; of at least one number."""
    other = np.zeros(len(numbers[0]), np.bool_)
    other[0] = True
    for each in numbers:
        other[1:] |= each[1:] != each[:-1]
    return other.nonzero()[0]


def _numbered(first: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """int64 (count,): the number of the run that each is in, by where runs begin."""
    return np.arange(len(first)).repeat(_sizes(first, count))
