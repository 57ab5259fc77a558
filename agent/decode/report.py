# SPDX-License-Identifier: Apache-2.0
"""What loading databases found out: a `Problem` for each thing that is not as the format wants it, with its file
and line, and a `FileReport` for each file.

A problem never stops a load; what does stop it is a `DatabaseError`. Each problem says what it cost:

    skipped    the statement, the signal or the message is not loaded
    repaired   loaded, read in the way that the reason gives
    note       loaded as written; worth a look
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import MessageDefinition


class Severity(enum.StrEnum):
    """What a problem cost."""

    SKIPPED = "skipped"
    REPAIRED = "repaired"
    NOTE = "note"


class Subject(enum.StrEnum):
    """What a problem is about; with `Severity.SKIPPED`: what is not loaded."""

    FILE = "file"
    STATEMENT = "statement"
    MESSAGE = "message"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one file.

    line      counted from 1; 0 where the problem is the whole file's
    message   name of the message concerned, "" where there is none
    signal    name of the signal concerned, "" where there is none
    reason    one sentence for a person
    """

    file: str
    line: int
    reason: str
    severity: Severity
    subject: Subject
    message: str = ""
    signal: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        name = ".".join(part for part in (self.message, self.signal) if part)
        return f"{place}: {self.severity}: {name + ': ' if name else ''}{self.reason}"


@dataclass(frozen=True, slots=True)
class FileReport:
    """One database as loaded.

    messages, signals   loaded; the file's own, also where another file of the bus declares the same message
    encoding            how the file's text was read: one of `files.CODECS`, or latin-1
    """

    bus: str
    file: str
    messages: int
    signals: int
    encoding: str
    problems: tuple[Problem, ...] = ()

    def count(self, severity: Severity, subject: Subject | None = None) -> int:
        """Number of problems of this severity (and subject)."""
        return sum(p.severity is severity and subject in (None, p.subject) for p in self.problems)

    @property
    def how(self) -> str:
        """How it was loaded: "as written", "repaired" or "in part"."""
        if self.count(Severity.SKIPPED):
            return "in part"
        return "repaired" if self.count(Severity.REPAIRED) else "as written"


@dataclass(frozen=True, slots=True)
class LoadedDatabases:
    """The messages of all files, sorted by bus and arbitration id, and one report a file, in the order given."""

    messages: tuple[MessageDefinition, ...]
    files: tuple[FileReport, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of all files, by file and line."""
        return tuple(problem for report in self.files for problem in report.problems)


def describe(loaded: LoadedDatabases) -> list[dict[str, object]]:
    """Per file what was loaded and what was not, in plain types, fit for JSON."""
    return [
        {
            "bus": report.bus,
            "file": report.file,
            "messages": report.messages,
            "signals": report.signals,
            "encoding": report.encoding,
            "how": report.how,
            "skipped": report.count(Severity.SKIPPED),
            "repaired": report.count(Severity.REPAIRED),
            "notes": report.count(Severity.NOTE),
            "problems": [
                {
                    "line": problem.line,
                    "severity": str(problem.severity),
                    "subject": str(problem.subject),
                    "message": problem.message,
                    "signal": problem.signal,
                    "reason": problem.reason,
                }
                for problem in report.problems
            ],
        }
        for report in loaded.files
    ]
