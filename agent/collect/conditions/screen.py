# SPDX-License-Identifier: Apache-2.0
"""Which conditions need a closer look at a block: told from the bounds within which their signals stayed in it.

Of each signal the least and the greatest key are known, its last sample before the block included: all that it is
compared with at any instant lies between. What a condition comes to over such bounds is one of three: at no instant of
the block can it be true, at every instant it must be, or neither is certain. A trigger whose conditions are certain to
be what they were at the last instant has nothing to do in the block.

Promise: certain is certain: bounds are computed as what they bound is, and rounding keeps the order of numbers.
Limits: signals with floating point, and those that more than one arbitration id carries, are never certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from agent.collect.conditions.binding import key_offset
from agent.collect.conditions.bounds import Bounds
from agent.collect.conditions.evaluate import as_float, bring_down, unscaled
from agent.collect.conditions.syntax import (
    OUTLOOK,
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
    Outlook,
    Over,
    Signal,
)
from agent.collect.steady_clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.collect.conditions.evaluate import Evaluator
    from agent.collect.conditions.syntax import Condition, Operator, Quantity, SignalRef

Extent: TypeAlias = tuple[float, float, bool]
"""The least and the greatest that a quantity can be, and whether it is known at every instant."""

UNCERTAIN: Outlook = (True, False)
NEVER_TRUE: Outlook = (False, False)
ALWAYS_TRUE: Outlook = (True, True)
_MANY = 1 << 60
"""No message has so many frames."""
_SLACK = 1e-9
"""How far a mean may be rounded out of the bounds of what it is the mean of, as a part of the greater of them."""


class Watcher:
    """An evaluator's condition over bounds.

    evaluator   as it is after the last instant: its edges are asked what they were
    numbers     of the signals, as `Screen` counts them
    stale_ns    a value older than this is not known; 0: it holds for ever
    one_bus     all frames that it is evaluated at are of one bus
    """

    def __init__(self, evaluator: Evaluator, numbers: dict[SignalRef, int], stale_ns: int, *, one_bus: bool) -> None:
        compiled = _Compiler(numbers, stale_ns)
        self._closer = None
        if evaluator.counts() and one_bus:
            self._closer = _Compiler(numbers, stale_ns, counts_exactly=True).condition(evaluator.condition)
        self._outlook = compiled.condition(evaluator.condition)
        self._edges = [
            (watched, compiled.condition(watched.condition), compiled.condition(watched.opposite))
            for watched in evaluator.edges
        ]

    def outlook(self, bounds: Bounds) -> Outlook:
        """Of the condition; not certain where an edge may come, or has something to remember."""
        for watched, condition, opposite in self._edges:
            holds, fails = condition(bounds), opposite(bounds)
            if holds != (ALWAYS_TRUE if watched.holds else NEVER_TRUE):
                return UNCERTAIN
            if fails != (ALWAYS_TRUE if watched.fails else NEVER_TRUE):
                return UNCERTAIN
        outlook = self._outlook(bounds)
        if outlook != UNCERTAIN or self._closer is None or bounds.is_ahead:
            return outlook
        return self._closer(bounds)


_Look: TypeAlias = Callable[[Bounds], Outlook]
_Measure: TypeAlias = Callable[[Bounds], "Extent | None"]
"""None where the quantity is not known at any instant."""


class _Compiler:
    """Conditions and quantities as functions of bounds: no block has to walk a tree."""

    def __init__(self, numbers: dict[SignalRef, int], stale_ns: int, *, counts_exactly: bool = False) -> None:
        self._numbers = numbers
        self._counts_exactly = counts_exactly
        self._stale_ns = stale_ns

    def condition(self, condition: Condition) -> _Look:
        """A normal condition."""
        match condition:
            case AllOf(parts=parts):
                return _all_of([self.condition(part) for part in parts])
            case AnyOf(parts=parts):
                return _any_of([self.condition(part) for part in parts])
            case InRange():
                return self._in_range(condition)
            case Comparison():
                return self._comparison(condition)
            case Not(operand=moment):
                return _opposite(self.condition(moment))
            case Changed(signal=Signal(ref=ref)):
                number = self._numbers[ref]
                return lambda bounds: UNCERTAIN if bounds.stirred[number] else NEVER_TRUE
            case Edge():
                return lambda _: NEVER_TRUE  # else `Watcher.outlook` does not come so far
        raise AssertionError(condition)

    def _in_range(self, condition: InRange) -> _Look:
        number, first, last, inside = self._numbers[condition.ref], condition.low, condition.high, condition.inside
        is_held = self._is_held(number)

        def look(bounds: Bounds) -> Outlook:
            low, high = bounds.low[number], bounds.high[number]
            if low > high:
                return NEVER_TRUE
            meets = first <= high and low <= last and first <= last
            lies_within = first <= low and high <= last
            can, must = (meets, lies_within) if inside else (not lies_within, not meets)
            return can, must and is_held(bounds)

        return look

    def _is_held(self, number: int) -> Callable[[Bounds], bool]:
        """Whether a signal is known at every instant."""
        stale_ns = self._stale_ns
        if not stale_ns:
            return lambda bounds: bounds.heard[number] > NEVER
        return lambda bounds: bounds.heard[number] >= bounds.end - stale_ns

    def _comparison(self, comparison: Comparison) -> _Look:
        brought_down = bring_down(comparison)
        if brought_down is not None:
            constant = brought_down.number
            operator = brought_down.operator
            left = self._over(brought_down.over, brought_down.ref)
            right: _Measure = lambda _: (constant, constant, True)  # noqa: E731
        else:
            operator = comparison.operator
            left, right = self._quantity(comparison.left), self._quantity(comparison.right)
        return _compared(operator, left, right)

    def _quantity(self, quantity: Quantity) -> _Measure:
        match quantity:
            case Number(value=value):
                constant = as_float(value)
                return lambda _: (constant, constant, True)
            case Signal(ref=ref):
                return _physical(self._signal(ref), ref)
            case Over(signal=Signal(ref=ref)):
                return _physical(self._over(unscaled(quantity, ref), ref), ref)
            case Count():
                return (_exact_count if self._counts_exactly else _count)(quantity)
            case Negative(operand=operand):
                return _negative(self._quantity(operand))
            case Absolute(operand=operand):
                return _absolute(self._quantity(operand))
            case Arithmetic(operator=operator, left=left, right=right):
                return _calculated(operator, self._quantity(left), self._quantity(right))
        raise AssertionError(quantity)

    def _signal(self, ref: SignalRef) -> _Measure:
        """The numbers that its raw values stand for."""
        number, offset = self._numbers[ref], key_offset(ref.definition)
        is_held = self._is_held(number)

        def measure(bounds: Bounds) -> Extent | None:
            low, high = bounds.low[number], bounds.high[number]
            return (float(low - offset), float(high - offset), is_held(bounds)) if low <= high else None

        return measure

    def _over(self, over: Over, ref: SignalRef) -> _Measure:
        signal, number = self._signal(ref), self._numbers[ref]

        def measure(bounds: Bounds) -> Extent | None:
            extent = signal(bounds)
            if extent is None:
                return None
            low, high = bounds.inputs.histories[ref].extent(extent[0], extent[1])
            if over.function == "mean":
                slack = max(-low, high) * _SLACK
                low, high = low - slack, high + slack
            return low, high, bounds.heard[number] > bounds.end - over.span_ns

        return measure


def _all_of(parts: Sequence[_Look]) -> _Look:
    def look(bounds: Bounds) -> Outlook:
        must = True
        for part in parts:
            can, part_must = part(bounds)
            if not can:
                return NEVER_TRUE
            must = must and part_must
        return True, must

    return look


def _any_of(parts: Sequence[_Look]) -> _Look:
    def look(bounds: Bounds) -> Outlook:
        can = False
        for part in parts:
            part_can, must = part(bounds)
            if must:
                return ALWAYS_TRUE
            can = can or part_can
        return can, False

    return look


def _opposite(moment: _Look) -> _Look:
    """Of a moment: where it does not come, the opposite holds."""
    return lambda bounds: ALWAYS_TRUE if moment(bounds) == NEVER_TRUE else UNCERTAIN


def _compared(operator: Operator, left: _Measure, right: _Measure) -> _Look:
    of_extents = OUTLOOK[operator]

    def look(bounds: Bounds) -> Outlook:
        one, other = left(bounds), right(bounds)
        if one is None or other is None:
            return NEVER_TRUE
        (a, b, one_known), (c, d, other_known) = one, other
        if not (-math.inf < a <= b < math.inf and -math.inf < c <= d < math.inf):
            return UNCERTAIN
        can, must = of_extents(a, b, c, d)
        return can, must and one_known and other_known

    return look


def _physical(numbers: _Measure, ref: SignalRef) -> _Measure:
    scale, offset = float(ref.definition.scale), float(ref.definition.offset)

    def measure(bounds: Bounds) -> Extent | None:
        extent = numbers(bounds)
        if extent is None:
            return None
        low, high = extent[0] * scale + offset, extent[1] * scale + offset
        return (low, high, extent[2]) if scale >= 0 else (high, low, extent[2])

    return measure


def _count(count: Count) -> _Measure:
    """Of frames in a span, roughly: those of before the block that are in it to the end, and all that there are."""
    message, span_ns = count.messages[0], count.span_ns

    def measure(bounds: Bounds) -> Extent:
        before = bounds.inputs.histories[message]
        came = len(bounds.inputs.frame_times(bounds.view, message))
        greatest = _MANY if bounds.is_ahead else len(before) + came
        return before.count_since(bounds.end - span_ns), greatest, True

    return measure


def _exact_count(count: Count) -> _Measure:
    """The same where all instants lie on the bus that the frames do: so they run on together."""
    message, span_ns = count.messages[0], count.span_ns

    def measure(bounds: Bounds) -> Extent:
        before = bounds.inputs.histories[message].times()
        came = bounds.inputs.frame_times(bounds.view, message)
        steady = np.concatenate([before, came])
        probes = np.concatenate([[bounds.begin], came, [bounds.end]])
        since = steady.searchsorted(probes - span_ns, side="right")
        # Greatest at the begin, or as soon as one has come; least just before one comes, or at the end.
        greatest = np.arange(len(before), len(steady) + 1) - since[:-1]
        least = steady.searchsorted(probes[1:]) - since[1:]
        return int(least.min()), int(greatest.max()), True

    return measure


def _negative(operand: _Measure) -> _Measure:
    def measure(bounds: Bounds) -> Extent | None:
        extent = operand(bounds)
        return extent and (-extent[1], -extent[0], extent[2])

    return measure


def _absolute(operand: _Measure) -> _Measure:
    def measure(bounds: Bounds) -> Extent | None:
        extent = operand(bounds)
        if extent is None:
            return None
        low, high, known = extent
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high)), known

    return measure


def _calculated(operator: str, left: _Measure, right: _Measure) -> _Measure:
    def measure(bounds: Bounds) -> Extent | None:
        one, other = left(bounds), right(bounds)
        if one is None or other is None:
            return None
        (a, b, one_known), (c, d, other_known) = one, other
        known = one_known and other_known
        if operator == "+":
            return a + c, b + d, known
        if operator == "-":
            return a - d, b - c, known
        if operator == "/":
            if c <= 0 <= d:
                return -math.inf, math.inf, False
            corners = (a / c, a / d, b / c, b / d)
        else:
            corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners), known

    return measure
