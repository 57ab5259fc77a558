# SPDX-License-Identifier: Apache-2.0
"""Time in columns: drives beside each other, pauses left out."""

from __future__ import annotations

import numpy as np

from agent.cli.report_page.axis import DRIVES_MAX, Axis
from tests.support.samples import SECOND, START

HOUR = 3600 * SECOND


def columns(axis: Axis, *times: int) -> list[int]:
    found: list[int] = axis.columns_of(np.array(times, np.int64)).tolist()
    return found


def test_a_drive_takes_all_columns() -> None:
    axis = Axis([(START, START + 10 * SECOND - 1)], 100)
    assert columns(axis, START, START + SECOND, START + 10 * SECOND - 1) == [0, 10, 99]
    assert axis.columns == 100
    assert axis.drives[0].column_ns == 0.1 * SECOND


def test_batches_that_overlap_are_one_drive() -> None:
    axis = Axis([(START, START + 5 * SECOND), (START + 3 * SECOND, START + 9 * SECOND)])
    assert [(drive.begin_ns, drive.end_ns) for drive in axis.drives] == [(START, START + 9 * SECOND)]


def test_fifty_years_between_two_drives_take_one_column() -> None:
    axis = Axis([(SECOND, 61 * SECOND), (START, START + 60 * SECOND)], 101)
    assert [(drive.first, drive.columns) for drive in axis.drives] == [(0, 50), (51, 50)]
    assert columns(axis, SECOND, 61 * SECOND, HOUR, START, START + 60 * SECOND) == [0, 49, 49, 51, 100]
    assert axis.columns == 101


def test_of_too_many_drives_the_shortest_pauses_are_drawn() -> None:
    begins = [START + number * HOUR + (number >= 30) * HOUR for number in range(3 * DRIVES_MAX)]
    axis = Axis([(begin, begin + SECOND) for begin in begins])
    assert 1 < len(axis.drives) <= DRIVES_MAX
    assert axis.drives[-1].end_ns == begins[-1] + SECOND
    assert columns(axis, *begins) == sorted(columns(axis, *begins))


def test_a_gap_lies_where_its_times_do() -> None:
    axis = Axis([(START, START + 100 * SECOND - 1)], 100)
    assert axis.bounds(START + 10 * SECOND, START + 20 * SECOND) == (10, 20)
    assert axis.bounds(0, START + 20 * SECOND) == (0, 20)
    assert axis.bounds(0, 0) is None
    assert axis.bounds(START - 9 * SECOND, START - SECOND) is None
    assert axis.bounds(START + 200 * SECOND, START + 300 * SECOND) is None
