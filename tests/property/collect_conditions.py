# SPDX-License-Identifier: Apache-2.0
"""Conditions, each as a text and as plain code that says at every frame whether it is true, untrue, or not known."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from hypothesis import strategies as st

from agent.config.priorities import HIGHEST_FIRST, Priority
from tests.support.collect_car import MESSAGES, MS, S

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.model import SignalDefinition

Number = Fraction | float
SIGNALS = {signal.name: signal for message in MESSAGES for signal in message.signals}
MESSAGE_OF = {signal.name: message.name for message in MESSAGES for signal in message.signals}
_COMPARE: dict[str, Callable[[Number, Number], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class State(Protocol):
    """What a condition sees at a frame."""

    def value(self, signal: str) -> Number | None:
        """Its value, None where it is not known."""

    def window(self, signal: str, span_ns: int) -> list[Number]:
        """Its values of the last while."""

    def count(self, message: str, span_ns: int) -> int:
        """How many frames of a message came in the last while."""

    def changed(self, signal: str) -> bool:
        """Whether this frame brings another value than the one before."""


class Condition(Protocol):
    """A condition: its text, the messages it looks at, and what it is at a frame."""

    @property
    def text(self) -> str: ...

    @property
    def messages(self) -> set[str]: ...

    def truth(self, state: State, *, moments: bool) -> bool | None:
        """None where it is not known; without moments none of them is true. To be asked at every frame, once so."""


def physical(signal: SignalDefinition, number: float) -> Number:
    if signal.is_float:
        return float(number) * signal.scale + signal.offset
    return Fraction(number) * Fraction(repr(signal.scale)) + Fraction(repr(signal.offset))


def _known(value: Number | None) -> Number | None:
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


@dataclass
class Compared:
    """A quantity compared with a number."""

    quantity: str
    messages: set[str]
    get: Callable[[State], Number | None]
    operator: str
    number: str

    @property
    def text(self) -> str:
        return f"{self.quantity} {self.operator} {self.number}"

    def truth(self, state: State, *, moments: bool) -> bool | None:
        value = _known(self.get(state))
        return None if value is None else _COMPARE[self.operator](value, Fraction(self.number))


@dataclass
class Changed:
    """changed(signal)."""

    signal: str

    @property
    def text(self) -> str:
        return f"changed({self.signal})"

    @property
    def messages(self) -> set[str]:
        return {MESSAGE_OF[self.signal]}

    def truth(self, state: State, *, moments: bool) -> bool | None:
        return moments and state.changed(self.signal)


@dataclass
class Edge:
    """rising(condition) or falling(condition)."""

    rising: bool
    inner: Condition
    before: bool | None = None

    @property
    def text(self) -> str:
        return f"{'rising' if self.rising else 'falling'}({self.inner.text})"

    @property
    def messages(self) -> set[str]:
        return self.inner.messages

    def truth(self, state: State, *, moments: bool) -> bool | None:
        if not moments:
            return False
        before, self.before = self.before, self.inner.truth(state, moments=False)
        return (before, self.before) == ((False, True) if self.rising else (True, False))


@dataclass
class Joined:
    """a and b, a or b, not a."""

    word: str
    parts: list[Condition]

    @property
    def text(self) -> str:
        if self.word == "not":
            return f"not ({self.parts[0].text})"
        return f" {self.word} ".join(f"({part.text})" for part in self.parts)

    @property
    def messages(self) -> set[str]:
        return set().union(*(part.messages for part in self.parts))

    def truth(self, state: State, *, moments: bool) -> bool | None:
        found = [part.truth(state, moments=moments) for part in self.parts]
        if self.word == "not":
            return None if found[0] is None else not found[0]
        decisive = self.word == "or"
        return decisive if decisive in found else None if None in found else not decisive


def _absolute(value: Number | None) -> Number | None:
    return None if value is None else -value if value < 0 else value


def _plus(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


def _mean(values: list[Number]) -> Number | None:
    return sum(values) / len(values) if values else None


def _extreme(function: str, values: list[Number]) -> Number | None:
    if not values or any(_known(value) is None for value in values):
        return None
    return min(values) if function == "min" else max(values)


_names = st.sampled_from(("SPEED", "SPEED", "SPEED", "SLOPE", "GEAR", "COUNTER", "LEFT", "RIGHT", "BOTH", "TORQUE"))
_operators = st.sampled_from(sorted(_COMPARE))
_spans = st.sampled_from((5 * MS, 50 * MS, 500 * MS, 5 * S))


def _number(draw: st.DrawFn, signal: str) -> str:
    if signal in ("SPEED", "TORQUE"):
        return draw(st.sampled_from(("0", "0.5", "1", "1.5", "30", "50", "80.5", "2047", "-2.25")))
    return draw(st.sampled_from(("-13", "-1", "0", "1", "2", "3", "3.5", "15")))


@st.composite
def _quantities(draw: st.DrawFn) -> Condition:
    signal, other, span = draw(_names), draw(_names), draw(_spans)
    kind = draw(st.sampled_from(("plain", "plain", "plain", "abs", "sum", "min", "max", "mean", "count")))
    number, operator_ = _number(draw, signal), draw(_operators)
    message = MESSAGE_OF[signal]
    if kind == "plain":
        return Compared(signal, {message}, lambda state: state.value(signal), operator_, number)
    if kind == "abs":
        return Compared(
            f"abs({signal})",
            {message},
            lambda state: _absolute(state.value(signal)),
            operator_,
            number,
        )
    if kind == "sum":
        return Compared(
            f"{signal} + 2 * {other}",
            {message, MESSAGE_OF[other]},
            lambda state: _plus(state.value(signal), _plus(state.value(other), state.value(other))),
            operator_,
            number,
        )
    if kind == "count":
        text = f"count({message} over {span}ns)"
        return Compared(text, {message}, lambda state: Fraction(state.count(message, span)), operator_, number)
    text = f"{kind}({signal} over {span}ns)"
    if kind == "mean":
        return Compared(text, {message}, lambda state: _mean(state.window(signal, span)), operator_, number)
    return Compared(text, {message}, lambda state: _extreme(kind, state.window(signal, span)), operator_, number)


@st.composite
def _joined(draw: st.DrawFn, parts: st.SearchStrategy[Condition]) -> Condition:
    word = draw(st.sampled_from(("and", "or", "not")))
    return Joined(word, draw(st.lists(parts, min_size=1, max_size=1 if word == "not" else 2)))


lasting = st.recursive(_quantities(), _joined, max_leaves=3)
"""Conditions that last."""
_moments = st.one_of(
    st.builds(Changed, _names), st.builds(Edge, st.booleans(), st.recursive(_quantities(), _joined, max_leaves=2))
)
conditions = st.one_of(lasting, _moments, st.recursive(st.one_of(_quantities(), _moments), _joined, max_leaves=3))
"""Conditions of all kinds."""


@dataclass
class Written:
    """A trigger as drawn: what the configuration says, and its conditions as code."""

    when: Condition
    until: Condition | None
    hold: str
    at_most_every: str
    stale_after: str | None
    before: str
    after: str
    record: str
    priority: Priority
    name: str = field(default="event")


@st.composite
def written_triggers(draw: st.DrawFn) -> Written:
    """Triggers of all kinds."""
    hold = draw(st.sampled_from(("0s", "0s", "20ms", "1s")))
    return Written(
        draw(conditions if hold == "0s" else lasting),
        draw(st.none() | conditions),
        hold,
        draw(st.sampled_from(("0s", "0s", "100ms", "1s"))),
        draw(st.none() | st.sampled_from(("50ms", "1s"))),
        *draw(
            st.tuples(
                st.sampled_from(("0s", "20ms", "500ms", "5s", "10s")), st.sampled_from(("0s", "20ms", "500ms", "5s"))
            ).filter(lambda window: window != ("0s", "0s"))
        ),
        draw(st.sampled_from(("*", "*", "SPEED", "MODES.*", "can1.*.*", "ENGINE.TORQUE"))),
        draw(st.sampled_from((Priority.CRITICAL, *HIGHEST_FIRST))),
    )
