# SPDX-License-Identifier: Apache-2.0
"""What a trigger's condition can say: the tree that `parser` makes of the text and everything else works on.

    condition   comparison · all of · any of · not · changed(signal) · rising(condition) · falling(condition)
    quantity    number · signal · text from a value table · - a · a + b · a - b · a * b · a / b · abs(a)
                min, max or mean(signal over 5s) · count(MESSAGE over 10s)

Each node knows the place in the text where it begins, `at`, counted from 0, for those who find fault with it.
A comparison of a lone signal with a number becomes `InRange` once the signal is known: raw values in a range,
compared as whole numbers, so that "> 0.3" means what it says for a signal in steps of 0.1.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction

    from agent.model import SignalDefinition

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
OPPOSITE: dict[Operator, Operator] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
"""What holds where a comparison of known numbers does not."""
MIRRORED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
"""The same comparison with its sides exchanged."""
CALCULATE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
"""What arithmetic comes to, of fractions, arrays or ranges."""


class ExpressionError(ValueError):
    """The text is no condition: what is wrong, and where."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(f"{text}, at character {at + 1}")
        self.text, self.at = text, at


@dataclass(frozen=True, slots=True)
class SignalRef:
    """A signal of a message: indexes into the definitions, and its definition."""

    message: int
    signal: int
    definition: SignalDefinition = field(compare=False)

    def __hash__(self) -> int:
        return self.message << 16 ^ self.signal


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, exactly as it was written; `unit` where one was, in brackets."""

    at: int
    value: Fraction
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A name from a value table, in quotes."""

    at: int
    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """A signal, as signal, message.signal or bus.message.signal; in `Count` a message or bus.message."""

    at: int
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that was found."""

    at: int
    ref: SignalRef
    name: str


@dataclass(frozen=True, slots=True)
class Negative:
    """-a."""

    at: int
    operand: Quantity


@dataclass(frozen=True, slots=True)
class Absolute:
    """abs(a)."""

    at: int
    operand: Quantity


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """a + b, a - b, a * b or a / b; `at` is the operator's place."""

    at: int
    operator: Literal["+", "-", "*", "/"]
    left: Quantity
    right: Quantity


@dataclass(frozen=True, slots=True)
class Over:
    """The least, greatest or mean value that a signal had in the time before, now included."""

    at: int
    function: Literal["min", "max", "mean"]
    signal: Name | Signal
    span_ns: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many frames of a message came in the time before, this one included; `messages` once they are known."""

    at: int
    name: Name
    span_ns: int
    messages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two quantities; `at` is the operator's place."""

    at: int
    operator: Operator
    left: Quantity
    right: Quantity


@dataclass(frozen=True, slots=True)
class InRange:
    """A lone signal, as a comparison with a number comes down to: its key is in low…high, or (not inside) is not.

    The *key* of a raw value is the number that it stands for, plus 2 ** (length - 1) where it is signed: unsigned,
    and in the order of the numbers. low > high is the empty range.
    """

    at: int
    ref: SignalRef
    low: int
    high: int
    inside: bool
    written: Comparison


@dataclass(frozen=True, slots=True)
class AllOf:
    """a and b and …"""

    at: int
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """a or b or …"""

    at: int
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """not a."""

    at: int
    operand: Condition


@dataclass(frozen=True, slots=True)
class Changed:
    """A moment: the signal has come with another value than before."""

    at: int
    signal: Name | Signal


@dataclass(frozen=True, slots=True)
class Edge:
    """A moment: the condition has become true (rising) or untrue (falling), having been known before."""

    at: int
    rising: bool
    condition: Condition


Quantity: TypeAlias = Number | Text | Name | Signal | Negative | Absolute | Arithmetic | Over | Count
Condition: TypeAlias = Comparison | InRange | AllOf | AnyOf | Not | Changed | Edge
Node: TypeAlias = Quantity | Condition


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node."""
    match node:
        case Negative(operand=operand) | Absolute(operand=operand) | Not(operand=operand):
            return (operand,)
        case Arithmetic(left=left, right=right) | Comparison(left=left, right=right):
            return (left, right)
        case Over(signal=signal) | Changed(signal=signal):
            return (signal,)
        case AllOf(parts=parts) | AnyOf(parts=parts):
            return parts
        case Edge(condition=condition):
            return (condition,)
    return ()


def nodes(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in children(node):
        yield from nodes(child)


def normal(condition: Condition, positive: bool = True) -> Condition:
    """The condition, or what holds where it is known not to, with "not" left only before moments.

    A value that is not known makes neither a comparison nor its opposite true: what holds in a normal condition is
    certain, and what is not certain does not hold.
    """
    match condition:
        case Not(operand=operand):
            return normal(operand, not positive)
        case AllOf(at=at, parts=parts):
            return (AllOf if positive else AnyOf)(at, tuple(normal(part, positive) for part in parts))
        case AnyOf(at=at, parts=parts):
            return (AnyOf if positive else AllOf)(at, tuple(normal(part, positive) for part in parts))
    if positive:
        return condition
    match condition:
        case Comparison(at=at, operator=operator, left=left, right=right):
            return Comparison(at, OPPOSITE[operator], left, right)
        case InRange():
            return replace(condition, inside=not condition.inside)
    return Not(condition.at, condition)


def is_momentary(node: Node) -> bool:
    """Whether it speaks of a moment: true when a frame comes, and over before the next."""
    return any(isinstance(each, Changed | Edge) for each in nodes(node))
