# SPDX-License-Identifier: Apache-2.0
"""Whether a condition can ever be true, or false, by what the raw values of its signals can be.

Comparisons are run as they are in a block (`evaluate`), over ranges in place of arrays; of a conjunction, the ranges
that its comparisons leave to each signal are cut with one another, so that "X > 5 and X < 3" is found out.
Limits: an answer of "it can" is no promise: X - X > 0 passes, for the two sides are looked at apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agent.collect.conditions.evaluate import comparison, quantity
from agent.collect.conditions.syntax import (
    Absolute,
    AllOf,
    AnyOf,
    Comparison,
    Count,
    Edge,
    InRange,
    Number,
    Over,
    Signal,
    normal,
)
from agent.physical import is_counted, key_offset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.collect.conditions.syntax import Condition, Quantity, SignalRef

_Keys: TypeAlias = "dict[tuple[int, int], tuple[int, int]]"
"""What is left to signals, by message and signal: their keys' range."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a quantity can be: both ends included; infinite where nothing is known.

    Comparisons say whether they can be true of any two numbers of the ranges.
    """

    low: float
    high: float

    def __lt__(self, other: Range) -> bool:
        return self.low < other.high

    def __le__(self, other: Range) -> bool:
        return self.low <= other.high

    def __gt__(self, other: Range) -> bool:
        return self.high > other.low

    def __ge__(self, other: Range) -> bool:
        return self.high >= other.low

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low)

    def __abs__(self) -> Range:
        ends = abs(self.low), abs(self.high)
        return Range(0.0 if self.low <= 0 <= self.high else min(ends), max(ends))

    def __add__(self, other: Range | float) -> Range:
        other = _as_range(other)
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Range | float) -> Range:
        other = _as_range(other)
        if ANYTHING in (self, other):
            return ANYTHING
        corners = [_product(one, two) for one in (self.low, self.high) for two in (other.low, other.high)]
        return Range(min(corners), max(corners))

    def __truediv__(self, other: Range) -> Range:
        return ANYTHING if other.low <= 0 <= other.high else self * Range(1 / other.high, 1 / other.low)

    def __str__(self) -> str:
        ends = [f"{end:.10g}" for end in (self.low, self.high)]
        return f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else f"always {ends[0]}"


ANYTHING = Range(-math.inf, math.inf)


def _as_range(number: Range | float) -> Range:
    return number if isinstance(number, Range) else Range(number, number)


def _product(one: float, other: float) -> float:
    return 0.0 if 0 in (one, other) else one * other


class _AllRanges:
    """What quantities can be at all, as `evaluate.Quantities`."""

    def constant(self, number: float) -> Range:
        return Range(number, number)

    def numbers(self, ref: SignalRef) -> Range:
        definition = ref.definition
        if not is_counted(definition):
            return ANYTHING
        offset = key_offset(definition)
        return Range(float(-offset), float((1 << definition.length) - 1 - offset))

    def over(self, over: Over, ref: SignalRef) -> Range:  # noqa: ARG002
        return self.numbers(ref)

    def count(self, count: Count) -> Range:  # noqa: ARG002
        return Range(0.0, math.inf)


_EVER = _AllRanges()


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
        case Comparison():
            return None if comparison(condition)(_EVER) else (_why_never(condition), condition.at)
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


def _why_never(written: Comparison) -> str:
    sides = [
        f"{_called(side)} is {quantity(side)(_EVER)}"
        for side in (written.left, written.right)
        if not isinstance(side, Number)
    ]
    return f"this can never be true: {' and '.join(sides)}{_nearest_values(written)}"


def _nearest_values(written: Comparison) -> str:
    """Of an equality with a value that the signal steps over: its steps."""
    for side, other in ((written.left, written.right), (written.right, written.left)):
        if isinstance(side, Signal) and isinstance(other, Number) and is_counted(side.ref.definition):
            whole = quantity(side)(_EVER)
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
