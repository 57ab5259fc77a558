# SPDX-License-Identifier: Apache-2.0
"""The statements that name a signal given to it: value tables, float types, ranges of a multiplexor.

Where several of a kind name one signal the last counts, of value tables the last that holds an entry. A name may stand
for several signals of a message; all get what names them. One that names no signal of the file is left out, as a
problem of its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from agent.decode.reading import NAME_CHARS_MAX, VALUES_MAX, excerpt
from agent.decode.report import Severity, Subject
from agent.decode.statements import SIGNAL_BITS_MAX, FloatStatement, ValuesStatement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.decode.statements import AcceptedMessage, AcceptedSignal, SelectionStatement, Statements

    _Statement = TypeVar("_Statement", FloatStatement, SelectionStatement, ValuesStatement)
    _Name = tuple[int, str]
    """The id of a message as the file writes it, and a signal's name."""

FLOAT_BITS = (16, 32, 64)
FLOAT_TYPES = (1, 2)
RANGES_MAX = 500_000
"""Of multiplexors, in one file."""
_SIGNED = (-(1 << 63), (1 << 63) - 1)
_UNSIGNED = (0, (1 << 64) - 1)


def assign(statements: Statements, by_id: dict[int, AcceptedMessage]) -> None:
    """Give each message the value tables, float types and multiplexor ranges that name its signals."""
    _Assignment(statements, by_id).run()


class _Assignment:
    def __init__(self, statements: Statements, by_id: dict[int, AcceptedMessage]) -> None:
        self._statements = statements
        self._by_id = by_id
        self._values = 0
        self._loaded: dict[_Name, list[AcceptedSignal]] = {}
        for number, message in by_id.items():
            for signal in message.signals:
                self._loaded.setdefault((number, signal.statement.name), []).append(signal)
        self._declared = {(message.dbc_id, s.name) for message in statements.messages for s in message.signals}

    def run(self) -> None:
        """Floats first: what a value may be depends on them."""
        for message in self._by_id.values():
            self._assign_own(message)
        for kind, signals in self._last("float type", self._statements.floats):
            for signal in signals:
                self._assign_float(kind, signal)
        self._assign_values()
        given = 0
        for selection, signals in self._last("multiplexor range", self._statements.selections):
            given += len(signals) * len(selection.ranges)
            if given > RANGES_MAX:
                raise self._statements.refusal(selection.line, RANGES_MAX, "ranges of multiplexors")
            multiplexors = self._loaded.get((selection.dbc_id, selection.multiplexor))
            name = multiplexors[0].alias if multiplexors else selection.multiplexor
            for signal in signals:
                self._by_id[selection.dbc_id].selections[signal.alias] = (name, tuple(selection.ranges))

    def _found(self, what: str, named: Iterable[_Statement]) -> Iterator[tuple[_Statement, list[AcceptedSignal]]]:
        """Each statement with the signals that it names, where it names any that loads; what names none is reported."""
        for statement in named:
            signals = self._loaded.get((statement.dbc_id, statement.signal))
            if signals:
                yield statement, signals
            elif (statement.dbc_id, statement.signal) not in self._declared:
                self._report_lost(what, statement)

    def _last(self, what: str, named: Iterable[_Statement]) -> Iterable[tuple[_Statement, list[AcceptedSignal]]]:
        """Of each name the last statement."""
        found = self._found(what, named)
        return {(statement.dbc_id, statement.signal): (statement, signals) for statement, signals in found}.values()

    def _report_lost(self, what: str, statement: FloatStatement | SelectionStatement | ValuesStatement) -> None:
        message = self._by_id.get(statement.dbc_id)
        where = message.statement.name if message else f"id {statement.dbc_id}, which no message has"
        self._statements.report(
            statement.line,
            f"{what} left out, it is for signal {excerpt(statement.signal, NAME_CHARS_MAX)} of {where}"
            + (", which has no such signal" if message else ""),
            Severity.SKIPPED,
        )

    def _assign_float(self, kind: FloatStatement, signal: AcceptedSignal) -> None:
        message = self._by_id[kind.dbc_id]
        if kind.type not in FLOAT_TYPES:
            return
        if signal.length in FLOAT_BITS:
            message.floats.add(signal.alias)
            return
        reason = f"a signal of {signal.length} bits cannot be a float, read as a whole number"
        name = message.statement.name
        self._statements.report(kind.line, reason, Severity.REPAIRED, Subject.SIGNAL, name, kind.signal)

    def _assign_own(self, message: AcceptedMessage) -> None:
        """What the signals' own statements say; their multiplexors have the aliases of the first of their names."""
        multiplexors = {
            signal.statement.name: signal.alias for signal in reversed(message.signals) if signal.is_multiplexor
        }
        for signal in message.signals:
            statement = signal.statement
            if statement.float_type:
                kind = FloatStatement(statement.line, message.dbc_id, statement.name, statement.float_type)
                self._assign_float(kind, signal)
            if statement.selection is not None:
                name, ranges = statement.selection
                message.selections[signal.alias] = (multiplexors.get(name, name), tuple(ranges))
            if statement.values is not None:
                self._count_values(len(statement.values), signal)
                values = ValuesStatement(statement.line, message.dbc_id, statement.name, statement.values)
                table = self._table(values, self._bounds(message.dbc_id, signal))
                message.values[signal.alias] = tuple(table.items())

    def _count_values(self, entries: int, signal: AcceptedSignal) -> None:
        self._values += entries
        if self._values > VALUES_MAX:
            raise self._statements.refusal(signal.statement.line, VALUES_MAX, "entries in value tables")

    def _assign_values(self) -> None:
        tables: dict[tuple[int, str, tuple[int, int]], dict[int, str]] = {}
        bounds_of: dict[_Name, set[tuple[int, int]]] = {}
        for values, signals in self._found("value table", self._statements.values):
            key = (values.dbc_id, values.signal)
            if key not in bounds_of:
                bounds_of[key] = {self._bounds(values.dbc_id, signal) for signal in signals}
            for bounds in bounds_of[key]:
                if table := self._table(values, bounds):
                    tables[(*key, bounds)] = table
        entries = {key: tuple(table.items()) for key, table in tables.items()}
        for key in bounds_of:
            for signal in self._loaded[key]:
                pairs = entries.get((*key, self._bounds(key[0], signal)), ())
                self._count_values(len(pairs), signal)
                self._by_id[key[0]].values[signal.alias] = pairs

    def _bounds(self, dbc_id: int, signal: AcceptedSignal) -> tuple[int, int]:
        """What a raw value can be; all that a signed number of 64 bits can, for shorter signals."""
        is_long = signal.length == SIGNAL_BITS_MAX and signal.statement.sign == "+"
        return _UNSIGNED if is_long and signal.alias not in self._by_id[dbc_id].floats else _SIGNED

    def _table(self, values: ValuesStatement, bounds: tuple[int, int]) -> dict[int, str]:
        """The table's entries that a raw value can be."""
        table: dict[int, str] = {}
        for value, text in values.pairs:
            try:
                number = int(value)
            except ValueError:
                number = None
            if number is not None and bounds[0] <= number <= bounds[1]:
                table[number] = text
                continue
            why = "a whole number" if number is None else f"one of {bounds[0]} to {bounds[1]}"
            reason = f"value table entry {excerpt(value)} left out, it is not {why}"
            name = self._by_id[values.dbc_id].statement.name
            self._statements.report(values.line, reason, Severity.REPAIRED, Subject.STATEMENT, name, values.signal)
        return table
