# SPDX-License-Identifier: Apache-2.0
"""Vehicles whose topics nobody subscribes to: a broker that acknowledges with 0x10 has thrown the message away.

Promise: what is for them stays in the spool, and one message in `probe_s` asks whether somebody listens by now, however
often the link comes and goes. An acknowledgement that is a success lets all of it go.
Pure; the time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Unheard:
    """By vehicle, as its records name it.

    reason   what the broker said last, of which topic
    """

    probe_s: float
    reason: str = ""
    _until: dict[str, float] = field(default_factory=dict)
    _may_ask: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self._until or self._may_ask)

    @property
    def held(self) -> frozenset[str]:
        """Those for whom nothing may go now."""
        return frozenset(self._until)

    def strike(self, vehicle: str, reason: str, now: float) -> bool:
        """Nobody has got a message of this vehicle; True where that is new."""
        news = vehicle not in self._until and vehicle not in self._may_ask
        self._hold(vehicle, now)
        self.reason = reason
        return news

    def sent(self, vehicle: str, now: float) -> None:
        """A message of the vehicle goes: where it is one that asks, the others wait again."""
        if vehicle in self._may_ask:
            self._hold(vehicle, now)

    def heard(self, vehicle: str) -> bool:
        """Somebody has got one; True where others have waited for that."""
        known = vehicle in self._until or vehicle in self._may_ask
        self._until.pop(vehicle, None)
        self._may_ask.discard(vehicle)
        return known

    def release(self, now: float) -> bool:
        """Let those ask again that have waited long enough; True where there were some."""
        due = [vehicle for vehicle, until in self._until.items() if until <= now]
        for vehicle in due:
            del self._until[vehicle]
            self._may_ask.add(vehicle)
        return bool(due)

    def next_at(self) -> float | None:
        """When the first may ask again."""
        return min(self._until.values(), default=None)

    def _hold(self, vehicle: str, now: float) -> None:
        self._may_ask.discard(vehicle)
        self._until[vehicle] = now + self.probe_s
