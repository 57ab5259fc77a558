# SPDX-License-Identifier: Apache-2.0
"""Text from outside steers no terminal."""

from __future__ import annotations

import pytest

from agent.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Geschwindigkeit °C 速度", "Geschwindigkeit °C 速度"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\nb\tc\x7f", "a\\nb\\tc\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("car\u202egnp", "car\\u202egnp"),
        ("\u2028\u2029\u2066", "\\u2028\\u2029\\u2066"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"
    assert len(printable("\x1b" * 10_000_000)) == 200
