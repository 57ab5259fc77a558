# SPDX-License-Identifier: Apache-2.0
"""Conditions evaluated on a whole block at once, with numpy: one truth value for each *instant*.

An instant is a frame of one of the messages that the condition names. Each signal has there the value it came with
last, be it in an earlier block; one that has not come yet, or is stale, is not known. A comparison with an unknown
value is not true, and neither is its opposite, so that what is true is certain.

A moment (changed, rising, falling) is true at its instant and over before the next: `level` is the condition
without its moments, what holds between two instants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agent.collect.conditions.binding import exact, is_counted, key_offset
from agent.collect.conditions.syntax import (
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

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from numpy.typing import NDArray

    from agent.collect.conditions.syntax import Condition, Operator, Quantity, SignalRef

    Truth = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

_COMPARE: dict[Operator, Callable[[Numbers, Numbers], Truth]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
}


class Instants(Protocol):
    """The frames of a block at which a condition is evaluated, n of them, in the order received."""

    def __len__(self) -> int: ...

    def keys(self, ref: SignalRef) -> tuple[NDArray[np.uint64], Truth]:
        """The key of a signal's value at each instant, and whether it is known."""

    def numbers(self, ref: SignalRef) -> Numbers:
        """The number that its raw value stands for, scale not applied; NaN where it is not known."""

    def changed(self, ref: SignalRef) -> Truth:
        """Whether it came at this instant, with another raw value than before."""

    def over(self, over: Over, ref: SignalRef) -> Numbers:
        """The least, greatest or mean number of a signal in a span up to each instant; NaN of none."""

    def count(self, count: Count) -> Numbers:
        """How many frames of a message came in a span up to each instant."""


@dataclass(frozen=True, slots=True)
class SpanComparison:
    """A comparison of what `Over` gives with a constant, brought down to the numbers of raw values."""

    over: Over
    ref: SignalRef
    operator: Operator
    number: float


@dataclass(slots=True)
class WatchedEdge:
    """An edge, its condition and the opposite, and what was known at the last instant: that one, or the other."""

    edge: Edge
    condition: Condition
    opposite: Condition
    holds: bool = False
    fails: bool = False

    @classmethod
    def of(cls, edge: Edge) -> WatchedEdge:
        """With nothing known yet."""
        return cls(edge, normal(edge.condition), normal(edge.condition, positive=False))

    def moments(self, at: Instants) -> Truth:
        """Where it comes."""
        holds, fails = _truth(self.condition, at, None), _truth(self.opposite, at, None)
        now, before, was = (holds, fails, self.fails) if self.edge.rising else (fails, holds, self.holds)
        edges = now.copy()
        edges[1:] &= before[:-1]
        edges[0] &= was
        self.holds, self.fails = bool(holds[-1]), bool(fails[-1])
        return edges


@dataclass(slots=True)
class Evaluator:
    """A bound condition, and what it remembers between blocks: its edges' last state."""

    condition: Condition
    opposite: Condition = field(init=False)
    is_momentary: bool = field(init=False)
    edges: list[WatchedEdge] = field(init=False)

    def __post_init__(self) -> None:
        self.opposite = normal(self.condition, positive=False)
        self.condition = normal(self.condition)
        self.is_momentary = is_momentary(self.condition)
        self.edges = [WatchedEdge.of(node) for node in nodes(self.condition) if isinstance(node, Edge)]

    def signals(self) -> set[SignalRef]:
        """The signals that it names."""
        found = {node.ref for node in nodes(self.condition) if isinstance(node, Signal)}
        return found | {node.ref for node in nodes(self.condition) if isinstance(node, InRange)}

    def overs(self) -> list[Over]:
        """What it says of spans of time."""
        return [node for node in nodes(self.condition) if isinstance(node, Over)]

    def counts(self) -> list[Count]:
        """What it counts."""
        return [node for node in nodes(self.condition) if isinstance(node, Count)]

    def evaluate(self, at: Instants) -> tuple[Truth, Truth]:
        """Truth and level at each instant; at least one. Edges remember the last."""
        moments = {id(watched.edge): watched.moments(at) for watched in self.edges}
        truth = _truth(self.condition, at, moments)
        return truth, _truth(self.condition, at, None) if self.is_momentary else truth

    def fails(self, at: Instants) -> Truth:
        """Where it is known not to hold, its moments left out."""
        return _truth(self.opposite, at, None)


def _truth(condition: Condition, at: Instants, moments: dict[int, Truth] | None) -> Truth:
    """Where a normal condition is true; without `moments` none of them is."""
    match condition:
        case AllOf(parts=parts):
            return np.logical_and.reduce([_truth(part, at, moments) for part in parts])  # type: ignore[no-any-return]
        case AnyOf(parts=parts):
            return np.logical_or.reduce([_truth(part, at, moments) for part in parts])  # type: ignore[no-any-return]
        case InRange():
            keys, known = at.keys(condition.ref)
            inside = keys - np.uint64(condition.low) <= np.uint64(max(0, condition.high - condition.low))
            if condition.low > condition.high:
                inside = np.zeros(len(at), np.bool_)
            return (inside if condition.inside else ~inside) & known
        case Comparison():
            return _compared(condition, at)
        case Not(operand=moment):
            return ~_truth(moment, at, moments)
    if moments is None:
        return np.zeros(len(at), np.bool_)
    if isinstance(condition, Changed):
        assert isinstance(condition.signal, Signal)
        return at.changed(condition.signal.ref)
    return moments[id(condition)]


def _compared(comparison: Comparison, at: Instants) -> Truth:
    brought_down = bring_down(comparison)
    if brought_down is not None:
        left = at.over(brought_down.over, brought_down.ref)
        right, operator = np.full(len(at), brought_down.number), brought_down.operator
    else:
        left, right, operator = _numbers(comparison.left, at), _numbers(comparison.right, at), comparison.operator
    with np.errstate(invalid="ignore"):
        if operator == "!=":
            return (left < right) | (left > right)
        return _COMPARE[operator](left, right)


def bring_down(comparison: Comparison) -> SpanComparison | None:
    """A comparison of a span of a counted signal with a number, as one of unscaled numbers; None of others."""
    for side, other, operator in (
        (comparison.left, comparison.right, comparison.operator),
        (comparison.right, comparison.left, MIRRORED[comparison.operator]),
    ):
        match side, other:
            case Over(signal=Signal(ref=ref)), Number(value=value) if is_counted(ref.definition):
                scale = exact(ref.definition.scale)
                threshold = as_float((value - exact(ref.definition.offset)) / scale)
                falls = scale < 0
                return SpanComparison(unscaled(side, ref), ref, MIRRORED[operator] if falls else operator, threshold)
    return None


def unscaled(over: Over, ref: SignalRef) -> Over:
    """What to ask of the numbers of raw values: where the scale is negative, the least is the greatest."""
    if ref.definition.scale >= 0 or over.function == "mean":
        return over
    return replace(over, function="max" if over.function == "min" else "min")


def _numbers(quantity: Quantity, at: Instants) -> Numbers:
    match quantity:
        case Number(value=value):
            return np.full(len(at), as_float(value))
        case Signal(ref=ref):
            return _physical(at.numbers(ref), ref)
        case Over(signal=Signal(ref=ref)):
            return _physical(at.over(unscaled(quantity, ref), ref), ref)
        case Count():
            return at.count(quantity)
        case Negative(operand=operand):
            return -_numbers(operand, at)
        case Absolute(operand=operand):
            return np.abs(_numbers(operand, at))
        case Arithmetic(operator=operator, left=left, right=right):
            return _calculated(operator, _numbers(left, at), _numbers(right, at))
    raise AssertionError(quantity)


def _physical(numbers: Numbers, ref: SignalRef) -> Numbers:
    with np.errstate(invalid="ignore", over="ignore"):
        return numbers * float(ref.definition.scale) + float(ref.definition.offset)


def _calculated(operator: str, left: Numbers, right: Numbers) -> Numbers:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        return left * right if operator == "*" else left / right


def as_float(value: Fraction) -> float:
    """The nearest number; infinite where there is none."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def key_numbers(ref: SignalRef, keys: NDArray[np.uint64]) -> Numbers:
    """The numbers that the keys of a counted signal stand for."""
    offset = key_offset(ref.definition)
    return (keys - np.uint64(offset)).view(np.int64).astype(np.float64) if offset else keys.astype(np.float64)
