# SPDX-License-Identifier: Apache-2.0
"""One DBC file's text to definitions: the accepted statements, each message to a `MessageDefinition`.

Start bits, lengths, numbers and multiplexing mean what they mean to cantools, which is what the tests compare with:
signals are in the order of their first bits, and a definition's scale and offset are ints where cantools decodes ints,
else as written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.decode.attributes import Attributes
from agent.decode.overlaps import Overlaps, TooManyError
from agent.decode.report import Severity, Subject
from agent.decode.tolerance import accept_messages
from agent.model import MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from agent.decode.report import Problem
    from agent.decode.statements import AcceptedMessage, AcceptedSignal, SignalStatement, Statements

OVERLAPS_NAMED = 3


def define(
    bus: str, statements: Statements, j1939: bool | str
) -> tuple[list[tuple[int, MessageDefinition]], list[Problem]]:
    """The messages of a file's statements with their lines, in its order, and its problems, by line.

    j1939   True or False for all 29-bit messages, "auto" for what the file says
    """
    messages = accept_messages(statements)
    attributes = Attributes(statements)
    definitions = []
    overlaps = Overlaps()
    for message in messages:
        message.signals.sort(key=_first_bit)
        definition = _definition(bus, message, attributes, j1939)
        definitions.append((message.statement.line, definition))
        _report_overlaps(statements, message, definition, overlaps)
    if not statements.messages:
        statements.report(0, "the file declares no message", Severity.NOTE, Subject.FILE)
    return definitions, statements.reported()


def _first_bit(signal: AcceptedSignal) -> int:
    """The bit by which signals are ordered: a Motorola signal's most significant one, numbered as bits are sent."""
    return signal.end_bit - signal.length


def _definition(bus: str, message: AcceptedMessage, attributes: Attributes, j1939: bool | str) -> MessageDefinition:
    names = {s.alias: attributes.signal_name(message.dbc_id, s.statement.name) for s in message.signals}
    only = message.only_multiplexor()
    return MessageDefinition(
        bus=bus,
        can_id=message.can_id,
        name=attributes.message_name(message),
        length=message.length,
        signals=tuple(_signal(message, signal, only, names, attributes) for signal in message.signals),
        j1939=attributes.is_j1939(message, j1939),
        cycle_ms=attributes.cycle_ms(message.dbc_id),
        cyclic=attributes.is_cyclic(message.dbc_id),
    )


def _signal(
    message: AcceptedMessage, signal: AcceptedSignal, only: str | None, names: dict[str, str], attributes: Attributes
) -> SignalDefinition:
    statement = signal.statement
    is_float = signal.alias in message.floats
    scale, offset = _scaling(statement, is_float)
    unlimited = statement.minimum == statement.maximum == "0"
    selector = message.selector(signal, only)
    return SignalDefinition(
        name=names[signal.alias],
        start=signal.start,
        length=signal.length,
        little_endian=statement.order != "0",
        signed=statement.sign == "-",
        is_float=is_float,
        scale=scale,
        offset=offset,
        unit=statement.unit,
        minimum=None if unlimited else _limit(statement.minimum),
        maximum=None if unlimited else _limit(statement.maximum),
        choices=message.values.get(signal.alias, ()),
        multiplexor=signal.is_multiplexor,
        selected_by=None if selector is None else names[selector],
        selected_when=() if selector is None else _selected_when(message, signal, selector, only),
        counter=attributes.is_counter(message.dbc_id, statement.name),
    )


def _scaling(statement: SignalStatement, is_float: bool) -> tuple[int | float, int | float]:
    """Scale and offset: both ints where all physical values are whole numbers."""
    scale, offset = _number(statement.scale), _number(statement.offset)
    whole = scale == int(scale) and offset == int(offset)
    if whole and (not is_float or (scale, offset) == (1, 0)):
        return int(scale), int(offset)
    return scale, offset


def _selected_when(
    message: AcceptedMessage, signal: AcceptedSignal, selector: str, only: str | None
) -> tuple[tuple[int, int], ...]:
    """The values of its multiplexor that select a signal: its mark's number, and the ranges that name it."""
    ranges = []
    if only is not None:
        value = int(signal.mark.removeprefix("m"))
        ranges.append((value, value))
    multiplexor, named = message.selections.get(signal.alias, ("", ()))
    if multiplexor == selector:
        ranges += [(low, high) for low, high in named if low <= high]
    return merge_ranges(ranges)


def merge_ranges(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges in order, none touching another."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _limit(text: str | None) -> int | float | None:
    return None if text is None else _number(text)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _report_overlaps(
    statements: Statements, message: AcceptedMessage, definition: MessageDefinition, overlaps: Overlaps
) -> None:
    """A note for each signal that overlaps one above it in the file."""
    try:
        pairs = overlaps.of(definition)
    except TooManyError:
        reason = "overlapping signals are not looked for from this message on: too many would have to be compared"
        statements.report(message.statement.line, reason, Severity.NOTE, Subject.MESSAGE, message.statement.name)
        return
    place = {id(signal): number for number, signal in enumerate(message.statement.signals)}
    found: dict[int, list[SignalStatement]] = {}
    for pair in pairs:
        statements_of = [message.signals[index].statement for index in pair]
        first, second = sorted(statements_of, key=lambda signal: place[id(signal)])
        found.setdefault(place[id(second)], []).append(first)
    for number, others in found.items():
        signal = message.statement.signals[number]
        named = ", ".join(f"{other.name} (line {other.line})" for other in others[:OVERLAPS_NAMED])
        more = f" and {len(others) - OVERLAPS_NAMED} more" if len(others) > OVERLAPS_NAMED else ""
        statements.report(
            signal.line,
            f"signal overlaps {named}{more}, all are decoded",
            Severity.NOTE,
            Subject.SIGNAL,
            message.statement.name,
            signal.name,
        )
