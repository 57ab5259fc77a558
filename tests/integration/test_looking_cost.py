# SPDX-License-Identifier: Apache-2.0
"""What somebody who looks costs a daemon that reads 20,000 frames a second: beside what it takes alone, in one run."""

from __future__ import annotations

import pytest

from tests.benchmarks.tail_cost import measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SHARE_MAX = 0.6
"""Of what the daemon takes alone, about 3.3 % of a core on the machine of tests/benchmarks/README.md: 2 % of a core."""


async def test_tail_and_a_stalled_tail_cost_a_fraction_of_the_daemon_alone() -> None:
    found = await measure(20_000.0, 100, 4.0, 3)
    alone = found["cpu_percent_alone"]
    assert found["cpu_percent_tail_more"] < SHARE_MAX * alone, found
    assert found["cpu_percent_stopped_more"] < SHARE_MAX * alone, found
