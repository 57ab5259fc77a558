# SPDX-License-Identifier: Apache-2.0
"""Text from outside (names, topics, reasons, file contents) made fit for a terminal, a log line or a table's cell.

Promise: what `printable` gives is one line, moves no cursor, sets no colour, turns no writing direction, can be encoded
as UTF-8, and has at most ``limit`` characters. What is no such character stays as it is, backslashes too: the result is
for people, not to be read back. Cost: by ``limit``, not by the length of the text. `printable_line` is for a line made
of such texts and our own words. `printable_json` loses nothing: whoever parses the document gets the text as it was.
`aligned` puts such texts in columns.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 200
LINE_LIMIT = 2000
"""Of a whole line, which may hold several such texts and the way out."""
ESCAPED_MAX = len(r"\U000e0001")
"""Characters that one becomes at most."""
ELLIPSIS = "…"
_UNPRINTABLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 with ESC and the line breaks, DEL, C1 with CSI
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the writing direction
    "\u2028\u2029"  # line and paragraph separators
    "\u00ad\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    "\ud800-\udfff"  # lone surrogates: no UTF-8
    "]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, limit: int = LIMIT) -> str:
    """``text`` on one line, what is not to be printed written as ``\\x1b`` or ``\\u202e``; an ellipsis ends what was
    longer than ``limit`` characters."""
    shown = _UNPRINTABLE.sub(_escape, text[: limit + 1])
    if len(shown) <= limit:
        return shown
    return _cut(text, limit)


def printable_line(text: str) -> str:
    """A whole line likewise, of at most `LINE_LIMIT` characters."""
    return printable(text, LINE_LIMIT)


def printable_json(document: str) -> str:
    """The same document; what is not to be printed is escaped as JSON does. Line breaks stay: strings have none."""
    return document if document.isprintable() else _UNPRINTABLE.sub(_escape_in_json, document)


def aligned(rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """The rows of a table as lines: the first `texts` columns to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _cut(text: str, limit: int) -> str:
    """As many characters as have room before the ellipsis, none of their escapes cut in two."""
    shown = ""
    for character in text[:limit]:
        escaped = _UNPRINTABLE.sub(_escape, character)
        if len(shown) + len(escaped) > limit - len(ELLIPSIS):
            break
        shown += escaped
    return shown + ELLIPSIS


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _SHORT:
        return _SHORT[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_in_json(match: re.Match[str]) -> str:
    if match[0] in "\n\r\t":  # between the values: within strings they are escaped already
        return match[0]
    return r"\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1]
