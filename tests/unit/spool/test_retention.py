# SPDX-License-Identifier: Apache-2.0
"""What to keep when there is not room for everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SpoolError
from agent.spool.disk import PAGE
from agent.spool.journal import JOURNAL_BYTES
from agent.spool.retention import JOURNAL_BYTES_MIN, SEGMENTS_MIN, Layout, Step, excess, layout, next_step
from agent.spool.state import STATE_BYTES

ROOM = Layout(segment_bytes=100, segments_bytes=800, quarantine_bytes=10, journal_bytes=50)


@settings(deadline=None)
@given(st.integers(1 << 20, 1 << 40), st.integers(PAGE, 1 << 30), st.integers(1, 3))
def test_the_parts_of_the_limit_add_up_to_no_more_than_it(limit: int, segment: int, spools: int) -> None:
    room = layout(limit, segment, spools)
    assert room.segments_bytes + spools * (2 * room.quarantine_bytes + STATE_BYTES + room.journal_bytes) <= limit
    assert room.segments_bytes >= SEGMENTS_MIN * room.segment_bytes
    assert JOURNAL_BYTES_MIN <= room.journal_bytes <= JOURNAL_BYTES
    assert {each % PAGE for each in (room.segment_bytes, room.quarantine_bytes, room.journal_bytes)} == {0}


@pytest.mark.parametrize(("limit", "spools", "journal"), [(512, 3, 4096), (32, 1, 4096), (4, 3, 168), (1, 1, 128)])
def test_a_journal_is_an_eighth_of_a_small_limit(limit: int, spools: int, journal: int) -> None:
    assert layout(limit << 20, 1 << 22, spools).journal_bytes == journal << 10


@pytest.mark.parametrize(
    ("limit", "segment", "mebibytes"), [(1 << 30, 4, 4), (1 << 33, 4, 31), (1 << 40, 4, 64), (1 << 40, 256, 256)]
)
def test_a_large_limit_has_larger_segments_within_reason(limit: int, segment: int, mebibytes: int) -> None:
    assert layout(limit, segment << 20).segment_bytes >> 20 == mebibytes


def test_a_limit_that_cannot_work_is_refused_with_one_that_does() -> None:
    with pytest.raises(SpoolError, match="1 MiB"):
        layout(100_000, 1 << 20)
    layout(1 << 20, 1 << 22)


@pytest.mark.parametrize(
    ("spare", "used", "evictable", "free", "reserve", "step"),
    [
        (True, 800, True, 0, 50, Step.RECYCLE),
        (False, 700, True, 1000, 0, Step.CREATE),
        (False, 701, True, 1000, 0, Step.EVICT),
        (False, 0, True, 149, 50, Step.EVICT),
        (False, 0, False, 150, 50, Step.CREATE),
        (False, 0, False, 149, 50, Step.GIVE_UP),
    ],
)
def test_the_next_step(spare: bool, used: int, evictable: bool, free: int, reserve: int, step: Step) -> None:
    assert (
        next_step(ROOM, spare=spare, used_bytes=used, evictable=evictable, free_bytes=free, min_free_bytes=reserve)
        is step
    )


def test_the_oldest_segments_exceed_a_smaller_limit() -> None:
    assert excess([(3, 10), (1, 10), (2, 5)], 12) == (1, 2)
    assert excess([(1, 10)], 10) == ()
