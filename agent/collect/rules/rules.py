# SPDX-License-Identifier: Apache-2.0
"""``[[collect]]`` rules, and the effective rule for one signal of one message on one bus.

A signal's `EffectiveRule` is the sum of the rules that name it and are not taken back by a later one with
``keep = false``. What another rule of the same signal does as well, with at least the same priority, is left out of
it: a rule that keeps every sample makes others of its priority and below superfluous, and one that keeps the last
sample of each second does so to one that keeps the last of each ten.

A signal that no rule keeps because the last one that names it says ``keep = false`` is *forbidden*: no trigger records
it either, but one whose ``record`` names it, without a wildcard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from agent.config.patterns import Patterns, SignalPatterns
from agent.config.priorities import Priority
from agent.physical import exact, is_counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.config.collecting import CollectConfig
    from agent.model import SignalDefinition

FOUND_MAX = 16_384
"""Of so many messages it is remembered which rules are about them; raw frames' ids are endless."""
Value = Literal["last", "first", "min", "max", "mean"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``[[collect]]``, ready to be asked. `number` counts from 1, as in the file."""

    number: int
    config: CollectConfig
    bus: Patterns
    message: Patterns
    signal: SignalPatterns

    @classmethod
    def of(cls, number: int, config: CollectConfig) -> Rule:
        """The rule that a section says."""
        return cls(number, config, Patterns(config.bus), Patterns(config.message), SignalPatterns(config.signal))

    @property
    def priority(self) -> Priority:
        """What it keeps samples with."""
        return self.config.priority


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """Keep a sample that differs from the one kept before by more than `deadband`, in steps of the raw value.

    deadband  whole steps; for a float signal the difference itself, scale not applied
    written   as a person has written it, in the signal's unit
    """

    priority: int
    deadband: int | float
    written: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class IntervalRule:
    """Keep `value` of each interval; with a `deadband`, only if it differs by more from the one kept before."""

    priority: int
    every_ns: int
    value: Value
    deadband: int | float | None = None
    written: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """What is done with the samples of one signal.

    priority   that every sample of it is kept with, 0 where not every one is
    stale_ns   after this silence of its message it is marked as absent; 0: never
    """

    priority: int = 0
    changes: tuple[ChangeRule, ...] = ()
    intervals: tuple[IntervalRule, ...] = ()
    stale_ns: int = 0

    @property
    def is_dropped(self) -> bool:
        """Whether no sample of it is ever kept."""
        return not (self.priority or self.changes or self.intervals)


KEEP_ALL = EffectiveRule(Priority.NORMAL)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules, in their order; none at all keeps everything."""

    rules: tuple[Rule, ...]
    _found: dict[tuple[str, str], list[Rule]] = field(default_factory=dict)
    _combined: dict[object, EffectiveRule] = field(default_factory=dict)

    @classmethod
    def of(cls, configs: Sequence[CollectConfig]) -> RuleBook:
        """The rules of a configuration."""
        return cls(tuple(Rule.of(number, config) for number, config in enumerate(configs, 1)))

    def keepers(self, bus: str, message: str, signal: str) -> list[Rule]:
        """The rules that keep samples of a signal."""
        kept: list[Rule] = []
        for rule in self._naming(bus, message, signal):
            kept = [*kept, rule] if rule.config.keep else []
        return kept

    def forbids(self, bus: str, message: str, signal: str) -> bool:
        """Whether the last rule that names a signal says that it is not to be kept."""
        naming = self._naming(bus, message, signal)
        return bool(naming) and not naming[-1].config.keep

    def lets_record(self, record: SignalPatterns, bus: str, message: str, signal: str) -> bool:
        """Whether a trigger with this `record` records a signal: a forbidden one only where it is named."""
        return record.match(bus, message, signal) and (
            not self.forbids(bus, message, signal) or record.names(bus, message, signal)
        )

    def _naming(self, bus: str, message: str, signal: str) -> list[Rule]:
        """The rules that name a signal, in their order."""
        of_message = self._found.get((bus, message))
        if of_message is None:
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            of_message = [rule for rule in self.rules if rule.bus.match(bus) and rule.message.match(message)]
            self._found[bus, message] = of_message
        return [rule for rule in of_message if rule.signal.match(bus, message, signal)]

    def effective_rule(self, bus: str, message: str, definition: SignalDefinition) -> EffectiveRule:
        """What the rules come to for a signal."""
        if not self.rules:
            return KEEP_ALL
        keepers = self.keepers(bus, message, definition.name)
        alike = (tuple(rule.number for rule in keepers), is_counted(definition), definition.scale)
        found = self._combined.get(alike)
        if found is None:
            found = self._combined[alike] = combined(keepers, definition)
        return found


def combined(rules: Iterable[Rule], definition: SignalDefinition) -> EffectiveRule:
    """The sum of rules that all keep one signal."""
    rules = list(rules)
    always = max((rule.priority for rule in rules if _keeps_all(rule)), default=0)
    changes = {
        ChangeRule(rule.priority, deadband_of(rule, definition), rule.config.deadband or 0.0)
        for rule in rules
        if rule.config.on_change and rule.config.every is None and rule.priority > always
    }
    intervals = {
        IntervalRule(
            rule.priority,
            rule.config.every,
            rule.config.value,
            deadband_of(rule, definition) if rule.config.on_change else None,
            rule.config.deadband or 0.0,
        )
        for rule in rules
        if rule.config.every is not None and (rule.priority > always or rule.config.value == "mean")
    }
    stale = [int(rule.config.stale_after) for rule in rules if rule.config.stale_after is not None]
    return EffectiveRule(
        always,
        tuple(sorted((one for one in changes if not _outdone_change(one, changes)), key=repr)),
        tuple(sorted((one for one in intervals if not _outdone_interval(one, intervals)), key=repr)),
        min(stale, default=0),
    )


def _keeps_all(rule: Rule) -> bool:
    return rule.config.every is None and not rule.config.on_change


def _outdone_change(one: ChangeRule, all_of_them: set[ChangeRule]) -> bool:
    return any(other != one and other.deadband == 0 and other.priority >= one.priority for other in all_of_them)


def _outdone_interval(one: IntervalRule, all_of_them: set[IntervalRule]) -> bool:
    """The last sample of a long interval is the last of a short one, too, where the short ones make up the long."""
    return (one.value, one.deadband) == ("last", None) and any(
        (other.value, other.deadband) == ("last", None)
        and other != one
        and other.priority >= one.priority
        and one.every_ns % other.every_ns == 0
        for other in all_of_them
    )


def deadband_of(rule: Rule, definition: SignalDefinition) -> int | float:
    """A rule's deadband, in steps of the signal's raw value."""
    deadband = rule.config.deadband or 0
    if is_counted(definition):
        return int(Fraction(repr(deadband)) / abs(exact(definition.scale)))
    return deadband / abs(definition.scale) if definition.scale else 0.0
