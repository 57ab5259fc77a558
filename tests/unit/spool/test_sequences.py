# SPDX-License-Identifier: Apache-2.0
"""The set of finished sequence numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spool.index import SequenceSet

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)), max_size=20)


def filled(ranges: list[tuple[int, int]]) -> tuple[SequenceSet, set[int]]:
    numbers, model = SequenceSet(), set[int]()
    for first, more in ranges:
        numbers.add(first, first + more)
        model |= set(range(first, first + more + 1))
    return numbers, model


@settings(deadline=None)
@given(RANGES)
def test_it_equals_a_set_of_numbers(ranges: list[tuple[int, int]]) -> None:
    numbers, model = filled(ranges)
    assert {number for number in range(80) if number in numbers} == model
    assert [n for first, last in numbers.missing(70) for n in range(first, last + 1)] == sorted(set(range(70)) - model)
    for number in range(70):
        assert numbers.next_missing(number) == next(n for n in range(number, 99) if n not in model)


@settings(deadline=None)
@given(RANGES)
def test_it_is_as_small_as_can_be_and_survives_being_saved(ranges: list[tuple[int, int]]) -> None:
    numbers, model = filled(ranges)
    edge = numbers.low
    for first, last in numbers.ranges():
        assert edge < first <= last
        edge = last + 1
    again = SequenceSet(numbers.low, numbers.ranges())
    assert (again.low, again.ranges()) == (numbers.low, numbers.ranges())
    assert numbers.low not in model
