# SPDX-License-Identifier: Apache-2.0
"""A parsed condition, tied to the signals of the DBC files: names found, texts and units checked, and comparisons
of a lone signal with a number brought down to a range of its keys (`syntax.InRange`), exactly.

Where two definitions stand for one arbitration id on one bus, only the first is ever decoded, and only it is found.
Numbers are what their digits say: a scale of 0.1 is one tenth here, as the DBC file means it, so that "== 0.3" is
true for the raw value 3 of such a signal. Only arithmetic between signals is done in floating point.
Failure: `ExpressionError`, with the nearest name as a suggestion, or with the full names that a short one could mean.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from agent.collect.conditions.syntax import (
    CALCULATE,
    MIRRORED,
    Absolute,
    AllOf,
    AnyOf,
    Arithmetic,
    Changed,
    Comparison,
    Count,
    Edge,
    ExpressionError,
    InRange,
    Name,
    Negative,
    Not,
    Number,
    Over,
    Signal,
    SignalRef,
    Text,
    is_momentary,
)
from agent.config.patterns import did_you_mean, listed, nearest
from agent.decode.plan import parameter_group
from agent.model import EXTENDED
from agent.physical import exact, is_counted, key_offset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from agent.collect.conditions.syntax import Condition, Operator, Quantity
    from agent.model import MessageDefinition


def bind(condition: Condition, directory: Directory) -> Condition:
    """The condition with its names found; raises ExpressionError for what does not fit the definitions."""
    match condition:
        case AllOf(at=at, parts=parts):
            return AllOf(at, tuple(bind(part, directory) for part in parts))
        case AnyOf(at=at, parts=parts):
            return AnyOf(at, tuple(bind(part, directory) for part in parts))
        case Not(at=at, operand=operand):
            return Not(at, bind(operand, directory))
        case Edge(at=at, rising=rising, condition=inner):
            if is_momentary(inner):
                raise ExpressionError("changed, rising and falling are moments already: they have no edges", inner.at)
            return Edge(at, rising, bind(inner, directory))
        case Changed(at=at, signal=Name() as name):
            return Changed(at, _signal(name, directory))
        case Comparison():
            return _comparison(condition, directory)
    return condition


def _comparison(comparison: Comparison, directory: Directory) -> Condition:
    """One with each number that its sides stand for: a name may stand for several raw values."""
    left, right = (_quantity(side, directory) for side in (comparison.left, comparison.right))
    found = [
        _compared(comparison, one, other)
        for one in _named(left, right, comparison.operator)
        for other in _named(right, left, comparison.operator)
    ]
    if len(found) == 1:
        return found[0]
    return (AllOf if comparison.operator == "!=" else AnyOf)(comparison.at, tuple(found))


def _compared(comparison: Comparison, left: Quantity, right: Quantity) -> Condition:
    _check_units(left, right)
    left, right = _folded(left), _folded(right)
    written = replace(comparison, left=left, right=right)
    for signal, other, operator in (
        (left, right, comparison.operator),
        (right, left, MIRRORED[comparison.operator]),
    ):
        if isinstance(signal, Signal) and isinstance(other, Number) and is_counted(signal.ref.definition):
            return _in_range(signal, operator, other.value, written)
    if isinstance(left, Number) and isinstance(right, Number):
        raise ExpressionError("a comparison of numbers alone", comparison.at)
    return written


def _quantity(quantity: Quantity, directory: Directory) -> Quantity:
    match quantity:
        case Name():
            return _signal(quantity, directory)
        case Negative(at=at, operand=operand):
            return Negative(at, _quantity(operand, directory))
        case Absolute(at=at, operand=operand):
            return Absolute(at, _quantity(operand, directory))
        case Arithmetic(left=left, right=right):
            bound = replace(quantity, left=_quantity(left, directory), right=_quantity(right, directory))
            if bound.operator == "/" and _constant(bound.right) == 0:
                raise ExpressionError("a division by 0", bound.at)
            if bound.operator in ("+", "-"):
                _check_units(bound.left, bound.right)
            return bound
        case Over(signal=Name() as name):
            return replace(quantity, signal=_signal(name, directory))
        case Count(name=name):
            return replace(quantity, messages=(directory.message(name),))
    return quantity


def _signal(name: Name, directory: Directory) -> Signal:
    return Signal(name.at, directory.signal(name), str(name))


def _named(side: Quantity, other: Quantity, operator: Operator) -> list[Quantity]:
    """The numbers that a text stands for in the value table of the signal it is compared with."""
    if not isinstance(side, Text):
        return [side]
    if not isinstance(other, Signal):
        raise ExpressionError(f'"{side.value}" can only be compared with a signal that has a value table', side.at)
    definition = other.ref.definition
    found = [raw for raw, name in definition.choices if name == side.value]
    if not found:
        advice = nearest(side.value, [name for _, name in definition.choices])
        if not definition.choices:
            advice = "; it has no value table"
        raise ExpressionError(f'{other.name} has no value "{side.value}"{advice}', side.at)
    if len(found) > 1 and operator not in ("==", "!="):
        raws = ", ".join(map(str, found))
        raise ExpressionError(f'"{side.value}" stands for the raw values {raws}; accepted: == or !=', side.at)
    return [Number(side.at, raw * exact(definition.scale) + exact(definition.offset)) for raw in found]


def _folded(quantity: Quantity) -> Quantity:
    constant = _constant(quantity)
    return quantity if constant is None else Number(quantity.at, constant)


def _constant(quantity: Quantity) -> Fraction | None:
    match quantity:
        case Number(value=value):
            return value
        case Negative(operand=operand):
            value_of = _constant(operand)
            return None if value_of is None else -value_of
        case Absolute(operand=operand):
            value_of = _constant(operand)
            return None if value_of is None else abs(value_of)
        case Arithmetic(operator=sign, left=left, right=right):
            one, other = _constant(left), _constant(right)
            return None if one is None or other is None else CALCULATE[sign](one, other)
    return None


def _check_units(left: Quantity, right: Quantity) -> None:
    """A number's unit, where one is written, is that of what it stands beside."""
    for number, other in ((left, right), (right, left)):
        if not isinstance(number, Number) or not number.unit:
            continue
        unit, name = _unit(other)
        if unit is not None and _close(unit) != _close(number.unit):
            has = f'is in "{unit}"' if unit else "has no unit in the DBC file"
            accepted = f"[{unit}]" if unit else "none"
            raise ExpressionError(f'"{number.unit}" does not fit: {name} {has}; accepted: {accepted}', number.at)


def _unit(quantity: Quantity) -> tuple[str | None, str]:
    """Unit and name of the signal that a quantity is measured as; None where that is not one signal."""
    match quantity:
        case Signal(ref=ref, name=name):
            return ref.definition.unit, name
        case Over(signal=Signal(ref=ref, name=name)):
            return ref.definition.unit, name
        case Negative(operand=operand) | Absolute(operand=operand):
            return _unit(operand)
    return None, ""


def _close(unit: str) -> str:
    """Without spaces; in its own case, for mW is not MW."""
    return unit.replace(" ", "")


def _in_range(signal: Signal, operator: Operator, constant: Fraction, written: Comparison) -> InRange:
    definition = signal.ref.definition
    scale, last = exact(definition.scale), (1 << definition.length) - 1
    threshold = (constant - exact(definition.offset)) / scale + key_offset(definition)
    if scale < 0:
        operator = MIRRORED[operator]
    below, above = math.ceil(threshold) - 1, math.floor(threshold) + 1
    low, high = {
        "<": (0, below),
        "<=": (0, math.floor(threshold)),
        ">": (above, last),
        ">=": (math.ceil(threshold), last),
    }.get(operator, (math.ceil(threshold), math.floor(threshold)))
    low, high = max(low, 0), min(high, last)
    if low > high:
        low, high = 1, 0
    return InRange(written.at, signal.ref, low, high, operator != "!=", written)


class Directory:
    """Finds signals and messages by name; the tables of names are made when the first one is sought."""

    def __init__(self, messages: Sequence[MessageDefinition]) -> None:
        self.messages = tuple(messages)
        self.decoded = tuple(_decoded(messages))

    @cached_property
    def _messages(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index in self.decoded:
            found.setdefault(self.messages[index].name, []).append(index)
        return found

    @cached_property
    def _signals(self) -> dict[str, list[tuple[int, int]]]:
        """Of each name the indexes of message and signal."""
        found: dict[str, list[tuple[int, int]]] = {}
        for index in self.decoded:
            for number, signal in enumerate(self.messages[index].signals):
                found.setdefault(signal.name, []).append((index, number))
        return found

    def signal(self, name: Name) -> SignalRef:
        """The one signal that a name means."""
        *owner, last = name.parts
        found = [(m, s) for m, s in self._signals.get(last, []) if self._is_of(owner, m)]
        if len(found) == 1:
            message, number = found[0]
            return SignalRef(message, number, self.messages[message].signals[number])
        full = [self.full_name(message, number) for message, number in found]
        if found:
            raise _ambiguous("signal", name, full)
        if self._signals.get(last):
            advice = did_you_mean([self.full_name(m, s) for m, s in self._signals[last]])
        else:
            advice = nearest(str(name) if owner else last, self._candidates(len(owner)))
        raise ExpressionError(f'the DBC files have no signal "{name}"{advice}', name.at)

    def message(self, name: Name) -> int:
        """The one message that a name means."""
        *bus, last = name.parts
        found = [m for m in self._messages.get(last, []) if not bus or self.messages[m].bus == ".".join(bus)]
        if len(found) == 1:
            return found[0]
        if found:
            full = [f"{self.messages[m].bus}.{last}" for m in found]
            raise _ambiguous("message", name, full)
        advice = nearest(last, self._messages)
        raise ExpressionError(f'the DBC files have no message "{name}"{advice}', name.at)

    def full_name(self, message: int, signal: int) -> str:
        """bus.message.signal."""
        definition = self.messages[message]
        return f"{definition.bus}.{definition.name}.{definition.signals[signal].name}"

    def _is_of(self, owner: list[str], message: int) -> bool:
        definition = self.messages[message]
        if not owner:
            return True
        return owner[-1] == definition.name and (len(owner) == 1 or ".".join(owner[:-1]) == definition.bus)

    def _candidates(self, owners: int) -> list[str]:
        if not owners:
            return list(self._signals)
        full = [self.full_name(message, signal) for places in self._signals.values() for message, signal in places]
        return full if owners > 1 else [name.split(".", 1)[1] for name in full]


def _ambiguous(kind: str, name: Name, full: list[str]) -> ExpressionError:
    return ExpressionError(f'"{name}" is the name of {len(full)} {kind}s; write {listed(full)}', name.at)


def _decoded(messages: Sequence[MessageDefinition]) -> Iterable[int]:
    """The definitions that `decode.plan` takes: the first of each id, or parameter group, of a bus."""
    seen: set[tuple[str, bool, int]] = set()
    for index, message in enumerate(messages):
        by_group = message.j1939 and bool(message.can_id & EXTENDED)
        key = (message.bus, by_group, parameter_group(message.can_id) if by_group else message.can_id)
        if key not in seen:
            seen.add(key)
            yield index
