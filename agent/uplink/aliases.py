# SPDX-License-Identifier: Apache-2.0
"""Numbers that stand for topics on a connection: what is published often to few topics names each of them once."""

from __future__ import annotations


class Aliases:
    """Numbers that stand for topics on one connection, `maximum` of them (MQTT 5.0, 3.3.2.3.4)."""

    def __init__(self, maximum: int = 0) -> None:
        self._maximum = maximum
        self._numbers: dict[str, int] = {}

    def shorten(self, topic: str) -> tuple[str, int | None]:
        """The topic with its alias at first use, the alias alone afterwards; no alias where there are too many."""
        known = topic in self._numbers
        if not known and len(self._numbers) >= self._maximum:
            return topic, None
        return "" if known else topic, self._numbers.setdefault(topic, len(self._numbers) + 1)
