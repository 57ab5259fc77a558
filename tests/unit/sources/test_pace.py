# SPDX-License-Identifier: Apache-2.0
"""How far a log has gone on, by whatever clocks its frames go."""

from __future__ import annotations

import numpy as np
import pytest

from agent.sources.logs.pace import LogPace

YEAR_S = 365 * 86400


def elapsed_s(times_s: list[float], block: int = 3) -> list[float]:
    pace, time_ns = LogPace(), np.round(np.array(times_s) * 1e9).astype(np.int64)
    parts = [pace.elapsed_ns(time_ns[begin : begin + block]) for begin in range(0, len(time_ns), block)]
    return [round(each / 1e9, 3) for each in np.concatenate(parts).tolist()]


@pytest.mark.parametrize("block", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("times_s", "due_s"),
    [
        ([5, 5.5, 5.4, 9, 3000], [0, 0.5, 0.4, 4, 2995]),
        ([5, 6, 6 + YEAR_S, 7 + YEAR_S], [0, 1, 1, 2]),
        ([YEAR_S, YEAR_S + 1, 5, 6, 7], [0, 1, 1, 2, 3]),
        ([5, YEAR_S, 5.5, YEAR_S + 0.5, 6, YEAR_S + 1], [0, 0, 0.5, 0.5, 1, 1]),
        ([5, 5 + 3599, 5 + 3599 + 3600, 5 + 7200], [0, 3599, 3599, 3600]),
        ([5, 9, 8.1, 7.2, 8.2], [0, 4, 3.1, 4, 5]),
    ],
    ids=["one clock", "set forward", "set back", "two clocks", "a pause of an hour", "set back in small steps"],
)
def test_steps_of_a_clock_take_no_time(times_s: list[float], due_s: list[float], block: int) -> None:
    assert elapsed_s(times_s, block) == due_s


def test_times_without_order_never_go_back_by_more_than_buses_differ() -> None:
    due_s = elapsed_s(np.random.default_rng(1).uniform(0, 50 * YEAR_S, 300).tolist(), 50)
    assert 0 <= max(due_s) < 3600
