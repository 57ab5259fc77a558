# SPDX-License-Identifier: Apache-2.0
"""A signal as a plot needs it."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from agent.cli.report_page.trace import LEVELS, NAMED_MAX, Trace
from agent.model import SignalDefinition

SPEED = SignalDefinition("SPEED", 0, 16, scale=0.5)
GEAR = SignalDefinition("GEAR", 0, 8, choices=((0, "P"), (1, "R"), (4, "D")))


def traced(signal: SignalDefinition, raw: list[int], columns: list[int], width: int = 10) -> Trace:
    trace = Trace.of(signal, width)
    starts = np.flatnonzero(np.diff(np.array(columns), prepend=-1))
    trace.add(np.array(raw, np.uint64), np.array(columns)[starts], starts)
    return trace


def drawn(trace: Trace, fold: int = 1) -> list[tuple[int, int, int]]:
    """Column, lowest and highest level, read as the format says."""
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(trace.drawn(fold)):
        value, shift = value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    points, column, low = [], -1, 0
    for skipped, moved, height in zip(*[iter(numbers)] * 3, strict=True):
        column, low = column + skipped + 1, low + (moved >> 1 ^ -(moved & 1))
        points.append((column, low, low + height))
    return points


def test_each_column_has_its_least_and_its_greatest_value() -> None:
    trace = traced(SPEED, [10, 30, 20, 0, 40], [0, 0, 0, 3, 9])
    assert (trace.samples, trace.least, trace.most) == (5, 0.0, 20.0)
    assert drawn(trace) == [(0, round(LEVELS / 4), round(LEVELS * 3 / 4)), (3, 0, 0), (9, LEVELS, LEVELS)]


def test_a_later_batch_joins_the_columns_that_are_there() -> None:
    trace = traced(SPEED, [10, 20], [0, 1])
    trace.add(np.array([0, 40], np.uint64), np.array([1, 2]), np.array([0, 1]))
    assert trace.samples == 4
    assert drawn(trace) == [(0, 1024, 1024), (1, 0, 2048), (2, LEVELS, LEVELS)]


def test_columns_fold_into_their_extremes() -> None:
    trace = traced(SPEED, [10, 30, 0, 40], [0, 1, 6, 9])
    assert drawn(trace, 4) == [(0, 1024, 3071), (1, 0, 0), (2, LEVELS, LEVELS)]


def test_values_with_names_are_drawn_by_their_place_among_those_that_came() -> None:
    trace = traced(GEAR, [0, 4, 0], [0, 1, 2])
    assert trace.names() == [(0.0, "P"), (4.0, "D")]
    assert [low for _, low, _ in drawn(trace)] == [0, LEVELS, 0]


@pytest.mark.parametrize("raw", [[0, 9], list(range(NAMED_MAX + 1))])
def test_a_value_without_a_name_or_too_many_make_it_a_number(raw: list[int]) -> None:
    assert traced(GEAR, raw, [0] * len(raw)).names() == ()


def test_what_is_not_finite_is_counted_and_not_drawn() -> None:
    float_signal = SignalDefinition("F", 0, 32, is_float=True)
    bits = np.array([1.0, np.nan, np.inf, 3.0], np.float32).view(np.uint32).tolist()
    trace = traced(float_signal, bits, [0, 0, 1, 2])
    assert (trace.samples, trace.least, trace.most) == (4, 1.0, 3.0)
    assert [column for column, _, _ in drawn(trace)] == [0, 2]


def test_the_widest_range_of_floats_is_drawn() -> None:
    double = SignalDefinition("D", 0, 64, is_float=True)
    bits = np.array([-1.7e308, 1.7e308]).view(np.uint64).tolist()
    assert drawn(traced(double, bits, [0, 1])) == [(0, 0, 0), (1, LEVELS, LEVELS)]
