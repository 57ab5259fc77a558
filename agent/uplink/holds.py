# SPDX-License-Identifier: Apache-2.0
"""What stays in the spool for now, and why. Pure; the time is passed in.

    owners      batches of another vehicle, which this client may not publish for
    suspects    batches over which the broker closes the connection
    doubts      batches that it says it will never take
    sizes       batches that are larger than it takes
    unheard     batches that nobody subscribes to

Whatever waits is asked about again, each in its time; a batch that the broker takes may end the others' wait.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from agent.uplink.doubts import Doubts
from agent.uplink.sizes import SizeLimit
from agent.uplink.suspects import Suspects
from agent.uplink.transport import TOO_LARGE, TOPIC_INVALID, Trouble
from agent.uplink.unheard import Unheard

if TYPE_CHECKING:
    from agent.model import SpooledBatch
    from agent.uplink.options import SenderOptions
    from agent.uplink.owners import Owners
    from agent.uplink.transport import LinkLimits

DOUBT_PROBES = 10
"""A batch that the broker refused is tried again after so many times as long as it takes for one to ask."""


_LONGEST_NAME = f"{'x' * 32}/{2**63}"
"""Of a batch, in its labels."""


class Verdict(enum.Enum):
    """What becomes of a batch that the broker says it will never take."""

    TOO_LARGE = enum.auto()  # it waits until the limit is another one
    HELD = enum.auto()  # its vehicle's topic is not valid here
    DOUBTED = enum.auto()  # it waits until another one is taken
    STOPPED = enum.auto()  # none is taken: all wait
    GIVEN_UP = enum.auto()


class Holds:
    """`probe_s`: how often one batch asks again where the broker keeps none."""

    def __init__(self, probe_s: float, owners: Owners) -> None:
        self.owners = owners
        self.suspects = Suspects()
        self.unheard = Unheard(probe_s)
        self.doubts = Doubts(DOUBT_PROBES * probe_s)
        self.sizes = SizeLimit(DOUBT_PROBES * probe_s)

    def begin(self, limits: LinkLimits, options: SenderOptions) -> None:
        """A link came up: how much the broker takes there."""
        self.sizes.named = limits.payload_bytes(options.topic(options.batch), options.labels("batch", _LONGEST_NAME))

    def vehicles(self) -> frozenset[str]:
        """Those of whom nothing may go."""
        return self.unheard.held | self.owners.held

    def has_to_wait(self, record: SpooledBatch, now: float) -> bool:
        """Whether it is to be passed over."""
        key = key_of(record)
        return self.owners.has_to_stay(record) or self.suspects.waits(key, now) or self.doubts.waits(key, now)

    def is_unfit(self, record: SpooledBatch) -> bool:
        """Whether it may not go after all, though it was read ahead."""
        most = self.sizes.payload_bytes
        return record.vehicle in self.unheard.held or (most is not None and len(record.payload) > most)

    def release(self, now: float) -> bool:
        """Let those ask again that have waited long enough; True where there were some."""
        waiting = (self.suspects, self.unheard, self.doubts, self.sizes)
        return any([each.release(now) for each in waiting])  # noqa: C419 - all of them

    def next_at(self) -> float | None:
        """When the first may ask again."""
        waiting = (self.suspects, self.unheard, self.doubts, self.sizes)
        return min((at for each in waiting if (at := each.next_at()) is not None), default=None)

    def taken(self, record: SpooledBatch) -> bool:
        """The broker has taken it; True where others have waited for that."""
        key, size = key_of(record), len(record.payload)
        self.suspects.clear(key)
        ended = [self.unheard.heard(record.vehicle), self.doubts.taken(key), self.sizes.taken(size)]
        return any(ended)

    def refused(self, record: SpooledBatch, reason: str, code: int, now: float) -> Verdict:
        """The broker will never take it, it says."""
        if code == TOO_LARGE:
            self.sizes.refused(len(record.payload), now)
            return Verdict.TOO_LARGE
        if code == TOPIC_INVALID and self.owners.hold(record):
            return Verdict.HELD
        if self.doubts.refused(key_of(record), reason, now):
            return Verdict.GIVEN_UP
        return Verdict.STOPPED if self.doubts.stopped else Verdict.DOUBTED

    def trouble(self) -> tuple[str, str]:
        """Why hardly anything goes, as a `Trouble`, and in words; "" where all does that may."""
        if self.doubts.stopped:
            return Trouble.UNACCEPTABLE.value, f"it refuses one batch after the other: {self.doubts.stopped}"
        return (Trouble.NO_SUBSCRIBERS.value, self.unheard.reason) if self.unheard else ("", "")


def key_of(record: SpooledBatch) -> tuple[str, int]:
    """Stream and sequence."""
    return record.stream, record.sequence
