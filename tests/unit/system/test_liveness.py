# SPDX-License-Identifier: Apache-2.0
"""A stage is late when it breaks its own promise, and only then."""

from __future__ import annotations

from agent.system.liveness import LivenessDeadline


def test_a_stage_is_late_from_the_end_of_its_promise_to_its_next_beat() -> None:
    now_s = 100.0
    deadline = LivenessDeadline("pipeline", lambda: now_s)
    assert deadline.late_s() == 0
    deadline.extend(5)
    now_s = 105.0
    assert deadline.late_s() == 0
    now_s = 108.0
    assert deadline.late_s() == 3
    deadline.extend(5)
    assert deadline.late_s() == 0


def test_a_stage_that_has_ended_is_never_late() -> None:
    now_s = 100.0
    deadline = LivenessDeadline("pipeline", lambda: now_s)
    deadline.extend(5)
    deadline.end()
    now_s = 1e9
    assert deadline.late_s() == 0
