# SPDX-License-Identifier: Apache-2.0
"""How the statements of a DBC file are written, as regular expressions; and where things are in a text.

Each matches or fails in time that is linear in what it looks at: what repeats gives nothing back (`++`, `*+`), so that
no line, however it goes on, makes one try the same characters again. Where something has to be given back (a string
whose last character is a backslash) it is a place, not a run of characters; `STATEMENT_CHARS_MAX` bounds those.

A text is read from its beginning to its end. `Ahead` and `Lines` answer from their last answer where that still holds:
to ask at every statement costs no more than to go through the text once, also where a line is megabytes long.
"""

from __future__ import annotations

import re

from agent.decode.statements import KEYWORDS

DIGITS_MAX = 19
"""So many are less than 2^64, whichever they are."""
STATEMENT_CHARS_MAX = 1 << 16
"""Of a statement that is matched as one; value tables are read entry by entry."""

KEYWORD = r"(?:" + "|".join(sorted(KEYWORDS, key=len, reverse=True)) + r")(?![A-Za-z0-9_])"
_NUMBER = r"[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+"
_WHOLE = rf"\d{{1,{DIGITS_MAX}}}+"
NAME = r'[^\s:;"|@,()\[\]]++'
_TEXT = r'(?:[^"\\]++|\\"|\\)*?'
_LINE_TEXT = r'(?:[^"\\\n]++|\\"|\\)*?'

SPACE = re.compile(r"(?:\s++|//[^\n]*+)*+")
AT_KEYWORD = re.compile(KEYWORD)
KEYWORD_WITHIN = re.compile(rf"(?<![\w]){KEYWORD}")
LINE_OF_KEYWORD = re.compile(rf"\n[ \t]*+(?={KEYWORD}[ \t:])")
LONE_SEMICOLON = re.compile(r";[^\S\n]*+(?=\n|\Z)")
NEW_SYMBOLS = re.compile(r"NS_[ \t]*+:?[^\n]*+(?:\n[ \t]*+(?:[A-Z_]++[ \t]*+)?+(?=\n))*+")
WORDS = re.compile(rf"(?:BS_|BU_)[^\n]*+(?:\n[ \t]++(?!{KEYWORD})[^\n]++)*+")
BODY = re.compile(r'(?:[^";]++|"(?:[^"\\]++|\\"|\\)*+")*+;')
COMMENT = re.compile(rf'CM_\s*+(?:(?:BO_|EV_|BU_)\s++{NAME}\s*+|SG_\s++{NAME}\s++{NAME}\s*+)?+"')
COMMENT_END = re.compile(r'"\s*+;')
BARE_QUOTE = re.compile(r'(?<!\\)"')
VERSION = re.compile(rf'VERSION\s*+"{_TEXT}"')
MESSAGE = re.compile(
    rf"BO_\s++(?P<id>{NAME})\s++(?P<name>{NAME})\s*+:\s*+(?P<length>{NAME})"
    rf"(?P<sender>\s++(?!{KEYWORD})(?!//)[^\s:]++)?+"
)
NAMED_MESSAGE = re.compile(rf"BO_\s++{NAME}\s++({NAME})")
SIGNAL = re.compile(
    rf"SG_\s++(?P<name>{NAME})(?:\s++(?P<mark>{NAME}))?+\s*+:\s*+"
    rf"(?P<start>{_NUMBER})\s*+\|\s*+(?P<length>{_NUMBER})\s*+@\s*+(?P<order>\d)\s*+(?P<sign>[+-])\s*+"
    rf"\(\s*+(?P<scale>{_NUMBER})\s*+,\s*+(?P<offset>{_NUMBER})\s*+\)\s*+"
    r"\[\s*+(?P<minimum>[^\]|\n]*+)\s*+\|\s*+(?P<maximum>[^\]|\n]*+)\s*+\]\s*+"
    rf'"(?P<unit>{_LINE_TEXT})"'
    rf"(?P<receivers>\s*+(?!{KEYWORD})\w++(?:\s*+,\s*+(?!{KEYWORD})\w++)*+)?+"
)
NAMED_SIGNAL = re.compile(rf"SG_\s++({NAME})")
SIGNAL_PARTS = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (rf"SG_\s++{NAME}(?:\s++{NAME})?+\s*+:", "a name and a colon"),
        (rf"\s*+{_NUMBER}\s*+\|\s*+{_NUMBER}", "start|length"),
        (r"\s*+@\s*+\d\s*+[+-]", "@1 or @0 and a sign"),
        (rf"\s*+\(\s*+{_NUMBER}\s*+,\s*+{_NUMBER}\s*+\)", "(scale,offset)"),
        (r"\s*+\[[^\]|\n]*+\|[^\]|\n]*+\]", "[minimum|maximum]"),
        (rf'\s*+"{_LINE_TEXT}"', "a unit in quotes"),
    )
)
VALUES = re.compile(rf"VAL_\s++(?:(?P<id>0[xX][0-9a-fA-F]++|\d++)\s++)?(?P<signal>{NAME})(?=[\s;\"])\s*+")
PAIR = re.compile(rf'\s*+(?P<value>[-+\w.]++)\s*+"(?P<text>{_TEXT})"')
FLOAT = re.compile(rf"SIG_VALTYPE_\s++(?P<id>{NAME})\s++(?P<signal>{NAME})\s*+:?\s*+(?P<type>{_WHOLE})\s*+;")
SELECTION = re.compile(
    rf"SG_MUL_VAL_\s++(?P<id>{NAME})\s++(?P<signal>{NAME})\s++(?P<multiplexor>{NAME})\s++"
    rf"(?P<ranges>{_WHOLE}\s*+-\s*+{_WHOLE}(?:\s*+,\s*+{_WHOLE}\s*+-\s*+{_WHOLE})*+)\s*+;"
)
RANGE = re.compile(r"(\d++)\s*+-\s*+(\d++)")
ATTRIBUTE_TYPE = re.compile(
    r'BA_DEF_\s++(?:(?:BO_|SG_|BU_|EV_)\s++)?"(?P<name>[^"]*+)"\s*+(?P<type>\w++)\s*+(?P<rest>(?:"[^"]*+"|[^";]++)*+);'
)
QUOTED = re.compile(r'"([^"]*+)"')
ATTRIBUTE_DEFAULT = re.compile(rf'BA_DEF_DEF_\s++"(?P<name>[^"]*+)"\s*+(?P<value>{_NUMBER}|"{_TEXT}")\s*+;')
ATTRIBUTE = re.compile(
    rf'BA_\s++"(?P<name>[^"]*+)"\s*+(?:(?P<kind>BO_|SG_)\s++(?P<id>{NAME})\s++|(?P<other>BU_|EV_)\s++{NAME}\s++)?'
    rf'(?:(?<=\s)(?P<signal>(?![-+.]?\d){NAME})\s++)?(?P<value>{_NUMBER}|"{_TEXT}")\s*+;'
)


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
