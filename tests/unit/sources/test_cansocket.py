# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from agent.model import EXTENDED, EXTENDED_MASK
from agent.sources.cansocket import FILTERS_MAX, REMOTE, kernel_filters

ANY_REMOTE = (REMOTE, REMOTE)


def test_a_filter_compares_the_kind_of_identifier_and_refuses_remote_frames() -> None:
    assert kernel_filters([[(0x100, 0x7FF), (0x123 | EXTENDED, EXTENDED_MASK)]]) == (
        (0x100, 0x7FF | EXTENDED | REMOTE),
        (0x123 | EXTENDED, EXTENDED_MASK | EXTENDED | REMOTE),
        ANY_REMOTE,
    )


def test_the_union_of_all_buses_has_each_entry_once() -> None:
    filters = kernel_filters([[(1, 0x7FF), (2, 0x7FF)], [(2, 0x7FF), (3, 0x7FF)]])
    assert filters is not None
    assert [can_id for can_id, _ in filters] == [1, 2, 3, REMOTE]


def test_a_bus_that_wants_everything_means_no_filter() -> None:
    assert kernel_filters([[(1, 0x7FF)], None]) is None


def test_no_bus_means_no_filter() -> None:
    assert kernel_filters([]) is None


def test_more_entries_than_the_kernel_takes_mean_no_filter() -> None:
    entries = [(can_id | EXTENDED, EXTENDED_MASK) for can_id in range(FILTERS_MAX)]
    assert kernel_filters([entries]) is None
    fitting = kernel_filters([entries[:-1]])
    assert fitting is not None
    assert len(fitting) == FILTERS_MAX
