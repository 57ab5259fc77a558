# SPDX-License-Identifier: Apache-2.0
"""What a check finds."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.config import Config

LOGIN, PUBLISH = "mqtt login", "mqtt publish"
"""The subjects of the broker's refusals: with these, `run` starts all the same, and sends nothing."""


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one subject: a key of the configuration `file`, such as "mqtt.ca", or a file itself."""

    level: Level
    subject: str
    text: str
    details: tuple[str, ...] = ()
    file: str = ""


def looked_at(level: Level, subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """What a check finds; where the system does not let it look, that is a finding as well, of this level."""
    try:
        yield from findings
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield Finding(level, subject, f"{where}{(error.strerror or str(error)).lower()}, for {user()}")


def refuse(config: Config, findings: Iterable[Finding]) -> None:
    """Raise ConfigError for the first finding that is an `ERROR`."""
    for finding in findings:
        if finding.level is Level.ERROR:
            raise config.refusal(finding.subject, finding.text)


def user() -> str:
    """Who asks, for a person."""
    return os.environ.get("USER") or f"user {os.geteuid()}"
