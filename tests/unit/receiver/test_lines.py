# SPDX-License-Identifier: Apache-2.0
"""Times are exact decimals."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.receiver.lines import times_text


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.sampled_from([1, 1000, 10**6, 10**9]))
def test_a_time_loses_nothing(times: list[int], unit: int) -> None:
    rounded = np.array([time // unit * unit for time in times if time // unit * unit >= -(2**63)], np.int64)

    texts = times_text(rounded)

    assert [Decimal(text) * 10**9 for text in texts] == rounded.tolist()


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_700_000_000_123_000_000, "1700000000.123"),
        (1_700_000_000_000_000_000, "1700000000.000"),
        (1_700_000_000_123_456_000, "1700000000.123456"),
        (1_700_000_000_123_456_789, "1700000000.123456789"),
        (5_000_000, "0.005"),
        (-5_000_000, "-0.005"),
    ],
)
def test_a_time_has_as_many_decimals_as_it_needs(time_ns: int, text: str) -> None:
    assert times_text(np.array([time_ns], np.int64)) == [text]
