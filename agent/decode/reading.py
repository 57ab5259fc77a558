# SPDX-License-Identifier: Apache-2.0
"""A DBC file's text to statements: what decoding needs is read, the rest is passed over.

Read is what `statements` lists. Comments, nodes, environment variables, groups and relations say nothing about bits:
they are only looked at to see where they end.

A statement that is not as the format wants it costs itself: it becomes a problem with its line, and reading goes on
at the next line that begins with a keyword. A string that lost its closing quote ends there too; that is why the
search for an end never goes past such a line, unless a comment's quotes show that the line is part of its text.
Time is linear in the file's size; nothing here raises: whole numbers that are made of digits here have at most
`DIGITS_MAX` of them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from agent.decode.report import Severity, Subject
from agent.decode.statements import (
    ATTRIBUTES,
    KEYWORDS,
    AttributeStatement,
    FloatStatement,
    MessageStatement,
    SelectionStatement,
    SignalStatement,
    Statements,
    ValuesStatement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DIGITS_MAX = 19
"""So many are less than 2^64, whichever they are."""

_KEYWORD = r"(?:" + "|".join(sorted(KEYWORDS, key=len, reverse=True)) + r")(?![A-Za-z0-9_])"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WHOLE = rf"\d{{1,{DIGITS_MAX}}}"
_NAME = r'[^\s:;"|@,()\[\]]+'
_STRING = r'"((?:\\"|[^"])*?)"'

_SPACE = re.compile(r"(?:\s++|//[^\n]*+)*+")
_AT_KEYWORD = re.compile(_KEYWORD)
_LINE_OF_KEYWORD = re.compile(rf"\n[ \t]*(?={_KEYWORD}[ \t:])")
_NEW_SYMBOLS = re.compile(r"NS_[ \t]*:?[^\n]*(?:\n[ \t]*[A-Z_]*[ \t]*(?=\n))*")
_WORDS = re.compile(rf"(?:BS_|BU_)[^\n]*(?:\n[ \t]++(?!{_KEYWORD})[^\n]+)*")
_BODY = re.compile(r'(?>[^";]++|"(?:\\"|[^"])*+")*+;')
_COMMENT = re.compile(rf'CM_\s*(?:(?:BO_|EV_|BU_)\s+{_NAME}\s*|SG_\s+{_NAME}\s+{_NAME}\s*)?"')
_COMMENT_END = re.compile(r'"\s*;')
_VERSION = re.compile(rf"VERSION\s*{_STRING}")
_MESSAGE = re.compile(
    rf"BO_\s+(?P<id>{_NAME})\s+(?P<name>{_NAME})\s*:\s*(?P<length>{_NAME})"
    rf"(?P<sender>\s+(?!{_KEYWORD})(?!//)[^\s:]+)?"
)
_SIGNAL = re.compile(
    rf"SG_\s+(?P<name>{_NAME})(?:\s+(?P<mark>{_NAME}))?\s*:\s*"
    rf"(?P<start>{_NUMBER})\s*\|\s*(?P<length>{_NUMBER})\s*@\s*(?P<order>\d)\s*(?P<sign>[+-])\s*"
    rf"\(\s*(?P<scale>{_NUMBER})\s*,\s*(?P<offset>{_NUMBER})\s*\)\s*"
    r"\[\s*(?P<minimum>[^\]|\n]*?)\s*\|\s*(?P<maximum>[^\]|\n]*?)\s*\]\s*"
    rf'"(?P<unit>(?:\\"|[^"\n])*?)"'
    rf"(?P<receivers>\s*(?!{_KEYWORD})\w+(?:\s*,\s*(?!{_KEYWORD})\w+)*)?"
)
_SIGNAL_PARTS = (
    (rf"SG_\s+{_NAME}(?:\s+{_NAME})?\s*:", "a name and a colon"),
    (rf"\s*{_NUMBER}\s*\|\s*{_NUMBER}", "start|length"),
    (r"\s*@\s*\d\s*[+-]", "@1 or @0 and a sign"),
    (rf"\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)", "(scale,offset)"),
    (r"\s*\[[^\]|\n]*\|[^\]|\n]*\]", "[minimum|maximum]"),
    (r'\s*"(?:\\"|[^"\n])*?"', "a unit in quotes"),
)
_VALUES = re.compile(rf"VAL_\s+(?:(?P<id>0[xX][0-9a-fA-F]+|\d+)\s+)?(?P<signal>{_NAME})(?=[\s;\"])\s*")
_PAIR = re.compile(rf"\s*(?P<value>[-+\w.]+)\s*{_STRING}")
_FLOAT = re.compile(rf"SIG_VALTYPE_\s+(?P<id>{_NAME})\s+(?P<signal>{_NAME})\s*:?\s*(?P<type>{_WHOLE})\s*;")
_SELECTION = re.compile(
    rf"SG_MUL_VAL_\s+(?P<id>{_NAME})\s+(?P<signal>{_NAME})\s+(?P<multiplexor>{_NAME})\s+"
    rf"(?P<ranges>{_WHOLE}\s*-\s*{_WHOLE}(?:\s*,\s*{_WHOLE}\s*-\s*{_WHOLE})*)\s*;"
)
_ATTRIBUTE_TYPE = re.compile(
    r'BA_DEF_\s+(?:(?:BO_|SG_|BU_|EV_)\s+)?"(?P<name>[^"]*)"\s*(?P<type>\w+)\s*(?P<rest>(?:"[^"]*"|[^";])*+);'
)
_ATTRIBUTE_DEFAULT = re.compile(rf'BA_DEF_DEF_\s+"(?P<name>[^"]*)"\s*(?P<value>{_NUMBER}|"(?:\\"|[^"])*?")\s*;')
_ATTRIBUTE = re.compile(
    rf'BA_\s+"(?P<name>[^"]*)"\s*(?:(?P<kind>BO_|SG_)\s+(?P<id>{_NAME})\s+|(?P<other>BU_|EV_)\s+{_NAME}\s+)?'
    rf'(?:(?<=\s)(?P<signal>[A-Za-z_]{_NAME})\s+)?(?P<value>{_NUMBER}|"(?:\\"|[^"])*?")\s*;'
)


def read_statements(file: str, text: str) -> Statements:
    """The statements of a DBC file's text, whose lines end with a line feed."""
    reader = _Reader(file, text)
    reader.read()
    return reader.out


def dbc_id_of(word: str) -> int | None:
    """The id that a statement names, None where it is not a number, or a longer one than ids are; hexadecimal is taken
    as meant.
    """
    if len(word) > DIGITS_MAX:
        return None
    try:
        return int(word, 16 if word.lower().startswith("0x") else 10)
    except ValueError:
        return None


class _Reader:
    """Walks the text statement by statement."""

    def __init__(self, file: str, text: str) -> None:
        self.out = Statements(file)
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._message: MessageStatement | None = None
        self._foreign = False  # the SG_ statements that follow belong to a message that is not loaded
        self._readers: dict[str, Callable[[int], int | None]] = {
            "BO_": self._read_message,
            "SG_": self._read_signal,
            "VAL_": self._read_values,
            "SIG_VALTYPE_": self._read_float,
            "SG_MUL_VAL_": self._read_selection,
            "BA_DEF_": self._read_attribute_type,
            "BA_DEF_DEF_": self._read_attribute_default,
            "BA_": self._read_attribute,
            "CM_": self._pass_comment,
            "NS_": lambda at: self._end_of(_NEW_SYMBOLS, at),
            "BS_": lambda at: self._end_of(_WORDS, at),
            "BU_": lambda at: self._end_of(_WORDS, at),
            "VERSION": lambda at: self._end_of(_VERSION, at),
        }

    def read(self) -> None:
        """Read all of it."""
        text, size = self._text, len(self._text)
        while True:
            space = _SPACE.match(text, self._at)
            self._at = space.end() if space else self._at
            if self._at >= size:
                return
            at = self._at
            keyword = _AT_KEYWORD.match(text, at)
            if keyword is None:
                self._pass_unknown(at)
                continue
            word = keyword.group()
            end = self._readers.get(word, self._pass_other)(at)
            self._at = self._recover(at, word) if end is None else end

    def line_of(self, at: int) -> int:
        """The line, counted from 1, of a place in the text."""
        return bisect_right(self._line_ends, at - 1) + 1 if at else 1

    # Where statements end -----------------------------------------------------------------------------------

    def _end_of(self, pattern: re.Pattern[str], at: int) -> int | None:
        match = pattern.match(self._text, at)
        return match.end() if match else None

    def _body_end(self, at: int) -> int | None:
        """Where the statement at `at` ends, past its semicolon; None where a next statement comes first."""
        match = _BODY.match(self._text, at)
        if match is None:
            return None
        if "\n" in match.group() and _LINE_OF_KEYWORD.search(self._text, at, match.end()):
            return None
        return match.end()

    def _next_keyword_line(self, at: int) -> int:
        match = _LINE_OF_KEYWORD.search(self._text, at)
        return match.start() if match else len(self._text)

    def _recover(self, at: int, word: str) -> int:
        """Report the statement at `at` as not understood; where to go on."""
        end = self._next_keyword_line(at)
        text = self._text[at:end]
        bits = word in ("VAL_", "SIG_VALTYPE_", "SG_MUL_VAL_")
        if word not in ("BO_", "SG_"):
            why = "is not understood" if ";" in text else "has no semicolon at its end"
            self.out.report(
                self.line_of(at),
                f"{word} statement {why} and is left out: {excerpt(text)}",
                Severity.SKIPPED if bits else Severity.NOTE,
            )
        return end

    def _pass_unknown(self, at: int) -> None:
        """Something that begins with no keyword: to the end of its line."""
        end = self._text.find("\n", at)
        end = len(self._text) if end < 0 else end
        rest = self._text[at:end].strip()
        if rest != ";":
            before = self._text.rfind("\n", 0, at) + 1
            alone = not self._text[before:at].strip()
            what = "line is not a DBC statement" if alone else "text behind a statement is"
            self.out.report(
                self.line_of(at), f"{what}{' and' if alone else ''} left out: {excerpt(rest)}", Severity.NOTE
            )
        keyword = re.compile(rf"(?<![\w]){_KEYWORD}").search(self._text, at, end)
        self._at = keyword.start() if keyword and rest.startswith(";") else end

    def _pass_other(self, at: int) -> int | None:
        return self._body_end(at)

    def _pass_comment(self, at: int) -> int | None:
        """A comment ends at its first quote before a semicolon: many hold quotes of their own."""
        head = _COMMENT.match(self._text, at)
        end = _COMMENT_END.search(self._text, head.end()) if head else None
        if head is None or end is None:
            return None
        inner = self._text[head.end() : end.start()]
        odd = '"' in inner.replace('\\"', "")
        if odd and _LINE_OF_KEYWORD.search(inner):
            return None
        if odd:
            self.out.report(self.line_of(at), "the comment's text holds a quote", Severity.NOTE)
        return end.end()

    # What is read -------------------------------------------------------------------------------------------

    def _read_message(self, at: int) -> int | None:
        match = _MESSAGE.match(self._text, at)
        line = self.line_of(at)
        if match is None or "\n" in self._text[at : match.end("length")]:
            self._message, self._foreign = None, True
            end = self._text.find("\n", at)
            end = len(self._text) if end < 0 else end
            text = self._text[at:end]
            named = re.match(rf"BO_\s+{_NAME}\s+({_NAME})", text)
            self.out.report(
                line,
                f"message and its signals left out, expected 'BO_ id name: length sender': {excerpt(text)}",
                Severity.SKIPPED,
                Subject.MESSAGE,
                named[1] if named else "",
            )
            return end
        number = dbc_id_of(match["id"])
        name = match["name"]
        if name == "VECTOR__INDEPENDENT_SIG_MSG":
            self._message, self._foreign = None, True
            return match.end()
        if number is None:
            self._message, self._foreign = None, True
            self.out.report(
                line,
                f"message and its signals left out, its id is not a number: {excerpt(match['id'])}",
                Severity.SKIPPED,
                Subject.MESSAGE,
                name,
            )
            return match.end()
        if not match["id"].isdecimal():
            self._repaired(line, f"id {match['id']} is not decimal, read as {number}", name)
        if match["sender"] is None:
            self._repaired(line, "no sender is named", name)
        self._message = MessageStatement(line, number, name, match["length"], match.group())
        self._foreign = False
        self.out.messages.append(self._message)
        return match.end()

    def _repaired(self, line: int, reason: str, message: str, signal: str = "") -> None:
        subject = Subject.SIGNAL if signal else Subject.MESSAGE
        self.out.report(line, reason, Severity.REPAIRED, subject, message, signal)

    def _read_signal(self, at: int) -> int | None:
        match = _SIGNAL.match(self._text, at)
        if match is None or (self._message is None and not self._foreign):
            self._report_signal(at, match)
            return match.end() if match else None
        if self._message is None:
            return match.end()
        line = self.line_of(at)
        if match["receivers"] is None:
            self._repaired(line, "no receiver is named", self._message.name, match["name"])
        fields = match.groupdict("")
        del fields["receivers"]
        self._message.signals.append(SignalStatement(line=line, text=match.group(), **fields))
        return match.end()

    def _report_signal(self, at: int, match: re.Match[str] | None) -> None:
        """A signal that cannot be read, or belongs to no message; silent where its message is left out already."""
        if self._foreign:
            return
        end = self._text.find("\n", at)
        text = self._text[at : len(self._text) if end < 0 else end]
        name = re.match(rf"SG_\s+({_NAME})", text)
        if match is not None:
            reason = "signal left out, it belongs to no message"
        else:
            reason = f"signal left out, expected {_first_missing(text)}"
        self.out.report(
            self.line_of(at),
            f"{reason}: {excerpt(text)}",
            Severity.SKIPPED,
            Subject.SIGNAL,
            self._message.name if self._message else "",
            name[1] if name else "",
        )

    def _read_values(self, at: int) -> int | None:
        end = self._body_end(at)
        closed = end is not None
        end = self._next_keyword_line(at) if end is None else end
        text = self._text[at:end]
        head = _VALUES.match(text)
        if head is None:
            return None
        pairs: list[tuple[str, str]] = []
        place = head.end()
        while pair := _PAIR.match(text, place):
            pairs.append((pair["value"], pair[2].replace('\\"', '"')))
            place = pair.end()
        if text[place:].strip() != (";" if closed else ""):
            return None
        if not closed:
            self.out.report(self.line_of(at), "VAL_ statement has no semicolon at its end", Severity.REPAIRED)
        number = dbc_id_of(head["id"]) if head["id"] else None
        if head["id"] and number is None:
            return None
        if number is not None:  # without an id it is an environment variable's
            self.out.values.append(ValuesStatement(self.line_of(at), number, head["signal"], pairs))
        return end

    def _read_float(self, at: int) -> int | None:
        match = _FLOAT.match(self._text, at)
        number = dbc_id_of(match["id"]) if match else None
        if match is None or number is None:
            return None
        self.out.floats.append(FloatStatement(self.line_of(at), number, match["signal"], int(match["type"])))
        return match.end()

    def _read_selection(self, at: int) -> int | None:
        match = _SELECTION.match(self._text, at)
        number = dbc_id_of(match["id"]) if match else None
        if match is None or number is None:
            return None
        ranges = [(int(low), int(high)) for low, high in re.findall(r"(\d+)\s*-\s*(\d+)", match["ranges"])]
        self.out.selections.append(
            SelectionStatement(self.line_of(at), number, match["signal"], match["multiplexor"], ranges)
        )
        return match.end()

    def _read_attribute_type(self, at: int) -> int | None:
        match = _ATTRIBUTE_TYPE.match(self._text, at)
        if match is None:
            return self._body_end(at)
        self.out.attribute_types[match["name"]] = (match["type"], re.findall(r'"([^"]*)"', match["rest"]))
        return match.end()

    def _read_attribute_default(self, at: int) -> int | None:
        match = _ATTRIBUTE_DEFAULT.match(self._text, at)
        if match is None:
            return self._body_end(at)
        self.out.attribute_defaults[match["name"]] = match["value"].strip('"')
        return match.end()

    def _read_attribute(self, at: int) -> int | None:
        match = _ATTRIBUTE.match(self._text, at)
        if match is None:
            return self._body_end(at)
        number = dbc_id_of(match["id"]) if match["id"] else 0
        if match["name"] in ATTRIBUTES and not match["other"] and number is not None:
            self.out.attributes.append(
                AttributeStatement(
                    self.line_of(at),
                    match["name"],
                    match["kind"] or "",
                    number,
                    match["signal"] or "",
                    match["value"].strip('"'),
                )
            )
        return match.end()


def _first_missing(text: str) -> str:
    """What a malformed ``SG_`` statement lacks first."""
    place = 0
    for pattern, meaning in _SIGNAL_PARTS:
        match = re.compile(pattern).match(text, place)
        if match is None:
            return meaning
        place = match.end()
    return "another form"


def excerpt(text: str, size: int = 60) -> str:
    """The beginning of a statement, on one line."""
    line = " ".join(text[: 4 * size].split())
    return line if len(line) <= size else line[: size - 1] + "…"
