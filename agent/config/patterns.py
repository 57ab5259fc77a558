# SPDX-License-Identifier: Apache-2.0
"""Which buses, messages or signals a section of the configuration means, by name or by pattern."""

from __future__ import annotations

import fnmatch
import re

from agent.config.collecting import patterns

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
