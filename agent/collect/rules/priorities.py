# SPDX-License-Identifier: Apache-2.0
"""The classes of what is kept, by urgency: which of them a configuration uses, and how long each may wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config.collecting import CollectConfig, Priority, TriggerConfig

CLASSES: tuple[Priority, ...] = ("bulk", "normal", "critical")
"""In ascending order. A class's *rank* is its place here, counted from 1; rank 0 is not kept."""
NORMAL = 2


def rank_of(priority: Priority) -> int:
    """The rank of a class."""
    return CLASSES.index(priority) + 1


def classes_in_use(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> tuple[Priority, ...]:
    """The classes that something is kept in, the most urgent first."""
    used = {rule.priority for rule in collect if rule.keep} | {trigger.priority for trigger in triggers}
    if not collect:
        used.add("normal")
    return tuple(each for each in reversed(CLASSES) if each in used)


def home_class(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> Priority:
    """The class that tells what concerns all frames: how many there were, and what is missing.

    "normal" where a rule uses it, else the least urgent one in use.
    """
    if not collect or any(rule.keep and rule.priority == "normal" for rule in collect):
        return "normal"
    return classes_in_use(collect, triggers)[-1]


def ttls_ns(collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]) -> dict[Priority, int]:
    """The time to live of each class that has one: the longest of all that use it, if none of them is without."""
    lives: dict[Priority, list[int | None]] = {} if collect else {"normal": [None]}
    used = [(rule.priority, rule.ttl) for rule in collect if rule.keep]
    for priority, ttl in used + [(trigger.priority, trigger.ttl) for trigger in triggers]:
        lives.setdefault(priority, []).append(ttl)
    return {name: max(filter(None, found)) for name, found in lives.items() if None not in found}
