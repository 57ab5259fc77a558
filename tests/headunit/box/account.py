# SPDX-License-Identifier: Apache-2.0
"""What the car sent against what the cloud has: every frame arrived once, or lies in a gap that was told.

The frames are counted, so each is found again by its number; a batch that has come is read once. The gaps are those
that `canferry receive` would name: what the unit told, and holes that nobody told of, which are a failure.

    dropped, evicted   say how many frames: so many are missing, no more and no fewer
    interrupted        says from when to when: all that is missing in that time is told

Limits: the second kind needs a wall clock that is not set back meanwhile.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.receiver.gaps import EARLIER, MISSING, GapAccount
from tests.headunit.agent.traffic import KINDS
from tests.headunit.box.car import FRAMES_MAX, NOISE, NOISE_SIGNALS, NOT_SENT
from tests.support.feeder import value

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch, Group
    from agent.receiver.gaps import NamedGap
    from tests.headunit.box.car import Car

_SAMPLES = np.array([3 if kind.length > 8 else 2 for kind in KINDS])
_NAMES = {kind.name for kind in (*KINDS, NOISE)}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch in the cloud.

    at_s     of the host's wall clock
    counts   numbers of the car's frames in it, ascending
    """

    at_s: float
    sequence: int
    size_bytes: int
    counts: NDArray[np.int64]


class Account:
    """Kept over all that happens to one unit. `others` are frames that the car did not count, by message."""

    def __init__(self, car: Car, out: Path) -> None:
        self.arrivals: list[Arrival] = []
        self.others: dict[str, int] = {}
        self._car = car
        self._out = out
        self._times_arrived = np.zeros(FRAMES_MAX, np.uint8)
        self._wrong = 0
        self._read: set[Path] = set()
        self._told = GapAccount()

    def refresh(self) -> None:
        """Read what has come since."""
        fresh = set(self._out.glob("*/*/*.batch.zst")) - self._read
        for path in sorted(fresh, key=lambda path: path.stat().st_mtime_ns):
            payload = path.read_bytes()
            batch = decode_batch(payload)
            batch = decode_batch(payload, _catalog(path.parents[1] / f"catalogs/{batch.catalog}.catalog.zst"))
            self._told.receive(batch.id, batch.opened_ns, batch.sealed_ns, batch.gaps)
            counts = self._counted(batch, _catalog(path.parents[1] / f"catalogs/{batch.catalog}.catalog.zst"))
            self.arrivals.append(Arrival(path.stat().st_mtime, batch.id.sequence, len(payload), counts))
            self._read.add(path)

    def arrived(self, begin: int, end: int) -> NDArray[np.int64]:
        """The numbers among these that have come."""
        return np.flatnonzero(self._times_arrived[begin:end]) + begin

    def missing(self, begin: int, end: int) -> NDArray[np.int64]:
        """The numbers among these that were on a bus and have not come."""
        return np.setdiff1d(self._car.sent(begin, end), self.arrived(begin, end))

    def samples(self, counts: NDArray[np.int64]) -> int:
        """How many values of signals these frames carry."""
        usual = _SAMPLES[counts % len(KINDS)]
        return int(np.where(self._car.noise[counts], NOISE_SIGNALS, usual).sum())

    def gaps(self) -> list[NamedGap]:
        """All that are named."""
        return self._told.report()

    def unaccounted(self, begin: int, end: int, known: int = 0) -> int:
        """Of these frames: how many more are missing than the gaps say, negative: fewer. `known`: gaps told before."""
        return len(self.uninterrupted(begin, end)) - (self.counted() - known)

    def uninterrupted(self, begin: int, end: int) -> NDArray[np.int64]:
        """The missing ones among these whose time lies in no interruption, nor in a gap of unknown many."""
        missing = self.missing(begin, end)
        times = self._car.times[missing]
        interrupted = np.zeros(len(missing), np.bool_)
        for gap in self.gaps():
            if gap.kind == "interrupted" or gap.frames < 0:  # a gap of batches of which some have arrived after all
                interrupted |= (gap.begin_ns <= times) & (times <= gap.end_ns)
        return missing[~interrupted]

    def counted(self) -> int:
        """Frames that the gaps say are missing, where they say how many."""
        return sum(gap.frames for gap in self.gaps() if gap.frames > 0)

    def failures(self) -> list[str]:
        """What may never be, at any time."""
        nobody = [str(gap) for gap in self.gaps() if gap.kind in (MISSING, EARLIER)]
        twice = np.flatnonzero(self._times_arrived > 1)
        untrue = np.flatnonzero((self._times_arrived > 0) & np.isin(self._car.times, (0, NOT_SENT)))
        return [
            *(f"a sealed batch is lost: {gap}" for gap in nobody),
            *([f"{len(twice)} frames came twice, the first is {twice[0]}"] if len(twice) else []),
            *([f"{self._wrong} frames have come with a wrong value"] if self._wrong else []),
            *([f"{len(untrue)} frames have come that nobody sent, the first is {untrue[0]}"] if len(untrue) else []),
        ]

    def _counted(self, batch: Batch, catalog: Catalog) -> NDArray[np.int64]:
        counts = [np.empty(0, np.int64)]
        for group in batch.groups:
            name = catalog.messages[group.message].name if group.message >= 0 else "?"
            if name in _NAMES:
                counts.append(self._numbers(group))
            else:
                self.others[name] = self.others.get(name, 0) + len(group.time_ns)
        numbers = np.sort(np.concatenate(counts))
        np.add.at(self._times_arrived, numbers, 1)
        return numbers

    def _numbers(self, group: Group) -> NDArray[np.int64]:
        numbers = group.columns[0].astype(np.int64)
        self._wrong += sum(
            value(number) != raw for number, raw in zip(numbers.tolist(), group.columns[1].tolist(), strict=True)
        )
        return numbers


@functools.lru_cache
def _catalog(path: Path) -> Catalog:
    return decode_catalog(path.read_bytes())
