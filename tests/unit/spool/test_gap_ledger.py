# SPDX-License-Identifier: Apache-2.0
"""The gap ledger."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Gap, GapKind
from agent.spool.gap_ledger import DETAIL_BYTES_MAX, GAPS_MAX, GapLedger


def evicted(sequence: int, frames: int = 1) -> Gap:
    return Gap(GapKind.EVICTED, sequence, sequence + 1, frames, "s", sequence, sequence, "full")


def test_adjacent_evictions_are_one_gap() -> None:
    ledger = GapLedger()
    for sequence in (4, 5, 6, 8):
        ledger.add(evicted(sequence))
    assert ledger.pending() == (Gap(GapKind.EVICTED, 4, 7, 3, "s", 4, 6, "full"), evicted(8))


def test_a_gap_stays_until_the_batch_that_carries_it_is_acknowledged() -> None:
    ledger = GapLedger()
    ledger.add(evicted(1))
    ledger.carry(ledger.pending(), 7)
    assert ledger.pending() == ()
    assert [(entry.gap, entry.carrier) for entry in ledger.entries] == [(evicted(1), 7)]
    ledger.returned(7)
    assert ledger.pending() == (evicted(1),)
    ledger.carry(ledger.pending(), 8)
    ledger.acknowledged(7)
    assert [(entry.gap, entry.carrier) for entry in ledger.entries] == [(evicted(1), 8)]
    ledger.acknowledged(8)
    assert not ledger.entries
    assert ledger.pending() == ()


def test_a_gap_that_grew_since_it_was_read_is_told_again() -> None:
    ledger = GapLedger()
    ledger.add(evicted(1))
    read = ledger.pending()
    ledger.add(evicted(2))
    ledger.carry(read, 9)
    ledger.acknowledged(9)
    assert [(gap.first_sequence, gap.last_sequence) for gap in ledger.pending()] == [(1, 2)]


def test_a_carried_gap_is_not_extended() -> None:
    ledger = GapLedger()
    ledger.add(evicted(1))
    ledger.carry(ledger.pending(), 9)
    ledger.add(evicted(2))
    assert ledger.pending() == (evicted(2),)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(GapKind), st.sampled_from(["", "a", "b"]), st.integers(0, 9), st.booleans()),
        min_size=GAPS_MAX,
        max_size=3 * GAPS_MAX,
    )
)
def test_above_the_limit_gaps_are_merged_and_none_is_dropped(made: list[tuple[GapKind, str, int, bool]]) -> None:
    ledger = GapLedger()
    for number, (kind, stream, frames, carried) in enumerate(made):
        first = number * 2 if stream else -1
        ledger.add(Gap(kind, number + 1, number + 2, frames, stream, first, first, f"{kind} " * 40))
        if carried:
            ledger.carry(ledger.pending()[-1:], number)
        assert len(ledger.entries) <= GAPS_MAX
    gaps = [entry.gap for entry in ledger.entries]
    assert sum(gap.frames for gap in gaps) == sum(frames for _, _, frames, _ in made)
    for number, (kind, stream, _, _) in enumerate(made):
        assert any(
            gap.kind is kind
            and gap.begin_ns <= number + 1
            and gap.end_ns >= number + 2
            and gap.stream == stream
            and (not stream or gap.first_sequence <= number * 2 <= gap.last_sequence)
            for gap in gaps
        )
    assert all(len(gap.detail.encode()) <= DETAIL_BYTES_MAX for gap in gaps)


def test_more_streams_than_fit_are_still_bounded() -> None:
    ledger = GapLedger()
    for number in range(3 * GAPS_MAX):
        ledger.add(Gap(GapKind.CORRUPT, frames=1, stream=f"s{number}", first_sequence=1, last_sequence=1))
    assert len(ledger.entries) == GAPS_MAX
    assert sum(entry.gap.frames for entry in ledger.entries) == 3 * GAPS_MAX


def test_an_interruption_that_lasts_extends_the_pending_one() -> None:
    ledger = GapLedger()
    ledger.add(Gap(GapKind.INTERRUPTED, 10, 20, detail="d"))
    ledger.add(Gap(GapKind.INTERRUPTED, 10, 30, detail="d"))
    assert ledger.pending() == (Gap(GapKind.INTERRUPTED, 10, 30, detail="d"),)
    ledger.carry(ledger.pending(), 4)
    ledger.add(Gap(GapKind.INTERRUPTED, 10, 40, detail="d"))
    ledger.add(Gap(GapKind.INTERRUPTED, 0, 40, detail="d"))
    ledger.add(Gap(GapKind.INTERRUPTED, 0, 50, detail="d"))
    assert len(ledger.pending()) == 3
