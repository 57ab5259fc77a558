# SPDX-License-Identifier: Apache-2.0
"""Texts that are conditions, and their limits."""

from __future__ import annotations

from fractions import Fraction

import pytest

from agent.collect.conditions.parser import DEPTH_MAX, DIGITS_MAX, SPAN_NS_MAX, parse_condition
from agent.collect.conditions.syntax import Comparison, Count, ExpressionError, Number, Over


def number(text: str) -> Fraction:
    """As the right side of a comparison."""
    condition = parse_condition(f"X > {text}")
    assert isinstance(condition, Comparison)
    assert isinstance(condition.right, Number)
    return condition.right.value


def test_a_number_is_what_its_digits_say() -> None:
    assert number("0.1") == Fraction(1, 10)
    assert number("-2.50E-1") == Fraction(-1, 4)
    assert number("0x1e400") == 0x1E400
    assert number(f"1e+0{DIGITS_MAX}") == Fraction(10) ** DIGITS_MAX
    assert number(f"1e-{DIGITS_MAX}") == Fraction(10) ** -DIGITS_MAX


@pytest.mark.parametrize(
    "text", ["1e20000000", "1e-20000000", f"1e{DIGITS_MAX + 1}", "1" * 5000, "0." + "1" * DIGITS_MAX, "1e" + "9" * 5000]
)
def test_a_number_of_more_digits_than_anyone_needs_is_refused_at_once(text: str) -> None:
    with pytest.raises(ExpressionError, match="accepted: up to 400 digits, and exponents from -400 to 400") as caught:
        parse_condition(f"X > {text}")
    assert caught.value.at == 4


@pytest.mark.parametrize(("opening", "results"), [("(", ")"), ("not ", ""), ("- ", ""), ("abs(", ")")])
def test_parentheses_within_one_another_have_a_limit(opening: str, results: str) -> None:
    def nested(depth: int) -> str:
        inner = "X > 1" if opening in ("(", "not ") else "X"
        return opening * depth + inner + results * depth + ("" if inner == "X > 1" else " > 1")

    parse_condition(nested(DEPTH_MAX - 1))
    with pytest.raises(ExpressionError, match=f"too deep; accepted: up to {DEPTH_MAX} levels"):
        parse_condition(nested(DEPTH_MAX))


@pytest.mark.parametrize("what", ["min(X", "max(X", "mean(X", "count(M"])
def test_a_span_that_is_looked_back_over_has_a_limit(what: str) -> None:
    condition = parse_condition(f"{what} over 10m) > 1")
    assert isinstance(condition, Comparison)
    assert isinstance(condition.left, Over | Count)
    assert condition.left.span_ns == SPAN_NS_MAX
    for text in ("601s", "0s"):
        with pytest.raises(ExpressionError, match=f'"{text}" is out of range; accepted: up to 10m'):
            parse_condition(f"{what} over {text}) > 1")
