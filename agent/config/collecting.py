# SPDX-License-Identifier: Apache-2.0
"""``[[collect]]`` and ``[[trigger]]``: what is kept of all that the buses carry.

Rules name signals by patterns: ``*`` any text, ``?`` any character, ``[abc]`` one of these. They compose: a
sample is kept if any rule keeps it, with the highest priority of the rules that do; a rule with ``keep = false`` takes
the signals that it names away from the rules above it, and those below may take them up again. Where none does, they
are forbidden to triggers, too, but those whose ``record`` names them without a wildcard. Without any ``[[collect]]``
everything is kept, with the priority "normal".

What must hold between the keys is said by `collecting_violations`; what must hold between them and the DBC files is
`agent.collect.config_check`'s matter.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from agent.config.priorities import Priority
from agent.config.section import Section, Within
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Patterns = Annotated[
    str | tuple[str, ...],
    Meta(description='a name or pattern such as "ENGINE_*", or a list of them'),
]
Condition = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        description='a condition of 1 to 1000 characters, such as "BrakePressure > 80 and VehicleSpeed > 30"',
    ),
]
TriggerName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z", description="1 to 64 letters, digits and - _ . :")
]
Deadband = Annotated[float, Meta(ge=0, le=sys.float_info.max, description="a number from 0 on, in the signal's unit")]
"""Which an infinite one is not: TOML writes that, too."""
Interval = Annotated[Duration, Within("1ms", "24h")]
Ttl = Annotated[Duration, Within("1s", "10000h")]


class CollectConfig(Section, frozen=True, kw_only=True):
    """``[[collect]]``: a rule of what is kept; without any, everything is.

    bus           the buses it is about: a name, a pattern, or a list of them
    message       the messages, likewise; an id that no DBC file describes is named as in 0x1A0
    signal        the signals, likewise; or ``MESSAGE.Signal``, or ``bus.MESSAGE.Signal``
    keep          false: the rules above do not count for these signals; unless one below keeps them, triggers do not
                  record them either, but one whose record names them, without * ? [
    every         at most so often: one sample in each such interval of the frames' own clock; the last one always
                  arrives, at the latest when the interval is over
    value         which one: "last"; "first" (at once, and the last one too where it differs); "min"; "max"; or
                  "mean": the nearest value that the signal can carry, at the time of the last
    on_change     keep a sample only if it differs from the one kept before
    deadband      by more than this, in the signal's unit
    stale_after   a message that is silent for so long is marked as absent, and as back when it returns
    priority      what goes first, and what is evicted last
    ttl           samples that could not be sent for so long are dropped; the longest of a priority counts for all of it
    """

    bus: Patterns = "*"
    message: Patterns = "*"
    signal: Patterns = "*"
    keep: bool = True
    every: Interval | None = None
    value: Literal["last", "first", "min", "max", "mean"] = "last"
    on_change: bool = False
    deadband: Deadband | None = None
    stale_after: Interval | None = None
    priority: Priority = Priority.NORMAL
    ttl: Ttl | None = None


class TriggerConfig(Section, frozen=True, kw_only=True):
    """``[[trigger]]``: an event, and what is recorded around it at full rate.

    name            names the event in batches, exports and logs; each name once; required
    when            the condition; the event is that it becomes true; required
    until           the event is over, and may come again, only when this has become true; unless given, when the
                    condition is not true any more
    hold            the condition must have been true for so long
    at_most_every   an event so soon after the last one is passed over
    stale_after     a value that was not renewed for so long is not known any more; unless given, it holds for ever
    before          how much is recorded of the time before the event
    after           how much is recorded from the event on; overlapping recordings join
    record          the signals that are recorded, as "signal", "message.signal" or "bus.message.signal", with patterns;
                    those that [[collect]] forbids (keep = false) only where they are named without * ? [
    priority        of what is recorded
    ttl             as in [[collect]]
    """

    name: TriggerName
    when: Condition
    until: Condition | None = None
    hold: Annotated[Duration, Within("0s", "1h")] = Duration.parse("0s")
    at_most_every: Annotated[Duration, Within("0s", "24h")] = Duration.parse("0s")
    stale_after: Interval | None = None
    before: Annotated[Duration, Within("0s", "10m")] = Duration.parse("10s")
    after: Annotated[Duration, Within("0s", "1h")] = Duration.parse("10s")
    record: Patterns = "*"
    priority: Priority = Priority.CRITICAL
    ttl: Ttl | None = None


def patterns(written: str | tuple[str, ...]) -> tuple[str, ...]:
    """A pattern, or a list of them, as a list."""
    return (written,) if isinstance(written, str) else written


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


def collecting_violations(
    collect: Sequence[CollectConfig], triggers: Sequence[TriggerConfig]
) -> Iterator[tuple[str, str]]:
    """Key and text for everything that does not go together, whatever the DBC files say."""
    for number, rule in enumerate(collect, 1):
        yield from _rule_violations(f"collect[#{number}]", rule)
    if collect and not any(rule.keep for rule in collect):
        yield "collect", "no rule keeps anything; accepted: at least one without keep = false, or no [[collect]] at all"
    names: set[str] = set()
    for trigger in triggers:
        where = f"trigger[{trigger.name}]"
        if trigger.name in names:
            yield f"{where}.name", f'"{trigger.name}" is taken by another trigger; accepted: each name once'
        names.add(trigger.name)
        if not trigger.before and not trigger.after:
            yield f"{where}.after", '"0s" beside before = "0s" records nothing; accepted: a window longer than nothing'
        yield from _patterns_violations(where, "record", trigger.record)


def _rule_violations(where: str, rule: CollectConfig) -> Iterator[tuple[str, str]]:
    for key in ("bus", "message", "signal"):
        yield from _patterns_violations(where, key, getattr(rule, key))
    if not rule.keep:
        given = [key for key in ("every", "deadband", "stale_after", "ttl") if getattr(rule, key) is not None]
        given += ["on_change"] if rule.on_change else []
        for key in given:
            yield f"{where}.{key}", "has no effect beside keep = false; accepted: without it"
        return
    if rule.value != "last" and rule.every is None:
        yield f"{where}.value", f'"{rule.value}" has no effect without every; accepted: with every = "1s", for example'
    if rule.deadband is not None and not rule.on_change:
        yield f"{where}.deadband", f"{rule.deadband:g} has no effect without on_change; accepted: with on_change = true"


def _patterns_violations(where: str, key: str, written: str | tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not patterns(written) or not all(patterns(written)):
        yield f"{where}.{key}", 'names nothing; accepted: at least one name or pattern, such as "*"'
