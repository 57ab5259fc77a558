# SPDX-License-Identifier: Apache-2.0
"""What a condition means: closures, compiled once, over the instants at which it is asked.

In a block the instants are arrays (`history.BlockInstants`): one truth value for each frame of one of the messages that
the condition names. Each signal has there the value it came with last, be it in an earlier block; one that has not come
yet, or is stale, is not known. A comparison with an unknown value is not true, and neither is its opposite, so that
what is true is certain. Over ranges (`static_check`) the same closures say whether a comparison can be true at all.

A moment (changed, rising, falling) is true at its instant and over before the next: `level` is the condition
without its moments, what holds between two instants.
"""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

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
    InRange,
    Negative,
    Not,
    Number,
    Over,
    Signal,
    is_momentary,
    nodes,
    normal,
)
from agent.physical import exact, is_counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from numpy.typing import NDArray

    from agent.collect.conditions.syntax import Condition, Operator, Quantity, SignalRef

    Truth = NDArray[np.bool_]

Numbers: TypeAlias = Any
"""Of instants float64 (n,), NaN where one is not known; of ranges a `static_check.Range`."""
_COMPARE: dict[Operator, Callable[[Numbers, Numbers], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": lambda left, right: (left <= right) & (left >= right),
    "!=": lambda left, right: (left < right) | (left > right),
}


class Quantities(Protocol):
    """What comparisons look at."""

    def constant(self, number: float) -> Numbers:
        """A number."""

    def numbers(self, ref: SignalRef) -> Numbers:
        """The number that a signal's raw value stands for, scale not applied."""

    def over(self, over: Over, ref: SignalRef) -> Numbers:
        """The least, greatest or mean of these in a span up to each instant."""

    def count(self, count: Count) -> Numbers:
        """How many frames of a message came in a span up to each instant."""


class Instants(Quantities, Protocol):
    """The frames of a block at which a condition is evaluated, n of them, in the order received."""

    def __len__(self) -> int: ...

    def keys(self, ref: SignalRef) -> tuple[NDArray[np.uint64], Truth]:
        """The key of a signal's value at each instant, and whether it is known."""

    def changed(self, ref: SignalRef) -> Truth:
        """Whether it came at this instant, with another raw value than before."""


class CompiledCondition:
    """A bound condition, and what it remembers between blocks: its edges' last state.

    signals, messages   that it names · overs, counts: what it says of spans of time
    """

    def __init__(self, condition: Condition) -> None:
        self.condition = normal(condition)
        named = list(nodes(self.condition))
        self.signals = {node.ref for node in named if isinstance(node, Signal | InRange)}
        self.overs = [node for node in named if isinstance(node, Over)]
        self.counts = [node for node in named if isinstance(node, Count)]
        self.messages = {ref.message for ref in self.signals} | {
            each for count in self.counts for each in count.messages
        }
        self._truth = _condition(self.condition)
        self._level = _condition(self.condition, _never) if is_momentary(self.condition) else None
        self._opposite = _condition(normal(condition, positive=False), _never)

    def evaluate(self, at: Instants) -> tuple[Truth, Truth]:
        """Truth and level at each instant; at least one. Edges remember the last: ask once of a block."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            truth = self._truth(at)
            return truth, truth if self._level is None else self._level(at)

    def fails(self, at: Instants) -> Truth:
        """Where it is known not to hold, its moments left out."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return self._opposite(at)


class _Edge:
    """A condition and its opposite, and what was known at the last instant: that one, or the other."""

    def __init__(self, edge: Edge) -> None:
        self._is_rising = edge.rising
        self._holds, self._fails = (_condition(normal(edge.condition, positive)) for positive in (True, False))
        self._held = self._failed = False

    def __call__(self, at: Instants) -> Truth:
        """Where it comes."""
        holds, fails = self._holds(at), self._fails(at)
        now, before, was = (holds, fails, self._failed) if self._is_rising else (fails, holds, self._held)
        edges = now.copy()
        edges[1:] &= before[:-1]
        edges[0] &= was
        self._held, self._failed = bool(holds[-1]), bool(fails[-1])
        return edges


_Test: TypeAlias = "Callable[[Instants], Truth]"
_Measure: TypeAlias = "Callable[[Quantities], Numbers]"


def _condition(condition: Condition, moment: _Test | None = None) -> _Test:
    """A normal condition. `moment`: in place of its moments, which else are what they say."""
    match condition:
        case AllOf(parts=parts):
            tests = [_condition(part, moment) for part in parts]
            return lambda at: reduce(operator.and_, (test(at) for test in tests))
        case AnyOf(parts=parts):
            tests = [_condition(part, moment) for part in parts]
            return lambda at: reduce(operator.or_, (test(at) for test in tests))
        case Not(operand=operand):
            test = _condition(operand, moment)
            return lambda at: ~test(at)
        case InRange():
            return _in_range(condition)
        case Comparison():
            return comparison(condition)
    if moment is not None:
        return moment
    match condition:
        case Changed(signal=Signal(ref=ref)):
            return lambda at: at.changed(ref)
        case Edge():
            return _Edge(condition)
    raise AssertionError(condition)


def _never(at: Instants) -> Truth:
    return np.zeros(len(at), np.bool_)


def _in_range(condition: InRange) -> _Test:
    ref, is_inside = condition.ref, condition.inside
    low, width = np.uint64(condition.low), np.uint64(max(0, condition.high - condition.low))
    is_empty = condition.low > condition.high

    def test(at: Instants) -> Truth:
        keys, known = at.keys(ref)
        inside = np.zeros(len(at), np.bool_) if is_empty else keys - low <= width
        return (inside if is_inside else ~inside) & known

    return test


def comparison(written: Comparison) -> Callable[[Quantities], Any]:
    """A comparison of what is not a lone signal with a number."""
    left, right, sign = _over_number(written) or (quantity(written.left), quantity(written.right), written.operator)
    compare = _COMPARE[sign]
    return lambda at: compare(left(at), right(at))


def _over_number(written: Comparison) -> tuple[_Measure, _Measure, Operator] | None:
    """A comparison of a span of a counted signal with a number, as one of unscaled numbers; None of others."""
    for side, other, sign in (
        (written.left, written.right, written.operator),
        (written.right, written.left, MIRRORED[written.operator]),
    ):
        match side, other:
            case Over(signal=Signal(ref=ref)), Number(value=value) if is_counted(ref.definition):
                scale = exact(ref.definition.scale)
                threshold = _constant((value - exact(ref.definition.offset)) / scale)
                return _over(side, ref), threshold, MIRRORED[sign] if scale < 0 else sign
    return None


def quantity(written: Quantity) -> _Measure:
    """The numbers of a quantity whose names are found."""
    match written:
        case Number(value=value):
            return _constant(value)
        case Signal(ref=ref):
            return _physical(lambda at: at.numbers(ref), ref)
        case Over(signal=Signal(ref=ref)):
            return _physical(_over(written, ref), ref)
        case Count():
            return lambda at: at.count(written)
        case Negative(operand=operand):
            inner = quantity(operand)
            return lambda at: -inner(at)
        case Absolute(operand=operand):
            inner = quantity(operand)
            return lambda at: abs(inner(at))
        case Arithmetic(operator=sign, left=one, right=other):
            left, right, calculate = quantity(one), quantity(other), CALCULATE[sign]
            return lambda at: calculate(left(at), right(at))
    raise AssertionError(written)


def _constant(value: Fraction) -> _Measure:
    """The nearest number; infinite where there is none."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return lambda at: at.constant(number)


def _over(over: Over, ref: SignalRef) -> _Measure:
    """Of unscaled numbers: where the scale is negative, the least is the greatest."""
    if ref.definition.scale < 0 and over.function != "mean":
        over = replace(over, function="max" if over.function == "min" else "min")
    return lambda at: at.over(over, ref)


def _physical(numbers: _Measure, ref: SignalRef) -> _Measure:
    scale, offset = float(ref.definition.scale), float(ref.definition.offset)
    return lambda at: numbers(at) * scale + offset
