# SPDX-License-Identifier: Apache-2.0
"""Priorities: which of them a configuration uses, which one reports counts and gaps, and how long each may wait.

Each priority is a stream of batches of its own, with its own spool and journal. The configuration, folders and topics
name it in lower case; `str` gives that name.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config.collecting import CollectConfig, TriggerConfig


class Priority(enum.IntEnum):
    """What goes first, and what is evicted last: the greatest. 0 is no priority: what is not kept."""

    BULK = 1
    NORMAL = 2
    CRITICAL = 3

    @classmethod
    def of(cls, name: str) -> Priority:
        """The priority of this name; raises ValueError."""
        for each in cls:
            if str(each) == name:
                return each
        raise ValueError(f'"{name}" is no priority')

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


HIGHEST_FIRST = tuple(sorted(Priority, reverse=True))


def priorities_in_use(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> tuple[Priority, ...]:
    """The priorities that something is kept with, the highest first."""
    used = {rule.priority for rule in collect if rule.keep} | {trigger.priority for trigger in triggers}
    if not collect:
        used.add(Priority.NORMAL)
    return tuple(sorted(used, reverse=True))


def reporting_priority(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> Priority:
    """The priority whose batches report what concerns all frames: how many there were, and what is missing.

    `NORMAL` where a rule uses it, else the lowest one in use.
    """
    if not collect or any(rule.keep and rule.priority == Priority.NORMAL for rule in collect):
        return Priority.NORMAL
    return priorities_in_use(collect, triggers)[-1]


def ttls_ns(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> dict[Priority, int]:
    """The time to live of each priority that has one: the longest of all that use it, if none of them is without."""
    found: dict[Priority, list[int | None]] = {} if collect else {Priority.NORMAL: [None]}
    used = [(rule.priority, rule.ttl) for rule in collect if rule.keep]
    for priority, ttl_ns in used + [(trigger.priority, trigger.ttl) for trigger in triggers]:
        found.setdefault(priority, []).append(ttl_ns)
    return {priority: max(filter(None, ttls)) for priority, ttls in found.items() if None not in ttls}
