# SPDX-License-Identifier: Apache-2.0
"""Corrects the times of frames that a vehicle received under a wrong clock.

A frame bears the kernel's wall clock. A batch bears one reading of wall and monotonic clock, and whether the wall clock
was trusted. Linux steers both clocks alike, so wall minus monotonic, the *offset*, changes only when the clock is set.
A *clock epoch* is the time between two such steps:

    boot        |---- 1970 ----|------- an hour ahead -------|------- right --------|
    readings      r    r    r     r      r      r     r     r    r     R      R     R     R: trusted

A trusted reading gives the true offset, for the whole boot. Between two trusted readings that differ by no more than a
free-running clock drifts, the true offset is interpolated. Where they differ by more, an epoch keeps its own.

Promise: times stay in a boot without a trusted reading, and in an epoch that is off by at most `RESOLUTION_NS`.
Elsewhere they are right to within that, the batch's resolution, and the error of the trusted readings. The order of a
message's frames stays, and the batch's resolution.

An agent opens a new batch at a clock step. Buffered samples are re-stamped with the new clock; the reading of their
batch then *holds* for all of it.

Limits: batches of earlier versions may have frames of several epochs. The moment of a step is known only to lie between
two readings. Frames in between go to the epoch that fits better, by time and order; events by time.
Failure: an impossible reading is ignored; its batch stays as it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.batch.codec import Batch
    from agent.model import ClockReading

RESOLUTION_NS = 10_000_000
"""Corrections up to this are left undone: a busy unit reads its clocks that far apart."""
DRIFT = 200e-6
"""How far a clock left to itself may go wrong: a quartz in the heat, twice over."""
SKEW_NS = 2_000_000_000
"""Adapters that stamp frames themselves may be off by this much without the clock having been set."""
AGE_WEIGHT = 1e-3
"""A frame that fits two epochs equally is of the later one."""
WALL_MAX_NS, MONOTONIC_MAX_NS = 1 << 62, 1 << 61

TrueOffset = tuple[int, int]
"""A monotonic time, and what wall less monotonic should have been then."""


@dataclass(frozen=True, slots=True)
class CorrectedBatch:
    """A batch, its times right, and by how much they were moved: least and most; 0 and 0 where they stayed."""

    batch: Batch
    least_ns: int = 0
    most_ns: int = 0


class ClockCorrection:
    """Learns the readings of all batches, and then places each."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, bytes], dict[ClockReading, None]] = {}
        self._boots: dict[tuple[str, bytes], Boot] = {}

    def learn(self, vehicle: str, reading: ClockReading) -> None:
        """Take in a batch's reading."""
        if reading.boot_id and 0 <= reading.monotonic_ns < MONOTONIC_MAX_NS and 0 <= reading.wall_ns < WALL_MAX_NS:
            self._readings.setdefault((vehicle, reading.boot_id), {})[reading] = None
            self._boots.pop((vehicle, reading.boot_id), None)

    def correct(self, batch: Batch) -> CorrectedBatch:
        """The batch with the times of its frames, its events and its head as they should have been."""
        key = (batch.id.vehicle, batch.clock.boot_id)
        readings = self._readings.get(key, {})
        if batch.clock not in readings:
            return CorrectedBatch(batch)
        if key not in self._boots:
            self._boots[key] = Boot(readings)
        ends = np.array([batch.opened_ns, batch.sealed_ns], np.int64)
        of_events = [np.array([event.time_ns], np.int64) for event in batch.events]
        before = [ends, *(group.time_ns for group in batch.groups), *of_events]
        after = self._boots[key].correct(before, batch.clock, batch.resolution_ns)
        if after is before:
            return CorrectedBatch(batch)
        of_frames = slice(1, None) if any(map(len, before[1:])) else slice(1)
        groups, events = after[1 : 1 + len(batch.groups)], after[1 + len(batch.groups) :]
        moved = np.concatenate([b - a for a, b in zip(before[of_frames], after[of_frames], strict=True)])
        return CorrectedBatch(
            replace(
                batch,
                opened_ns=int(after[0].min()),
                sealed_ns=int(after[0].max()),
                groups=tuple(replace(each, time_ns=at) for each, at in zip(batch.groups, groups, strict=True)),
                events=tuple(replace(each, time_ns=int(at[0])) for each, at in zip(batch.events, events, strict=True)),
            ),
            int(moved.min()),
            int(moved.max()),
        )


@dataclass(frozen=True, slots=True)
class ClockEpoch:
    """The wall clock between two times that it was set; times are monotonic ones.

    offset_ns          wall less monotonic
    first_ns, last_ns  of its readings
    trusted            first and last of its trusted readings, nothing where it has none
    """

    offset_ns: int
    first_ns: int
    last_ns: int
    trusted: tuple[TrueOffset, ...]


class Boot:
    """The epochs of one boot's clock, in their order, and what it should have said in each."""

    def __init__(self, readings: Iterable[ClockReading]) -> None:
        self.epochs = tuple(_epochs(sorted(readings, key=lambda reading: reading.monotonic_ns)))
        self._first = [epoch.first_ns for epoch in self.epochs]
        self._begin = [0.0, *(float(epoch.last_ns) for epoch in self.epochs[:-1])]
        self._end = [*map(float, self._first[1:]), math.inf]
        self._true = [self._true_offsets(number) for number in range(len(self.epochs))]
        self._is_moved = [self._is_off(number) for number in range(len(self.epochs))]

    def correct(self, times: list[NDArray[np.int64]], reading: ClockReading, unit_ns: int) -> list[NDArray[np.int64]]:
        """Times of a batch's frames as they should have been, to whole units; the same list where all may stay.

        times    int64 (n,) of each message, in the order received
        reading  of the batch that they came in
        """
        own = max(bisect_right(self._first, reading.monotonic_ns) - 1, 0)
        if not any(self._is_moved[: own + 1]):
            return times
        if reading.holds or own == 0 or self._fit(times, own, reading):
            return [self._moved(each, own, unit_ns) for each in times] if self._is_moved[own] else times
        corrected = []
        for each in times:
            epoch = self._epochs_of(each, own, reading)
            parts = [self._moved(each[epoch == number], number, unit_ns) for number in range(own + 1)]
            corrected.append(np.concatenate(parts))  # epochs follow one another, as frames do
        return corrected

    def _moved(self, time_ns: NDArray[np.int64], number: int, unit_ns: int) -> NDArray[np.int64]:
        """Times of frames received in one epoch as they should have been."""
        if not self._is_moved[number]:
            return time_ns
        base, offset_ns = self._true[number][0][1], self.epochs[number].offset_ns
        beyond = np.rint(self._beyond(time_ns.astype(np.float64) - float(offset_ns), number))
        corrected: NDArray[np.int64] = time_ns + (base - offset_ns) + beyond.astype(np.int64)
        return (corrected + unit_ns // 2) // unit_ns * unit_ns

    def _fit(self, times: Sequence[NDArray[np.int64]], number: int, reading: ClockReading) -> bool:
        """Whether all frames may have been received in that one epoch."""
        return not any(
            (self._misfit(each, number, reading) > SKEW_NS).any() or (np.diff(each) < -SKEW_NS).any() for each in times
        )

    def _epochs_of(self, time_ns: NDArray[np.int64], own: int, reading: ClockReading) -> NDArray[np.int64]:
        """The epoch that each frame of a message was received in.

        From the latest epoch to the first: each takes the last frames, as far back as no earlier one fits better.
        """
        misfits = [
            self._misfit(time_ns, number, reading) + self._age(time_ns, number, reading) * AGE_WEIGHT
            for number in range(own + 1)
        ]
        epoch = np.zeros(len(time_ns), np.int64)
        end = len(time_ns)
        for number in range(own, 0, -1):
            next_ns = np.minimum.accumulate(time_ns[:end][::-1])[::-1]
            misfit = misfits[number][:end] + (time_ns[:end] - next_ns)  # time goes back only where it is set
            elsewhere = np.minimum.reduce([each[:end] for each in misfits[:number]])
            better = np.flatnonzero(elsewhere < misfit)
            begin = int(better[-1]) + 1 if len(better) else 0
            epoch[begin:end] = number
            end = begin
        return epoch

    def _misfit(self, time_ns: NDArray[np.int64], number: int, reading: ClockReading) -> NDArray[np.float64]:
        """By how much each frame would be before or after an epoch, or after the reading."""
        monotonic = time_ns.astype(np.float64) - float(self.epochs[number].offset_ns)
        end = min(self._end[number], float(reading.monotonic_ns))
        return np.maximum(np.maximum(self._begin[number] - monotonic, monotonic - end), 0.0)

    def _age(self, time_ns: NDArray[np.int64], number: int, reading: ClockReading) -> NDArray[np.float64]:
        """How old each frame would be at the reading."""
        now_ns = float(reading.monotonic_ns + self.epochs[number].offset_ns)
        return np.maximum(now_ns - time_ns.astype(np.float64), 0.0)

    def _beyond(self, monotonic: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        """What wall less monotonic should have been in an epoch, less what it should have been at first."""
        true = self._true[number]
        at, beyond = [float(at) for at, _ in true], [float(offset - true[0][1]) for _, offset in true]
        return np.asarray(np.interp(monotonic, at, beyond), np.float64)

    def _is_off(self, number: int) -> bool:
        """Whether the epoch was wrong at any time of it that is known."""
        epoch, true = self.epochs[number], self._true[number]
        if not true:
            return False
        known = [self._begin[number], float(epoch.first_ns), float(epoch.last_ns), self._end[number]]
        beyond = self._beyond(np.array([at for at in known if math.isfinite(at)]), number)
        return bool((np.abs(beyond + float(true[0][1] - epoch.offset_ns)) > RESOLUTION_NS).any())

    def _true_offsets(self, number: int) -> list[TrueOffset]:
        """What wall less monotonic should have been in an epoch, from time to time; nothing where nobody knows."""
        own = list(self.epochs[number].trusted)
        before = [each.trusted[-1] for each in self.epochs[:number] if each.trusted][-1:]
        after = [each.trusted[0] for each in self.epochs[number + 1 :] if each.trusted][:1]
        if own:
            return [
                *(each for each in before if _drifts(each, own[0])),
                *own,
                *(each for each in after if _drifts(own[-1], each)),
            ]
        return before + after if before and after and _drifts(before[0], after[0]) else after or before


def _epochs(readings: Sequence[ClockReading]) -> Iterator[ClockEpoch]:
    """What readings, in their order, tell of the clock."""
    offsets = [reading.wall_ns - reading.monotonic_ns for reading in readings]
    starts = [0]
    for index, offset in enumerate(offsets):
        if abs(offset - offsets[starts[-1]]) > RESOLUTION_NS:
            starts.append(index)
    for begin, end in pairwise([*starts, len(readings)]):
        trusted = [index for index in range(begin, end) if readings[index].trusted]
        offset = offsets[trusted[0] if trusted else begin]
        ends = [(readings[index].monotonic_ns, offset) for index in (*trusted[:1], *trusted[-1:])]
        yield ClockEpoch(offset, readings[begin].monotonic_ns, readings[end - 1].monotonic_ns, tuple(ends))


def _drifts(left: TrueOffset, right: TrueOffset) -> bool:
    """Whether a clock left to itself could have gone from the one to the other."""
    return abs(right[1] - left[1]) <= (right[0] - left[0]) * DRIFT
