# SPDX-License-Identifier: Apache-2.0
"""The sender against a broker and a spool in memory, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from structlog.testing import capture_logs

from agent.errors import SpoolError
from agent.spool.catalogs import CatalogStore
from agent.system.liveness import LivenessDeadline
from agent.uplink.send_policy import Unlimited
from agent.uplink.sender import Sender, SenderOptions, SpoolAccess
from agent.uplink.transport import Answer, LinkLimits, LinkLoss, Outcome, RefusedError, Trouble
from tests.unit.uplink.fakes import (
    ACCEPTED,
    CLOSED_BY_PEER,
    FakeBroker,
    FakeLink,
    MemoryQueue,
    call_inline,
    run_virtual,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from agent.model import SpooledBatch

BUSY = Answer(Outcome.BUSY, 0x97, "quota exceeded (0x97)")
UNAUTHORIZED = Answer(Outcome.UNAUTHORIZED, 0x87, "not authorized (0x87)")
INVALID = Answer(Outcome.UNACCEPTABLE, 0x99, "payload format invalid (0x99)")
TOO_LARGE = Answer(Outcome.UNACCEPTABLE, 0x95, "packet too large (0x95)")
UNREACHABLE = RefusedError("broker b:1: no answer", Trouble.UNREACHABLE)
HALF = 0.5
T = TypeVar("T")


@pytest.fixture
def shelf(tmp_path: Path) -> CatalogStore:
    return CatalogStore(tmp_path / "catalogs")


def build(
    broker: FakeBroker,
    shelf: CatalogStore,
    *queues: MemoryQueue,
    roll: float = HALF,
    fit: Callable[[int | None], None] = lambda size_bytes: None,
    **options: Any,
) -> Sender:
    chosen = SenderOptions(**{"vehicle": "car-1", "window_batches": 4, "window_bytes": 192 << 10, **options})
    return Sender(broker, SpoolAccess(queues, shelf, call_inline, fit=fit), chosen, roll=lambda: roll)


@contextlib.asynccontextmanager
async def running(sender: Sender) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(sender.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], limit_s: float = 3600.0) -> None:
    """In virtual time; looks often at first, then every second."""
    step_s = 0.01
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(step_s)
            step_s = min(1.0, step_s * 1.02)


def test_a_batch_is_deleted_after_its_acknowledgement_and_not_before(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        queue.append(b"one")
        async with running(build(broker, shelf, queue)):
            await until(lambda: broker.sent() == [b"one"])
            assert queue.acknowledged == []
            await until(lambda: queue.acknowledged == [0])

    run_virtual(main())


def test_batches_sealed_since_the_link_came_up_go_before_the_backlog(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        for number in range(50):
            queue.append(b"old %d" % number)
        sender = build(broker, shelf, queue)
        async with running(sender):
            await until(lambda: len(queue.acknowledged) > 10)
            before = len(broker.sent())
            queue.append(b"new")
            sender.batch_available.set()
            await until(lambda: b"new" in broker.sent())
            assert broker.sent().index(b"new") <= before
            await until(lambda: not queue.records)
        old = [payload for payload in broker.sent() if payload != b"new"]
        assert old == [b"old %d" % number for number in range(50)]

    run_virtual(main())


def test_a_live_batch_never_waits_for_a_window_full_of_backlog(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: None)
        for _ in range(10):
            queue.append(bytes(50_000))
        sender = build(broker, shelf, queue)
        async with running(sender):
            await until(lambda: len(broker.sent()) == 2)
            queue.append(b"new")
            sender.batch_available.set()
            await until(lambda: b"new" in broker.sent(), limit_s=1)

    run_virtual(main())


@pytest.mark.parametrize(("limits", "most"), [(LinkLimits(), 3), (LinkLimits(receive_maximum=2), 1)])
def test_no_more_is_on_the_way_than_the_window_and_the_broker_allow(
    shelf: CatalogStore, limits: LinkLimits, most: int
) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(limits=limits)
        for _ in range(20):
            queue.append()
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert broker.in_flight_max == most

    run_virtual(main())


def test_the_window_counts_bytes_and_lets_one_giant_through(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        for size in (60, 60, 500, 60):
            queue.append(bytes(size))
        async with running(build(broker, shelf, queue, window_bytes=100)):
            await until(lambda: not queue.records)
        assert broker.in_flight_max == 1

    run_virtual(main())


def test_a_paced_backlog_takes_its_time_and_live_batches_do_not(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        for _ in range(10):
            queue.append(bytes(1000))
        sender = build(broker, shelf, queue, backlog_rate=100.0)
        loop = asyncio.get_running_loop()
        async with running(sender):
            await until(lambda: len(queue.acknowledged) == 3)
            asked_at = loop.time()
            queue.append(b"new")
            sender.batch_available.set()
            await until(lambda: 10 in queue.acknowledged)
            assert loop.time() - asked_at < 1
            await until(lambda: not queue.records)
        assert 90 <= loop.time() <= 92

    run_virtual(main())


class WeakSignal(Unlimited):
    """Old batches trickle, but for critical ones."""

    weak = True

    def backlog_rate(self, *, critical: bool) -> float | None:
        return 100.0 if self.weak and not critical else None


def test_a_weak_signal_paces_old_batches_and_nothing_else(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, normal, broker, signal = MemoryQueue("critical-1"), MemoryQueue(), FakeBroker(), WeakSignal()
        for queue in (critical, normal):
            for _ in range(10):
                queue.append(bytes(1000))
        options = SenderOptions("car-1")
        queues = [critical, normal]
        sender = Sender(broker, SpoolAccess(queues, shelf, call_inline, critical=[True, False]), options, policy=signal)
        loop = asyncio.get_running_loop()
        async with running(sender):
            await until(lambda: not critical.records, limit_s=2)
            await until(lambda: len(normal.acknowledged) == 1)
            normal.append(b"new")
            sender.batch_available.set()
            await until(lambda: 10 in normal.acknowledged, limit_s=2)
            await until(lambda: len(normal.acknowledged) == 4)
            assert 20 <= loop.time() <= 23
            signal.weak = False
            sender.batch_available.set()
            await until(lambda: not normal.records, limit_s=2)

    run_virtual(main())


class Budget(Unlimited):
    """So many bytes for what is not critical."""

    def __init__(self, left: int) -> None:
        self.left = left

    def wait_s(self, *, critical: bool) -> float:
        return 0.0 if critical or self.left > 0 else 600.0

    def spend(self, payload_bytes: int, *, critical: bool) -> None:
        self.left -= payload_bytes


def test_what_the_budget_does_not_carry_stays_while_critical_goes(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, normal, broker, budget = MemoryQueue("critical-1"), MemoryQueue(), FakeBroker(), Budget(2500)
        for _ in range(10):
            normal.append(bytes(1000))
        options = SenderOptions("car-1")
        queues = [critical, normal]
        sender = Sender(broker, SpoolAccess(queues, shelf, call_inline, critical=[True, False]), options, policy=budget)
        loop = asyncio.get_running_loop()
        async with running(sender):
            await until(lambda: len(normal.acknowledged) == 3)
            for _ in range(5):
                await asyncio.sleep(1000)
                critical.append(bytes(1000))
                sender.batch_available.set()
                await until(lambda: not critical.records, limit_s=1)
            assert len(normal.acknowledged) == 3
            assert len(broker.sent()) == 8, "nothing is sent only to be held"
            budget.left = 100_000
            await until(lambda: not normal.records, limit_s=61)  # nobody tells; it is asked again every minute
            normal.append(bytes(100_000))
            sender.batch_available.set()
            await until(lambda: not normal.records, limit_s=2)
            normal.append(b"held")
            begun = loop.time()
            await sender.drain(5.0)
            assert loop.time() - begun < 1, "nothing may go within the grace"
        assert len(normal.records) == 1

    run_virtual(main())


def test_quota_exceeded_keeps_the_batch_and_waits_longer_each_time(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: BUSY)
        for _ in range(10):
            queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await asyncio.sleep(3600)
            assert len(queue.records) == 10
            assert "quota" in sender.state().last_error
            assert sender.state().trouble == "busy"
            times = [publish.at for publish in broker.publishes if publish.topic.endswith("/batch")]
            assert len(broker.links) == 1
            assert len(times) <= 25
            singles = times[3:]
            waits = [round(later - earlier, 3) for earlier, later in itertools.pairwise(singles)]
            assert waits == sorted(waits)
            assert waits[-1] > 100
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records)
        assert sorted(queue.acknowledged) == list(range(10))

    run_virtual(main())


def test_not_authorized_keeps_everything_and_says_what_to_do(
    shelf: CatalogStore, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: UNAUTHORIZED)
        for _ in range(3):
            queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await asyncio.sleep(600)
            assert len(queue.records) == 3
            assert len(broker.sent()) < 12
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records, limit_s=301)

    run_virtual(main())
    assert "access rules" in capsys.readouterr().out


def test_an_unacceptable_batch_is_set_aside_and_the_others_go_on(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue = MemoryQueue()
        broker = FakeBroker(answers=lambda link, topic, payload: INVALID if payload == b"bad" else ACCEPTED)
        for payload in (b"one", b"bad", b"two"):
            queue.append(payload)
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert sorted(queue.acknowledged) == [0, 2]
        assert "payload format invalid (0x99)" in queue.set_aside_reasons[1]
        assert broker.sent().count(b"bad") == 2, "once more after others were taken"

    run_virtual(main())


def test_batches_in_flight_when_the_link_is_lost_are_sent_again_from_the_spool(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: None)
        for number in range(5):
            queue.append(b"%d" % number)
        async with running(build(broker, shelf, queue)):
            await until(lambda: len(broker.sent()) == 3)
            broker.answers = lambda link, topic, payload: ACCEPTED
            broker.links[0].lose()
            await until(lambda: not queue.records)
        assert len(broker.links) == 2
        assert sorted(queue.acknowledged) == list(range(5))
        assert sorted(broker.sent()) == sorted([b"0", b"1", b"2", b"0", b"1", b"2", b"3", b"4"])

    run_virtual(main())


def test_the_next_try_waits_longer_until_a_link_has_proved_itself(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue = MemoryQueue()
        refused = [RefusedError("broker b:1: nothing listens there", Trouble.UNREACHABLE) for _ in range(12)]
        broker = FakeBroker(refusals=list(refused))
        queue.append()
        sender = build(broker, shelf, queue, roll=0.999)
        async with running(sender):
            await until(lambda: not queue.records)
            waits = [
                later - earlier for earlier, later in zip(broker.connected_at, broker.connected_at[1:], strict=False)
            ]
            ceilings = [min(300, 2**n) for n in range(12)]
            assert waits == pytest.approx([0.1 + 0.999 * (ceiling - 0.1) for ceiling in ceilings])
            broker.links[-1].lose()
            await until(lambda: len(broker.links) == 2)
            assert broker.connected_at[-1] - broker.connected_at[-2] < 5

    run_virtual(main())


def test_link_that_drops_without_an_acknowledgement_is_retried_with_back_off(
    shelf: CatalogStore,
) -> None:
    def drop(link: FakeLink, topic: str, payload: bytes) -> Answer | None:
        link.lose()
        return None

    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=drop)
        queue.append()
        async with running(build(broker, shelf, queue)):
            await asyncio.sleep(3600)
        assert len(broker.links) < 40
        assert len(queue.records) == 1

    run_virtual(main())


def test_a_session_that_is_taken_over_waits_long(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        async with running(build(broker, shelf, queue, roll=0.0)):
            await until(lambda: len(broker.links) == 1)
            broker.links[0].lose(LinkLoss(Trouble.TAKEN_OVER, "session taken over", 0x8E, by_peer=True))
            await until(lambda: len(broker.links) == 2)
        assert broker.connected_at[1] - broker.connected_at[0] >= 8

    run_virtual(main())


def test_a_batch_over_which_the_broker_closes_does_not_hold_up_the_others(shelf: CatalogStore) -> None:
    def close_over_bad(link: FakeLink, topic: str, payload: bytes) -> Answer | None:
        if payload != b"bad":
            return ACCEPTED
        link.lose()
        return None

    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=close_over_bad)
        for number in range(9):
            queue.append(b"bad" if number == 2 else b"%d" % number)
        async with running(build(broker, shelf, queue)):
            await until(lambda: sorted(queue.acknowledged) == [0, 1, *range(3, 9)], limit_s=60)
            assert len(broker.links) <= 5
            await asyncio.sleep(3600)
            assert list(queue.records) == [2]
            assert broker.sent().count(b"bad") < 20
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records, limit_s=6 * 3600)

    run_virtual(main())


def test_a_batch_that_the_broker_names_when_it_disconnects_is_set_aside(shelf: CatalogStore) -> None:
    def disconnect_over_bad(link: FakeLink, topic: str, payload: bytes) -> Answer | None:
        if payload != b"bad":
            return ACCEPTED
        link.lose(LinkLoss(Trouble.UNACCEPTABLE, "the broker disconnected: payload format (0x99)", 0x99, by_peer=True))
        return None

    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=disconnect_over_bad)
        for payload in (b"1", b"2", b"bad", b"3", b"4", b"5"):
            queue.append(payload)
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert sorted(queue.acknowledged) == [0, 1, 3, 4, 5]
        assert list(queue.set_aside_reasons) == [2]

    run_virtual(main())


def test_a_catalog_is_acknowledged_before_the_first_batch_that_names_it(shelf: CatalogStore) -> None:
    async def main() -> None:
        shelf.put("old", b"OLD")
        shelf.put("new", b"NEW")
        queue, broker = MemoryQueue(), FakeBroker()
        for name in ("old", "old", "new", "new"):
            queue.append(name.encode(), name)
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        data = [publish for publish in broker.publishes if not publish.topic.endswith("/status")]
        order = [publish.payload for publish in data]
        assert order.index(b"OLD") < order.index(b"old")
        assert order.index(b"NEW") < order.index(b"new")
        assert order.count(b"OLD") == order.count(b"NEW") == 1
        assert {p.payload: p.retain for p in data} == {b"OLD": False, b"old": False, b"NEW": True, b"new": False}

    run_virtual(main())


def test_a_catalog_that_was_acknowledged_is_not_sent_again_after_a_restart(shelf: CatalogStore, tmp_path: Path) -> None:
    async def main(shelf: CatalogStore, expected: list[bytes]) -> None:
        shelf.put("hash", b"CATALOG")
        queue, broker = MemoryQueue(), FakeBroker()
        queue.append(b"payload", "hash")
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert broker.sent("/catalog") == expected

    run_virtual(main(shelf, [b"CATALOG"]))
    run_virtual(main(CatalogStore(tmp_path / "catalogs"), []))


@pytest.mark.parametrize("answer", [BUSY, UNAUTHORIZED])
def test_a_batch_waits_while_its_catalog_is_not_acknowledged(shelf: CatalogStore, answer: Answer) -> None:
    async def main() -> None:
        shelf.put("hash", b"CATALOG")
        queue = MemoryQueue()
        broker = FakeBroker(answers=lambda link, topic, payload: answer if payload == b"CATALOG" else ACCEPTED)
        queue.append(b"one", "hash")
        queue.append(b"two", "hash")
        async with running(build(broker, shelf, queue)):
            await asyncio.sleep(1)
            assert len(broker.sent("/catalog")) == 1
            await asyncio.sleep(600)
            assert broker.sent() == []
            assert 1 < len(broker.sent("/catalog")) < 12
            broker.answers = lambda link, topic, payload: ACCEPTED
            await until(lambda: not queue.records)

    run_virtual(main())


def test_a_catalog_that_is_missing_or_refused_does_not_hold_up_its_batches(shelf: CatalogStore) -> None:
    async def main() -> None:
        shelf.put("large", b"LARGE")
        queue = MemoryQueue()
        broker = FakeBroker(answers=lambda link, topic, payload: TOO_LARGE if payload == b"LARGE" else ACCEPTED)
        for name in ("large", "missing", "large", "missing"):
            queue.append(b"payload", name)
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert len(broker.sent("/catalog")) == 1

    run_virtual(main())


def test_a_catalog_that_is_damaged_is_neither_sent_nor_marked(tmp_path: Path) -> None:
    async def main() -> None:
        shelf = CatalogStore(tmp_path, is_valid=lambda content, name: content == b"SOUND")
        shelf.put("old", b"DAMAGED")
        shelf.put("current", b"SOUND")
        (tmp_path / "current.catalog.zst").write_bytes(b"DAMAGED")
        queue, broker = MemoryQueue(), FakeBroker()
        for name in ("old", "current"):
            queue.append(b"payload", name)
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
        assert broker.sent("/catalog") == [b"SOUND"]
        place = f"{broker.address}/canferry/car-1/catalog"
        assert [shelf.is_sent(place, name) for name in ("old", "current")] == [False, True]

    run_virtual(main())


def test_a_catalog_goes_alone_and_the_window_opens_again_behind_it(shelf: CatalogStore) -> None:
    async def main() -> None:
        alone: list[int] = []

        def answer(link: FakeLink, topic: str, payload: bytes) -> Answer:
            if topic.endswith("/catalog"):
                alone.append(broker.in_flight)
            return ACCEPTED

        queue, broker = MemoryQueue(), FakeBroker(answers=answer)
        for name in ("a" * 32, "b" * 32):
            shelf.put(name, name.encode() * 1000)
            for _ in range(10):
                queue.append(b"batch", name)
        async with running(build(broker, shelf, queue, window_batches=4)):
            await until(lambda: not queue.records)
        assert alone == [1, 1]
        assert broker.in_flight_max == 3  # one is left for live batches

    run_virtual(main())


@pytest.mark.parametrize(
    ("limits", "at_least_s"),
    [
        ({"publishes_per_s": 10.0}, 0.1),
        ({"bytes_per_s": 1000.0}, 0.05),
        ({"publishes_per_s": 10.0, "bytes_per_s": 100.0}, 0.5),
    ],
)
def test_an_endpoints_rates_are_kept_live_batches_included(
    shelf: CatalogStore, limits: dict[str, float], at_least_s: float
) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(round_trip_s=0.001)
        for _ in range(10):
            queue.append(bytes(50))
        sender = build(broker, shelf, queue, window_batches=20, **dict[str, Any](limits))
        async with running(sender):
            await until(lambda: len(queue.acknowledged) > 3)
            for _ in range(10):
                queue.append(bytes(50))
            sender.batch_available.set()
            await until(lambda: not queue.records)
        times = [publish.at for publish in broker.publishes if publish.topic.endswith("/batch")]
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= at_least_s - 1e-9
        assert times[-1] - times[0] <= at_least_s * 19 * 1.1

    run_virtual(main())


def test_what_an_endpoint_closes_over_is_said_only_where_it_closed_without_a_word(shelf: CatalogStore) -> None:
    async def main() -> list[Any]:
        queue, broker = MemoryQueue(), FakeBroker()
        silent = RefusedError("broker b:1: it closed", Trouble.UNREACHABLE)
        silent.silent = True
        broker.refusals = [UNREACHABLE, silent]
        with capture_logs() as logs:
            async with running(build(broker, shelf, queue, closes_over="a wrong name")):
                await until(lambda: bool(broker.links))
                broker.links[-1].lose(LinkLoss(Trouble.DROPPED, "no answer to a ping"))
                await until(lambda: len(broker.links) == 2)
                broker.links[-1].lose()
                await until(lambda: len(broker.links) == 3)
        return [line.get("hint") for line in logs if line["event"] in ("link_refused", "link_lost")]

    closed = "it may have closed over a wrong name"
    assert run_virtual(main()) == [None, closed, None, closed]


def test_old_catalogs_go_when_no_batch_is_left(shelf: CatalogStore) -> None:
    async def main() -> None:
        shelf.put("old", b"OLD")
        shelf.put("new", b"NEW")
        queue, broker = MemoryQueue(), FakeBroker()
        queue.append(b"payload", "old")
        async with running(build(broker, shelf, queue)):
            await until(lambda: not queue.records)
            await until(lambda: shelf.get("old") is None)
        assert shelf.get("new") == b"NEW"

    run_virtual(main())


def test_queues_are_served_by_priority(shelf: CatalogStore) -> None:
    async def main() -> None:
        first, second, broker = MemoryQueue("first-1"), MemoryQueue("second-1"), FakeBroker()
        for number in range(5):
            second.append(b"second %d" % number)
            first.append(b"first %d" % number)
        async with running(build(broker, shelf, first, second, window_batches=1)):
            await until(lambda: not first.records and not second.records)
        assert [payload.split()[0] for payload in broker.sent()] == [b"first"] * 5 + [b"second"] * 5

    run_virtual(main())


def test_draining_sends_what_is_left_and_says_goodbye(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        for _ in range(10):
            queue.append()
        sender = build(broker, shelf, queue)
        task = asyncio.create_task(sender.run())
        await sender.drain(5.0)
        await task
        assert not queue.records
        assert b'"online":false' in broker.publishes[-1].payload
        assert broker.publishes[-1].retain

    run_virtual(main())


def test_draining_ends_with_the_grace_when_the_broker_does_not_answer(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: None)
        queue.append()
        sender = build(broker, shelf, queue)
        task = asyncio.create_task(sender.run())
        await sender.drain(5.0)
        await task
        assert asyncio.get_running_loop().time() < 7
        assert list(queue.records) == [0]

    run_virtual(main())


def test_draining_waits_out_a_refusal_that_ends_within_the_grace(shelf: CatalogStore) -> None:
    async def main() -> None:
        answers = [UNAUTHORIZED] * 3
        queue = MemoryQueue()
        broker = FakeBroker(
            answers=lambda link, topic, payload: answers.pop() if answers and topic.endswith("batch") else ACCEPTED
        )
        queue.append()
        sender = build(broker, shelf, queue, backoff_base_s=0.2, backoff_max_s=0.4)
        task = asyncio.create_task(sender.run())
        await sender.drain(5.0)
        await task
        assert not queue.records

    run_virtual(main())


def test_draining_gives_up_a_refusal_that_outlasts_the_grace(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: UNAUTHORIZED)
        queue.append()
        sender = build(broker, shelf, queue, backoff_base_s=100.0, backoff_max_s=100.0)
        task = asyncio.create_task(sender.run())
        await asyncio.sleep(10)
        began = asyncio.get_running_loop().time()
        await sender.drain(5.0)
        await task
        assert asyncio.get_running_loop().time() - began < 1
        assert list(queue.records) == [0]

    run_virtual(main())


def test_a_batch_that_is_stored_while_the_sender_looks_is_drained_too(shelf: CatalogStore) -> None:
    class Late(MemoryQueue):
        """Gets a record behind the sender's back, at its last look before the drain."""

        late = True

        def oldest(
            self, after: int = -1, limit: int = 1, held: Collection[str] = (), bytes_max: int | None = None
        ) -> Sequence[SpooledBatch]:
            found = super().oldest(after, limit, held, bytes_max)
            if not found and after == -1 and self.late:
                self.late = False
                self.append()
                senders[0].batch_available.set()
                drained.append(asyncio.get_running_loop().create_task(senders[0].drain(5.0)))
            return found

    senders: list[Sender] = []
    drained: list[asyncio.Task[None]] = []

    async def main() -> None:
        queue = Late()
        senders.append(build(FakeBroker(), shelf, queue))
        await senders[0].run()
        await drained[0]
        assert not queue.records

    run_virtual(main())


def test_draining_in_a_long_wait_tries_once_more_and_ends(shelf: CatalogStore) -> None:
    async def main() -> None:
        refused = [RefusedError("broker b:1: busy", Trouble.BUSY) for _ in range(100)]
        queue, broker = MemoryQueue(), FakeBroker(refusals=list(refused))
        queue.append()
        sender = build(broker, shelf, queue)
        task = asyncio.create_task(sender.run())
        await asyncio.sleep(1000)
        tries, began = len(broker.connected_at), asyncio.get_running_loop().time()
        await sender.drain(5.0)
        await task
        assert len(broker.connected_at) == tries + 1
        assert asyncio.get_running_loop().time() - began < 1

    run_virtual(main())


def test_a_suspend_ends_the_wait_and_the_patience(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(refusals=[UNREACHABLE] * 100)
        queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await asyncio.sleep(2000)  # the waits have grown to minutes
            tries = len(broker.connected_at)
            broker.refusals.clear()
            sender.resumed()
            await until(lambda: not queue.records, limit_s=1)
            assert len(broker.connected_at) == tries + 1

    run_virtual(main())


def test_a_suspend_takes_the_link_for_dead_and_opens_another(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(answers=lambda link, topic, payload: None)
        queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await until(lambda: bool(broker.sent()))
            broker.answers = lambda link, topic, payload: ACCEPTED
            sender.resumed()
            await until(lambda: not queue.records, limit_s=1)
            assert len(broker.links) == 2

    run_virtual(main())


def test_a_suspend_ends_a_try_that_nobody_will_answer(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(deaf=1)
        queue.append()
        sender = build(broker, shelf, queue)
        async with running(sender):
            await asyncio.sleep(1)
            sender.resumed()
            await until(lambda: not queue.records, limit_s=1)

    run_virtual(main())


def test_a_unit_that_gets_a_route_tries_at_once(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker(refusals=[UNREACHABLE] * 100, routed=False)
        queue.append()
        async with running(build(broker, shelf, queue)):
            await asyncio.sleep(2000)
            broker.refusals.clear()
            tries = len(broker.connected_at)
            await asyncio.sleep(4)
            assert len(broker.connected_at) == tries
            broker.routed = True
            await until(lambda: not queue.records, limit_s=1.5)

    run_virtual(main())


def test_the_sender_is_late_when_a_step_of_it_hangs_and_never_while_it_waits(
    shelf: CatalogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue, broker = MemoryQueue(), FakeBroker(refusals=[UNREACHABLE] * 9)
        free = asyncio.Event()

        async def call(function: Callable[..., T], /, *arguments: object) -> T:
            await free.wait()
            return function(*arguments)

        options = SenderOptions(vehicle="car-1", turn_max_s=120.0)
        monkeypatch.setattr(
            "agent.uplink.sender_state.LivenessDeadline", lambda stage: LivenessDeadline(stage, loop.time)
        )
        sender = Sender(broker, SpoolAccess([queue], shelf, call), options, roll=lambda: HALF)
        queue.append()
        async with running(sender):
            while broker.refusals:
                assert not sender.deadline.late_s()
                await asyncio.sleep(1)
            await until(lambda: sender.state().connected)
            await asyncio.sleep(130)
            assert sender.deadline.late_s() > 0
            free.set()
            await until(lambda: not queue.records)
            for _ in range(3000):
                await asyncio.sleep(1)
                assert not sender.deadline.late_s()

    run_virtual(main())


def test_a_disk_that_refuses_ends_the_run(shelf: CatalogStore) -> None:
    class Broken(MemoryQueue):
        def acknowledge(self, sequence: int) -> None:
            raise SpoolError("cannot acknowledge")

    async def main() -> None:
        queue = Broken()
        queue.append()
        with pytest.raises(ExceptionGroup) as caught:
            await build(FakeBroker(), shelf, queue).run()
        assert caught.value.subgroup(SpoolError) is not None

    run_virtual(main())


def test_the_state_tells_what_is_going_on(shelf: CatalogStore) -> None:
    async def main() -> None:
        queue, broker = MemoryQueue(), FakeBroker()
        queue.append(b"12345")
        sender = build(broker, shelf, queue)
        assert not sender.state().connected
        async with running(sender):
            await until(lambda: sender.state().in_flight_bytes == 5)
            await until(lambda: not queue.records)
            state = sender.state()
            assert (state.connected, state.acknowledged_batches, state.acknowledged_bytes) == (True, 1, 5)
            broker.links[0].lose()
            await until(lambda: not sender.state().connected)
            assert "closed the connection" in sender.state().last_error
            assert sender.state().trouble == "dropped"

    run_virtual(main())


def classes() -> tuple[MemoryQueue, MemoryQueue, MemoryQueue]:
    """Queues of three classes, the most urgent first."""
    return MemoryQueue("critical-1"), MemoryQueue("normal-1"), MemoryQueue("bulk-1")


def test_a_class_goes_live_and_backlog_before_all_that_is_less_urgent(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, normal, bulk = queues = classes()
        broker = FakeBroker()
        sender = build(broker, shelf, *queues, window_batches=1)
        for number in range(3):
            bulk.append(b"old bulk %d" % number)
            normal.append(b"old normal %d" % number)
            critical.append(b"old critical %d" % number)
        async with running(sender):
            await until(lambda: len(broker.sent()) == 1)
            for queue, name in zip(queues, (b"critical", b"normal", b"bulk"), strict=True):
                queue.append(b"new " + name)
            sender.batch_available.set()
            await until(lambda: not any(queue.records for queue in queues))
        names = [payload.rstrip(b"012 ").decode() for payload in broker.sent()]
        assert names == [
            "old critical",
            "new critical",
            *["old critical"] * 2,
            "new normal",
            *["old normal"] * 3,
            "new bulk",
            *["old bulk"] * 3,
        ]

    run_virtual(main())


def test_a_backlog_of_bulk_leaves_the_window_to_what_is_more_urgent(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, normal, bulk = queues = classes()
        broker = FakeBroker(answers=lambda link, topic, payload: None)
        for _ in range(10):
            bulk.append(bytes(40_000))
        sender = build(broker, shelf, *queues)
        async with running(sender):
            await until(lambda: len(broker.sent()) == 1)
            for queue in (normal, critical, normal):
                queue.append(queue.stream.encode())
            sender.batch_available.set()
            await until(lambda: len(broker.sent()) == 3, limit_s=1)
        assert broker.sent()[1:] == [b"critical-1", b"normal-1"]

    run_virtual(main())


def test_the_pace_of_a_bulk_backlog_does_not_hold_up_a_critical_one(shelf: CatalogStore) -> None:
    async def main() -> None:
        critical, _, bulk = queues = classes()
        broker = FakeBroker()
        for _ in range(3):
            bulk.append(bytes(1000))
        sender = build(broker, shelf, *queues, backlog_rate=10.0)
        async with running(sender):
            await until(lambda: len(bulk.acknowledged) == 1)
            critical.append(b"late")
            sender.batch_available.set()
            await until(lambda: b"late" in broker.sent(), limit_s=5)
            assert len(bulk.acknowledged) == 1
            await until(lambda: not bulk.records)

    run_virtual(main())


@pytest.mark.parametrize(
    ("loss", "latest_s"),
    [(CLOSED_BY_PEER, 15.5), (LinkLoss(Trouble.DROPPED, "no answer to a ping"), 1.0)],
)
def test_only_who_was_closed_by_the_broker_comes_back_over_the_spread(
    shelf: CatalogStore, loss: LinkLoss, latest_s: float
) -> None:
    async def main() -> None:
        broker, queue = FakeBroker(), MemoryQueue()
        async with running(build(broker, shelf, queue, backoff_spread_s=30.0)):
            await until(lambda: len(broker.links) == 1)
            lost_at = asyncio.get_running_loop().time()
            broker.links[0].lose(loss)
            await until(lambda: len(broker.links) == 2)
            assert latest_s / 3 < broker.connected_at[-1] - lost_at <= latest_s

    run_virtual(main())


def published(broker: FakeBroker) -> list[tuple[str, bytes]]:
    return [(each.topic, each.payload) for each in broker.publishes if not each.topic.endswith("/status")]


def test_what_was_sealed_for_another_vehicle_goes_under_its_topics(shelf: CatalogStore) -> None:
    async def main() -> None:
        shelf.put("cat", b"CAT")
        queue, broker = MemoryQueue(), FakeBroker()
        queue.append(b"old", "cat", "car-0")
        queue.append(b"new", "cat", "car-1")
        for _ in range(2):
            async with running(build(broker, shelf, queue)):
                await until(lambda: not queue.records)
        assert published(broker) == [
            ("canferry/car-0/catalog", b"CAT"),
            ("canferry/car-0/batch", b"old"),
            ("canferry/car-1/catalog", b"CAT"),
            ("canferry/car-1/batch", b"new"),
        ]

    run_virtual(main())


def foreign_refused(link: FakeLink, topic: str, payload: bytes) -> Answer:
    return UNAUTHORIZED if "/car-0/" in topic else ACCEPTED


def foreign_disconnected(link: FakeLink, topic: str, payload: bytes) -> Answer:
    if "/car-0/" in topic:
        link.lose(LinkLoss(Trouble.UNAUTHORIZED, "not authorized (0x87)", 0x87, by_peer=True))
    return ACCEPTED


def foreign_cut_off(link: FakeLink, topic: str, payload: bytes) -> Answer:
    if "/car-0/" in topic:
        link.lose()
    return ACCEPTED


@pytest.mark.parametrize(
    ("answers", "tried", "closes_over"),
    [
        (foreign_refused, 6, ""),
        (foreign_disconnected, 8, ""),
        (foreign_cut_off, 16, ""),
        (foreign_cut_off, 0, "a topic of others"),
    ],
)
@pytest.mark.parametrize("catalog", ["", "cat"])
def test_what_may_not_be_sent_for_another_vehicle_stays_and_holds_up_nothing(
    shelf: CatalogStore, answers: Callable[[FakeLink, str, bytes], Answer], tried: int, closes_over: str, catalog: str
) -> None:
    async def main() -> None:
        shelf.put("cat", b"CAT")
        queue, broker = MemoryQueue(), FakeBroker(answers=answers)
        for number in range(100):
            queue.append(b"old %d" % number, catalog, "car-0")
        queue.append(b"new", catalog, "car-1")
        sender = build(broker, shelf, queue, closes_over=closes_over)
        with capture_logs() as logs:
            async with running(sender):
                await until(lambda: b"new" in broker.sent(), limit_s=300)
                for _ in range(3):
                    sender.resumed()
                    await asyncio.sleep(60)
        assert queue.waiting_of("car-0") == len(queue.records) == 100
        assert sum("/car-0/" in topic for topic, _ in published(broker)) <= tried
        (held,) = [line for line in logs if line["event"] == "batches_held"]
        assert (held["vehicle"], held["batches"]) == ("car-0", 100)

    run_virtual(main())


def test_class_in_the_topic_is_that_of_each_batch(shelf: CatalogStore) -> None:
    async def main() -> None:
        queues, broker = [MemoryQueue(f"{name}-3f2a") for name in ("critical", "bulk")], FakeBroker()
        for queue in queues:
            queue.append()
        queues[0].append(vehicle="car-0")
        async with running(build(broker, shelf, *queues, batch="{class}/{vehicle}")):
            await until(lambda: not any(queue.records for queue in queues))
        topics = {publish.topic for publish in broker.publishes if publish.payload == b"payload"}
        assert topics == {"critical/car-1", "critical/car-0", "bulk/car-1"}

    run_virtual(main())
