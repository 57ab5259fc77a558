# SPDX-License-Identifier: Apache-2.0
"""Where things are in a text that is read from its beginning to its end.

Each question is answered from the last answer where that still holds, so that asking at every statement costs a reader
no more than going through the text once: also where a line, or what ends a comment, is megabytes away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re


class Ahead:
    """The first match of a pattern at or behind a place; places are asked for in about ascending order."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern, self._text = pattern, text
        self._asked = 0
        self._found = pattern.search(text)

    def match(self, at: int) -> re.Match[str] | None:
        """The match, None where there is none."""
        if at < self._asked or (self._found is not None and self._found.start() < at):
            self._asked = at
            self._found = self._pattern.search(self._text, at)
        return self._found

    def start(self, at: int) -> int:
        """Where it begins; the text's end where there is none."""
        found = self.match(at)
        return len(self._text) if found is None else found.start()


class Lines:
    """The lines of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at, self._line = 0, 1
        self._begin, self._end = 0, -1

    def number(self, at: int) -> int:
        """The line, counted from 1, of a place."""
        passed = self._text.count("\n", *sorted((self._at, at)))
        self._line += passed if at >= self._at else -passed
        self._at = at
        return self._line

    def begin(self, at: int) -> int:
        """Where the line of a place begins."""
        self._find(at)
        return self._begin

    def end(self, at: int) -> int:
        """Where it ends: at its line feed, or the text's end."""
        self._find(at)
        return self._end

    def _find(self, at: int) -> None:
        if not self._begin <= at <= self._end:
            self._begin = self._text.rfind("\n", 0, at) + 1
            end = self._text.find("\n", at)
            self._end = len(self._text) if end < 0 else end
