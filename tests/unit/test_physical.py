# SPDX-License-Identifier: Apache-2.0
"""Physical values equal cantools', bit for bit and type for type."""

from __future__ import annotations

import math
import struct
from typing import Any

import bitstruct
import numpy as np
import pytest
from cantools.database.conversion import BaseConversion
from hypothesis import example, given
from hypothesis import strategies as st

from agent.model import SignalDefinition
from agent.physical import names, numeric, physical, reads_as_float

whole = st.integers(-(10**6), 10**6) | st.integers(-(2**63), 2**64)
number = whole | st.floats(-1e12, 1e12) | st.sampled_from([0.1, 0.01, 1.0, 2.0, 1e-9, 0.00390625, 0, 1, -1])


@st.composite
def signals(draw: st.DrawFn) -> SignalDefinition:
    is_float = draw(st.booleans())
    length = draw(st.sampled_from([16, 32, 64]) if is_float else st.integers(1, 64))
    return SignalDefinition(
        "S",
        0,
        length,
        signed=draw(st.booleans()),
        is_float=is_float,
        scale=draw(number.filter(bool)),
        offset=draw(number),
        choices=draw(st.sampled_from([(), ((0, "Off"), (1, "On"), (-1, "Gone"))])),
    )


def cantools_values(signal: SignalDefinition, raw: list[int], *, choices: bool = False) -> list[Any]:
    kind = "f" if signal.is_float else "s" if signal.signed else "u"
    conversion = BaseConversion.factory(
        scale=signal.scale,
        offset=signal.offset,
        choices=dict(signal.choices) or None,  # type: ignore[arg-type]
        is_float=signal.is_float,
    )
    unpack = bitstruct.compile(f"p{128 - signal.length}{kind}{signal.length}").unpack  # type: ignore[no-untyped-call]
    return [conversion.raw_to_scaled(unpack(value.to_bytes(16, "big"))[0], choices) for value in raw]


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


@given(signals(), st.lists(st.integers(0, 2**64 - 1), max_size=8))
@example(SignalDefinition("S", 0, 64, scale=3, offset=-7), [2**64 - 1, 2**63, 0])
@example(SignalDefinition("S", 0, 64, signed=True), [2**64 - 1, 2**63])
@example(SignalDefinition("S", 0, 64, scale=1, offset=0.5), [2**64 - 1, 2**53 + 1])
@example(SignalDefinition("S", 0, 64, scale=3, offset=0.5), [2**64 - 1, 2**53 + 1])
@example(SignalDefinition("S", 0, 32, is_float=True, scale=2, offset=1), [0x7F800000, 0x7FC00000, 0x00000001])
def test_values_equal_cantools_for_any_signal_and_any_raw_bits(signal: SignalDefinition, raw: list[int]) -> None:
    field = [value & (2**signal.length - 1) for value in raw]

    ours = physical(signal, np.array(field, np.uint64)).tolist()

    theirs = cantools_values(signal, field)
    assert len(ours) == len(theirs)
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


@given(signals(), st.lists(st.integers(0, 2**64 - 1), max_size=8))
def test_bits_above_the_field_change_nothing(signal: SignalDefinition, raw: list[int]) -> None:
    field = np.array([value & (2**signal.length - 1) for value in raw], np.uint64)

    dirty = physical(signal, np.array(raw, np.uint64)).tolist()

    assert all(same(a, b) for a, b in zip(dirty, physical(signal, field).tolist(), strict=True))


@given(signals(), st.lists(st.integers(0, 2**64 - 1), max_size=4))
def test_a_whole_signal_has_only_integers(signal: SignalDefinition, raw: list[int]) -> None:
    values = physical(signal, np.array(raw, np.uint64)).tolist()

    whole = not reads_as_float(signal) and not signal.scale % 1 and not signal.offset % 1
    assert not whole or all(isinstance(value, int) for value in values)


def test_names_are_found_by_the_signed_raw_value_before_scaling() -> None:
    signal = SignalDefinition("S", 0, 4, signed=True, scale=10, choices=((-1, "Gone"), (2, "On")))

    assert names(signal, np.array([15, 2, 3], np.uint64)) == ["Gone", "On", None]


def test_a_float_finds_its_name_by_its_whole_part_and_nan_has_none() -> None:
    signal = SignalDefinition("S", 0, 32, is_float=True, choices=((2, "On"),))
    raw = np.array([2.5, np.nan, np.inf], np.float32).view(np.uint32).astype(np.uint64)

    assert names(signal, raw) == ["On", None, None]


@pytest.mark.parametrize("signal", [SignalDefinition("S", 0, 8), SignalDefinition("S", 0, 32, is_float=True)])
def test_no_values_give_an_empty_array(signal: SignalDefinition) -> None:
    empty = np.empty(0, np.uint64)

    assert (len(physical(signal, empty)), len(numeric(signal, empty)), names(signal, empty)) == (0, 0, [])
