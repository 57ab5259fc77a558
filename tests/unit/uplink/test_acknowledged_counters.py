# SPDX-License-Identifier: Apache-2.0
"""How often it is told what was acknowledged."""

from __future__ import annotations

from agent.uplink.status import LOGGED_EVERY_S, AcknowledgedCounters


def test_the_first_batch_is_told_at_once_and_then_what_came_in_a_minute() -> None:
    counters = AcknowledgedCounters()
    told = [(now_s, counters.add(100, 7.0 + now_s)) for now_s in range(200)]
    assert [each for each in told if each[1]] == [
        (0, {"batches": 1, "size_bytes": 100}),
        (60, {"batches": 60, "size_bytes": 6000}),
        (120, {"batches": 60, "size_bytes": 6000}),
        (180, {"batches": 60, "size_bytes": 6000}),
    ]


def test_after_a_silence_the_next_batch_is_told_at_once() -> None:
    counters = AcknowledgedCounters()
    counters.add(1, 0.0)
    assert counters.add(2, 1.0) is None
    assert counters.add(3, 1.0 + LOGGED_EVERY_S) == {"batches": 2, "size_bytes": 5}
