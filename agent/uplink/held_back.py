# SPDX-License-Identifier: Apache-2.0
"""Batches that stay in the spool for now, and why. Pure; the time is passed in.

    foreign    a vehicle's batches that this client may not publish for it: until the process ends
    closing    a batch over which the broker closes the connection, three times running: longer each time
    poison     a batch that the broker says it will never take (0x90, 0x99): until it has taken others
    too large  a batch larger than the broker takes (0x95, or its Maximum Packet Size): until the limit is another one
    unheard    a vehicle whose topics nobody subscribes to (0x10): one batch in `probe_s` asks again

Whatever waits is tried again, each in its time. A batch that the broker takes may end the wait of others.

Promise: a batch is given up only where the broker has refused it twice and taken others in between. Between two
acknowledgements at most `REFUSED_MAX - 1` are given up. `REFUSED_MAX` batches refused in a row mean the broker, not the
batches: then nothing is given up, and one batch asks now and then.

Limits: `BATCHES_MAX` batches of a kind are remembered, the oldest forgotten first.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from agent.uplink.transport import TOO_LARGE, TOPIC_INVALID, Trouble

if TYPE_CHECKING:
    from collections.abc import Hashable

    from agent.model import SpooledBatch
    from agent.uplink.options import SenderOptions
    from agent.uplink.transport import LinkLimits

CLOSED_MAX = 3
CLOSING_FIRST_S, CLOSING_MAX_S = 60.0, 6 * 3600.0
REFUSED_MAX = 3
BATCHES_MAX = 64
RETRY_PROBES = 10
"""A batch that the broker refused is tried again after so many times as long as it takes for one to ask."""
SEAL_BYTES_MIN = 1 << 10
"""No batch is to be sealed smaller: it would be nothing but its own frame."""
_LONGEST_NAME = f"{'x' * 32}/{2**63}"
"""Of a batch, in its message properties."""
_LONGEST_CLASS = "critical"
"""Of a batch, in its topic."""

Key = tuple[str, int]
"""Stream and sequence."""


class Verdict(enum.Enum):
    """What becomes of a batch that the broker says it will never take."""

    TOO_LARGE = enum.auto()  # it waits until the limit is another one
    FOREIGN = enum.auto()  # its vehicle's topic is not valid here
    DOUBTED = enum.auto()  # it waits until another one is taken
    STOPPED = enum.auto()  # none is taken: all wait
    GIVEN_UP = enum.auto()


class _Waits:
    """Until when each thing waits."""

    def __init__(self) -> None:
        self.until: dict[Hashable, float] = {}

    def has(self, key: Hashable, now: float) -> bool:
        """Whether it still waits."""
        return now < self.until.get(key, 0.0)

    def release(self, now: float) -> list[Hashable]:
        """End the waits that are over; whose they were."""
        due = [key for key, until in self.until.items() if until <= now]
        for key in due:
            del self.until[key]
        return due

    def next_at(self) -> float | None:
        """When the first wait is over."""
        return min(self.until.values(), default=None)


class ClosingBatches:
    """Batches that were alone on the way when the other end closed the link.

    Nothing tells such a batch from a bad network, so none is given up; others go first.
    """

    def __init__(self) -> None:
        self.waits = _Waits()
        self._closed: dict[Key, int] = {}

    def closed(self, key: Key, now: float) -> bool:
        """It happened again; True where the batch has to wait from now on."""
        count = self._closed.pop(key, 0) + 1
        self._closed[key] = count
        while len(self._closed) > BATCHES_MAX:
            self.clear(next(iter(self._closed)))
        if count < CLOSED_MAX:
            return False
        self.waits.until[key] = now + min(CLOSING_MAX_S, CLOSING_FIRST_S * 2.0 ** min(count - CLOSED_MAX, 20))
        return True

    def clear(self, key: Key) -> None:
        """It has been acknowledged, or set aside."""
        self._closed.pop(key, None)
        self.waits.until.pop(key, None)


class PoisonBatches:
    """Batches that the broker says it will never take: is it this batch, or is it the broker?

        refused ──► waits `retry_s`, or until another batch is taken ──► tried again
                      ├─ refused again, another one taken in between ──► given up
                      └─ `REFUSED_MAX` refused, none taken in between ──► stopped

    stopped   why, in the broker's words; "" where it is not
    """

    def __init__(self, retry_s: float) -> None:
        self.stopped = ""
        self.waits = _Waits()
        self._retry_s = retry_s
        self._others_taken: dict[Key, bool] = {}  # since it was refused
        self._in_a_row: set[Key] = set()

    def refused(self, key: Key, reason: str, now: float) -> bool:
        """The broker will never take it, it says; True where it is to be given up."""
        if len(self._in_a_row) < REFUSED_MAX:
            self._in_a_row.add(key)
        others_taken = self._others_taken.pop(key, False)
        if len(self._in_a_row) >= REFUSED_MAX:
            self.stopped = reason
        elif others_taken:
            self.waits.until.pop(key, None)
            return True
        self.put_back(key, now)
        return False

    def put_back(self, key: Key, now: float) -> None:
        """It waits again."""
        self._others_taken[key] = False
        self.waits.until[key] = now + self._retry_s
        while len(self._others_taken) > BATCHES_MAX:
            oldest = next(iter(self._others_taken))
            del self._others_taken[oldest]
            self.waits.until.pop(oldest, None)

    def taken(self, key: Key) -> bool:
        """The broker has taken this one; True where others have waited for that."""
        self._in_a_row.clear()
        self.stopped = ""
        self._others_taken.pop(key, None)
        waited = not all(self._others_taken.values())
        self._others_taken = dict.fromkeys(self._others_taken, True)
        self.waits.until.clear()
        return waited


class SizeLimit:
    """How large a payload may be: as the broker names it, or as its refusals teach.

    Where it names none, each refusal lowers the limit that is presumed. That is forgotten after `retry_s`, or when a
    larger batch is taken.

    named   by the broker, of this link; None: it names none
    """

    def __init__(self, retry_s: float) -> None:
        self.named: int | None = None
        self._retry_s = retry_s
        self._refused: int | None = None
        self._until = 0.0

    @property
    def payload_bytes(self) -> int | None:
        """The largest that is published; None: any."""
        return _least(self.named, None if self._refused is None else self._refused - 1)

    @property
    def seal_bytes(self) -> int | None:
        """The largest that is to be sealed from now on; None: as configured."""
        wanted = _least(self.named, None if self._refused is None else self._refused // 2)
        return None if wanted is None else max(SEAL_BYTES_MIN, wanted)

    def refused(self, size_bytes: int, now: float) -> None:
        """It is too large, says the broker."""
        self._refused = min(size_bytes, self._refused or size_bytes)
        self._until = now + self._retry_s

    def taken(self, size_bytes: int) -> bool:
        """The broker has taken so much; True where that is more than was presumed."""
        return self._presume_nothing(size_bytes >= (self._refused or 0))

    def release(self, now: float) -> bool:
        """Presume nothing any more, where that was long enough ago; True where it was."""
        return self._presume_nothing(now >= self._until)

    def next_at(self) -> float | None:
        """When what is presumed is forgotten."""
        return None if self._refused is None else self._until

    def _presume_nothing(self, wrong: bool) -> bool:
        if self._refused is None or not wrong:
            return False
        self._refused = None
        return True


class UnheardVehicles:
    """Vehicles whose topics nobody subscribes to: the broker has thrown a message of theirs away.

    reason   what the broker said last, of which topic
    """

    def __init__(self, probe_s: float) -> None:
        self.reason = ""
        self.waits = _Waits()
        self._probe_s = probe_s
        self._may_ask: set[str] = set()

    def __contains__(self, vehicle: str) -> bool:
        return vehicle in self.waits.until or vehicle in self._may_ask

    def __bool__(self) -> bool:
        return bool(self.waits.until or self._may_ask)

    def unheard(self, vehicle: str, reason: str, now: float) -> bool:
        """Nobody has got a message of this vehicle; True where that is new."""
        news = vehicle not in self
        self._hold(vehicle, now)
        self.reason = reason
        return news

    def sent(self, vehicle: str, now: float) -> None:
        """A message of the vehicle goes: where it is one that asks, the others wait again."""
        if vehicle in self._may_ask:
            self._hold(vehicle, now)

    def heard(self, vehicle: str) -> bool:
        """Somebody has got one; True where others have waited for that."""
        known = vehicle in self
        self.waits.until.pop(vehicle, None)
        self._may_ask.discard(vehicle)
        return known

    def release(self, now: float) -> bool:
        """Let those ask again that have waited long enough; True where there were some."""
        due = self.waits.release(now)
        self._may_ask.update(map(str, due))
        return bool(due)

    def _hold(self, vehicle: str, now: float) -> None:
        self._may_ask.discard(vehicle)
        self.waits.until[vehicle] = now + self._probe_s


class HeldBack:
    """All that is held back from one broker.

    A batch bears the id of the vehicle that it was sealed for, and is published under that vehicle's topics, whoever
    the unit is now. Where topics are tied to the credentials, the broker refuses another vehicle's, or closes the link.
    Endpoints that are known to (`closes_over`) are not tried.

    foreign   vehicles that this client may not publish for
    """

    def __init__(self, options: SenderOptions) -> None:
        self.foreign: set[str] = set()
        self.closing = ClosingBatches()
        self.poison = PoisonBatches(RETRY_PROBES * options.probe_s)
        self.sizes = SizeLimit(RETRY_PROBES * options.probe_s)
        self.unheard = UnheardVehicles(options.probe_s)
        self._vehicle = options.vehicle
        self._own_only = bool(options.closes_over)

    def begin(self, limits: LinkLimits, options: SenderOptions) -> None:
        """A link came up: how much the broker takes there."""
        properties = options.properties("batch", _LONGEST_NAME)
        self.sizes.named = limits.payload_bytes(options.batch_topic(_LONGEST_CLASS), properties)

    def is_foreign(self, record: SpooledBatch) -> bool:
        """Whether it was sealed for another vehicle than the configured one."""
        return record.vehicle not in ("", self._vehicle)

    def hold_foreign(self, record: SpooledBatch) -> bool:
        """Its vehicle's batches are not allowed here; False where that is the configured one, whose are never held."""
        if not self.is_foreign(record):
            return False
        self.foreign.add(record.vehicle)
        return True

    def vehicles(self) -> frozenset[str]:
        """Those of whom nothing may go."""
        return frozenset([*self.foreign, *map(str, self.unheard.waits.until)])

    def has_to_wait(self, record: SpooledBatch, now: float) -> bool:
        """Whether it is to be passed over."""
        if self._own_only:
            self.hold_foreign(record)
        key = key_of(record)
        return record.vehicle in self.foreign or self.closing.waits.has(key, now) or self.poison.waits.has(key, now)

    def is_unfit(self, record: SpooledBatch) -> bool:
        """Whether it may not go after all, though it was read ahead."""
        most = self.sizes.payload_bytes
        return record.vehicle in self.unheard.waits.until or (most is not None and len(record.payload) > most)

    def release(self, now: float) -> bool:
        """Let those ask again that have waited long enough; True where there were some."""
        ended = [bool(self.closing.waits.release(now)), bool(self.poison.waits.release(now))]
        return any([*ended, self.unheard.release(now), self.sizes.release(now)])

    def next_at(self) -> float | None:
        """When the first may ask again."""
        waiting = (self.closing.waits, self.poison.waits, self.unheard.waits, self.sizes)
        return min((at for each in waiting if (at := each.next_at()) is not None), default=None)

    def taken(self, record: SpooledBatch) -> bool:
        """The broker has taken it; True where others have waited for that."""
        key = key_of(record)
        self.closing.clear(key)
        ended = [self.unheard.heard(record.vehicle), self.poison.taken(key), self.sizes.taken(len(record.payload))]
        return any(ended)

    def refused(self, record: SpooledBatch, reason: str, code: int, now: float) -> Verdict:
        """The broker will never take it, it says."""
        if code == TOO_LARGE:
            self.sizes.refused(len(record.payload), now)
            return Verdict.TOO_LARGE
        if code == TOPIC_INVALID and self.hold_foreign(record):
            return Verdict.FOREIGN
        if self.poison.refused(key_of(record), reason, now):
            return Verdict.GIVEN_UP
        return Verdict.STOPPED if self.poison.stopped else Verdict.DOUBTED

    def trouble(self) -> tuple[str, str]:
        """Why hardly anything goes, as a `Trouble`, and in words; "" where all does that may."""
        if self.poison.stopped:
            return Trouble.UNACCEPTABLE.value, f"it refuses one batch after the other: {self.poison.stopped}"
        return (Trouble.NO_SUBSCRIBERS.value, self.unheard.reason) if self.unheard else ("", "")


def key_of(record: SpooledBatch) -> Key:
    """Stream and sequence."""
    return record.stream, record.sequence


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
