# SPDX-License-Identifier: Apache-2.0
"""One DBC file's text to definitions: the sound statements through cantools, its messages to `MessageDefinition`.

cantools reads the file's messages, signals, float types and multiplexing as `tolerance` left them, with
``strict=False``; start bits, lengths, numbers and multiplexing mean what they mean there, and a definition's scale and
offset have the types that cantools computes with: ints where it decodes ints, else as written. Value tables, units,
limits and attributes do not change a value and are taken from the statements directly.

Should cantools refuse the whole, it is given one message at a time, and what it refuses then is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.decode.attributes import Attributes
from agent.decode.overlaps import overlapping
from agent.decode.reading import read_statements
from agent.decode.report import Severity, Subject
from agent.decode.tolerance import RANGE_MAX, sound_messages
from agent.model import MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.decode.report import Problem
    from agent.decode.sound import SoundMessage, SoundSignal
    from agent.decode.statements import SignalStatement, Statements

OVERLAPS_NAMED = 3


def parse(
    bus: str, file: str, text: str, j1939: bool | str
) -> tuple[list[tuple[int, MessageDefinition]], list[Problem]]:
    """The messages of a DBC file's text with their lines, in its order, and its problems, by line.

    j1939   True or False for all 29-bit messages, "auto" for what the file says
    """
    statements = read_statements(file, text)
    messages = sound_messages(statements)
    attributes = Attributes(statements)
    definitions = []
    for message, loaded in _load(statements, messages):
        definition = _definition(bus, message, loaded, attributes, j1939)
        definitions.append((message.statement.line, definition))
        _report_overlaps(statements, message, definition, [signal.name for signal in loaded.signals])
    if not statements.messages:
        statements.report(0, "the file declares no message", Severity.NOTE, Subject.FILE)
    return definitions, sorted(statements.problems, key=lambda problem: problem.line)


# cantools ---------------------------------------------------------------------------------------------------


def _load(statements: Statements, messages: list[SoundMessage]) -> Iterator[tuple[SoundMessage, Any]]:
    """Each message that cantools loads, with cantools' own."""
    try:
        all_loaded = _cantools_messages(messages)
    except Exception:  # noqa: BLE001  cantools raises whatever a file makes happen
        yield from _load_singly(statements, messages)
    else:
        yield from zip(messages, all_loaded, strict=True)


def _load_singly(statements: Statements, messages: list[SoundMessage]) -> Iterator[tuple[SoundMessage, Any]]:
    """The same, leaving out the messages that cantools refuses."""
    for message in messages:
        try:
            loaded = _cantools_messages([message])[0]
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split()) or type(error).__name__
            statements.report(
                message.statement.line,
                f"message left out, cantools cannot load it: {reason}",
                Severity.SKIPPED,
                Subject.MESSAGE,
                message.statement.name,
            )
            continue
        yield message, loaded


def _cantools_messages(messages: Sequence[SoundMessage]) -> list[Any]:
    if not messages:
        return []
    from cantools.database.can.formats.dbc import load_string  # only the loading process pays for it

    text = "\n".join(line for message in messages for line in _lines(message))
    return list(load_string(text + "\n", strict=False).messages)


def _lines(message: SoundMessage) -> Iterator[str]:
    """A message's statements as the DBC format wants them."""
    yield f"BO_ {message.can_id} {message.alias}: {message.length} Vector__XXX"
    for signal in message.signals:
        s = signal.statement
        yield (
            f" SG_ {signal.alias} {signal.mark}: {signal.start}|{signal.length}@{s.order}{s.sign} "
            f'({s.scale},{s.offset}) [{s.minimum}|{s.maximum}] "" Vector__XXX'
        )
    loaded = {signal.alias for signal in message.signals}
    for alias, kind in message.floats.items():
        if alias in loaded:
            yield f"SIG_VALTYPE_ {message.can_id} {alias} : {kind};"
    for alias, (multiplexor, ranges) in message.selections.items():
        if alias in loaded:
            spelled = ", ".join(f"{low}-{_spelled_high(low, high)}" for low, high in ranges)
            yield f"SG_MUL_VAL_ {message.can_id} {alias} {multiplexor} {spelled};"


def _spelled_high(low: int, high: int) -> int:
    return high if high - low < RANGE_MAX else low


# Definitions ------------------------------------------------------------------------------------------------


def _definition(
    bus: str, message: SoundMessage, loaded: Any, attributes: Attributes, j1939: bool | str
) -> MessageDefinition:
    sound = {signal.alias: signal for signal in message.signals}
    names = {alias: attributes.signal_name(message.dbc_id, signal.statement.name) for alias, signal in sound.items()}
    return MessageDefinition(
        bus=bus,
        can_id=message.can_id,
        name=attributes.message_name(message),
        length=loaded.length,
        signals=tuple(_signal(message, sound[signal.name], signal, names, attributes) for signal in loaded.signals),
        j1939=attributes.is_j1939(message, j1939),
        cycle_ms=attributes.cycle_ms(message.dbc_id),
        cyclic=attributes.is_cyclic(message.dbc_id),
    )


def _signal(
    message: SoundMessage, sound: SoundSignal, loaded: Any, names: dict[str, str], attributes: Attributes
) -> SignalDefinition:
    statement = sound.statement
    unlimited = statement.minimum == statement.maximum == "0"
    selector = loaded.multiplexer_signal
    return SignalDefinition(
        name=names[sound.alias],
        start=loaded.start,
        length=loaded.length,
        little_endian=loaded.byte_order == "little_endian",
        signed=loaded.is_signed,
        is_float=loaded.is_float,
        scale=loaded.scale,
        offset=loaded.offset,
        unit=statement.unit.replace('\\"', '"'),
        minimum=None if unlimited else _number(statement.minimum),
        maximum=None if unlimited else _number(statement.maximum),
        choices=tuple(message.values.get(sound.alias, {}).items()),
        multiplexor=loaded.is_multiplexer,
        selected_by=None if selector is None else names[selector],
        selected_when=() if selector is None else _selected_when(message, sound, loaded),
        counter=attributes.is_counter(message.dbc_id, statement.name),
    )


def _selected_when(message: SoundMessage, sound: SoundSignal, loaded: Any) -> tuple[tuple[int, int], ...]:
    ranges = [(value, value) for value in loaded.multiplexer_ids or ()]
    multiplexor, spelled = message.selections.get(sound.alias, ("", ()))
    if multiplexor == loaded.multiplexer_signal:
        ranges += [(low, high) for low, high in spelled if low <= high]
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


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _report_overlaps(
    statements: Statements, message: SoundMessage, definition: MessageDefinition, aliases: list[str]
) -> None:
    """A note for each signal that overlaps one above it in the file."""
    by_alias = {signal.alias: signal.statement for signal in message.signals}
    found: dict[int, list[SignalStatement]] = {}
    below: dict[int, SignalStatement] = {}
    for pair in overlapping(definition):
        first, second = sorted((by_alias[aliases[index]] for index in pair), key=lambda signal: signal.line)
        found.setdefault(second.line, []).append(first)
        below[second.line] = second
    for line, others in found.items():
        named = ", ".join(f"{other.name} (line {other.line})" for other in others[:OVERLAPS_NAMED])
        more = f" and {len(others) - OVERLAPS_NAMED} more" if len(others) > OVERLAPS_NAMED else ""
        statements.report(
            line,
            f"signal overlaps {named}{more}, all are decoded",
            Severity.NOTE,
            Subject.SIGNAL,
            message.statement.name,
            below[line].name,
        )
