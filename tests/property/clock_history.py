# SPDX-License-Identifier: Apache-2.0
"""A unit whose clock is set now and then, and the batches that an agent on it makes: with the truth beside them.

Monotonic time counts from boot, suspended or not; `RIGHT_NS` after it is the truth. Frames bear the wall clock of their
moment. The agent takes them in blocks and reads the clocks after each; it opens a new batch when the interval is over
or the clock was set, and a batch's reading is that of its last block.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.codec import Batch, Group
from agent.model import BatchId, ClockReading, FrameBlock
from agent.pipeline.clock_steps import split_at_step
from agent.system.clock import was_stepped

if TYPE_CHECKING:
    from numpy.typing import NDArray

MS = 10**6
SECOND = 10**9
RIGHT_NS = 1_700_000_000 * SECOND
BLOCK_NS = 700 * MS
INTERVAL_NS = 10 * SECOND
BOOT = "0e1b2c3d-0000-4000-8000-00000000abcd"
_BOOT_ID = bytes.fromhex(BOOT.replace("-", ""))


@dataclass(frozen=True)
class Set:
    """From this monotonic time on the wall clock is off by so much, and trusted or not."""

    at_ns: int
    error_ns: int
    trusted: bool = False


@dataclass(frozen=True)
class Unit:
    """How its clock was set, the first time at boot."""

    sets: tuple[Set, ...]

    def wall(self, at_ns: int) -> int:
        return RIGHT_NS + at_ns + self._latest(at_ns).error_ns

    def read(self, at_ns: int) -> ClockReading:
        return ClockReading(_BOOT_ID, self.wall(at_ns), at_ns, self._latest(at_ns).trusted)

    def _latest(self, at_ns: int) -> Set:
        return [each for each in self.sets if each.at_ns <= at_ns][-1]


@dataclass(frozen=True)
class Taken:
    """Frames that are sealed together, by their numbers, and the reading that they are sealed with."""

    numbers: list[int]
    reading: ClockReading


def batches(unit: Unit, received_ns: list[int]) -> list[Taken]:
    """What an agent makes of frames that were received at these monotonic times."""
    taken: list[Taken] = []
    reading = unit.read(0)
    for begin, end in _blocks(received_ns):
        before, reading = reading, unit.read(received_ns[end - 1] + 10 * MS)
        for part, read in split_at_step(_frames(unit, received_ns, begin, end), before, reading):
            numbers = part.data.view(np.uint64)[:, 0].tolist()
            if taken and not was_stepped(taken[-1].reading, read) and _has_room(unit, received_ns, taken[-1], numbers):
                taken[-1] = Taken(taken[-1].numbers + numbers, read)
            else:
                taken.append(Taken(numbers, read))
    return taken


def sealed_late(unit: Unit, received_ns: list[int]) -> list[Taken]:
    """What an agent makes that reads the clocks only when it seals: with the block that does not fit any more."""
    taken: list[Taken] = []
    numbers: list[int] = []
    for begin, end in _blocks(received_ns):
        block = list(range(begin, end))
        walls, more = ([unit.wall(received_ns[number]) for number in each] for each in (numbers, block))
        if numbers and (max(more) - min(walls) >= INTERVAL_NS or min(more) < max(walls) - SECOND):
            taken.append(Taken(numbers, unit.read(received_ns[end - 1] + 10 * MS)))
            numbers = []
        numbers = numbers + block
    return [*taken, Taken(numbers, unit.read(received_ns[-1] + 5 * SECOND))]


def _has_room(unit: Unit, received_ns: list[int], batch: Taken, numbers: list[int]) -> bool:
    walls = [unit.wall(received_ns[number]) for number in (batch.numbers + numbers)]
    return max(walls) - min(walls) < INTERVAL_NS


def _blocks(received_ns: list[int]) -> list[tuple[int, int]]:
    cuts = [0]
    for index, at_ns in enumerate(received_ns):
        if at_ns - received_ns[cuts[-1]] >= BLOCK_NS:
            cuts.append(index)
    return list(pairwise([*cuts, len(received_ns)]))


def _frames(unit: Unit, received_ns: list[int], begin: int, end: int) -> FrameBlock:
    """Each carries its own number."""
    numbers = np.arange(begin, end, dtype=np.uint64)
    zeros = np.zeros(end - begin, np.uint8)
    return FrameBlock(
        np.array([unit.wall(at) for at in received_ns[begin:end]], np.int64),
        zeros,
        zeros.astype(np.uint32),
        np.full(end - begin, 8, np.uint8),
        zeros,
        numbers.view(np.uint8).reshape(-1, 8),
    )


def as_batch(unit: Unit, received_ns: list[int], taken: Taken, sequence: int, stream: str = "normal-1") -> Batch:
    """As a receiver reads it: frames in two messages in turn, times to the millisecond."""
    walls = np.array([(unit.wall(received_ns[number]) + MS // 2) // MS * MS for number in taken.numbers], np.int64)
    reading = taken.reading
    return Batch(
        id=BatchId("car-1", stream, sequence),
        catalog="00" * 16,
        resolution_ns=MS,
        opened_ns=int(walls.min()),
        sealed_ns=int(walls.max()),
        frames=len(walls),
        clock=ClockReading(_BOOT_ID, reading.wall_ns, reading.monotonic_ns, reading.trusted),
        groups=tuple(_group(can_id, walls[can_id::2]) for can_id in range(2)),
    )


def _group(can_id: int, time_ns: NDArray[np.int64]) -> Group:
    return Group(0, 0, can_id, time_ns, np.zeros(len(time_ns), np.uint32), ((),), {})
