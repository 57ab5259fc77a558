# SPDX-License-Identifier: Apache-2.0
"""What a check finds."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one subject, such as "mqtt.ca" or a file."""

    level: Level
    subject: str
    text: str
    details: tuple[str, ...] = ()


def looked_at(level: Level, subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """What a check finds; where the system does not let it look, that is a finding as well, of this level."""
    try:
        yield from findings
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield Finding(level, subject, f"{where}{(error.strerror or str(error)).lower()}, for {user()}")


def refuse(subject: object, findings: Iterable[Finding]) -> None:
    """Raise ConfigError for the first finding that is an `ERROR`."""
    for finding in findings:
        if finding.level is Level.ERROR:
            raise ConfigError(f"{subject}: {finding.subject}: {finding.text}")


def refused(subject: str, error: AgentError) -> Finding:
    """An error of a module, without the subject that it names first."""
    return Finding(Level.ERROR, subject, str(error).removeprefix(subject).lstrip(": "))


def user() -> str:
    """Who asks, for a person."""
    return os.environ.get("USER") or f"user {os.geteuid()}"
