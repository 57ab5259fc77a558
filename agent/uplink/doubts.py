# SPDX-License-Identifier: Apache-2.0
"""Batches that the broker says it will never take (0x90, 0x99): is it this batch, or is it the broker?

A broker that refuses one and takes others means the batch. One that refuses whatever comes means something else: its
rules, a change of them, an error of its own; it may take all of it later. So:

    refused ──► waits `retry_s`, or until another batch is taken ──► asked again
                  ├─ refused again, another one taken in between ──► given up
                  └─ `DIFFERENT` batches refused, none taken in between ──► stopped: nothing is given up, one asks now
                                                                            and then, until one is taken

Promise: between two acknowledgements at most `DIFFERENT - 1` batches are given up, none before others have been taken.
Pure; the time is passed in.
Limits: `DOUBTS_MAX` batches are remembered, the one doubted longest ago forgotten first; it may be asked about again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DIFFERENT = 3
DOUBTS_MAX = 64

Key = tuple[str, int]
"""Stream and sequence."""


@dataclass(slots=True)
class _Doubt:
    until: float
    others_taken: bool = False


@dataclass(slots=True)
class Doubts:
    """By batch.

    stopped   why, in the broker's words; "" where it is not
    """

    retry_s: float
    stopped: str = ""
    _doubted: dict[Key, _Doubt] = field(default_factory=dict)
    _in_a_row: set[Key] = field(default_factory=set)

    def refused(self, key: Key, reason: str, now: float) -> bool:
        """The broker will never take it, it says; True where it is to be given up."""
        doubt = self._doubted.pop(key, None)
        if len(self._in_a_row) < DIFFERENT:
            self._in_a_row.add(key)
        if len(self._in_a_row) >= DIFFERENT:
            self.stopped = reason
        elif doubt is not None and doubt.others_taken:
            return True
        self._doubted[key] = _Doubt(now + self.retry_s)
        while len(self._doubted) > DOUBTS_MAX:
            del self._doubted[next(iter(self._doubted))]
        return False

    def put_back(self, key: Key, now: float) -> None:
        """It could not be given up."""
        self._doubted[key] = _Doubt(now + self.retry_s)

    def taken(self, key: Key) -> bool:
        """The broker has taken this one; True where others have waited for that."""
        self._in_a_row.clear()
        self.stopped = ""
        self._doubted.pop(key, None)
        waited = any(not doubt.others_taken for doubt in self._doubted.values())
        for doubt in self._doubted.values():
            doubt.others_taken, doubt.until = True, 0.0
        return waited

    def waits(self, key: Key, now: float) -> bool:
        """Must others go first?"""
        doubt = self._doubted.get(key)
        return doubt is not None and now < doubt.until

    def release(self, now: float) -> bool:
        """Let those ask again that have waited long enough; True where there were some."""
        due = [doubt for doubt in self._doubted.values() if 0.0 < doubt.until <= now]
        for doubt in due:
            doubt.until = 0.0
        return bool(due)

    def next_at(self) -> float | None:
        """When the first that waits may ask again."""
        return min((doubt.until for doubt in self._doubted.values() if doubt.until), default=None)
