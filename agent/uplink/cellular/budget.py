# SPDX-License-Identifier: Apache-2.0
"""A data plan and what of it is spent: pure, the time passed in, bytes throughout.

    0 ├────────────── non-critical, paced over the month ─────────────┼─ reserve ─┤ month_bytes
                                                                        what critical may still take

Promise: what is not critical is held back while it is ahead of its pace, which begins a day ahead of the month's even
one and ends with it, so that the budget lasts and nearly all of it can be used; and while the day's limit, or abroad
that of roaming, is reached. What is critical goes at once until it has taken `critical_bytes` of the month, which is
kept for it; beyond that it is as anything else. The budget is never exceeded by more than what was on its way.

A month begins on the plan's day, at midnight UTC. Limits: a clock before 2020 is none: time stands still then. What
was spent is taken along when the clock turns out to have been wrong: nothing is refunded by setting it back.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, replace

from agent.system.clock import YEAR_2020_NS

DAY_NS = 86_400 * 10**9
AHEAD_NS = DAY_NS
WAIT_S_MIN, WAIT_S_MAX = 1.0, 900.0
"""How soon it is worth while to ask again, and when to ask again though nothing will have changed by itself."""

_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_SEGMENT_BYTES = 1400
_SEGMENT_OVERHEAD = 80
"""TCP and IP headers of a segment, and its share of the acknowledgements."""
_PUBLISH_OVERHEAD = 180
"""MQTT's and TLS' framing, and the answer with its own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be spent; None: no such limit.

    month_bytes      of a month, critical ones included
    critical_bytes   of them, kept for what is critical
    day_bytes        of a day (UTC), for what is not critical
    roaming_bytes    of a month, abroad, likewise
    starts_on        the day of the month on which it begins, 1…28
    """

    month_bytes: int
    critical_bytes: int
    day_bytes: int | None = None
    roaming_bytes: int | None = None
    starts_on: int = 1


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of the month and of the day that hold `at_ns`; bytes.

    at_ns           the latest time that was seen, wall clock
    month, day      first day of the month, and the day: since 1970
    """

    at_ns: int
    month: int
    day: int
    month_bytes: int = 0
    day_bytes: int = 0
    roaming_bytes: int = 0
    critical_bytes: int = 0


def nothing_spent(plan: Plan, now_ns: int) -> Spent:
    """At the beginning."""
    return Spent(now_ns, month_of(plan, now_ns), now_ns // DAY_NS)


def presumed_spent(plan: Plan, now_ns: int) -> Spent:
    """Where nobody knows: the even share of the month until now."""
    spent = nothing_spent(plan, now_ns)
    return replace(spent, month_bytes=int(plan.month_bytes * _elapsed(plan, spent)))


def turned(plan: Plan, spent: Spent, now_ns: int) -> Spent:
    """The same at another time: a new day and a new month begin with nothing spent."""
    if now_ns < YEAR_2020_NS:
        return spent
    month, day = month_of(plan, now_ns), now_ns // DAY_NS
    was_set = spent.at_ns >= YEAR_2020_NS
    if was_set and month > spent.month:
        return nothing_spent(plan, now_ns)
    if not was_set or month < spent.month:
        return replace(spent, at_ns=now_ns, month=month, day=day)
    if day > spent.day:
        spent = replace(spent, day=day, day_bytes=0)
    return replace(spent, at_ns=max(spent.at_ns, now_ns))


def add(spent: Spent, size_bytes: int, *, critical: bool, roaming: bool) -> Spent:
    """So much more has gone; less than nothing corrects an estimate."""
    return replace(
        spent,
        month_bytes=max(0, spent.month_bytes + size_bytes),
        day_bytes=max(0, spent.day_bytes + size_bytes),
        roaming_bytes=max(0, spent.roaming_bytes + size_bytes * roaming),
        critical_bytes=max(0, spent.critical_bytes + size_bytes * critical),
    )


def wait_s(plan: Plan, spent: Spent, *, critical: bool, roaming: bool) -> float:
    """Seconds after which to ask again; 0: a batch may go now."""
    if critical and spent.critical_bytes < plan.critical_bytes:
        return 0.0
    left_ns = max(_paced_ns(plan, spent), _day_ns(plan, spent), _roaming_ns(plan, spent) if roaming else 0)
    return min(max(left_ns / 1e9, WAIT_S_MIN), WAIT_S_MAX) if left_ns > 0 else 0.0


def forecast(plan: Plan, spent: Spent) -> str:
    """For a person: what is spent, and whether it will last."""
    text = f"data plan {_mib(spent.month_bytes)} of {_mib(plan.month_bytes)}"
    elapsed = max(_elapsed(plan, spent), AHEAD_NS / _length_ns(plan, spent.month))
    share = spent.month_bytes / plan.month_bytes
    if wait_s(plan, spent, critical=False, roaming=False):
        text += ", holding back"
    if share <= elapsed or share == 0:
        return f"{text}, lasts"
    last_ns = spent.month * DAY_NS + elapsed / share * _length_ns(plan, spent.month)
    return f"{text}, at this rate until {_date(int(last_ns // DAY_NS))}"


def on_wire_bytes(payload_bytes: int, topic_bytes: int) -> int:
    """About what a publish takes of the plan, in both directions."""
    size = payload_bytes + topic_bytes + _PUBLISH_OVERHEAD
    return size + _SEGMENT_OVERHEAD * math.ceil(size / _SEGMENT_BYTES)


def month_of(plan: Plan, now_ns: int) -> int:
    """The first day of the plan's month, since 1970."""
    today = dt.date.fromordinal(_EPOCH_DAY + now_ns // DAY_NS)
    first = today.replace(day=plan.starts_on)
    if first > today:
        first = (first.replace(day=1) - dt.timedelta(days=1)).replace(day=plan.starts_on)
    return first.toordinal() - _EPOCH_DAY


def _length_ns(plan: Plan, month: int) -> int:
    """From the month's first day to the next one's."""
    following = month_of(plan, (month + 31) * DAY_NS)
    return (following - month) * DAY_NS


def _elapsed(plan: Plan, spent: Spent) -> float:
    """Of the month, 0…1."""
    return min(max((spent.at_ns - spent.month * DAY_NS) / _length_ns(plan, spent.month), 0.0), 1.0)


def _paced_ns(plan: Plan, spent: Spent) -> float:
    """Until the pace has caught up with what is spent; for ever where nothing is left."""
    reserve = max(0, plan.critical_bytes - spent.critical_bytes)
    share = spent.month_bytes / max(1, plan.month_bytes - reserve)
    length_ns = _length_ns(plan, spent.month)
    ahead = AHEAD_NS / length_ns
    if share >= 1:
        return math.inf
    return ((share - ahead) / (1 - ahead) - _elapsed(plan, spent)) * length_ns


def _day_ns(plan: Plan, spent: Spent) -> float:
    if plan.day_bytes is None or spent.day_bytes < plan.day_bytes:
        return 0
    return max(1, (spent.day + 1) * DAY_NS - spent.at_ns)


def _roaming_ns(plan: Plan, spent: Spent) -> float:
    return math.inf if plan.roaming_bytes is not None and spent.roaming_bytes >= plan.roaming_bytes else 0


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f}MiB"


def _date(day: int) -> str:
    return dt.date.fromordinal(_EPOCH_DAY + day).isoformat()
