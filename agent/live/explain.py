# SPDX-License-Identifier: Apache-2.0
"""What definitions, rules and the agent's last frames say of an id or a name: why it is or is not decoded, kept, sent.

An `Explanation` has an `Item` for each bus that describes the id or has received it, and for each message that a name
means. An id that nothing describes has near misses: what it would be if one thing were different.

Pure, but for the databases, in which the line of a message is looked up where they can be read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.batch.catalog import decode_catalog
from agent.collect.conditions.binding import Directory
from agent.collect.rules.forecast import forecast
from agent.collect.rules.rules import RuleBook
from agent.config.patterns import SignalPatterns, nearest
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.loading import find_message
from agent.decode.plan import Plan, parameter_group
from agent.live.explain_input import other_kind, parse_ids, shown_id
from agent.live.signals import frame_block, value_of
from agent.model import EXTENDED, EXTENDED_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config.collecting import TriggerConfig
    from agent.live.explain_input import ExplainInput
    from agent.live.protocol import BusDefinition, ProtectionDefinition, Row
    from agent.live.snapshot import IntegrityStatus, PriorityStatus
    from agent.model import MessageDefinition, SignalDefinition

ITEMS_MAX = 20


@dataclass(frozen=True, slots=True)
class Decoded:
    """A signal, and its value in the last frame where that carries it."""

    definition: SignalDefinition
    raw: int | None = None
    value: int | float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """Kept of a message with a priority: how many of its signals, how, and by which rules (numbers; none: no rules)."""

    priority: Priority
    signals: int
    how: str
    rules: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """What the frames of a message are verified by, and what came of it; `counters` None where none has been."""

    protection: ProtectionDefinition
    counters: IntegrityStatus | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One id on one bus.

    message    its description, None where no DBC file of the bus has one
    file, line where that is; "" and 0 where it was not found
    row        the last frame, None where none has come
    signals    of the message
    kept       by priority; () where nothing is
    triggers   names of those that record something of it
    raw_kept   it is kept as raw bytes, without being described
    verified   its counter and checksum, None where neither is verified
    priorities    of what is kept or recorded of it, as far as the agent told: where their batches are
    near       of what nobody describes: what comes near, each one sentence
    """

    bus: str
    can_id: int
    message: MessageDefinition | None
    file: str = ""
    line: int = 0
    row: Row | None = None
    signals: tuple[Decoded, ...] = ()
    kept: tuple[Kept, ...] = ()
    triggers: tuple[str, ...] = ()
    raw_kept: bool = False
    near: tuple[str, ...] = ()
    verified: Verified | None = None
    priorities: tuple[PriorityStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `advice`: what else the question may have meant; `left_out`: items beyond `ITEMS_MAX`."""

    question: str
    items: tuple[Item, ...] = ()
    advice: str = ""
    left_out: int = 0


def explain(known: ExplainInput, question: str) -> Explanation:
    """What is known of an id or a name."""
    return _Explainer(known).explain(question)


class _Explainer:
    def __init__(self, known: ExplainInput) -> None:
        definitions = known.definitions
        catalog = decode_catalog(definitions.catalog_bytes)
        self._definitions = definitions
        self._buses = definitions.buses
        self._messages = catalog.messages
        self._directory = Directory(catalog.messages)
        self._decoder = Decoder(Plan(catalog.buses, catalog.messages))
        self._rows = {(row[0], row[1]): row for row in known.rows}
        found = {counters.subject: counters for counters in known.integrity}
        self._verified: dict[tuple[str, str], Verified] = {}
        for protection in definitions.protections:
            bus, name = self._messages[protection.message].bus, self._messages[protection.message].name
            self._verified[bus, name] = Verified(protection, found.get(f"{bus}.{name}"))
        self._book = RuleBook.of(definitions.collect)
        self._priorities = known.priorities

    def explain(self, question: str) -> Explanation:
        """Names first, then ids: of those the first reading of which anything is known, else the likeliest."""
        items = list(self._named(question))
        read = parse_ids(question)
        for reading in read if not items else ():
            items = list(self._of_id(reading.can_id))
            if items:
                break
        if not items and read:
            items = [self._item(index, read[0].can_id, None) for index in range(len(self._buses))]
        advice = ""
        if not items:
            known = [message.name for message in self._messages]
            known += [signal.name for message in self._messages for signal in message.signals]
            advice = nearest(question.rpartition(".")[2], known).removeprefix("; ")
        return Explanation(question, tuple(items[:ITEMS_MAX]), advice, max(0, len(items) - ITEMS_MAX))

    def _named(self, question: str) -> Iterator[Item]:
        """Messages that bear the name, or have a signal that does, as they are described and as they were received."""
        wanted = question.lower()
        for index in self._directory.decoded:
            message = self._messages[index]
            full = [message.name, f"{message.bus}.{message.name}"]
            for signal in message.signals:
                full += [signal.name, f"{message.name}.{signal.name}", f"{message.bus}.{message.name}.{signal.name}"]
            if wanted in map(str.lower, full):
                bus = self._bus_index(message.bus)
                received = [can_id for (of, can_id), row in self._rows.items() if (of, row[2]) == (bus, index)]
                for can_id in sorted(received) or [message.can_id]:
                    yield self._item(bus, can_id, message)

    def _of_id(self, can_id: int) -> Iterator[Item]:
        """On each bus that describes it or has received it."""
        for index, bus in enumerate(self._buses):
            message = self._described(bus.name, can_id)
            if message is not None or (index, can_id) in self._rows:
                yield self._item(index, can_id, message)

    def _described(self, bus: str, can_id: int) -> MessageDefinition | None:
        for index in self._directory.decoded:
            message = self._messages[index]
            if message.bus == bus and _means(message, can_id):
                return message
        return None

    def _item(self, bus: int, can_id: int, message: MessageDefinition | None) -> Item:
        of_bus, row = self._buses[bus], self._rows.get((bus, can_id))
        if message is None:
            raw_in = self._keeps_raw(of_bus, can_id) if of_bus.keep_unknown else set()
            near = tuple(self._near(bus, can_id))
            return Item(
                *(of_bus.name, can_id, None), row=row, raw_kept=bool(raw_in), near=near, priorities=self._in(raw_in)
            )
        file, line = find_message([Path(file) for file in of_bus.dbc], message)
        kept, recording = tuple(self._kept(message)), list(self._recording(message))
        return Item(
            of_bus.name,
            can_id,
            message,
            file,
            line,
            row,
            self._decoded(message, row),
            kept,
            tuple(trigger.name for trigger in recording),
            verified=self._verified.get((message.bus, message.name)),
            priorities=self._in({each.priority for each in kept} | {trigger.priority for trigger in recording}),
        )

    def _decoded(self, message: MessageDefinition, row: Row | None) -> tuple[Decoded, ...]:
        raw: dict[int, int] = {}
        if row is not None:
            block = self._decoder.decode(frame_block([row])).signals
            raw = dict(zip(block.column_signal.tolist(), block.values.tolist(), strict=True))
        found = []
        for number, signal in enumerate(message.signals):
            if number in raw:
                value, _, name = value_of(signal, raw[number])
                found.append(Decoded(signal, raw[number], value, name))
            else:
                found.append(Decoded(signal))
        return tuple(found)

    def _kept(self, message: MessageDefinition) -> Iterator[Kept]:
        """As `canferry check` plans it."""
        by_priority: dict[Priority, set[int]] = defaultdict(set)
        for signal in message.signals:
            for rule in self._book.keepers(message.bus, message.name, signal.name):
                by_priority[rule.config.priority].add(rule.number)
        for planned in forecast(self._definitions.collect, Directory([message])):
            rules = tuple(sorted(by_priority[planned.priority]))
            yield Kept(planned.priority, planned.kept, planned.how, rules)

    def _in(self, priorities: set[Priority]) -> tuple[PriorityStatus, ...]:
        return tuple(each for each in self._priorities if Priority.of(each.name) in priorities)

    def _keeps_raw(self, bus: BusDefinition, can_id: int) -> set[Priority]:
        """The priorities that do."""
        if not self._book.rules:
            return {Priority.NORMAL}
        name = f"0x{can_id & EXTENDED_MASK:X}"
        return {rule.config.priority for n in range(64) for rule in self._book.keepers(bus.name, name, f"byte{n}")}

    def _recording(self, message: MessageDefinition) -> Iterator[TriggerConfig]:
        for trigger in self._definitions.triggers:
            record = SignalPatterns(trigger.record)
            if any(
                self._book.lets_record(record, message.bus, message.name, signal.name) for signal in message.signals
            ):
                yield trigger

    def _near(self, bus: int, can_id: int) -> Iterator[str]:
        """What it would be if one thing were different."""
        here = self._buses[bus].name
        for other in self._buses:
            if other.name != here and (message := self._described(other.name, can_id)) is not None:
                yield f"the DBC files of bus {other.name} describe it, as {message.name}"
        twin = other_kind(can_id)
        if twin is not None and (message := self._described(here, twin)) is not None:
            yield f"{shown_id(twin)}, the same number with {29 if twin & EXTENDED else 11} bits, is {message.name}"
        if can_id & EXTENDED:
            yield from self._near_group(here, can_id)
        for index, other in enumerate(self._buses):
            for word, reason in ((can_id, ""), (twin, f" as {shown_id(twin)}" if twin is not None else "")):
                row = None if word is None else self._rows.get((index, word))
                if row is not None and (index, word) != (bus, can_id):
                    yield f"it is received on bus {other.name}{reason}, {row[3]:,} times"

    def _near_group(self, here: str, can_id: int) -> Iterator[str]:
        """J1939: messages of the same parameter group that are not matched by it."""
        group = parameter_group(can_id) >> 8
        for index in self._directory.decoded:
            message = self._messages[index]
            same = message.can_id & EXTENDED and parameter_group(message.can_id) == parameter_group(can_id)
            if same and not _means(message, can_id):
                yield (
                    f"PGN {group} (0x{group:X}) is that of {message.name} ({shown_id(message.can_id)}) on bus "
                    f"{message.bus}: j1939 = true in its [[bus]] would match it"
                )
            elif same and message.bus != here:
                yield f"PGN {group} (0x{group:X}) is that of {message.name} on bus {message.bus}"

    def _bus_index(self, name: str) -> int:
        return next(index for index, bus in enumerate(self._buses) if bus.name == name)


def _means(message: MessageDefinition, can_id: int) -> bool:
    """Whether frames of this id are decoded as the message, on its bus."""
    if message.j1939 and message.can_id & EXTENDED & can_id:
        return parameter_group(message.can_id) == parameter_group(can_id)
    return message.can_id == can_id
