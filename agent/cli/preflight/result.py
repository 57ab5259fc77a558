# SPDX-License-Identifier: Apache-2.0
"""The result of a check."""

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


class CheckLevel(enum.StrEnum):
    """How grave a result is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


OK, WARNING, ERROR = CheckLevel.OK, CheckLevel.WARNING, CheckLevel.ERROR


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result for one subject: a key of the configuration `file`, such as "mqtt.ca", or a file itself."""

    level: CheckLevel
    subject: str
    text: str
    details: tuple[str, ...] = ()
    file: str = ""


def readable(level: CheckLevel, subject: str, results: Iterator[CheckResult]) -> Iterator[CheckResult]:
    """The results; one of this level as well where the system does not let the check read."""
    try:
        yield from results
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield CheckResult(level, subject, f"{where}{(error.strerror or str(error)).lower()}, for {user()}")


def refuse(config: Config, results: Iterable[CheckResult]) -> None:
    """Raise ConfigError for the first result that is an `ERROR`."""
    for result in results:
        if result.level is ERROR:
            raise config.refusal(result.subject, result.text)


def user() -> str:
    """The user who asks, for a person."""
    return os.environ.get("USER") or f"user {os.geteuid()}"
