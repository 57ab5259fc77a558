# SPDX-License-Identifier: Apache-2.0
"""Databases to definitions, as far as they can be understood: DBC, KCD, SYM and ARXML files, by their suffix.

A bad statement costs itself and is reported with file, line and reason; the rest loads. Only a file that cannot be read
at all, or is none of these, raises `DatabaseError`.

    files.py              bytes to text; which kind of file it is
    reading.py            a DBC file's text to statements, each with its line
    cantools_loading.py   the text of any other kind to the same statements
    tolerance.py          which of them are accepted, which are repaired, which left out
    defining.py           accepted statements to definitions
    report.py             problems and reports
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from agent.decode.cantools_loading import Places, read_with_cantools
from agent.decode.defining import define
from agent.decode.files import kind_of, read_text
from agent.decode.plan import parameter_group
from agent.decode.reading import read_statements
from agent.decode.report import FileReport, LoadedDatabases, Problem, Severity, Subject
from agent.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.config import BusConfig
    from agent.model import MessageDefinition

J1939 = bool | Literal["auto"]
"""Match 29-bit ids by PGN: all, none, or as each file says of itself."""


def load_buses(buses: Sequence[BusConfig]) -> LoadedDatabases:
    """The definitions of the files of these buses, read as their sections say; raises DatabaseError."""
    return load_databases(
        [(bus.name, path) for bus in buses for path in bus.dbc],
        j1939={bus.name: bus.j1939 for bus in buses},
        encodings={bus.name: bus.dbc_encoding for bus in buses},
    )


def load_databases(
    files: Sequence[tuple[str, Path]],
    *,
    j1939: J1939 | Mapping[str, J1939] = "auto",
    encodings: Mapping[str, str] | None = None,
) -> LoadedDatabases:
    """The definitions of all files.

    Args:
        files: (bus name, path), the earlier first where two files of a bus declare one id.
        j1939: for all buses, or by bus name ("auto" where a bus is missing).
        encodings: of the files of a bus, by its name, as `files.CODECS` has them; found where a bus is missing.

    Raises:
        DatabaseError: a file cannot be read, or is no database.

    """
    encodings = encodings or {}
    settings = {
        bus: _Settings(j1939 if isinstance(j1939, bool | str) else j1939.get(bus, "auto"), encodings.get(bus, "auto"))
        for bus, _ in files
    }
    buses = {bus: _Bus() for bus, _ in files}
    reports = []
    for bus, path in files:
        report, messages = _load(bus, path, settings[bus])
        reports.append(_merge(report, messages, buses[bus]))
    return LoadedDatabases(
        tuple(message for name in sorted(buses) for message in buses[name].messages()), tuple(reports)
    )


def _load(bus: str, path: Path, settings: _Settings) -> tuple[FileReport, list[tuple[int, MessageDefinition]]]:
    """A file's report and its messages, each with its line."""
    file, kind = str(path), kind_of(path)
    decoded = read_text(path, settings.encoding)
    if kind == "dbc":
        statements = read_statements(file, decoded.text)
    else:
        statements = read_with_cantools(kind, bus, file, decoded.text)
    messages, problems = define(bus, statements, settings.j1939)
    if decoded.line:
        problems.append(Problem(file, decoded.line, decoded.reason, Severity.NOTE, Subject.FILE))
        problems.sort(key=lambda problem: problem.line)
    signals = sum(len(message.signals) for _, message in messages)
    return FileReport(bus, file, len(messages), signals, decoded.encoding, tuple(problems)), messages


def find_message(files: Sequence[Path], message: MessageDefinition) -> tuple[str, int]:
    """The file and the line that describe a message, the first that does; "" and 0 where none can be found.

    The line is 0 where there is but one file, and it cannot be read or says it in another way.
    """
    begins = re.compile(rf"^[ \t]*BO_[ \t]+{message.can_id}[ \t]", re.MULTILINE)
    for path in files:
        try:
            text = read_text(path).text
        except DatabaseError:  # whoever asks may not read it
            continue
        kind = kind_of(path)
        if kind == "dbc":
            match = begins.search(text)
            line = text.count("\n", 0, match.end()) + 1 if match else 0
        else:
            line = Places(kind, text).line(message.name)
        if line:
            return str(path), line
    return (str(files[0]), 0) if len(files) == 1 else ("", 0)


@dataclass(frozen=True, slots=True)
class _Settings:
    """How the files of one bus are read."""

    j1939: J1939
    encoding: str


class _Bus:
    """The messages of one bus, from all of its files."""

    def __init__(self) -> None:
        self._messages: dict[int, tuple[str, MessageDefinition]] = {}
        self._file_of_name: dict[str, str] = {}
        self._of_pgn: dict[int, MessageDefinition] = {}

    def messages(self) -> list[MessageDefinition]:
        """By id."""
        return [self._messages[can_id][1] for can_id in sorted(self._messages)]

    def add(self, file: str, line: int, message: MessageDefinition) -> Problem | None:
        """Take a message, unless its id is taken; what there is to say about it."""

        def problem(reason: str, severity: Severity) -> Problem:
            return Problem(file, line, reason, severity, Subject.MESSAGE, message.name)

        if message.can_id in self._messages:
            other_file, other = self._messages[message.can_id]
            if (other.length, other.signals) == (message.length, message.signals):
                return problem(f"message is declared in {other_file} too, with the same signals", Severity.NOTE)
            reason = f"message left out, its id is that of {other.name} in {other_file}, which counts"
            return problem(reason, Severity.SKIPPED)
        self._messages[message.can_id] = (file, message)
        other_file = self._file_of_name.setdefault(message.name, file)
        if other_file != file:
            return problem(f"message of the same name in {other_file}, with another id", Severity.NOTE)
        if message.j1939:
            pgn = parameter_group(message.can_id) >> 8
            first = self._of_pgn.setdefault(pgn, message)
            if first is not message:
                used = min((first, message), key=lambda m: m.can_id)
                reason = f"PGN {pgn} is that of {first.name} too, its frames are decoded as {used.name}"
                return problem(reason, Severity.NOTE)
        return None


def _merge(report: FileReport, messages: Sequence[tuple[int, MessageDefinition]], bus: _Bus) -> FileReport:
    """Add a file's messages to its bus; the report, with what that brought up."""
    lost_messages = lost_signals = 0
    problems = []
    for line, message in messages:
        problem = bus.add(report.file, line, message)
        if problem is None:
            continue
        problems.append(problem)
        if problem.severity is Severity.SKIPPED:
            lost_messages += 1
            lost_signals += len(message.signals)
    return replace(
        report,
        messages=report.messages - lost_messages,
        signals=report.signals - lost_signals,
        problems=tuple(sorted((*report.problems, *problems), key=lambda problem: problem.line)),
    )
