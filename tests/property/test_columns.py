# SPDX-License-Identifier: Apache-2.0
"""Columns of any numbers come back as they were, and whatever is done to their bytes is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.batch import column_writer
from agent.batch.column_writer import encode_columns
from agent.batch.columns import ColumnReader, Kind
from agent.batch.wire import unzigzag, varints, zigzag
from agent.errors import BatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@st.composite
def a_column(draw: st.DrawFn) -> tuple[int, list[int]]:
    bits = draw(st.integers(1, 64))
    top = (1 << bits) - 1
    rows = draw(st.integers(1, 40))
    style = draw(st.sampled_from(["any", "constant", "line", "rare changes", "walk"]))
    first = draw(st.integers(0, top))
    if style == "any":
        return bits, draw(st.lists(st.integers(0, top), min_size=rows, max_size=rows))
    if style == "constant":
        return bits, [first] * rows
    if style == "line":
        step = draw(st.integers(0, top))
        return bits, [(first + row * step) & top for row in range(rows)]
    if style == "rare changes":
        other, at = draw(st.integers(0, top)), draw(st.integers(0, rows))
        return bits, [first if row < at else other for row in range(rows)]
    steps = draw(st.lists(st.integers(-3, 3), min_size=rows, max_size=rows))
    return bits, [int(value) & top for value in np.cumsum([0, *steps])[:rows] + 0] or [first]


def flat(drawn: list[tuple[int, list[int]]]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
    values = np.array([value for _, column in drawn for value in column], np.uint64)
    start = np.cumsum([0, *(len(column) for _, column in drawn)]).astype(np.int64)
    return values, start, np.array([bits for bits, _ in drawn], np.uint8)


@st.composite
def related_columns(draw: st.DrawFn) -> list[tuple[int, list[int]]]:
    """A walk, and some that go with it or against it, of other widths; all of as many rows."""
    rows = draw(st.integers(2, 400))
    seed = draw(st.integers(0, 1 << 32))
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.integers(-9, 10, rows))
    drawn = []
    for _ in range(draw(st.integers(1, 5))):
        bits, sign = draw(st.integers(1, 64)), draw(st.sampled_from([1, -1]))
        noise = rng.integers(0, draw(st.sampled_from([1, 2, 5])), rows)
        drawn.append((bits, [int(value) % (1 << bits) for value in sign * walk + noise]))
    return drawn


@settings(deadline=None)
@given(st.lists(a_column(), max_size=12) | related_columns(), st.sampled_from([1, 30, column_writer.CHUNK_VALUES]))
@example([(64, [0, (1 << 64) - 1, 1 << 63, 0])], 1)
@example([(8, [250, 251, 252, 253, 254, 255, 0, 1])], 30)
@example([(1, [0, 1, 0, 1, 1])], 30)
def test_columns_come_back_as_they_were(drawn: list[tuple[int, list[int]]], chunk: int) -> None:
    whole, column_writer.CHUNK_VALUES = column_writer.CHUNK_VALUES, chunk
    try:
        reader = ColumnReader(encode_columns(*flat(drawn)))
    finally:
        column_writer.CHUNK_VALUES = whole
    for bits, column in drawn:
        assert reader.read(len(column), bits).tolist() == column
    reader.expect_nothing_left()


@pytest.mark.parametrize(("sign", "kind"), [(1, Kind.BESIDE), (-1, Kind.AGAINST)])
def test_a_column_that_goes_with_the_one_beside_it_is_written_as_what_differs(sign: int, kind: Kind) -> None:
    rng = np.random.default_rng(7)
    walk = np.cumsum(rng.integers(-90, 91, 600))
    columns = [
        (16, [int(value) % (1 << 16) for value in walk]),
        (3, [2] * 600),
        (8, [int(value) % (1 << 8) for value in sign * walk + rng.integers(0, 2, 600)]),
    ]
    encoded = encode_columns(*flat(columns))
    assert [Kind(each & 0xF) for each in encoded.kind.tolist()] == [Kind.DELTA, Kind.CONSTANT, kind]
    reader = ColumnReader(encoded)
    assert [reader.read(600, bits).tolist() for bits, _ in columns] == [column for _, column in columns]


def test_a_column_that_leans_on_none_is_refused() -> None:
    encoded = encode_columns(*flat([(8, [1, 2, 4, 7, 9])]))
    encoded.kind[0] = Kind.BESIDE | encoded.kind[0] & 0xF0
    with pytest.raises(BatchError, match="leans"):
        ColumnReader(encoded).read(5, 8)


@settings(deadline=None)
@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_zigzag_has_an_inverse(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    assert unzigzag(zigzag(array)).tolist() == numbers


@settings(deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_varints_are_those_of_the_protobuf_library(numbers: list[int]) -> None:
    from google.protobuf.internal.encoder import _VarintEncoder  # type: ignore[attr-defined]

    out = bytearray()
    for number in numbers:
        _VarintEncoder()(out.extend, number)
    assert varints(np.array(numbers, np.uint64)) == bytes(out)
