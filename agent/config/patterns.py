# SPDX-License-Identifier: Apache-2.0
"""What a section of the configuration means by a name or a pattern, and what a wrong name could have been."""

from __future__ import annotations

import difflib
import fnmatch
import re
from typing import TYPE_CHECKING

from agent.config.collecting import patterns

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN_MAX = 3
_WILD = re.compile(r"[*?\[]")


class Patterns:
    """Names and patterns, any of which may match; upper and lower case differ."""

    def __init__(self, written: str | tuple[str, ...]) -> None:
        self.written = patterns(written)
        self._everything = "*" in self.written
        self._match = re.compile("|".join(map(fnmatch.translate, self.written))).match

    def match(self, name: str) -> bool:
        """Whether any of them matches the whole name."""
        return self._everything or self._match(name) is not None


class SignalPatterns:
    """The same for signals, whose names may stand alone or after those of their message, or of bus and message.

    A pattern is for as many levels as it has dots: ``BRAKE*`` are signals whatever their message, ``BRAKE.*`` those of
    one message, ``chassis.BRAKE.*`` those of one bus. A signal is *named* where none of `*`, `?` and `[` is needed.
    """

    def __init__(self, written: str | tuple[str, ...]) -> None:
        self.written = patterns(written)
        levels: dict[int, tuple[str, ...]] = {}
        for pattern in self.written:
            dots = min(pattern.count("."), 2)
            levels[dots] = (*levels.get(dots, ()), pattern)
        self._levels = {dots: Patterns(those) for dots, those in levels.items()}
        self._everything = "*" in self.written
        self._names = frozenset(each for each in self.written if not _WILD.search(each))

    def match(self, bus: str, message: str, signal: str) -> bool:
        """Whether any of them matches."""
        if self._everything:
            return True
        names = _names(bus, message, signal)
        return any(those.match(names[dots]) for dots, those in self._levels.items())

    def names(self, bus: str, message: str, signal: str) -> bool:
        """Whether one of them is the signal's name, alone or with those before it: not a pattern that matches it."""
        return not self._names.isdisjoint(_names(bus, message, signal))


def _names(bus: str, message: str, signal: str) -> tuple[str, str, str]:
    """What a signal is called, by number of dots."""
    return signal, f"{message}.{signal}", f"{bus}.{message}.{signal}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What a name could have been meant to be, as the end of a sentence; nothing where nothing comes near."""
    lowered = {each.lower(): each for each in known}
    return did_you_mean([lowered[each] for each in difflib.get_close_matches(name.lower(), list(lowered), 1)])


def did_you_mean(names: list[str]) -> str:
    """The question, as the end of a sentence; nothing of no names."""
    return f"; did you mean {listed(names)}?" if names else ""


def listed(names: list[str]) -> str:
    """The first few of them, in quotes."""
    shown = [f'"{name}"' for name in names[:_SHOWN_MAX]]
    return " or ".join(shown) + (" or …" if len(names) > _SHOWN_MAX else "")
