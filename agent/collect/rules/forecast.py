# SPDX-License-Identifier: Apache-2.0
"""What rules and triggers come to, message by message, before anything is received.

Frequencies are the DBC files' cycle times; what has none is unknown, and so is what comes of it. Bytes are what
recorded drives took in batches of ten seconds, `ROW_BYTES` for a frame's time and `VALUE_BYTES` for a value: right
within a factor of three, as a rule.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.collect.rules.rules import RuleBook
from agent.config.priorities import HIGHEST_FIRST, Priority
from agent.system.printable import LINE_LIMIT, aligned, printable
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.collect.conditions.binding import Directory
    from agent.collect.rules.rules import EffectiveRule
    from agent.config import CollectConfig
    from agent.model import MessageDefinition

ROW_BYTES, VALUE_BYTES = 0.4, 0.1
HOUR_MS = 3_600_000
NAME_MIN = 16


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is kept of a message with one priority.

    kept, signals   how many of the message's signals
    how             as a rule would say it
    frames_hour     frames of which something is kept; None where the DBC file tells no cycle time
    bytes_hour      on the wire
    at_most         fewer, where little changes
    """

    message: str
    priority: Priority
    kept: int
    signals: int
    how: str
    frames_hour: float | None
    bytes_hour: float | None
    at_most: bool


def forecast(configs: Sequence[CollectConfig], directory: Directory) -> Iterator[Forecast]:
    """Each message of which anything is kept, once for each priority."""
    book = RuleBook.of(configs)
    for index in directory.decoded:
        message = directory.messages[index]
        effective_rules = [book.effective_rule(message.bus, message.name, signal) for signal in message.signals]
        for priority in HIGHEST_FIRST:
            found = _of_priority(message, effective_rules, priority)
            if found is not None:
                yield found


def _of_priority(
    message: MessageDefinition, effective_rules: Sequence[EffectiveRule], priority: Priority
) -> Forecast | None:
    """What is kept of a message with a priority."""
    signals: dict[str, int] = defaultdict(int)
    rates: dict[str, float] = {}
    kept = 0
    at_most = False
    cycle_rate = HOUR_MS / message.cycle_ms if message.cycle_ms else None
    for effective_rule in effective_rules:
        ways = dict(_ways(effective_rule, priority))
        kept += bool(ways)
        for how, rate in ways.items():
            signals[how] += 1
            at_most |= "change" in how
            if cycle_rate is not None:
                rates[how] = min(cycle_rate, cycle_rate if rate is None else rate)
    if not kept:
        return None
    frames = bytes_hour = None
    if cycle_rate is not None:
        frames = min(cycle_rate, sum(rates.values()))
        values = sum(signals[how] * rate for how, rate in rates.items())
        bytes_hour = frames * ROW_BYTES + values * VALUE_BYTES
    name = f"{message.bus}.{message.name}"
    return Forecast(name, priority, kept, len(effective_rules), ", ".join(signals), frames, bytes_hour, at_most)


def _ways(effective_rule: EffectiveRule, priority: Priority) -> Iterator[tuple[str, float | None]]:
    """How a signal is kept with a priority, and how many samples that are in an hour, at most; None: all."""
    if effective_rule.priority == priority:
        yield "all", None
    for change in effective_rule.changes:
        if change.priority == priority:
            yield _on_change(change.written), None
    for interval in effective_rule.intervals:
        if interval.priority == priority:
            every = Duration(interval.every_ns)
            how = f"{interval.value} of each {every}"
            rate = HOUR_MS / (interval.every_ns / 1e6) * (2 if interval.value == "first" else 1)
            yield how if interval.deadband is None else f"{how} {_on_change(interval.written)}", rate


def _on_change(deadband: float) -> str:
    return f"on change by more than {deadband:g}" if deadband else "on change"


def table(forecasts: Sequence[Forecast], messages: int, width: int | None = None) -> list[str]:
    """Lines of text for a person, headings first.

    Args:
        forecasts: a row each.
        messages: how many the DBC files define.
        width: of the terminal; None: there is none. A row that is wider is two lines, or more, and a name that is
            still too long loses its beginning.

    """
    rows = [("message", "priority", "signals", "kept", "frames/hour", "bytes/hour")]
    for each in forecasts:
        signals = f"{each.kept} of {each.signals}"
        numbers = [_number(each.frames_hour, at_most=each.at_most), _number(each.bytes_hour, at_most=each.at_most)]
        name, how = printable(each.message), printable(each.how, LINE_LIMIT)
        rows.append((name, str(each.priority), signals, how, numbers[0], numbers[1]))
    lines = aligned(rows, texts=4)
    if width is not None and max(map(len, lines)) > width:
        lines = list(_folded(rows, width))
    dropped = messages - len({each.message for each in forecasts})
    return lines + ([f"nothing is kept of the other {dropped} messages"] if dropped else [])


def _folded(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """How a message is kept stands below the rest of its row."""
    beside = len(aligned([["", *row[1:3], *row[4:]] for row in rows], texts=3)[0])
    room = max(NAME_MIN, width - beside)
    names = [row[0] if len(row[0]) <= room else f"…{row[0][1 - room :]}" for row in rows]
    heads = aligned([[name, *row[1:3], *row[4:]] for name, row in zip(names, rows, strict=True)], texts=3)
    for head, row in zip(heads, rows, strict=True):
        yield head
        yield from textwrap.wrap(row[3], width, initial_indent="  ", subsequent_indent="  ")


def total(forecasts: Sequence[Forecast]) -> str:
    """What all of them come to in an hour, as far as it is known."""
    known = [each.bytes_hour for each in forecasts if each.bytes_hour is not None]
    unknown = len(forecasts) - len(known)
    if not known:
        return "an unknown number of bytes an hour: the DBC files tell no cycle times"
    text = f"about {_number(sum(known), at_most=False)} bytes an hour"
    return text + (f", beside {unknown} of unknown cycle time" if unknown else "")


def _number(value: float | None, *, at_most: bool) -> str:
    if value is None:
        return "unknown"
    return f"{'≤ ' if at_most else ''}{round(value):,}"
