# SPDX-License-Identifier: Apache-2.0
"""Every missing batch stands in exactly one gap, and nothing that is here stands in any."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model import BatchId, Gap, GapKind
from agent.receiver.gaps import RECORDS_MAX, GapAccount, NamedGap, SequenceRange, SequenceRanges

numbers = st.lists(st.integers(0, 30))
ranges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)))


def account_of(sequences: list[int], gaps: list[Gap]) -> list[NamedGap]:
    account = GapAccount()
    for sequence in sequences:
        account.receive(BatchId("car", "s", sequence), sequence * 10, sequence * 10 + 9, ())
    account.add_records("car", gaps)
    return account.report()


def evicted(first: int, last: int) -> Gap:
    return Gap(GapKind.EVICTED, 1, 2, 5, "s", first, last, "the spool was full")


@given(numbers, ranges)
def test_missing_batches_stand_in_one_gap_each(sequences: list[int], told: list[tuple[int, int]]) -> None:
    gaps = [evicted(first, first + more) for first, more in told]

    report = account_of(sequences, gaps)

    named = [n for gap in report for n in range(gap.first_sequence, gap.last_sequence + 1)]
    explained = {n for first, more in told for n in range(first, first + more + 1)}
    end = max([*sequences, *explained], default=-1)
    assert sorted(named) == sorted(set(range(end + 1)) - set(sequences))
    for gap in report:
        for number in range(gap.first_sequence, gap.last_sequence + 1):
            assert (gap.kind == "evicted") == (number in explained)


@given(numbers, st.randoms())
def test_spans_do_not_depend_on_the_order_of_arrival(sequences: list[int], random: object) -> None:
    spans = SequenceRanges(SequenceRange(n, n, n, n) for n in sequences)

    assert [n for span in spans for n in range(span.first, span.last + 1)] == sorted(set(sequences))
    assert list(spans) == list(SequenceRanges(SequenceRange(n, n, n, n) for n in sorted(sequences)))
    assert all(n in spans for n in sequences)
    assert all((n in spans) == (n in sequences) for n in range(32))


def test_a_late_batch_closes_its_hole() -> None:
    assert [gap.kind for gap in account_of([0, 2], [])] == ["missing"]
    assert account_of([0, 2, 1], []) == []


def test_a_hole_lies_between_the_times_of_its_neighbours() -> None:
    (gap,) = account_of([0, 3], [])

    assert (gap.first_sequence, gap.last_sequence, gap.begin_ns, gap.end_ns) == (1, 2, 9, 30)
    assert str(gap).startswith("car: missing, batches 1 to 2 of s, between 1970-01-01 00:00:00")


def test_batches_before_the_first_one_received_are_named_apart() -> None:
    assert [(gap.kind, gap.last_sequence) for gap in account_of([5, 7], [])] == [("earlier", 4), ("missing", 6)]


def test_a_record_told_again_after_it_grew_counts_once() -> None:
    dropped = Gap(GapKind.DROPPED, 100, 200, 7, detail="can0")

    report = account_of([0], [dropped, dropped, replace(dropped, end_ns=300, frames=9), evicted(1, 2), evicted(1, 4)])

    assert [(gap.kind, gap.frames, gap.end_ns) for gap in report] == [("dropped", 9, 300), ("evicted", 5, 2)]


def test_two_drops_at_different_times_are_two_gaps() -> None:
    gaps = [Gap(GapKind.DROPPED, 100, 200, 7), Gap(GapKind.DROPPED, 300, 400, 7)]

    assert len(account_of([0], gaps)) == 2


def test_an_evicted_batch_that_arrived_all_the_same_is_no_gap() -> None:
    assert account_of([0, 1, 2], [evicted(1, 1)]) == []


def test_a_record_with_absurd_numbers_is_told_and_harms_nothing() -> None:
    report = account_of([0, 1], [evicted(9, 3), evicted(0, 2**62)])

    assert [(gap.first_sequence, gap.last_sequence) for gap in report] == [(2, 2**62), (9, 3)]


def test_remembered_records_are_bounded() -> None:
    account = GapAccount()

    account.add_records("car", [Gap(GapKind.DROPPED, n, n + 1, 1) for n in range(1, RECORDS_MAX + 10)])

    assert len(account.records["car"]) == RECORDS_MAX


@given(here=st.sets(st.integers(0, 30)), first=st.integers(0, 32), length=st.integers(0, 12))
def test_what_is_missing_between_two_numbers_is_what_is_not_here(here: set[int], first: int, length: int) -> None:
    spans = SequenceRanges(SequenceRange(number, number, 0, 0) for number in here)
    pieces = spans.missing(first, first + length)
    missing = [number for begin, end in pieces for number in range(begin, end + 1)]
    assert missing == [number for number in range(first, first + length + 1) if number not in here]
    assert all(begin <= end for begin, end in pieces)
