# SPDX-License-Identifier: Apache-2.0
"""The plan with its ledger and its interface; and a month of the real sender on a clock that jumps."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.spool.catalogs import CatalogStore
from agent.uplink.cellular.budget import DAY_NS, Plan, Spent, on_wire_bytes
from agent.uplink.cellular.data_plan import DataPlan, Entry, LedgerError, read_ledger, write_ledger
from agent.uplink.cellular.send_policy import CellularSendPolicy
from agent.uplink.options import SenderOptions
from agent.uplink.sender import Sender, SpoolAccess
from agent.uplink.transport import LinkLoss, Trouble
from tests.unit.uplink.fakes import FakeBroker, MemoryQueue, call_inline, run_virtual

MIB = 1 << 20
START_NS = round(dt.datetime(2026, 11, 1, tzinfo=dt.UTC).timestamp()) * 10**9
PLAN = Plan(20 * MIB, MIB)
TOPIC_BYTES = 24


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.boot = "boot-1"

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def boot_id(self) -> str:
        return self.boot

    def wall_trusted(self) -> bool:
        return True


class LoopClock(HandClock):
    """The virtual loop's."""

    def wall_ns(self) -> int:
        return START_NS + int(asyncio.get_running_loop().time() * 1e9)

    monotonic_ns = wall_ns


@pytest.fixture
def interface(tmp_path: Path) -> Path:
    """A network interface's statistics; `counted` sets them."""
    folder = tmp_path / "net" / "wwan0" / "statistics"
    folder.mkdir(parents=True)
    counted(folder, 0)
    return folder


def counted(folder: Path, total: int) -> None:
    (folder / "rx_bytes").write_text(f"{total // 4}\n")
    (folder / "tx_bytes").write_text(f"{total - total // 4}\n")


def data_plan(tmp_path: Path, clock: HandClock, plan: Plan = PLAN, **options: Any) -> DataPlan:
    made = DataPlan(plan, tmp_path / "data-plan", TOPIC_BYTES, clock, interfaces=tmp_path / "net", **options)
    made.load()
    return made


def spent(plan: DataPlan) -> float:
    return plan._spent.month_bytes


def test_what_was_spent_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    plan = data_plan(tmp_path, clock, roaming=lambda: True)
    plan.spend(1000, critical=True)
    plan.spend(50_000, critical=False)
    plan.save()
    again = data_plan(tmp_path, clock)
    assert again._spent == plan._spent
    assert again._spent.critical_bytes == on_wire_bytes(1000, TOPIC_BYTES)
    assert again._spent.roaming_bytes == again._spent.month_bytes
    assert str(again) == "data plan 0.1MiB of 20.0MiB, lasts"


def test_a_ledger_that_is_damaged_presumes_the_even_share(tmp_path: Path) -> None:
    clock = HandClock()
    plan = data_plan(tmp_path, clock)
    plan.spend(50_000, critical=False)
    plan.save()
    content = (tmp_path / "data-plan").read_bytes()
    (tmp_path / "data-plan").write_bytes(content.replace(b"month", b"mouth", 1))
    clock.now_ns += 15 * DAY_NS
    with capture_logs() as logs:
        assert spent(data_plan(tmp_path, clock)) == 10 * MIB
    assert [line["event"] for line in logs] == ["data_plan_unreadable"]


@given(
    st.builds(Spent, *[st.integers(-(1 << 62), 1 << 62)] * 7),
    st.integers(0, 10_000),
    st.integers(0, 7),
)
def test_a_flipped_bit_of_the_ledger_is_found(spent: Spent, place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data-plan"
        assert read_ledger(path) is None
        write_ledger(path, Entry(spent, 5, "boot"))
        assert read_ledger(path) == Entry(spent, 5, "boot")
        content = bytearray(path.read_bytes().rstrip(b"\n"))
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(bytes(content))
        with pytest.raises(LedgerError):
            read_ledger(path)


def test_a_torn_write_leaves_what_was_there(tmp_path: Path) -> None:
    clock = HandClock()
    plan = data_plan(tmp_path, clock)
    plan.spend(1000, critical=False)
    plan.save()
    (tmp_path / "data-plan.part").write_bytes(b"5f2c81d0 {")  # the power went
    again = data_plan(tmp_path, clock)
    assert again._spent == plan._spent
    again.spend(1000, critical=False)
    again.save()
    assert spent(data_plan(tmp_path, clock)) == 2 * spent(plan)


def test_the_interface_tells_what_was_really_spent(tmp_path: Path, interface: Path) -> None:
    clock = HandClock()
    counted(interface, 7_000_000)  # before anybody counted: not ours
    plan = data_plan(tmp_path, clock, interface="wwan0")
    plan.spend(1000, critical=False)
    assert spent(plan) == on_wire_bytes(1000, TOPIC_BYTES)
    counted(interface, 7_100_000)
    plan._look()
    assert spent(plan) == 100_000
    plan.save()
    counted(interface, 7_150_000)  # while the agent was not there
    plan = data_plan(tmp_path, clock, interface="wwan0")
    assert spent(plan) == 150_000
    counted(interface, 20_000)  # the modem began anew
    plan._look()
    assert spent(plan) == 170_000
    plan.save()
    clock.boot = "boot-2"
    counted(interface, 90_000)  # so did the unit
    assert spent(data_plan(tmp_path, clock, interface="wwan0")) == 260_000


def test_an_interface_that_is_not_there_is_estimated_for(tmp_path: Path) -> None:
    plan = data_plan(tmp_path, HandClock(), interface="wwan7")
    plan.spend(1000, critical=False)
    plan._look()
    assert spent(plan) == on_wire_bytes(1000, TOPIC_BYTES)


def test_a_disk_that_refuses_is_told_once_and_sending_goes_on(tmp_path: Path) -> None:
    clock = HandClock()
    plan = DataPlan(PLAN, tmp_path / "gone" / "data-plan", TOPIC_BYTES, clock)
    with capture_logs() as logs:
        plan.load()
        for _ in range(3):
            plan.spend(1000, critical=False)
            plan.save()
    assert [line["event"] for line in logs] == ["data_plan_not_kept"]
    assert plan.wait_s(critical=False) == 0


def test_the_ledger_is_written_once_a_minute_or_after_a_mebibyte(tmp_path: Path) -> None:
    async def main() -> list[float]:
        plan = DataPlan(PLAN, tmp_path / "data-plan", TOPIC_BYTES, LoopClock())
        written: list[float] = []

        async def call(save: Any) -> None:
            before = (tmp_path / "data-plan").stat().st_mtime_ns if (tmp_path / "data-plan").exists() else 0
            save()
            if (tmp_path / "data-plan").stat().st_mtime_ns != before:
                written.append(asyncio.get_running_loop().time())

        plan.spend(1000, critical=False)
        running = asyncio.create_task(plan.run(call))
        await asyncio.sleep(301)
        plan.spend(1000, critical=False)
        await asyncio.sleep(301)
        plan.spend(2 * MIB, critical=True)
        await asyncio.sleep(6)
        plan.spend(1000, critical=False)
        running.cancel()
        await asyncio.wait([running])
        return written

    assert run_virtual(main()) == [60, 360, 605, 608]


SIZE, CRITICAL_SIZE = 20_000, 4_000
BATCH_BYTES = on_wire_bytes(SIZE, TOPIC_BYTES)


async def a_month(tmp_path: Path, plan: Plan, roaming_days: range = range(0)) -> tuple[list[float], list[Spent], int]:
    """A batch every ten minutes, a critical one every six hours, a link that is lost twice a day for an hour.

    How long each critical batch took whose link was there, what was spent at the end of each day, and what all that the
    broker was sent takes.
    """
    loop, clock = asyncio.get_running_loop(), LoopClock()
    meter = DataPlan(
        plan, tmp_path / "data-plan", TOPIC_BYTES, clock, roaming=lambda: int(loop.time() // 86_400) in roaming_days
    )
    critical, normal, broker = MemoryQueue("critical-1"), MemoryQueue(), FakeBroker()
    allowance = CellularSendPolicy(None, 0.0, meter)
    shelf = CatalogStore(tmp_path / "catalogs")
    options = SenderOptions("car-1", backoff_max_s=5.0)
    queues = [critical, normal]
    sender = Sender(broker, SpoolAccess(queues, shelf, call_inline, critical=[True, False]), options, policy=allowance)
    running = asyncio.create_task(sender.run())
    latencies, days = [], []
    for number in range(30 * 144 - 1):
        await asyncio.sleep(600)
        if number % 144 == 143:
            days.append(replace(meter._spent))
        normal.append(bytes(SIZE))
        sender.batch_available.set()
        if number % 72 == 35:
            broker.links[-1].lose(LinkLoss(Trouble.DROPPED, "a tunnel"))
        if number % 36 == 20:
            critical.append(bytes(CRITICAL_SIZE))
            begun = loop.time()
            while critical.records:
                await asyncio.sleep(0.1)
            latencies.append(loop.time() - begun)
    days.append(replace(meter._spent))
    sent_bytes = sum(on_wire_bytes(len(sent.payload), TOPIC_BYTES) for sent in broker.publishes)
    running.cancel()
    await asyncio.wait([running])
    return latencies, days, sent_bytes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_month_with_enough_to_send_uses_the_budget_and_does_not_exceed_it(tmp_path: Path) -> None:
    latencies, days, sent_bytes = run_virtual(a_month(tmp_path, PLAN))
    assert len(latencies) == 120
    assert max(latencies) < 10
    last = days[-1]
    kept_back = PLAN.critical_bytes - last.critical_bytes
    assert PLAN.month_bytes - kept_back - BATCH_BYTES <= last.month_bytes <= PLAN.month_bytes + BATCH_BYTES
    assert last.month_bytes >= 0.95 * PLAN.month_bytes
    assert sent_bytes == last.month_bytes, "what is counted is what was sent"
    for number, day in enumerate(days, 1):
        even = (PLAN.month_bytes - PLAN.critical_bytes + day.critical_bytes) * number / 30
        assert 0.95 * even - BATCH_BYTES <= day.month_bytes <= even + PLAN.month_bytes / 30 + BATCH_BYTES


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_month_with_limits_for_days_and_abroad_keeps_them(tmp_path: Path) -> None:
    plan = replace(PLAN, day_bytes=MIB // 2, roaming_bytes=MIB)
    latencies, days, _ = run_virtual(a_month(tmp_path, plan, roaming_days=range(10, 20)))
    assert max(latencies) < 10
    assert max(day.day_bytes for day in days) <= MIB // 2 + BATCH_BYTES + 5 * CRITICAL_SIZE
    abroad = days[-1].roaming_bytes
    assert MIB <= abroad <= MIB + BATCH_BYTES + 41 * on_wire_bytes(CRITICAL_SIZE, TOPIC_BYTES)
