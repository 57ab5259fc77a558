# SPDX-License-Identifier: Apache-2.0
"""Which frames rules need: what a kernel filter may let through, so that all others cost nothing.

Promise: with the filter, the samples that are kept are the same. There is none for a bus that a trigger may look at or
record from, or whose unknown frames a rule may keep. There is none either where frames have to tell the time (to close
intervals, to notice absence) and no message that is needed is sent often enough: only another
message tells that one has stopped.

What is filtered is not received, so it is not counted either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.collect.conditions.binding import Directory
from agent.collect.rules.absence import stopped_after_ns
from agent.collect.rules.rules import RuleBook
from agent.config.patterns import Patterns
from agent.decode.plan import parameter_group_mask
from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import BusConfig, Config
    from agent.model import MessageDefinition

CLOCK_CYCLE_MS_MAX = 1000
"""A message that is sent at least so often, all the time, tells the time."""


def kernel_filters(config: Config, messages: Sequence[MessageDefinition]) -> dict[str, list[tuple[int, int]]]:
    """By bus: (arbitration id word, mask) of what is needed; buses of which everything is needed are not in it."""
    if not config.collect or config.triggers:
        return {}
    directory = Directory(messages)
    found = {}
    for bus in config.buses:
        of_bus = [directory.messages[index] for index in directory.decoded if directory.messages[index].bus == bus.name]
        needed = _needed(config, bus, of_bus)
        if len(needed) < len(of_bus):
            found[bus.name] = [_filter(message) for message in needed]
    return found


def _needed(config: Config, bus: BusConfig, messages: Sequence[MessageDefinition]) -> Sequence[MessageDefinition]:
    """The messages of which anything is kept or verified; all of them where everything has to be received."""
    if bus.keep_unknown and any(rule.keep and Patterns(rule.bus).match(bus.name) for rule in config.collect):
        return messages
    book = RuleBook.of(config.collect)
    verified = [(Patterns(each.bus), Patterns(each.message)) for each in config.integrity]
    needed, clocks, missed, has_intervals = [], [], [], False
    for message in messages:
        protected = any(of_bus.match(bus.name) and of_name.match(message.name) for of_bus, of_name in verified)
        effective_rules = [book.effective_rule(bus.name, message.name, signal) for signal in message.signals]
        if not protected and all(effective_rule.is_dropped for effective_rule in effective_rules):
            continue
        needed.append(message)
        has_intervals |= any(effective_rule.intervals for effective_rule in effective_rules)
        if message.cyclic and 0 < message.cycle_ms <= CLOCK_CYCLE_MS_MAX:
            clocks.append(message)
        if stopped_after_ns(message) or any(effective_rule.stale_ns for effective_rule in effective_rules):
            missed.append(message)
    tells_time = bool(clocks) or not has_intervals
    tells_silence = all(any(clock is not message for clock in clocks) for message in missed)
    return needed if tells_time and tells_silence else messages


def _filter(message: MessageDefinition) -> tuple[int, int]:
    """An arbitration id word and its mask; of a J1939 message those of its parameter group."""
    if not message.can_id & EXTENDED:
        return message.can_id, STANDARD_MASK
    return message.can_id, parameter_group_mask(message.can_id) if message.j1939 else EXTENDED_MASK
