# SPDX-License-Identifier: Apache-2.0
"""A wall clock that is set while frames come: each batch tells by which clock its frames were timed, and the receiver
puts them where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from agent.receiver.clock_correction import RESOLUTION_NS, ClockCorrection
from tests.unit.pipeline.test_packer import CATALOG, T0_NS, ListStore, S, frames, stored

if TYPE_CHECKING:
    from agent.model import FrameBlock

BOOTED_NS = T0_NS - 5 * S


@dataclass
class SetClock:
    """A unit's, booted at `BOOTED_NS`; its wall clock is off by `error_ns`."""

    since_boot_ns: int = 0
    error_ns: int = -BOOTED_NS
    trusted: bool = False

    def wall_ns(self) -> int:
        return BOOTED_NS + self.since_boot_ns + self.error_ns

    def monotonic_ns(self) -> int:
        return self.since_boot_ns

    def boot_id(self) -> str:
        return "00112233-4455-6677-8899-aabbccddeeff"

    def wall_trusted(self) -> bool:
        return self.trusted


class Unit:
    """Takes a block of a second's frames each second, as its clock stamps them."""

    def __init__(self) -> None:
        self.clock, self.store = SetClock(5 * S), ListStore()
        settings = StreamSettings("car-1", 1_000_000, 3, SealLimits(60 * S, 48 << 10))
        stream = Stream(CATALOG, self.store, settings, self.clock)
        self.packer = Packer(Decoder(Plan(CATALOG.buses, CATALOG.messages)), {Priority.NORMAL: stream})
        self.seconds = 0

    def drive(self, seconds: int) -> None:
        for _ in range(seconds):
            block = self.second()
            self.packer.process(replace(block, time_ns=block.time_ns + self.clock.error_ns))

    def second(self) -> FrameBlock:
        """The next second's frames, at their true times; the clocks read the end of it."""
        block = frames(self.seconds, 100)
        self.seconds += 1
        self.clock.since_boot_ns += S
        return block

    def set_clock(self, *, trusted: bool) -> None:
        self.clock.error_ns, self.clock.trusted = 0, trusted


def placed_ns(unit: Unit) -> list[int]:
    """The times of all frames as the receiver has them."""
    unit.packer.seal()
    placing, batches = ClockCorrection(), stored(unit.store)
    for batch in batches:
        placing.learn(batch.id.vehicle, batch.clock)
    placed = [placing.correct(batch).batch for batch in batches]
    return sorted(np.concatenate([group.time_ns for batch in placed for group in batch.groups]).tolist())


def true_ns(unit: Unit) -> list[int]:
    return [T0_NS + row * S // 100 for row in range(100 * unit.seconds)]


def worst_ns(unit: Unit) -> int:
    return int(np.abs(np.array(placed_ns(unit)) - np.array(true_ns(unit))).max())


def test_a_clock_that_is_set_within_the_first_batch_leaves_nothing_in_1970() -> None:
    unit = Unit()
    unit.drive(3)
    unit.set_clock(trusted=True)
    unit.drive(2)
    assert worst_ns(unit) <= RESOLUTION_NS
    assert [batch.clock.trusted for batch in stored(unit.store)] == [False, True]


def test_a_clock_that_is_set_between_two_frames_of_a_block_divides_the_block() -> None:
    unit = Unit()
    unit.drive(3)
    block = unit.second()
    time_ns = block.time_ns.copy()
    time_ns[:40] += unit.clock.error_ns
    unit.set_clock(trusted=True)
    unit.packer.process(replace(block, time_ns=time_ns))
    assert worst_ns(unit) <= RESOLUTION_NS
    assert [batch.frames for batch in stored(unit.store)] == [340, 60]


def test_a_clock_that_is_set_by_hand_opens_a_batch_and_moves_nothing() -> None:
    unit = Unit()
    unit.clock.error_ns = 3600 * S
    unit.drive(2)
    unit.set_clock(trusted=False)
    unit.drive(2)
    assert placed_ns(unit) == sorted([each + 3600 * S * (each < T0_NS + 2 * S) for each in true_ns(unit)])
    assert len(unit.store.batches) == 2


def test_a_clock_that_becomes_trusted_as_it_is_goes_on_in_the_same_batch() -> None:
    unit = Unit()
    unit.set_clock(trusted=False)
    unit.drive(2)
    unit.clock.trusted = True
    unit.drive(2)
    assert placed_ns(unit) == true_ns(unit)
    (batch,) = stored(unit.store)
    assert batch.clock.trusted
    assert batch.clock.monotonic_ns == 9 * S


def test_a_batch_in_which_the_clock_was_trusted_for_a_while_tells_that_it_was() -> None:
    unit = Unit()
    unit.drive(3)
    unit.set_clock(trusted=True)
    unit.drive(2)
    unit.clock.trusted = False
    unit.drive(60)
    assert worst_ns(unit) <= RESOLUTION_NS
    assert [batch.clock.trusted for batch in stored(unit.store)] == [False, True, False]
