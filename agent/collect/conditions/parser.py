# SPDX-License-Identifier: Apache-2.0
"""From a text such as ``BrakePressure > 80 and not rising(Gear == "R")`` to a tree, by recursive descent.

    condition   every ("or" every)*
    every       negated ("and" negated)*
    negated     "not" negated | compared
    compared    sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*        a < b < c is a < b and b < c
    sum         product (("+" | "-") product)*
    product     factor (("*" | "/") factor)*
    factor      "-" factor | number ("[" unit "]")? | text | name | call | "(" condition ")"
    call        "abs" "(" sum ")" | ("min" | "max" | "mean") "(" name "over" duration ")"
                | "count" "(" name "over" duration ")" | "changed" "(" name ")"
                | ("rising" | "falling") "(" condition ")"
    name        word ("." word)*, a word that is none of letters, digits and _ in backquotes: `can-0`.BRAKE.Pressure

Nothing of it is ever handed to Python to evaluate.
Limits: `DEPTH_MAX` parentheses within one another, numbers of `DIGITS_MAX` digits.
Failure: `ExpressionError`, with the place in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from agent.collect.conditions.syntax import (
    Absolute,
    AllOf,
    AnyOf,
    Arithmetic,
    Changed,
    Comparison,
    Condition,
    Count,
    Edge,
    ExpressionError,
    Name,
    Negative,
    Not,
    Number,
    Over,
    Quantity,
    Text,
)
from agent.units import Duration

if TYPE_CHECKING:
    from agent.collect.conditions.syntax import Node, Operator

DEPTH_MAX = 32
DIGITS_MAX = 400
"""Of a number, and the size of its exponent: more than any value of a signal needs."""
SPAN_NS_MAX = 600 * 10**9
"""The longest time that min, max, mean and count look back over."""
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>0[xX][0-9a-fA-F]+(?![\w.])|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d]\w*|`[^`]+`)
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<unit>\[[^\]]*\])
    |(?P<operator>[<>=!]=|[-+*/<>().,])""",
    re.VERBOSE,
)
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_KEYWORDS = ("and", "or", "not", "over")
_INSTEAD = {"&": '"and"', "|": '"or"', "!": '"not" or "!="', "=": '"=="', "^": '"not"'}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_condition(text: str) -> Condition:
    """The condition that a text says; raises ExpressionError."""
    parser = _Parser(_tokens(text))
    condition = parser.condition()
    parser.expect_end()
    return condition


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            instead = f"; did you mean {_INSTEAD[text[at]]}?" if text[at] in _INSTEAD else ""
            raise ExpressionError(f'"{text[at]}" has no meaning here{instead}', at)
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append(_Token(kind, match[0], at))
        at = match.end()
    return [*tokens, _Token("end", "", len(text.rstrip()))]


def _value(number: _Token) -> Fraction:
    """What the digits say, exactly."""
    text = number.text.lower()
    if text.startswith("0x"):
        return Fraction(int(text, 16))
    digits, _, exponent = text.partition("e")
    if max(len(digits), len(exponent)) > DIGITS_MAX or abs(int(exponent or 0)) > DIGITS_MAX:
        accepted = f"up to {DIGITS_MAX} digits, and exponents from -{DIGITS_MAX} to {DIGITS_MAX}"
        raise ExpressionError(f"a number out of range; accepted: {accepted}", number.at)
    return Fraction(text)


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    # Conditions ---------------------------------------------------------------------------------------------

    def condition(self) -> Condition:
        return self._condition_of(self._either())

    def _either(self) -> Node:
        parts = [self._every()]
        while self._takes("or"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else AnyOf(parts[0].at, tuple(map(self._condition_of, parts)))

    def _every(self) -> Node:
        parts = [self._negated()]
        while self._takes("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else AllOf(parts[0].at, tuple(map(self._condition_of, parts)))

    def _negated(self) -> Node:
        at = self._here.at
        if not self._takes("not"):
            return self._compared()
        with_depth = self._deeper(at)
        operand = self._condition_of(self._negated())
        self._depth = with_depth
        return Not(at, operand)

    def _compared(self) -> Node:
        left = self._sum()
        parts: list[Condition] = []
        while self._here.text in _COMPARISONS and self._here.kind == "operator":
            token = self._advance()
            right = self._sum()
            operator = cast("Operator", token.text)
            parts.append(Comparison(token.at, operator, self._quantity_of(left), self._quantity_of(right)))
            left = right
        if not parts:
            return left
        return parts[0] if len(parts) == 1 else AllOf(parts[0].at, tuple(parts))

    # Quantities ---------------------------------------------------------------------------------------------

    def _sum(self) -> Node:
        left = self._product()
        while token := self._operator("+", "-"):
            right = self._product()
            left = Arithmetic(
                token.at, "+" if token.text == "+" else "-", self._quantity_of(left), self._quantity_of(right)
            )
        return left

    def _product(self) -> Node:
        left = self._factor()
        while token := self._operator("*", "/"):
            right = self._factor()
            left = Arithmetic(
                token.at, "*" if token.text == "*" else "/", self._quantity_of(left), self._quantity_of(right)
            )
        return left

    def _factor(self) -> Node:
        token = self._advance()
        before = self._deeper(token.at)
        try:
            if token.text == "-":
                return self._negative(token.at)
            if token.text == "(":
                inner = self._either()
                self._expect(")")
                return inner
            if token.kind == "number":
                return self._number(token)
            if token.kind == "text":
                return Text(token.at, token.text[1:-1])
            if token.kind == "word" and token.text not in _KEYWORDS:
                return self._call(token) if self._here.text == "(" else self._name(token)
        finally:
            self._depth = before
        found = f'"{token.text}"' if token.text else "the end"
        raise ExpressionError(f"{found} where a signal or a number is expected", token.at)

    def _negative(self, at: int) -> Quantity:
        operand = self._quantity_of(self._factor())
        return Number(at, -operand.value, operand.unit) if isinstance(operand, Number) else Negative(at, operand)

    def _number(self, token: _Token) -> Number:
        value = _value(token)
        unit = self._advance().text[1:-1].strip() if self._here.kind == "unit" else ""
        if self._here.kind == "word" and self._here.text not in _KEYWORDS:
            raise ExpressionError(
                f'"{token.text} {self._here.text}" says nothing; a unit stands in brackets, as in '
                f"{token.text} [{self._here.text}]",
                self._here.at,
            )
        return Number(token.at, value, unit)

    def _call(self, function: _Token) -> Node:
        self._expect("(")
        node = self._called(function)
        self._expect(")")
        return node

    def _called(self, function: _Token) -> Node:
        at = function.at
        match function.text:
            case "abs":
                return Absolute(at, self._quantity_of(self._sum()))
            case "min" | "max" | "mean":
                name = self._name(self._advance())
                return Over(at, function.text, name, self._span(function.text, name))
            case "count":
                name = self._name(self._advance())
                return Count(at, name, self._span("count", name))
            case "changed":
                return Changed(at, self._name(self._advance()))
            case "rising" | "falling":
                return Edge(at, function.text == "rising", self.condition())
        known = "abs, min, max, mean, count, changed, rising, falling"
        raise ExpressionError(f'there is no function "{function.text}"; accepted: {known}', at)

    def _span(self, function: str, name: Name) -> int:
        if not self._takes("over"):
            raise ExpressionError(f"how far back? Write {function}({name} over 5s)", self._here.at)
        number, unit = self._advance(), self._advance()
        try:
            span = Duration.parse(number.text + unit.text)
        except ValueError:
            raise ExpressionError(
                f'"{number.text}{unit.text}" is not a duration; accepted: {Duration.accepted}', number.at
            ) from None
        if not 0 < span <= SPAN_NS_MAX:
            raise ExpressionError(f'"{span}" is out of range; accepted: up to {Duration(SPAN_NS_MAX)}', number.at)
        return int(span)

    def _name(self, first: _Token) -> Name:
        parts = [self._word(first)]
        while self._operator("."):
            parts.append(self._word(self._advance()))
        return Name(first.at, tuple(parts))

    def _word(self, token: _Token) -> str:
        if token.kind != "word" or token.text in _KEYWORDS:
            found = f'"{token.text}"' if token.text else "the end"
            raise ExpressionError(f"{found} where a name is expected", token.at)
        return token.text.strip("`")

    # Kinds --------------------------------------------------------------------------------------------------

    def _condition_of(self, node: Node) -> Condition:
        if isinstance(node, Condition):
            return node
        example = f"{node} > 0" if isinstance(node, Name) else "BrakePressure > 80"
        raise ExpressionError(f"a number where a condition is expected, such as {example}", node.at)

    def _quantity_of(self, node: Node) -> Quantity:
        if isinstance(node, Quantity):
            return node
        raise ExpressionError("a condition where a number is expected", node.at)

    # Tokens -------------------------------------------------------------------------------------------------

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        token = self._here
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _takes(self, keyword: str) -> bool:
        if self._here.kind != "word" or self._here.text != keyword:
            return False
        self._advance()
        return True

    def _operator(self, *accepted: str) -> _Token | None:
        return self._advance() if self._here.kind == "operator" and self._here.text in accepted else None

    def _expect(self, text: str) -> None:
        token = self._advance()
        if token.text != text:
            found = f'"{token.text}"' if token.text else "the end"
            raise ExpressionError(f'{found} where "{text}" is expected', token.at)

    def expect_end(self) -> None:
        if self._here.kind != "end":
            raise ExpressionError(f'"{self._here.text}" where "and", "or" or the end is expected', self._here.at)

    def _deeper(self, at: int) -> int:
        """Count one level more, and return how many there were."""
        before = self._depth
        if before >= DEPTH_MAX:
            raise ExpressionError(f"too deep; accepted: up to {DEPTH_MAX} levels of parentheses", at)
        self._depth += 1
        return before
