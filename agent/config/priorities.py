# SPDX-License-Identifier: Apache-2.0
"""The priorities of what is kept.

Each priority is a stream of batches of its own, with its own spool and journal. The configuration, folders and topics
name it in lower case; `str` gives that name.
"""

from __future__ import annotations

import enum


class Priority(enum.IntEnum):
    """What goes first, and what is evicted last: the greatest. 0 is no priority: what is not kept."""

    BULK = 1
    NORMAL = 2
    CRITICAL = 3

    @classmethod
    def of(cls, name: str) -> Priority:
        """The priority of this name; raises ValueError."""
        for each in cls:
            if str(each) == name:
                return each
        raise ValueError(f'"{name}" is no priority')

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


HIGHEST_FIRST = tuple(sorted(Priority, reverse=True))
