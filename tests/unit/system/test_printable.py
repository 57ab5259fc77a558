# SPDX-License-Identifier: Apache-2.0
"""Text from outside, as people may see it."""

from __future__ import annotations

import json
import unicodedata

import pytest

from agent.system.printable import printable, printable_json

BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    "text",
    ["", "ENGINE_RPM", "Öltemperatur °C", "车速", "µs → 3", "C:\\log\\x1b", "\u0646\u0627\u0645\u200c\u0647\u0627"],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_not_to_be_printed_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_of_unicode_controls_a_terminal() -> None:
    for code in range(0x110000):
        character = chr(code)
        forbidden = (
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(character) in BIDIRECTIONAL
        )
        shown = printable(character)
        assert (shown != character and shown.isascii()) or not forbidden, hex(code)


def test_long_text_ends_with_an_ellipsis_within_the_limit() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"
    assert printable("x" * 10, 5) == "xxxx…"


def test_escape_at_the_limit_is_never_cut_in_two() -> None:
    assert printable("ab\x1bcd", 6) == "ab…"
    assert printable("ab\x1bcd", 7) == r"ab\x1b…"
    assert printable("ab\x1bc", 7) == r"ab\x1bc"


def test_a_megabyte_costs_no_more_than_its_beginning() -> None:
    assert printable("\x1b" * (1 << 20)) == r"\x1b" * 49 + "…"


@pytest.mark.parametrize("text", ["\x1b\x9b2J\x7f\u202e\u2028\ud800\U000e0041", "°C", "a\nb", ""])
def test_json_made_printable_is_the_same_document(text: str) -> None:
    written = printable_json(json.dumps({text: [text]}, ensure_ascii=False) + "\n")
    assert json.loads(written) == {text: [text]}
    assert written.removesuffix("\n").isprintable()
    assert ("°" in written) == ("°" in text)
