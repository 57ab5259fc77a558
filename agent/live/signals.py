# SPDX-License-Identifier: Apache-2.0
"""Last frames from the socket as signals with names, units and value names; decoded where they are looked at.

Promise: the values are those that ``canferry export`` gives of the same frames: the agent's own definitions, decoder
and scaling are used. An id that no DBC file describes is one signal, `data`, its payload in hexadecimal.

A condition (the language of ``[[trigger]]``) is evaluated on the latest values at each update; what looks back over a
time is refused, because not every frame comes here.

Failure: ConfigError for a condition that cannot be used, and for a name or pattern that nothing of the agent bears,
with the nearest one; what the agent sends is its own matter (ProtocolError, BatchError).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.catalog import decode_catalog
from agent.collect.conditions.binding import Directory, bind
from agent.collect.conditions.evaluate import CompiledCondition
from agent.collect.conditions.parser import parse_condition
from agent.collect.conditions.syntax import ExpressionError
from agent.config.patterns import Patterns, SignalPatterns, nearest
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.errors import ConfigError
from agent.model import EXTENDED_MASK, FrameBlock, split_group_key
from agent.physical import key_offset, names, numeric, physical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.collect.conditions.syntax import Count, Over, SignalRef
    from agent.live.protocol import Definitions, Row
    from agent.model import SignalDefinition

DATA = "data"
PAYLOAD_MAX = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """The latest value of a signal; `name` is its value table's, "" of none; `changed`: it was another before."""

    signal: str
    value: int | float | str
    unit: str = ""
    name: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """The latest frame of an id, decoded. `message` is named as in 0x1A0 where no DBC file describes it."""

    bus: str
    can_id: int
    message: str
    known: bool
    count: int
    time_ns: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted, by names and patterns, signals also as message.signal or bus.message.signal; the condition "" is
    always true."""

    bus: tuple[str, ...] = ("*",)
    message: tuple[str, ...] = ("*",)
    signal: tuple[str, ...] = ("*",)
    when: str = ""


class LiveSignals:
    """Turns rows of the protocol into messages; remembers the latest value of each signal."""

    def __init__(self, definitions: Definitions, selection: Selection | None = None) -> None:
        selection = selection or Selection()
        catalog = decode_catalog(definitions.catalog_bytes)
        _refuse_unknown(selection, catalog)
        self._buses = catalog.buses
        self._messages = catalog.messages
        self._decoder = Decoder(Plan(catalog.buses, catalog.messages))
        self._bus, self._message = Patterns(selection.bus), Patterns(selection.message)
        self._signal = SignalPatterns(selection.signal)
        self._last_values = _LastValues()
        self._condition = _compiled(selection.when, catalog.messages) if selection.when else None
        self._last_shown: dict[tuple[str, int, str], object] = {}

    def update(self, rows: Sequence[Row]) -> list[LiveMessage]:
        """What is wanted of an update, by bus and id; nothing while the condition is not true."""
        decoded = self._decode(rows)
        if self._condition is not None:
            self._last_values.update((message, raw) for _, message, raw in decoded)
            if not self._condition.evaluate(self._last_values)[0][0]:
                return []
        found = []
        for row, message, raw in decoded:
            live = self._live(row, message, raw)
            if live is not None:
                found.append(live)
        return sorted(found, key=lambda live: (live.bus, live.can_id & EXTENDED_MASK))

    def _decode(self, rows: Sequence[Row]) -> list[tuple[Row, int, dict[int, int]]]:
        """Each row with its message and the raw values of its signals."""
        block = frame_block(rows)
        signals = self._decoder.decode(block).signals
        by_id = {(row[0], row[1]): row for row in rows}
        found: list[tuple[Row, int, dict[int, int]]] = []
        begin = np.searchsorted(signals.column_group, np.arange(len(signals.group_key) + 1))
        for group, key in enumerate(signals.group_key.tolist()):
            message, bus, can_id = split_group_key(key)
            columns = range(int(begin[group]), int(begin[group + 1]))
            raw = {int(signals.column_signal[c]): int(signals.values[signals.column_start[c]]) for c in columns}
            found.append((by_id.pop((bus, can_id)), message, raw))
        return found + [(row, -1, {}) for row in by_id.values()]

    def _live(self, row: Row, message: int, raw: dict[int, int]) -> LiveMessage | None:
        bus, can_id, _, count, time_ns, payload = row
        bus_name = self._buses[bus]
        name = self._messages[message].name if message >= 0 else f"0x{can_id & EXTENDED_MASK:X}"
        if not self._bus.match(bus_name) or not self._message.match(name):
            return None
        signals = self._messages[message].signals if message >= 0 else ()
        wanted: list[tuple[str, int | float | str, str, str]] = [
            (definition.name, *value_of(definition, raw[number]))
            for number, definition in enumerate(signals)
            if number in raw and self._signal.match(bus_name, name, definition.name)
        ]
        if message < 0 and self._signal.match(bus_name, name, DATA):
            wanted.append((DATA, payload, "", ""))
        samples = []
        for signal, value, unit, choice in wanted:
            key = bus_name, can_id, signal
            changed = key in self._last_shown and self._last_shown[key] != value
            self._last_shown[key] = value
            samples.append(Sample(signal, value, unit, choice, changed))
        if not samples:
            return None
        return LiveMessage(bus_name, can_id, name, message >= 0, count, time_ns, tuple(samples))


def value_of(definition: SignalDefinition, raw: int) -> tuple[int | float, str, str]:
    """Physical value, unit and value name of a raw value."""
    field = np.array([raw], np.uint64)
    value: int | float = physical(definition, field).tolist()[0]
    return value, definition.unit, names(definition, field)[0] or ""


def frame_block(rows: Sequence[Row]) -> FrameBlock:
    """The rows' frames as a block."""
    payloads = [bytes.fromhex(row[5])[:PAYLOAD_MAX] for row in rows]
    width = 8 if all(len(payload) <= 8 for payload in payloads) else PAYLOAD_MAX
    padded = b"".join(payload.ljust(width, b"\0") for payload in payloads)
    return FrameBlock(
        np.array([row[4] for row in rows], np.int64),
        np.array([row[0] for row in rows], np.uint8),
        np.array([row[1] for row in rows], np.uint32),
        np.array([len(payload) for payload in payloads], np.uint8),
        np.zeros(len(rows), np.uint8),
        np.frombuffer(bytearray(padded), np.uint8).reshape(-1, width),
    )


def _refuse_unknown(selection: Selection, catalog: Catalog) -> None:
    """A slip of the pen would show nothing, for ever; ids that no DBC file describes may still come."""
    for pattern in selection.bus:
        if not any(map(Patterns((pattern,)).match, catalog.buses)):
            raise ConfigError(f'--bus: the agent has no bus "{pattern}"; accepted: {", ".join(catalog.buses)}')
    names = [message.name for message in catalog.messages]
    for pattern in selection.message:
        if not (any(map(Patterns((pattern,)).match, names)) or _may_be_unknown(pattern)):
            raise ConfigError(f'--message: the DBC files have no message "{pattern}"{nearest(pattern, names)}')
    full = [(each.bus, each.name, signal.name) for each in catalog.messages for signal in each.signals]
    for pattern in selection.signal:
        match = SignalPatterns((pattern,)).match
        if not (any(match(*each) for each in full) or match("", "", DATA) or _may_be_unknown(pattern)):
            known = [".".join(each[-1 - min(pattern.count("."), 2) :]) for each in full]
            raise ConfigError(f'the DBC files have no signal "{pattern}"{nearest(pattern, known)}')


def _may_be_unknown(pattern: str) -> bool:
    """Whether it could mean an id that no DBC file describes, named as in 0x1A0, or its data."""
    return pattern.startswith(("0x", "*", "?", "[")) or pattern.endswith(f".{DATA}")


def _compiled(text: str, messages: Sequence[object]) -> CompiledCondition:
    try:
        compiled = CompiledCondition(bind(parse_condition(text), Directory(messages)))  # type: ignore[arg-type]
    except ExpressionError as error:
        raise ConfigError(f"--when: {error}") from None
    if compiled.overs or compiled.counts:
        raise ConfigError("--when: what looks back over a time (min, max, mean, count) is for [[trigger]] alone")
    return compiled


class _LastValues:
    """The latest raw values as `evaluate.Instants` of one instant."""

    def __init__(self) -> None:
        self._raw: dict[tuple[int, int], int] = {}
        self._changed: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return 1

    def update(self, decoded: Iterable[tuple[int, dict[int, int]]]) -> None:
        """Take in an update."""
        self._changed.clear()
        for message, values in decoded:
            for signal, raw in values.items():
                if self._raw.get((message, signal), raw) != raw:
                    self._changed.add((message, signal))
                self._raw[message, signal] = raw

    def constant(self, number: float) -> np.float64:
        return np.float64(number)

    def keys(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        raw = self._raw.get((ref.message, ref.signal))
        return np.array([(raw or 0) ^ key_offset(ref.definition)], np.uint64), np.array([raw is not None])

    def numbers(self, ref: SignalRef) -> NDArray[np.float64]:
        raw = self._raw.get((ref.message, ref.signal))
        if raw is None:
            return np.array([np.nan])
        return numeric(ref.definition, np.array([raw], np.uint64)).astype(np.float64)

    def changed(self, ref: SignalRef) -> NDArray[np.bool_]:
        return np.array([(ref.message, ref.signal) in self._changed])

    def over(self, over: Over, ref: SignalRef) -> NDArray[np.float64]:
        raise AssertionError((over, ref))  # refused by `_compiled`

    def count(self, count: Count) -> NDArray[np.float64]:
        raise AssertionError(count)  # likewise
