# SPDX-License-Identifier: Apache-2.0
"""Whether a condition can ever be true, or false, by what the raw values of its signals can be.

Each quantity is given the range that it could lie in (interval arithmetic); of a conjunction, the ranges that its
comparisons leave to each signal are cut with one another, so that "X > 5 and X < 3" is found out.
Limits: an answer of "it can" is no promise: X - X > 0 passes, for the two sides are looked at apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from agent.collect.conditions.binding import is_counted, physical_of_key
from agent.collect.conditions.syntax import (
    OUTLOOK,
    Absolute,
    AllOf,
    AnyOf,
    Arithmetic,
    Comparison,
    Count,
    Edge,
    InRange,
    Negative,
    Number,
    Over,
    Signal,
    normal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.collect.conditions.syntax import Condition, Limit, Operator, Quantity
    from agent.model import SignalDefinition

_Keys: TypeAlias = "dict[tuple[int, int], tuple[int, int]]"
"""What is left to signals, by message and signal: their keys' range."""


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included; infinite where nothing is known."""

    low: Limit
    high: Limit

    def __str__(self) -> str:
        ends = [f"{float(end):.10g}" for end in (self.low, self.high)]
        return f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else f"always {ends[0]}"


ANYTHING = Range(-math.inf, math.inf)


def impossible(condition: Condition) -> tuple[str, int] | None:
    """Why a bound condition can never be true, and the place in its text; None where it can."""
    return _impossible(normal(condition), {})


def is_certain(condition: Condition) -> bool:
    """Whether a bound condition is true whenever its signals are known, whatever they say."""
    return _impossible(normal(condition, positive=False), {}) is not None


def _impossible(condition: Condition, keys: _Keys) -> tuple[str, int] | None:
    match condition:
        case AllOf(parts=parts):
            return _conjunction(parts, keys)
        case AnyOf(parts=parts):
            reasons = [_impossible(part, keys) for part in parts]
            return reasons[0] if all(reasons) else None
        case InRange():
            return None if _left(condition, keys) else (_why_never(condition.written), condition.at)
        case Comparison(operator=operator, left=left, right=right):
            return None if _can_hold(operator, _range(left), _range(right)) else (_why_never(condition), condition.at)
        case Edge(rising=rising, condition=inner):
            before, after = (normal(inner, positive) for positive in (not rising, rising))
            return _impossible(after, {}) or _impossible(before, {})
    return None


def _conjunction(parts: Iterable[Condition], keys: _Keys) -> tuple[str, int] | None:
    keys = dict(keys)
    flat = list(_flattened(parts))
    for part in flat:
        if not isinstance(part, InRange):
            continue
        if not _left(part, {}):
            return _why_never(part.written), part.at
        left = _left(part, keys)
        if not left:
            name = part.ref.definition.name
            return f"the comparisons of {name} exclude one another", part.at
        keys[part.ref.message, part.ref.signal] = left
    for part in flat:
        reason = None if isinstance(part, InRange) else _impossible(part, keys)
        if reason:
            return reason
    return None


def _flattened(parts: Iterable[Condition]) -> Iterable[Condition]:
    for part in parts:
        if isinstance(part, AllOf):
            yield from _flattened(part.parts)
        else:
            yield part


def _left(part: InRange, keys: _Keys) -> tuple[int, int] | None:
    """What keys a comparison leaves to its signal: one range around them; None where none are left."""
    low, high = keys.get((part.ref.message, part.ref.signal), (0, (1 << part.ref.definition.length) - 1))
    if part.inside:
        low, high = max(low, part.low), min(high, part.high)
    elif part.low <= part.high:
        low = part.high + 1 if part.low <= low <= part.high else low
        high = part.low - 1 if part.low <= high <= part.high else high
    return (low, high) if low <= high else None


def _can_hold(operator: Operator, left: Range, right: Range) -> bool:
    return OUTLOOK[operator](left.low, left.high, right.low, right.high)[0]


def _why_never(comparison: Comparison) -> str:
    told = [
        f"{_called(side)} is {_range(side)}"
        for side in (comparison.left, comparison.right)
        if not isinstance(side, Number)
    ]
    return f"this can never be true: {' and '.join(told)}{_nearest_values(comparison)}"


def _nearest_values(comparison: Comparison) -> str:
    """Of an equality with a value that the signal steps over: its steps."""
    for side, other in ((comparison.left, comparison.right), (comparison.right, comparison.left)):
        if isinstance(side, Signal) and isinstance(other, Number) and is_counted(side.ref.definition):
            whole = signal_range(side.ref.definition)
            if whole.low <= other.value <= whole.high:
                return f" in steps of {side.ref.definition.scale:g}"
    return ""


def _called(quantity: Quantity) -> str:
    match quantity:
        case Signal(name=name):
            return name
        case Over(function=function, signal=signal):
            return f"{function}({_called(signal)})"
        case Absolute(operand=operand):
            return f"abs({_called(operand)})"
        case Count(name=name):
            return f"count({name})"
    return "one side"


def signal_range(definition: SignalDefinition) -> Range:
    """The physical values that a signal's raw values stand for."""
    if not is_counted(definition):
        return ANYTHING
    ends = [physical_of_key(definition, key) for key in (0, (1 << definition.length) - 1)]
    return Range(min(ends), max(ends))


def _range(quantity: Quantity) -> Range:
    match quantity:
        case Number(value=value):
            return Range(value, value)
        case Signal(ref=ref) | Over(signal=Signal(ref=ref)):
            return signal_range(ref.definition)
        case Count():
            return Range(Fraction(0), math.inf)
        case Negative(operand=operand):
            inner = _range(operand)
            return Range(-inner.high, -inner.low)
        case Absolute(operand=operand):
            inner = _range(operand)
            ends = [_size(inner.low), _size(inner.high)]
            return Range(Fraction(0) if inner.low <= 0 <= inner.high else min(ends), max(ends))
        case Arithmetic(operator=operator, left=left, right=right):
            return _calculated(operator, _range(left), _range(right))
    return ANYTHING


def _calculated(operator: str, left: Range, right: Range) -> Range:
    if operator == "+":
        return Range(left.low + right.low, left.high + right.high)
    if operator == "-":
        return Range(left.low - right.high, left.high - right.low)
    if operator == "/":
        if right.low <= 0 <= right.high:
            return ANYTHING
        right = Range(_inverse(right.high), _inverse(right.low))
    corners = [_product(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Range(min(corners), max(corners))


def _size(limit: Limit) -> Limit:
    return -limit if limit < 0 else limit


def _inverse(limit: Limit) -> Limit:
    return Fraction(0) if isinstance(limit, float) and math.isinf(limit) else 1 / limit


def _product(a: Limit, b: Limit) -> Limit:
    return Fraction(0) if a == 0 or b == 0 else a * b
