# SPDX-License-Identifier: Apache-2.0
"""Batches that end the link: some brokers do not refuse a batch, they just close the connection over it.

Nothing tells such a batch from a bad network, so none is given up: one that was alone on the way when the other end
closed, three times running, has to wait, longer each time, and the others go first. An acknowledgement clears it.

Limits: 64 suspects, the oldest forgotten first; waits from `FIRST_WAIT_S` to `LONGEST_WAIT_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

STRIKES = 3
FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 6 * 3600.0
SUSPECTS_MAX = 64

Key = tuple[str, int]
"""Stream and sequence."""


@dataclass(slots=True)
class Suspects:
    """Who was alone on the way when the link was closed, how often, and until when it waits."""

    _strikes: dict[Key, int] = field(default_factory=dict)
    _until: dict[Key, float] = field(default_factory=dict)

    def strike(self, key: Key, now: float) -> bool:
        """It happened again; True where the batch has to wait from now on."""
        count = self._strikes.pop(key, 0) + 1
        self._strikes[key] = count
        while len(self._strikes) > SUSPECTS_MAX:
            self.clear(next(iter(self._strikes)))
        if count < STRIKES:
            return False
        self._until[key] = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - STRIKES, 20))
        return True

    def clear(self, key: Key) -> None:
        """It has been acknowledged, or set aside."""
        self._strikes.pop(key, None)
        self._until.pop(key, None)

    def waits(self, key: Key, now: float) -> bool:
        """Must others go first?"""
        return now < self._until.get(key, 0.0)

    def release(self, now: float) -> bool:
        """Let those that have waited long enough try again; True where there were some. Strikes still count."""
        due = [key for key, until in self._until.items() if until <= now]
        for key in due:
            del self._until[key]
        return bool(due)

    def next_at(self) -> float | None:
        """When the first that waits may be tried again."""
        return min(self._until.values(), default=None)
