# SPDX-License-Identifier: Apache-2.0
"""Which classes a configuration uses, which of them is home, and how long each may wait."""

from __future__ import annotations

from agent.collect.rules.priorities import classes_in_use, home_class, ttls_ns
from agent.config import CollectConfig, TriggerConfig
from agent.units import Duration

TRIGGER = TriggerConfig(name="event", when="A > 1")
HOUR = Duration.parse("1h")


def test_without_rules_everything_is_normal_and_triggers_add_their_class() -> None:
    assert classes_in_use([], []) == ("normal",)
    assert classes_in_use([], [TRIGGER]) == ("critical", "normal")
    assert home_class([], [TRIGGER]) == "normal"


def test_home_is_normal_where_a_rule_uses_it_and_else_the_least_urgent() -> None:
    bulk, critical = CollectConfig(priority="bulk"), CollectConfig(priority="critical")
    assert home_class([bulk, CollectConfig()], []) == "normal"
    assert home_class([bulk, critical], []) == "bulk"
    assert home_class([critical], [TRIGGER]) == "critical"
    assert classes_in_use([CollectConfig(keep=False), critical], []) == ("critical",)


def test_the_longest_life_of_a_class_counts_and_one_without_end_for_all_of_it() -> None:
    two = Duration.parse("2h")
    rules = [CollectConfig(priority="bulk", ttl=HOUR), CollectConfig(priority="bulk", ttl=two), CollectConfig(ttl=HOUR)]
    assert ttls_ns(rules, [TRIGGER]) == {"bulk": two, "normal": HOUR}
    assert ttls_ns([*rules, CollectConfig(priority="bulk")], []) == {"normal": HOUR}
    assert ttls_ns([], [TriggerConfig(name="event", when="A > 1", ttl=HOUR)]) == {"critical": HOUR}
