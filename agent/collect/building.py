# SPDX-License-Identifier: Apache-2.0
"""Blocks made of some of the samples of others: the chosen values of a block, or samples that were put by.

A row of the result is a frame of which at least one sample is chosen; its shape is the set of those. Rows keep
their frame's time, groups and columns their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.model import SignalBlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agent.collect.roster import Roster
    from agent.collect.view import View

SHAPES_MAX = 65_536
"""Past so many shapes a new list of them is begun; blocks keep the list that they were made with."""
_MASK_SIGNALS_MAX = 64
_BITS = np.uint64(1) << np.arange(_MASK_SIGNALS_MAX, dtype=np.uint64)


class Shapes:
    """The sets of signals that kept rows carry, numbered as they are met."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.list: list[tuple[int, ...]] = []
        self._number: dict[tuple[int, ...], int] = {}
        self._of_mask: dict[int, int] = {}
        self._of_whole = np.empty(0, np.int32)
        self._sizes = np.empty(0, np.int64)

    def bound(self) -> None:
        """Begin a new list where the old one is full; to be called before a block is made."""
        if len(self.list) > SHAPES_MAX:
            self._begin()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64: how many signals each shape has."""
        if len(self._sizes) < len(self.list):
            fresh = [len(signals) for signals in self.list[len(self._sizes) :]]
            self._sizes = np.concatenate([self._sizes, np.array(fresh, np.int64)])
        return self._sizes

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

    def of_whole(self, shapes: list[tuple[int, ...]], used: NDArray[np.int32]) -> NDArray[np.int32]:
        """The numbers here of a decoder's shapes, `used` being indexes into its list."""
        if len(self._of_whole) < len(shapes):
            known = len(self._of_whole)
            fresh = np.array([self.number(signals) for signals in shapes[known:]], np.int32)
            self._of_whole = np.concatenate([self._of_whole, fresh])
        return self._of_whole.take(used)


def chosen_block(view: View, places: Sequence[NDArray[np.int64]], shapes: Shapes) -> SignalBlock | None:
    """The values of a block at these places, in any order, each once; None where there are none."""
    block = view.block
    chosen = np.zeros(len(block.values), np.bool_)
    for each in places:
        chosen[each] = True
    at = chosen.nonzero()[0]
    if not len(at):
        return None
    shapes.bound()
    column = view.value_column.take(at)
    column_first = _firsts(column)
    columns = column.take(column_first)
    row = view.row_of(at, column)
    samples = np.bincount(row)
    rows = samples.nonzero()[0]
    group = view.row_group.take(rows)
    group_first = _firsts(group)
    groups = group.take(group_first)
    signal = block.column_signal.take(columns)
    counts = np.append(column_first[1:], len(at)) - column_first
    return SignalBlock(
        block.group_key.take(groups),
        np.append(group_first, len(rows)),
        block.time_ns.take(rows),
        _shapes_of_rows(view, shapes, rows, samples, row, signal.repeat(counts)),
        groups.searchsorted(block.column_group.take(columns)).astype(np.int32),
        signal,
        np.append(column_first, len(at)),
        block.values.take(at),
        block.bits.take(columns),
        shapes.list,
    )


def _shapes_of_rows(
    view: View,
    shapes: Shapes,
    rows: NDArray[np.int64],
    samples: NDArray[np.int64],
    row: NDArray[np.int64],
    signal: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The shape of each chosen row, of which samples[row] values are chosen: values of `signal` in `row`."""
    whole = shapes.of_whole(view.block.shapes, view.block.shape.take(rows))
    partial = shapes.sizes.take(whole) != samples.take(rows)
    if partial.all():
        return _shapes_of_sets(shapes, row, signal)
    if partial.any():
        is_partial = np.zeros(len(samples), np.bool_)
        is_partial[rows[partial]] = True
        of_partial = is_partial.take(row).nonzero()[0]
        whole[partial] = _shapes_of_sets(shapes, row.take(of_partial), signal.take(of_partial))
    return whole


def _shapes_of_sets(shapes: Shapes, row: NDArray[np.int64], signal: NDArray[np.int32]) -> NDArray[np.int32]:
    """The shape of each row that occurs, in their order; `signal` ascends among the values of each row."""
    order = row.argsort(kind="stable")
    row, signal = row.take(order), signal.take(order)
    begin = _firsts(row)
    if signal.max() >= _MASK_SIGNALS_MAX:
        sets = (tuple(each.tolist()) for each in np.split(signal, begin[1:]))
        return np.array([shapes.number(each) for each in sets], np.int32)
    masks = np.bitwise_or.reduceat(_BITS.take(signal), begin)
    first = _firsts(masks)  # neighbours mostly agree
    numbers = np.array(shapes.numbers_of_masks(masks.take(first).tolist()), np.int32)
    return numbers.repeat(np.append(first[1:], len(masks)) - first)


def _firsts(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Where runs of equal numbers begin; of at least one number."""
    other = np.empty(len(numbers), np.bool_)
    other[0] = True
    np.not_equal(numbers[1:], numbers[:-1], out=other[1:])
    return other.nonzero()[0]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that are no part of the block at hand; arrays of one length.

    channel int64 · time_ns int64, of their frame · raw uint64
    """

    channel: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    raw: NDArray[np.uint64]

    def chosen(self, which: NDArray[np.bool_]) -> Samples:
        """Some of them."""
        return Samples(self.channel[which], self.time_ns[which], self.raw[which])


def samples_block(roster: Roster, samples: Sequence[Samples], shapes: Shapes) -> SignalBlock | None:
    """A block of samples, each once; those of one time and lane are one row. None where there are none."""
    channels = np.concatenate([each.channel for each in samples])
    if not len(channels):
        return None
    shapes.bound()
    lanes = roster.lane.take(channels)
    listed = zip(
        roster.key.take(lanes).tolist(),
        [time for each in samples for time in each.time_ns.tolist()],
        (channels - roster.first.take(lanes)).tolist(),
        [raw for each in samples for raw in each.raw.tolist()],
        roster.bits.take(channels).tolist(),
        strict=True,
    )
    rows: list[tuple[int, int, dict[int, tuple[int, int]]]] = []
    for key, time, signal, raw, bits in sorted(set(listed)):
        # Two of one signal and time are of different frames, or summaries.
        if not rows or rows[-1][:2] != (key, time) or signal in rows[-1][2]:
            rows.append((key, time, {}))
        rows[-1][2][signal] = raw, bits
    group_first = [place for place, row in enumerate(rows) if not place or rows[place - 1][0] != row[0]]
    group_of = {rows[place][0]: group for group, place in enumerate(group_first)}
    values = sorted(
        (group_of[key], signal, place, raw, bits)
        for place, (key, _, of_row) in enumerate(rows)
        for signal, (raw, bits) in of_row.items()
    )
    column_first = [place for place, value in enumerate(values) if not place or values[place - 1][:2] != value[:2]]
    return SignalBlock(
        np.array(list(group_of), np.uint64),
        np.array([*group_first, len(rows)], np.int64),
        np.array([time for _, time, _ in rows], np.int64),
        np.array([shapes.number(tuple(of_row)) for _, _, of_row in rows], np.int32),
        np.array([values[place][0] for place in column_first], np.int32),
        np.array([values[place][1] for place in column_first], np.int32),
        np.array([*column_first, len(values)], np.int64),
        np.array([raw for _, _, _, raw, _ in values], np.uint64),
        np.array([values[place][4] for place in column_first], np.uint8),
        shapes.list,
    )
