# SPDX-License-Identifier: Apache-2.0
"""A DBC file's text to statements: what decoding needs is read, the rest is passed over.

Read is what `statements` lists. Comments, nodes, environment variables, groups and relations say nothing about bits:
they are only looked at to see where they end.

A statement that is not as the format wants it costs itself: it becomes a problem with its line, and reading goes on
at the next line that begins with a keyword. A string that lost its closing quote ends there too; that is why the
search for an end never goes past such a line, unless a comment's quotes show that the line is part of its text.
Time and memory are linear in the file's size, whatever is in it. A statement, a name or a text that is longer than any
tool writes is left out as one that is not understood; a file of more than `STATEMENTS_MAX`, `DECLARED_MAX` or
`VALUES_MAX` raises `DatabaseError` with the line. Nothing else does: whole numbers that are made of digits here have at
most `DIGITS_MAX` of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.decode import grammar
from agent.decode.grammar import DIGITS_MAX, STATEMENT_CHARS_MAX, Ahead, Lines
from agent.decode.report import Severity, Subject
from agent.decode.statements import (
    ATTRIBUTES,
    AttributeStatement,
    FloatStatement,
    MessageStatement,
    SelectionStatement,
    SignalStatement,
    Statements,
    ValuesStatement,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

STATEMENTS_MAX = 1_000_000
"""Of a file, lines that are none among them."""
DECLARED_MAX = 100_000
"""Messages and signals of a file."""
VALUES_MAX = 500_000
"""Entries in the value tables of a file."""
NAME_CHARS_MAX = 255


def read_statements(file: str, text: str) -> Statements:
    """The statements of a DBC file's text, whose lines end with a line feed; raises DatabaseError for too many."""
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
        self._passed = 0  # where the statement before ended
        self._lines = Lines(text)
        self._keyword_lines = Ahead(grammar.LINE_OF_KEYWORD, text)
        self._comment_ends = Ahead(grammar.COMMENT_END, text)
        self._declared = self._entries = 0
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
            "NS_": lambda at: self._end_of(grammar.NEW_SYMBOLS, at),
            "BS_": lambda at: self._end_of(grammar.WORDS, at),
            "BU_": lambda at: self._end_of(grammar.WORDS, at),
            "VERSION": lambda at: self._end_of(grammar.VERSION, at, STATEMENT_CHARS_MAX),
        }

    def read(self) -> None:
        """Read all of it."""
        text, size = self._text, len(self._text)
        for _ in range(STATEMENTS_MAX):
            self._passed = self._at
            space = grammar.SPACE.match(text, self._at)
            self._at = space.end() if space else self._at
            if self._at >= size:
                return
            at = self._at
            keyword = grammar.AT_KEYWORD.match(text, at)
            if keyword is None:
                self._pass_unknown(at)
                continue
            word = keyword.group()
            end = self._readers.get(word, self._pass_other)(at)
            self._at = self._recover(at, word) if end is None else end
        raise self.out.refusal(self._lines.number(self._at), STATEMENTS_MAX, "statements")

    def _match(self, pattern: re.Pattern[str], at: int) -> re.Match[str] | None:
        """The statement at a place, of bounded length."""
        return pattern.match(self._text, at, at + STATEMENT_CHARS_MAX)

    # Where statements end -----------------------------------------------------------------------------------

    def _end_of(self, pattern: re.Pattern[str], at: int, size: int | None = None) -> int | None:
        match = pattern.match(self._text, at, len(self._text) if size is None else at + size)
        return match.end() if match else None

    def _body_end(self, at: int) -> int | None:
        """Where the statement at `at` ends, past its semicolon; None where a next statement comes first."""
        match = grammar.BODY.match(self._text, at, self._keyword_lines.start(at))
        return match.end() if match else None

    def _recover(self, at: int, word: str) -> int:
        """Report the statement at `at` as not understood; where to go on."""
        end = self._keyword_lines.start(at)
        bits = word in ("VAL_", "SIG_VALTYPE_", "SG_MUL_VAL_")
        if word not in ("BO_", "SG_"):
            why = "is not understood" if self._text.find(";", at, end) >= 0 else "has no semicolon at its end"
            self.out.report(
                self._lines.number(at),
                f"{word} statement {_too_long(end - at) or why} and is left out: {self._excerpt(at, end)}",
                Severity.SKIPPED if bits else Severity.NOTE,
            )
        return end

    def _pass_unknown(self, at: int) -> None:
        """Something that begins with no keyword: to the end of its line."""
        end = self._lines.end(at)
        if not grammar.LONE_SEMICOLON.match(self._text, at):
            alone = self._passed <= self._lines.begin(at)
            what = "line is not a DBC statement" if alone else "text behind a statement is"
            self.out.report(
                self._lines.number(at),
                f"{what}{' and' if alone else ''} left out: {self._excerpt(at, end)}",
                Severity.NOTE,
            )
        keyword = grammar.KEYWORD_WITHIN.search(self._text, at, end) if self._text[at] == ";" else None
        self._at = keyword.start() if keyword else end

    def _pass_other(self, at: int) -> int | None:
        return self._body_end(at)

    def _pass_comment(self, at: int) -> int | None:
        """A comment ends at its first quote before a semicolon: many hold quotes of their own."""
        head = self._match(grammar.COMMENT, at)
        end = self._comment_ends.match(head.end()) if head else None
        if head is None or end is None:
            return None
        odd = grammar.BARE_QUOTE.search(self._text, head.end(), end.start())
        if odd and self._keyword_lines.start(head.end()) < end.start():
            return None
        if odd:
            self.out.report(self._lines.number(at), "the comment's text holds a quote", Severity.NOTE)
        return end.end()

    def _excerpt(self, at: int, end: int) -> str:
        return excerpt(self._text[at : min(end, at + STATEMENT_CHARS_MAX)])

    # What is read -------------------------------------------------------------------------------------------

    def _read_message(self, at: int) -> int | None:
        match = self._match(grammar.MESSAGE, at)
        line = self._lines.number(at)
        if match is None or "\n" in self._text[at : match.end("length")]:
            return self._pass_message(at, line)
        number = dbc_id_of(match["id"])
        name = match["name"]
        if name == "VECTOR__INDEPENDENT_SIG_MSG":
            self._message, self._foreign = None, True
            return match.end()
        if number is None or len(name) > NAME_CHARS_MAX:
            why = f"its id is not a number: {excerpt(match['id'])}" if number is None else _long_name(name)
            self._leave_out_message(line, why, name)
            return match.end()
        if not match["id"].isdecimal():
            self._repaired(line, f"id {match['id']} is not decimal, read as {number}", name)
        if match["sender"] is None:
            self._repaired(line, "no sender is named", name)
        self._count_declared(line)
        self._message = MessageStatement(line, number, name, match["length"])
        self._foreign = False
        self.out.messages.append(self._message)
        return match.end()

    def _pass_message(self, at: int, line: int) -> int:
        """Report one that cannot be read; where its line ends."""
        end = self._lines.end(at)
        named = grammar.NAMED_MESSAGE.match(self._text, at, min(end, at + STATEMENT_CHARS_MAX))
        why = f"expected 'BO_ id name: length sender': {self._excerpt(at, end)}"
        self._leave_out_message(line, why, named[1] if named else "")
        return end

    def _leave_out_message(self, line: int, why: str, name: str) -> None:
        self._message, self._foreign = None, True
        reason = f"message and its signals left out, {why}"
        self.out.report(line, reason, Severity.SKIPPED, Subject.MESSAGE, name[:NAME_CHARS_MAX])

    def _count_declared(self, line: int) -> None:
        self._declared += 1
        if self._declared > DECLARED_MAX:
            raise self.out.refusal(line, DECLARED_MAX, "messages and signals")

    def _repaired(self, line: int, reason: str, message: str, signal: str = "") -> None:
        subject = Subject.SIGNAL if signal else Subject.MESSAGE
        self.out.report(line, reason, Severity.REPAIRED, subject, message, signal)

    def _read_signal(self, at: int) -> int | None:
        match = self._match(grammar.SIGNAL, at)
        if match is None or (self._message is None and not self._foreign):
            self._report_signal(at, match)
            return match.end() if match else None
        if self._message is None:
            return match.end()
        line, name = self._lines.number(at), match["name"]
        if len(name) > NAME_CHARS_MAX:
            reason, name = f"signal left out, {_long_name(name)}", name[:NAME_CHARS_MAX]
            self.out.report(line, reason, Severity.SKIPPED, Subject.SIGNAL, self._message.name, name)
            return match.end()
        self._count_declared(line)
        if match["receivers"] is None:
            self._repaired(line, "no receiver is named", self._message.name, name)
        self._message.signals.append(_signal_statement(line, match))
        return match.end()

    def _report_signal(self, at: int, match: re.Match[str] | None) -> None:
        """A signal that cannot be read, or belongs to no message; silent where its message is left out already."""
        if self._foreign:
            return
        end = self._lines.end(at)
        text = self._text[at : min(end, at + STATEMENT_CHARS_MAX)]
        name = grammar.NAMED_SIGNAL.match(text)
        if match is not None:
            reason = "signal left out, it belongs to no message"
        else:
            reason = f"signal left out, {_too_long(end - at) or 'expected ' + _first_missing(text)}"
        self.out.report(
            self._lines.number(at),
            f"{reason}: {excerpt(text)}",
            Severity.SKIPPED,
            Subject.SIGNAL,
            self._message.name if self._message else "",
            name[1][:NAME_CHARS_MAX] if name else "",
        )

    def _read_values(self, at: int) -> int | None:
        end = self._body_end(at)
        closed = end is not None
        end = self._keyword_lines.start(at) if end is None else end
        head = grammar.VALUES.match(self._text, at, min(end, at + STATEMENT_CHARS_MAX))
        if head is None:
            return None
        pairs: list[tuple[str, str]] = []
        place = head.end()
        while pair := grammar.PAIR.match(self._text, place, min(end, place + STATEMENT_CHARS_MAX)):
            pairs.append((pair["value"], pair["text"].replace('\\"', '"')))
            place = pair.end()
            if len(pairs) + self._entries > VALUES_MAX:
                raise self.out.refusal(self._lines.number(place), VALUES_MAX, "entries in value tables")
        if self._text[place:end].strip() != (";" if closed else ""):
            return None
        self._entries += len(pairs)
        if not closed:
            self.out.report(self._lines.number(at), "VAL_ statement has no semicolon at its end", Severity.REPAIRED)
        number = dbc_id_of(head["id"]) if head["id"] else None
        if head["id"] and number is None:
            return None
        if number is not None:  # without an id it is an environment variable's
            self.out.values.append(ValuesStatement(self._lines.number(at), number, head["signal"], pairs))
        return end

    def _read_float(self, at: int) -> int | None:
        match = self._match(grammar.FLOAT, at)
        number = dbc_id_of(match["id"]) if match else None
        if match is None or number is None:
            return None
        self.out.floats.append(FloatStatement(self._lines.number(at), number, match["signal"], int(match["type"])))
        return match.end()

    def _read_selection(self, at: int) -> int | None:
        match = self._match(grammar.SELECTION, at)
        number = dbc_id_of(match["id"]) if match else None
        if match is None or number is None:
            return None
        ranges = [(int(low), int(high)) for low, high in grammar.RANGE.findall(match["ranges"])]
        self.out.selections.append(
            SelectionStatement(self._lines.number(at), number, match["signal"], match["multiplexor"], ranges)
        )
        return match.end()

    def _read_attribute_type(self, at: int) -> int | None:
        match = self._match(grammar.ATTRIBUTE_TYPE, at)
        if match is None:
            return self._body_end(at)
        if match["name"] in ATTRIBUTES:
            self.out.attribute_types[match["name"]] = (match["type"], grammar.QUOTED.findall(match["rest"]))
        return match.end()

    def _read_attribute_default(self, at: int) -> int | None:
        match = self._match(grammar.ATTRIBUTE_DEFAULT, at)
        if match is None:
            return self._body_end(at)
        if match["name"] in ATTRIBUTES:
            self.out.attribute_defaults[match["name"]] = match["value"].strip('"')
        return match.end()

    def _read_attribute(self, at: int) -> int | None:
        match = self._match(grammar.ATTRIBUTE, at)
        if match is None:
            return self._body_end(at)
        number = dbc_id_of(match["id"]) if match["id"] else 0
        if match["name"] in ATTRIBUTES and not match["other"] and number is not None:
            self.out.attributes.append(
                AttributeStatement(
                    self._lines.number(at),
                    match["name"],
                    match["kind"] or "",
                    number,
                    match["signal"] or "",
                    match["value"].strip('"'),
                )
            )
        return match.end()


def _signal_statement(line: int, match: re.Match[str]) -> SignalStatement:
    fields: dict[str, Any] = match.groupdict("")
    del fields["receivers"]
    fields["minimum"], fields["maximum"] = fields["minimum"].strip(), fields["maximum"].strip()
    fields["unit"] = fields["unit"].replace('\\"', '"')
    return SignalStatement(line=line, **fields)


def _first_missing(text: str) -> str:
    """What a malformed ``SG_`` statement lacks first."""
    place = 0
    for pattern, meaning in grammar.SIGNAL_PARTS:
        match = pattern.match(text, place)
        if match is None:
            return meaning
        place = match.end()
    return "another form"


def _too_long(size: int) -> str:
    return f"has more than {STATEMENT_CHARS_MAX:,} characters" if size > STATEMENT_CHARS_MAX else ""


def _long_name(name: str) -> str:
    return f"its name has more than {NAME_CHARS_MAX} characters: {excerpt(name)}"


def excerpt(text: str, size: int = 60) -> str:
    """The beginning of a statement, on one line."""
    line = " ".join(text[: 4 * size].split())
    return line if len(line) <= size else line[: size - 1] + "…"
