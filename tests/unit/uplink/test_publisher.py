# SPDX-License-Identifier: Apache-2.0
"""What is learnt of a broker over one link and heeded over the next one; in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent.spool.catalogs import CatalogStore
from agent.uplink.transport import LinkLoss, Trouble
from tests.unit.uplink.fakes import ACCEPTED, FakeBroker, MemoryQueue, run_virtual
from tests.unit.uplink.test_sender import BUSY, build, running, until

if TYPE_CHECKING:
    from pathlib import Path

OUT_OF_RANGE = LinkLoss(Trouble.DROPPED, "no answer", by_peer=False)


@pytest.fixture
def shelf(tmp_path: Path) -> CatalogStore:
    return CatalogStore(tmp_path / "catalogs")


def test_after_a_refusal_the_next_link_begins_with_one_batch_too(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: BUSY)
        for _ in range(10):
            queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await until(lambda: sender.state().trouble == "busy" and not broker.in_flight)
            before, broker.in_flight_max = len(broker.sent()), 0
            broker.answers = lambda link, topic, payload: None
            broker.links[0].lose(OUT_OF_RANGE)
            await until(lambda: len(broker.sent()) > before)
            await asyncio.sleep(10)
            assert len(broker.sent()) == before + 1
            broker.answers = lambda link, topic, payload: ACCEPTED
            broker.links[1].lose(OUT_OF_RANGE)
            await until(lambda: not queue.records)
        assert broker.in_flight_max == 3

    run_virtual(main())


def test_a_class_waits_for_no_backlog_of_a_less_urgent_one(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, bulk, broker = MemoryQueue("critical-1"), MemoryQueue("bulk-1"), FakeBroker()
        for _ in range(3):
            bulk.append(bytes(10_000))
        async with running(build(broker, shelf, critical, bulk, backlog_rate=10.0)):
            await until(lambda: bulk.acknowledged == [0])
            broker.links[0].lose(OUT_OF_RANGE)
            critical.append(b"sealed without a link")
            await until(lambda: critical.acknowledged == [0], limit_s=60)
            assert bulk.acknowledged == [0]

    run_virtual(main())
