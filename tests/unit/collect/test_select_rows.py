# SPDX-License-Identifier: Apache-2.0
"""Samples that were put by, as blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.collect import select_rows
from agent.collect.select_rows import Samples, Shapes, samples_blocks
from agent.collect.signal_index import SignalIndex
from agent.model import EXTENDED, group_key
from tests.support.collect_car import ENGINES, plan
from tests.support.collect_reference import samples

if TYPE_CHECKING:
    import pytest

DRIVE = group_key(0, 0, 0x100)
SPEED, SLOPE, GEAR, COUNTER = range(4)


def signal_index() -> SignalIndex:
    """DRIVE has come first, then an engine with a greater address than one that comes later."""
    made = SignalIndex(plan())
    for key in (DRIVE, group_key(2, 1, ENGINES[1]), group_key(2, 1, ENGINES[0])):
        made.enter(np.array([key], np.uint64))
    return made


def put_by(*listed: tuple[int, int, int, int]) -> Samples:
    """Channel, time, raw value, priority of each."""
    slot, time_ns, raw, priority = np.array(listed, np.int64).T
    return Samples(slot, time_ns, raw.astype(np.uint64), priority.astype(np.uint8))


def test_samples_of_one_time_are_one_row_and_each_priority_has_a_block() -> None:
    listed = put_by((GEAR, 7, 1, 2), (SPEED, 7, 60, 2), (SPEED, 6, 58, 2), (SPEED, 5, 59, 1))
    blocks = dict(samples_blocks(signal_index(), listed, Shapes()))
    assert sorted(blocks) == [1, 2]
    assert samples(blocks[1]) == [(0, 0x100, "SPEED", 5, 59)]
    assert samples(blocks[2]) == [(0, 0x100, "SPEED", 6, 58), (0, 0x100, "SPEED", 7, 60), (0, 0x100, "GEAR", 7, 1)]
    assert blocks[2].time_ns.tolist() == [6, 7]


def test_two_samples_of_one_time_and_value_are_two_rows() -> None:
    ((_, block),) = samples_blocks(signal_index(), put_by((SPEED, 7, 60, 1), (SPEED, 7, 60, 1)), Shapes())
    assert samples(block) == [(0, 0x100, "SPEED", 7, 60)] * 2


def test_two_values_of_one_time_are_two_rows() -> None:
    listed = put_by((SPEED, 7, 60, 1), (GEAR, 7, 1, 1), (SPEED, 7, 61, 1), (COUNTER, 7, 2, 1), (COUNTER, 7, 3, 1))
    ((_, block),) = samples_blocks(signal_index(), listed, Shapes())
    assert len(block) == 2
    assert sorted(samples(block)) == sorted(
        (0, 0x100, name, 7, raw)
        for name, raw in (("SPEED", 60), ("SPEED", 61), ("GEAR", 1), ("COUNTER", 2), ("COUNTER", 3))
    )


def test_groups_ascend_whatever_came_first() -> None:
    ((_, block),) = samples_blocks(signal_index(), put_by((4, 1, 10, 1), (5, 2, 11, 1), (SPEED, 3, 12, 1)), Shapes())
    assert block.group_key.tolist() == sorted(block.group_key.tolist())
    assert samples(block) == [
        (0, 0x100, "SPEED", 3, 12),
        (1, 0x18FEF100 | EXTENDED, "TORQUE", 2, 11),
        (1, 0x18FEF117 | EXTENDED, "TORQUE", 1, 10),
    ]


def test_past_the_limit_a_new_list_of_shapes_is_begun_blocks_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_rows, "SHAPES_MAX", 2)
    shapes, blocks = Shapes(), []
    for signal in (SPEED, SLOPE, GEAR, COUNTER, SPEED):
        blocks += [block for _, block in samples_blocks(signal_index(), put_by((signal, 7, 1, 1)), shapes)]
    assert [samples(block)[0][2] for block in blocks] == ["SPEED", "SLOPE", "GEAR", "COUNTER", "SPEED"]
    assert [len(block.shapes) for block in blocks] == [3, 3, 3, 2, 2]


def test_shapes_of_more_signals_than_a_number_has_bits_differ() -> None:
    made, key = signal_index(), group_key(-1, 1, 0x700)
    made.enter(np.array([key], np.uint64), np.array([True]))
    first = int(made.first[-2])
    listed = put_by((first + 60, 7, 1, 1), (first + 2, 7, 2, 1), (first + 60, 8, 3, 1), (first + 2, 9, 4, 1))
    ((_, block),) = samples_blocks(made, listed, Shapes())
    assert [block.shapes[shape] for shape in block.shape.tolist()] == [(2, 60), (60,), (2,)]
    assert block.values.tolist() == [2, 4, 1, 3]
