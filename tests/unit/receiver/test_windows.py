# SPDX-License-Identifier: Apache-2.0
"""Windows partition the rows of all batches, whatever these overlap."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.batch.codec import Group
from agent.model import BatchId
from agent.receiver.windows import JUMP_NS, KEPT_ROWS, WindowPart, time_ranges, windows

times_ns = st.lists(
    st.integers(0, 50) | st.integers(JUMP_NS * 2, JUMP_NS * 2 + 50) | st.integers(0, JUMP_NS * 3), max_size=8
)


def part(times: list[int]) -> WindowPart:
    rows = np.arange(len(times), dtype=np.int64)
    group = Group(
        0, 0, 1, np.array(times, np.int64), np.zeros(len(times), np.uint32), ((0,),), {0: rows.astype(np.uint64)}
    )
    return WindowPart(group, "can0", None, rows)


@settings(max_examples=50)
@given(st.lists(st.lists(times_ns, max_size=2), max_size=5), st.integers(1, 20))
def test_every_row_comes_once_in_ascending_windows(batches: list[list[list[int]]], rows: int) -> None:
    parts = {BatchId("v", "s", number): list(map(part, groups)) for number, groups in enumerate(batches)}
    found = [
        stretch
        for batch_id, groups in parts.items()
        for stretch in time_ranges(batch_id, [group.time_ns for group in groups])
    ]

    seen: list[list[int]] = [
        sorted(int(time) for piece in window for time in piece.time_ns)
        for window in windows(found, parts.__getitem__, rows=rows)
    ]

    assert [time for window in seen for time in window] == sorted(
        time for groups in batches for times in groups for time in times
    )
    assert all(seen)


def test_a_window_holds_about_as_many_rows_as_asked_for_when_all_batches_overlap() -> None:
    parts = {BatchId("v", "s", number): [part(list(range(1000)))] for number in range(40)}
    found = [each for batch_id, p in parts.items() for each in time_ranges(batch_id, [p[0].time_ns])]

    sizes = [sum(len(piece.rows) for piece in window) for window in windows(found, parts.__getitem__, rows=2000)]

    assert sum(sizes) == 40_000
    assert max(sizes) <= 4000


def test_batches_that_follow_each_other_are_loaded_once() -> None:
    parts = {BatchId("v", "s", number): [part(list(range(number * 100, number * 100 + 101)))] for number in range(20)}
    found = [each for batch_id, p in parts.items() for each in time_ranges(batch_id, [p[0].time_ns])]
    loaded: list[BatchId] = []

    def load(batch_id: BatchId) -> list[WindowPart]:
        loaded.append(batch_id)
        return parts[batch_id]

    assert sum(1 for _ in windows(found, load, rows=300)) > 3
    assert sorted(loaded) == sorted(parts)
    assert KEPT_ROWS > 20 * 101
