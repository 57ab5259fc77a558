# SPDX-License-Identifier: Apache-2.0
"""When a batch is large enough to be sealed."""

from __future__ import annotations

import pytest

from agent.batch.columns import NUMBERS_MAX
from agent.batch.decoder import ROWS_MAX
from agent.pipeline.open_batch import VALUES_MAX, OpenBatch, SealLimits, must_seal

LIMITS = SealLimits(10_000_000_000, 1000)


@pytest.mark.parametrize(("values", "seals"), [(0, False), (1600, False), (1699, False), (1700, True), (2000, True)])
def test_a_batch_is_sealed_while_there_is_some_room_left_for_what_compresses_worse(values: int, *, seals: bool) -> None:
    assert must_seal(OpenBatch(values=values), 0.5, LIMITS) is seals


def test_batch_on_a_bus_that_never_changes_is_sealed_before_no_reader_would_take_it() -> None:
    assert not must_seal(OpenBatch(values=VALUES_MAX - 1), 1e-6, LIMITS)
    assert must_seal(OpenBatch(values=VALUES_MAX), 1e-6, LIMITS)
    assert 3 * VALUES_MAX < NUMBERS_MAX, "times, shapes and values, were each of a column of its own"
    assert VALUES_MAX < ROWS_MAX
