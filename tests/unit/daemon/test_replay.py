# SPDX-License-Identifier: Apache-2.0
"""A replay whose spool fills waits for the broker, and not for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from agent.daemon.replay import PATIENCE_S, _until_there_is_room
from agent.errors import UplinkError
from agent.uplink.status import LinkState
from tests.unit.uplink.fakes import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.assembly import Agent

T = TypeVar("T")
FULL = 1000


@dataclass
class FullSpool:
    """Stands for worker, storage and sender: a batch is acknowledged whenever `acknowledged_after_s` have passed."""

    acknowledged_after_s: float
    refusal: str = ""
    asked_by_worker: bool = field(default=False, init=False)

    @property
    def worker(self) -> FullSpool:
        return self

    storage = sender = worker

    async def call(self, function: Callable[[], T]) -> T:
        self.asked_by_worker = True
        try:
            return function()
        finally:
            self.asked_by_worker = False

    @property
    def payload_bytes(self) -> int:
        assert self.asked_by_worker, "the lists of the spool belong to the worker"
        return FULL - 100 * self._acknowledged()

    def state(self) -> LinkState:
        return LinkState(broker="b:1", last_error=self.refusal, acknowledged_batches=self._acknowledged())

    def _acknowledged(self) -> int:
        return int(asyncio.get_running_loop().time() / self.acknowledged_after_s)


def waited_s(spool: FullSpool) -> float:
    async def main() -> float:
        await _until_there_is_room(cast("Agent", spool), FULL)
        return asyncio.get_running_loop().time()

    return run_virtual(main())


def test_a_slow_broker_is_waited_for_until_there_is_room() -> None:
    assert waited_s(FullSpool(PATIENCE_S * 0.9)) == pytest.approx(5 * PATIENCE_S * 0.9, abs=1)


@pytest.mark.parametrize(("refusal", "why"), [("quota exceeded", "quota exceeded"), ("", "does not answer")])
def test_a_broker_that_takes_no_more_is_given_up(refusal: str, why: str) -> None:
    with pytest.raises(UplinkError, match=rf"broker b:1: no batch was acknowledged for 120 s: .*{why}"):
        waited_s(FullSpool(1e9, refusal))
