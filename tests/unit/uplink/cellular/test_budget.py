# SPDX-License-Identifier: Apache-2.0
"""The plan's decisions, and a month of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.cellular.budget import (
    DAY_NS,
    Plan,
    Spent,
    add,
    forecast,
    month_of,
    nothing_spent,
    on_wire_bytes,
    presumed_spent,
    turned,
    wait_s,
)

MIB = 1 << 20
PLAN = Plan(month_bytes=300 * MIB, critical_bytes=6 * MIB)


def at(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) * 10**9


START = at("2026-11-01")


def day(number: int) -> int:
    """A day of the calendar, since 1970."""
    return START // DAY_NS + number - 1


@pytest.mark.parametrize(
    ("starts_on", "now", "first"),
    [
        (1, "2026-11-23", "2026-11-01"),
        (1, "2026-11-01", "2026-11-01"),
        (15, "2026-11-14T23:59:59", "2026-10-15"),
        (15, "2026-11-15", "2026-11-15"),
        (28, "2026-01-05", "2025-12-28"),
        (28, "2027-03-01", "2027-02-28"),
    ],
)
def test_a_month_begins_on_the_plans_day(starts_on: int, now: str, first: str) -> None:
    assert month_of(replace(PLAN, starts_on=starts_on), at(now)) == at(first) // DAY_NS


def test_a_day_ahead_may_be_spent_and_then_as_the_month_goes() -> None:
    spent = nothing_spent(PLAN, START)
    free = 294 * MIB  # without what is kept for critical ones
    assert wait_s(PLAN, replace(spent, month_bytes=free // 30 - 1000), critical=False, roaming=False) == 0
    assert wait_s(PLAN, replace(spent, month_bytes=free // 30 + 1000), critical=False, roaming=False) >= 1
    half = replace(spent, at_ns=START + 15 * DAY_NS, month_bytes=free // 2)
    assert wait_s(PLAN, half, critical=False, roaming=False) == 0
    half = replace(half, month_bytes=int(free * 0.52))
    assert wait_s(PLAN, half, critical=False, roaming=False) == 900
    end = replace(spent, at_ns=START + 30 * DAY_NS - 1)
    assert wait_s(PLAN, replace(end, month_bytes=free - 1), critical=False, roaming=False) == 0
    assert wait_s(PLAN, replace(end, month_bytes=free), critical=False, roaming=False) == 900


def test_critical_goes_until_its_own_limit_and_then_as_the_rest() -> None:
    spent = replace(nothing_spent(PLAN, START), month_bytes=300 * MIB, critical_bytes=6 * MIB - 1)
    assert wait_s(PLAN, spent, critical=True, roaming=True) == 0
    assert wait_s(PLAN, replace(spent, critical_bytes=6 * MIB), critical=True, roaming=False) == 900


def test_a_days_limit_holds_until_midnight() -> None:
    plan = replace(PLAN, day_bytes=MIB)
    spent = replace(nothing_spent(plan, START + DAY_NS - 30 * 10**9), day_bytes=MIB)
    assert wait_s(plan, spent, critical=False, roaming=False) == 30
    assert wait_s(plan, spent, critical=True, roaming=False) == 0
    later = turned(plan, spent, START + DAY_NS)
    assert (later.day_bytes, later.day) == (0, day(2))
    assert wait_s(plan, later, critical=False, roaming=False) == 0


def test_roaming_has_a_limit_of_its_own_abroad() -> None:
    plan = replace(PLAN, roaming_bytes=0)
    spent = nothing_spent(plan, START)
    assert wait_s(plan, spent, critical=False, roaming=True) == 900
    assert wait_s(plan, spent, critical=True, roaming=True) == 0
    assert wait_s(plan, spent, critical=False, roaming=False) == 0
    assert add(spent, 5, critical=False, roaming=True).roaming_bytes == 5
    assert add(spent, 5, critical=False, roaming=False).roaming_bytes == 0


def test_a_new_month_begins_with_nothing_spent() -> None:
    spent = add(nothing_spent(PLAN, START), MIB, critical=True, roaming=True)
    assert turned(PLAN, spent, at("2026-12-01")) == Spent(at("2026-12-01"), day(31), day(31))


@pytest.mark.parametrize("now", [0, at("2019-12-31")])
def test_a_clock_that_was_never_set_changes_nothing(now: int) -> None:
    spent = add(nothing_spent(PLAN, START), MIB, critical=False, roaming=False)
    assert turned(PLAN, spent, now) == spent


def test_what_was_spent_before_the_clock_was_set_is_taken_along() -> None:
    spent = add(nothing_spent(PLAN, 3600 * 10**9), MIB, critical=False, roaming=False)
    later = turned(PLAN, spent, START)
    assert (later.month, later.month_bytes) == (day(1), MIB)


def test_a_clock_that_is_set_back_refunds_nothing() -> None:
    spent = add(nothing_spent(PLAN, at("2036-02-05")), MIB, critical=False, roaming=False)
    back = turned(PLAN, spent, START)
    assert (back.month, back.month_bytes, back.day_bytes) == (day(1), MIB, MIB)
    within = turned(PLAN, back, START - 1 + DAY_NS)
    assert turned(PLAN, within, START) == within


def test_where_nobody_knows_the_even_share_is_spent() -> None:
    assert presumed_spent(PLAN, START + 15 * DAY_NS).month_bytes == 150 * MIB


def test_it_is_said_whether_it_lasts() -> None:
    middle = replace(nothing_spent(PLAN, START), at_ns=START + 15 * DAY_NS)
    assert forecast(PLAN, middle) == "data plan 0.0MiB of 300.0MiB, lasts"
    assert forecast(PLAN, replace(middle, month_bytes=100 * MIB)) == "data plan 100.0MiB of 300.0MiB, lasts"
    told = forecast(PLAN, replace(middle, month_bytes=200 * MIB))
    assert told == "data plan 200.0MiB of 300.0MiB, holding back, at this rate until 2026-11-23"


def test_a_publish_takes_more_than_its_payload() -> None:
    assert on_wire_bytes(0, 40) == 300
    assert 1.05 < on_wire_bytes(48 << 10, 40) / (48 << 10) < 1.1


STEPS = st.lists(
    st.tuples(st.integers(1, 3 * DAY_NS), st.integers(1, 8 * MIB), st.booleans(), st.booleans()), max_size=200
)


@given(STEPS, st.none() | st.integers(0, 20 * MIB), st.none() | st.integers(0, 40 * MIB))
def test_no_limit_is_ever_exceeded_by_more_than_a_batch(
    steps: list[tuple[int, int, bool, bool]], day_bytes: int | None, roaming_bytes: int | None
) -> None:
    plan = replace(PLAN, day_bytes=day_bytes, roaming_bytes=roaming_bytes)
    now, spent = START, nothing_spent(plan, START)
    for passed_ns, size, critical, roaming in steps:
        now += passed_ns
        spent = turned(plan, spent, now)
        if wait_s(plan, spent, critical=critical, roaming=roaming):
            assert not critical or spent.critical_bytes >= plan.critical_bytes
            continue
        spent = add(spent, size, critical=critical, roaming=roaming)
        assert spent.month_bytes < plan.month_bytes + 8 * MIB
        if not critical:
            assert spent.month_bytes - size < plan.month_bytes - max(0, plan.critical_bytes - spent.critical_bytes)
            assert day_bytes is None or spent.day_bytes < day_bytes + size
            assert roaming_bytes is None or not roaming or spent.roaming_bytes < roaming_bytes + size
