# SPDX-License-Identifier: Apache-2.0
"""Which buses, messages or signals a section of the configuration means, by name or by pattern."""

from __future__ import annotations

import fnmatch
import re

from agent.config.collecting import patterns


class Patterns:
    """Names and patterns, any of which may match; upper and lower case differ."""

    def __init__(self, written: str | tuple[str, ...]) -> None:
        self.written = patterns(written)
        self._everything = "*" in self.written
        self._match = re.compile("|".join(map(fnmatch.translate, self.written))).match

    def match(self, name: str) -> bool:
        """Whether any of them matches the whole name."""
        return self._everything or self._match(name) is not None
