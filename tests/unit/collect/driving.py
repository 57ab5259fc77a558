# SPDX-License-Identifier: Apache-2.0
"""A car whose speed is told by one message: what rules keep of it, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.collect.collector import Collector
from agent.collect.rules.rules import RuleBook
from agent.decode.decoder import Decoder
from agent.units import Duration
from tests.support.collect_car import ENGINES, MS, START, Frame, block, drive, plan
from tests.support.collect_reference import samples

if TYPE_CHECKING:
    from agent.collect.collector import Kept
    from agent.config.collecting import CollectConfig

SECOND = Duration.parse("1s")


class Car:
    """Frames of DRIVE with a speed, by time in ms, and what is kept of them: class, time in ms and speed."""

    def __init__(self, *rules: CollectConfig) -> None:
        self.decoder = Decoder(plan())
        self.collector = Collector(self.decoder.plan, RuleBook.of(rules))

    def take(self, *frames: tuple[int, int]) -> list[tuple[str, int, int]]:
        return self._take([Frame(START + at_ms * MS, 0, 0x100, drive(speed)) for at_ms, speed in frames])

    def take_other_message(self, at_ms: int) -> list[tuple[str, int, int]]:
        return self._take([Frame(START + at_ms * MS, 0, 0x200, bytes(3))])

    def take_other_bus(self, at_ms: int) -> list[tuple[str, int, int]]:
        return self._take([Frame(START + at_ms * MS, 1, ENGINES[0], bytes(4))])

    def _take(self, frames: list[Frame]) -> list[tuple[str, int, int]]:
        taken = block(frames)
        return told(self.collector.process(taken, self.decoder.decode(taken).signals))

    def flush(self) -> list[tuple[str, int, int]]:
        return told(self.collector.flush())


def told(kept: Kept) -> list[tuple[str, int, int]]:
    return sorted(
        (str(priority), (time_ns - START) // MS, raw)
        for priority, blocks in kept.blocks.items()
        for each in blocks
        for _, _, _, time_ns, raw in samples(each)
    )
