# SPDX-License-Identifier: Apache-2.0
"""What must hold between ``[[collect]]`` and ``[[trigger]]`` and the DBC files: names that are there, units that fit,
conditions that can come true.

Promise: `violations` names every rule and trigger that would never do what it says, with its key and the nearest name;
nothing that it lets pass fails later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.collect.conditions.binding import bind
from agent.collect.conditions.parser import parse_condition
from agent.collect.conditions.static_check import impossible, is_certain
from agent.collect.conditions.syntax import ExpressionError
from agent.collect.integrity.protection import protection_violations
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.windows import frame_bytes
from agent.config.collecting import patterns
from agent.config.patterns import Patterns, SignalPatterns, nearest
from agent.decode.overlaps import Overlaps, TooManyError
from agent.model import RAW_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from agent.collect.conditions.binding import Directory
    from agent.config import BusConfig, CollectConfig, Config, TriggerConfig
    from agent.model import MessageDefinition

_RAW_NAMES = [signal.name for signal in RAW_SIGNALS]


def violations(config: Config, directory: Directory) -> Iterator[tuple[str, str]]:
    """Key and text for everything that does not fit the definitions."""
    yield from protection_violations(directory.messages, config.integrity)
    for number, rule in enumerate(config.collect, 1):
        yield from _rule_violations(f"collect[#{number}]", rule, config.buses, directory)
    keeps_unknown = any(bus.keep_unknown for bus in config.buses)
    for trigger in config.triggers:
        yield from _trigger_violations(f"trigger[{trigger.name}]", trigger, directory, keeps_unknown=keeps_unknown)


def _rule_violations(
    where: str, rule: CollectConfig, buses: Sequence[BusConfig], directory: Directory
) -> Iterator[tuple[str, str]]:
    names = [bus.name for bus in buses]
    yield from _unknown(f"{where}.bus", rule.bus, names, "there is no bus")
    of_bus, of_message = Patterns(rule.bus), Patterns(rule.message)
    messages = [each for each in _decoded(directory) if of_bus.match(each.bus)]
    raw = any(bus.keep_unknown and of_bus.match(bus.name) for bus in buses)
    written = [each for each in patterns(rule.message) if not (raw and each.startswith(("0x", "*", "?", "[")))]
    if messages:
        yield from _unknown(
            f"{where}.message", written, [each.name for each in messages], "the DBC files have no message"
        )
    described = [each for each in messages if of_message.match(each.name)]
    if described or raw:
        written = [each for each in patterns(rule.signal) if not (raw and "0x" in each)]
        yield from _unknown_signals(f"{where}.signal", written, described, "these messages have no signal", raw=raw)


def _trigger_violations(
    where: str, trigger: TriggerConfig, directory: Directory, *, keeps_unknown: bool
) -> Iterator[tuple[str, str]]:
    for key in ("when", "until"):
        if getattr(trigger, key) is not None:
            yield from _condition_violations(where, key, trigger, directory)
    written = [each for each in patterns(trigger.record) if not (keeps_unknown and "0x" in each)]
    what = "the DBC files have no signal"
    yield from _unknown_signals(f"{where}.record", written, _decoded(directory), what, raw=keeps_unknown)


def _condition_violations(
    where: str, key: str, trigger: TriggerConfig, directory: Directory
) -> Iterator[tuple[str, str]]:
    text = getattr(trigger, key)
    try:
        condition = bind(parse_condition(text), directory)
    except ExpressionError as error:
        yield f"{where}.{key}", str(error)
        return
    why = impossible(condition)
    if why is not None:
        reason, at = why
        yield f"{where}.{key}", f'"{text}" can never be true: {reason}, at character {at + 1}'


def _unknown(key: str, written: str | Sequence[str], known: Collection[str], what: str) -> Iterator[tuple[str, str]]:
    """Patterns that match none of these names."""
    for pattern in (written,) if isinstance(written, str) else written:
        match = Patterns(pattern).match
        if not any(map(match, known)):
            yield key, f'{what} "{pattern}"{nearest(pattern, known)}'


def _unknown_signals(
    key: str, written: Sequence[str], messages: Sequence[MessageDefinition], what: str, *, raw: bool
) -> Iterator[tuple[str, str]]:
    """Patterns that match no signal of these messages; `raw`: nor one of frames that no file describes."""
    names = [(each.bus, each.name, signal.name) for each in messages for signal in each.signals]
    names += [("", "", name) for name in _RAW_NAMES] if raw else []
    for pattern in written:
        match = SignalPatterns(pattern).match
        if not any(match(*each) for each in names):
            known = [".".join(each[2 - min(pattern.count("."), 2) :]) for each in names]
            yield key, f'{what} "{pattern}"{nearest(pattern, known)}'


def _decoded(directory: Directory) -> list[MessageDefinition]:
    return [directory.messages[index] for index in directory.decoded]


def doubtful(config: Config, directory: Directory) -> Iterator[tuple[str, str]]:
    """Key and text for conditions that are always true, for what triggers record of what rules forbid, and for windows
    that the ring is too small for, as far as the DBC files say how much traffic is."""
    book = RuleBook.of(config.collect)
    for trigger in config.triggers:
        yield from _certain(f"trigger[{trigger.name}]", trigger, directory)
        yield from _forbidden(f"trigger[{trigger.name}].record", trigger, config.buses, book, directory)
    yield from _shared_bits(config, book, directory)
    frames_s = sum(1000 / each.cycle_ms for each in _decoded(directory) if each.cycle_ms)
    held_s = config.agent.ring / frame_bytes(8) / frames_s if frames_s else float("inf")
    for trigger in config.triggers:
        if trigger.before.seconds > held_s:
            needed = round(trigger.before.seconds * frames_s * frame_bytes(8) / (1 << 20) + 0.5)
            text = f'"{trigger.before}" is more than the {held_s:.0f} s that agent.ring holds of this traffic'
            yield f"trigger[{trigger.name}].before", f'{text}; agent.ring = "{needed}MiB" would do'


def _forbidden(
    where: str, trigger: TriggerConfig, buses: Sequence[BusConfig], book: RuleBook, directory: Directory
) -> Iterator[tuple[str, str]]:
    """What is recorded although a rule forbids it, for it is named; and patterns of which nothing is left."""
    described = [(each.bus, each.name, signal.name) for each in _decoded(directory) for signal in each.signals]
    for pattern in patterns(trigger.record):
        record = SignalPatterns(pattern)
        raw = {"0x", *(part for part in pattern.split(".") if part.startswith("0x"))}
        names = [(bus.name, id_, byte) for bus in buses if bus.keep_unknown for id_ in raw for byte in _RAW_NAMES]
        matched = [each for each in [*described, *names] if record.match(*each)]
        forbidden = [each for each in matched if book.forbids(*each)]
        if not forbidden:
            continue
        named = [".".join(each) for each in forbidden if record.names(*each)]
        if named:
            yield where, f'"{pattern}" records what keep = false forbids, for it is named: {", ".join(named[:3])}'
        elif len(forbidden) == len(matched):
            yield where, f'"{pattern}" records nothing: keep = false forbids all of it, but for signals that are named'


def _shared_bits(config: Config, book: RuleBook, directory: Directory) -> Iterator[tuple[str, str]]:
    """Signals that are kept or recorded and carry bits of one that is forbidden."""
    records = [SignalPatterns(trigger.record) for trigger in config.triggers]
    overlaps = Overlaps()
    for message in _decoded(directory):
        names = [(message.bus, message.name, signal.name) for signal in message.signals]
        forbidden = {index for index, name in enumerate(names) if book.forbids(*name)}
        try:
            pairs = overlaps.of(message) if forbidden else []
        except TooManyError:  # reported where the file is read
            return
        for one, other in pairs:
            hidden, shown = (one, other) if one in forbidden else (other, one)
            if hidden not in forbidden or shown in forbidden:
                continue
            if book.keepers(*names[shown]) or any(book.lets_record(record, *names[shown]) for record in records):
                text = (
                    f"{'.'.join(names[shown])} is kept and has bits of {names[hidden][2]}, which keep = false forbids"
                )
                yield "collect", text


def _certain(where: str, trigger: TriggerConfig, directory: Directory) -> Iterator[tuple[str, str]]:
    """A `when` that is always true is not beside stale_after: it is not while its signals stay away."""
    comes_once = "the event comes once, with the first frames"
    comes_again = "the event comes again as soon as until is true"
    texts = {
        "when": "" if trigger.stale_after is not None else comes_once if trigger.until is None else comes_again,
        "until": "the event may come again with every frame",
    }
    for key, text in texts.items():
        written = getattr(trigger, key)
        if text and written is not None and is_certain(bind(parse_condition(written), directory)):
            yield f"{where}.{key}", f'"{written}" is always true: {text}'
