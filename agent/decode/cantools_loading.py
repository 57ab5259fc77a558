# SPDX-License-Identifier: Apache-2.0
"""KCD, SYM and ARXML files to statements, as a DBC file's are: what becomes of them is decided in one place.

cantools reads the file in a child process (`cantools_child`), one a file, with no more memory and processor time than
a file of its size may need: an ordinary one of a megabyte takes a tenth of a second to half a second. So whatever is in
a file, the agent itself imports no XML parser and no cantools.

A message or signal that cantools cannot read is left out and named. The place of what is reported is found in the text
by its name.

    KCD      all buses of the file, or the one that is called as the configured bus is, where there is one
    ARXML    the same for its CAN clusters; an ECU extract likewise. What a container frame contains is left out
    SYM      version 6.0; a 29-bit message with a signal that has an SPN is one of J1939
    CDD      refused: it describes diagnostics, no frames

Raises `DatabaseError`, one line, for a file of which nothing can be read.
"""

from __future__ import annotations

import contextlib
import html
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.decode.assigning import FLOAT_BITS
from agent.decode.grammar import Lines
from agent.decode.report import Severity, Subject
from agent.decode.statements import AttributeStatement, MessageStatement, SignalStatement, Statements
from agent.errors import DatabaseError
from agent.model import EXTENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.decode.files import Kind

MEMORY_BYTES = (54 << 20, 20, 256 << 20)
"""For a file of no size, more for each byte of it, and at most."""
WORK = (260.0, 200e-6)
"""For a file of no size, and more for each byte of it: 0.8 s, and 0.6 s a megabyte, where it was chosen."""
TIMEOUT_S = 300.0
"""By the wall clock, for a machine that is busy with something else."""
ANSWER_BYTES_MAX = 64 << 20
_CHILD = Path(__file__).with_name("cantools_child.py")
"""Run, and never imported: an agent without such files does without it."""


class _Signal(msgspec.Struct):
    name: str
    start: int
    length: int
    little_endian: bool
    signed: bool
    is_float: bool
    scale: str
    offset: str
    minimum: str | None
    maximum: str | None
    unit: str
    table: int
    multiplexor: bool
    selected_by: str | None
    selected_when: list[int]


class _Message(msgspec.Struct):
    name: str
    id: int
    extended: bool
    length: int
    bus: str
    cycle_ms: str
    j1939: bool
    contained: int
    signals: list[_Signal]


class _Answer(msgspec.Struct):
    messages: list[_Message] = []
    left_out: list[tuple[str, str, str]] = []
    warnings: list[tuple[str, str]] = []
    tables: list[list[tuple[str, str]]] = []
    error: str = ""
    line: int = 0


def read_with_cantools(kind: Kind, bus: str, file: str, text: str) -> Statements:
    """The statements of a file's text, of a bus that is configured under this name."""
    answer = _ask_child(kind, file, text)
    if answer.error:
        place = f"line {answer.line}: " if answer.line else ""
        raise DatabaseError(f"{file}: {place}{_UNREAD[kind]}{answer.error}")
    statements = Statements(file)
    places = Places(kind, text)
    for of, name, why in answer.left_out:
        subject = Subject.SIGNAL if name else Subject.MESSAGE
        reason = f"{subject} left out, it cannot be read: {why}"
        statements.report(places.line(of, name), reason, Severity.SKIPPED, subject, of, name)
    for of, warning in answer.warnings:
        subject = Subject.MESSAGE if of else Subject.FILE
        statements.report(places.line(of), f"cantools: {warning}", Severity.NOTE, subject, of)
    for message in _of_bus(bus, answer.messages, statements):
        _add(message, answer.tables, places, statements)
    return statements


def _ask_child(kind: Kind, file: str, text: str) -> _Answer:
    content = text.encode("utf-8", errors="replace")
    base, each, most = MEMORY_BYTES
    memory_bytes = min(base + each * len(content), most)
    work = WORK[0] + WORK[1] * len(content)
    command = [sys.executable, "-I", str(_CHILD), kind, str(memory_bytes), str(work), *_import_paths()]
    try:
        done = subprocess.run(command, input=content, capture_output=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DatabaseError(f"{file}: reading it takes longer than {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise DatabaseError(f"{file}: no process to read it can be started: {error.strerror or error}") from None
    if done.returncode == -signal.SIGPROF:
        raise DatabaseError(f"{file}: reading it takes longer than it may for a file of its size")
    if done.returncode or len(done.stdout) > ANSWER_BYTES_MAX:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        why = "it says too much" if not done.returncode else last or f"signal {-done.returncode}"
        raise DatabaseError(f"{file}: the process that reads it failed: {why}")
    return msgspec.json.decode(done.stdout, type=_Answer)


def _import_paths() -> list[str]:
    """Those of this process, but for the current folder: what lies there is not run."""
    here = ""  # it may be gone
    with contextlib.suppress(OSError):
        here = str(Path.cwd())
    return [path for path in sys.path if Path(path).is_absolute() and path != here]


def _of_bus(bus: str, messages: Sequence[_Message], statements: Statements) -> Sequence[_Message]:
    """The messages of the file's bus of this name, all where it has none; a note where it has several."""
    names = list(dict.fromkeys(message.bus for message in messages))
    if len(names) < 2:
        return messages
    named = next((name for name in names if name.casefold() == bus.casefold()), None)
    which = "messages of all are loaded" if named is None else f"messages of {named} are loaded"
    reason = f"the file describes {len(names)} buses ({', '.join(names[:8])}), {which}"
    statements.report(0, reason, Severity.NOTE, Subject.FILE)
    return [message for message in messages if named in (None, message.bus)]


def _add(message: _Message, tables: list[list[tuple[str, str]]], places: Places, statements: Statements) -> None:
    line = places.line(message.name)
    if message.contained:
        reason = f"the {message.contained} messages that it contains are left out, containers are not decoded"
        statements.report(line, reason, Severity.SKIPPED, Subject.MESSAGE, message.name)
    number = message.id | (EXTENDED if message.extended else 0)
    statement = MessageStatement(line, number, message.name, str(message.length))
    for each in message.signals:
        statement.signals.append(_signal(each, places.line(message.name, each.name), tables))
    statements.messages.append(statement)
    statements.attribute_types["GenMsgCycleTime"] = ("INT", [])
    statements.attributes.append(AttributeStatement(line, "GenMsgCycleTime", "BO_", number, "", message.cycle_ms))
    if message.j1939 and message.extended:
        statements.attribute_types["VFrameFormat"] = ("INT", [])
        statements.attributes.append(AttributeStatement(line, "VFrameFormat", "BO_", number, "", "J1939PG"))


def _signal(each: _Signal, line: int, tables: list[list[tuple[str, str]]]) -> SignalStatement:
    selected = "" if each.selected_by is None else f"m{each.selected_when[0] if each.selected_when else 0}"
    return SignalStatement(
        line=line,
        name=each.name,
        mark=selected + ("M" if each.multiplexor else ""),
        start=str(each.start),
        length=str(each.length),
        order="1" if each.little_endian else "0",
        sign="-" if each.signed else "+",
        scale=each.scale,
        offset=each.offset,
        minimum=each.minimum,
        maximum=each.maximum,
        unit=each.unit,
        values=tables[each.table] if each.table >= 0 else None,
        float_type=0 if not each.is_float else 1 + (each.length == FLOAT_BITS[-1]),
        selection=(each.selected_by, [(value, value) for value in each.selected_when]) if each.selected_by else None,
    )


class Places:
    """The lines of messages and signals in a file's text, by their names."""

    def __init__(self, kind: str, text: str) -> None:
        self._lines: dict[tuple[str, str], int] = {}
        if kind in _NAMED:
            lines, message = Lines(text), ""
            for match in _NAMED[kind].finditer(text):
                if match["message"] is not None:
                    message = html.unescape(match["message"].strip())
                    self._lines.setdefault((message, ""), lines.number(match.start()))
                else:
                    name = html.unescape((match["signal"] or match[0]).strip())
                    of = "" if kind == "arxml" else message  # signals stand for themselves there
                    self._lines.setdefault((of, name), lines.number(match.start()))

    def line(self, message: str, name: str = "") -> int:
        """Where a signal of a message is, or else the message; 0 where neither was found."""
        for key in ((message, name), ("", name), (message, "")):
            if key in self._lines:
                return self._lines[key]
        return 0


_UNREAD = {
    "kcd": "it cannot be read as a KCD file: ",
    "sym": "it cannot be read as a SYM file: ",
    "arxml": "it cannot be read as an ARXML file: ",
    "cdd": "it is of no use here: ",
}
_NAMED = {
    "kcd": re.compile(
        r"<(?:\w+:)?(?:Message\b[^>]{0,500}?\sname ?= ?[\"'](?P<message>[^\"']{0,300})"
        r"|(?:Signal|Multiplex)\b[^>]{0,500}?\sname ?= ?[\"'](?P<signal>[^\"']{0,300}))"
    ),
    "sym": re.compile(
        r"^[ \t]*+(?:\[\"?(?P<message>[^\]\"\n]*)|(?:Sig|Mux|Var)\s*+=\s*+\"?(?P<signal>[^\s\"]*))", re.MULTILINE
    ),
    "arxml": re.compile(
        r"<(?:CAN-FRAME|I-SIGNAL-I-PDU)\b[^>]{0,300}>\s{0,300}<SHORT-NAME>(?P<message>[^<]{0,300})"
        r"|<I-SIGNAL\b[^>]{0,300}>\s{0,300}<SHORT-NAME>(?P<signal>[^<]{0,300})"
    ),
}
"""What names a message or signal; each match ends nearby, whatever the text is."""
