# SPDX-License-Identifier: Apache-2.0
"""Which priorities a configuration uses, which of them reports, and how long each may wait."""

from __future__ import annotations

import pytest

from agent.config import CollectConfig, TriggerConfig
from agent.config.collecting import priorities_in_use, reporting_priority, ttls_ns
from agent.config.priorities import HIGHEST_FIRST, Priority
from agent.units import Duration

TRIGGER = TriggerConfig(name="event", when="A > 1")
HOUR = Duration.parse("1h")


def test_without_rules_everything_is_normal_and_triggers_add_their_priority() -> None:
    assert priorities_in_use([], []) == (Priority.NORMAL,)
    assert priorities_in_use([], [TRIGGER]) == (Priority.CRITICAL, Priority.NORMAL)
    assert reporting_priority([], [TRIGGER]) == Priority.NORMAL


def test_normal_reports_where_a_rule_uses_it_else_the_lowest_priority() -> None:
    bulk, critical = CollectConfig(priority=Priority.BULK), CollectConfig(priority=Priority.CRITICAL)
    assert reporting_priority([bulk, CollectConfig()], []) == Priority.NORMAL
    assert reporting_priority([bulk, critical], []) == Priority.BULK
    assert reporting_priority([critical], [TRIGGER]) == Priority.CRITICAL
    assert priorities_in_use([CollectConfig(keep=False), critical], []) == (Priority.CRITICAL,)


def test_the_longest_ttl_of_a_priority_counts_and_one_without_means_none() -> None:
    two = Duration.parse("2h")
    rules = [
        CollectConfig(priority=Priority.BULK, ttl=HOUR),
        CollectConfig(priority=Priority.BULK, ttl=two),
        CollectConfig(ttl=HOUR),
    ]
    assert ttls_ns(rules, [TRIGGER]) == {Priority.BULK: two, Priority.NORMAL: HOUR}
    assert ttls_ns([*rules, CollectConfig(priority=Priority.BULK)], []) == {Priority.NORMAL: HOUR}
    assert ttls_ns([], [TriggerConfig(name="event", when="A > 1", ttl=HOUR)]) == {Priority.CRITICAL: HOUR}


def test_a_priority_is_written_as_the_configuration_names_it() -> None:
    assert [str(each) for each in HIGHEST_FIRST] == ["critical", "normal", "bulk"]
    assert [Priority.of(str(each)) for each in Priority] == list(Priority)
    assert f"{Priority.BULK:>6}" == "  bulk"
    with pytest.raises(ValueError, match='"urgent" is no priority'):
        Priority.of("urgent")
