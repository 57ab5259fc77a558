# SPDX-License-Identifier: Apache-2.0
"""Text from outside, made fit for a terminal, a log line or a page."""

from __future__ import annotations

import unicodedata

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str, limit: int = 200) -> str:
    """The text with what steers a terminal or turns a line around escaped (\\x1b, \\u202e), and cut where longer."""
    escaped = "".join(_escaped(each) if steers(each) else each for each in text[: limit + 1])
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 1]}…"


def steers(character: str) -> bool:
    """Whether it is a control character, turns the writing around, ends a line, or is half of a character."""
    return character in _BIDI or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
