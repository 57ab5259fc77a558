# SPDX-License-Identifier: Apache-2.0
"""The tick: what is drained reaches the packer, whatever the pace, and ends in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from agent.model import DRAIN_FRAMES_MAX, FrameBlock, Gap, GapKind, SourceCounters
from agent.pipeline import tick
from agent.pipeline.tick import Pipeline, TickTiming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from agent.pipeline.packer import Packer


def frames(rows: int, time_ns: int = 1) -> FrameBlock:
    empty = np.zeros(rows, np.uint8)
    times = np.full(rows, time_ns, np.int64)
    return FrameBlock(times, empty, np.zeros(rows, np.uint32), empty, empty, np.zeros((rows, 8), np.uint8))


class Script:
    """A source that gives one block a drain, and has ended after the last if it is to."""

    def __init__(self, blocks: Iterable[FrameBlock], *, ends: bool = True) -> None:
        self.blocks = deque(blocks)
        self.ends = ends
        self.tells = False
        self.heard: Callable[[], None] | None = None
        self.dropped = 0
        self.drains = 0

    @property
    def exhausted(self) -> bool:
        return self.ends and not self.blocks

    @property
    def drain_within_s(self) -> float:
        return 1.0

    def drain(self) -> FrameBlock:
        self.drains += 1
        return self.blocks.popleft() if self.blocks else FrameBlock.empty()

    def counters(self) -> SourceCounters:
        return SourceCounters(dropped=self.dropped)

    def states(self) -> dict[str, str]:
        return {}

    def wake(self, heard: Callable[[], None] | None, /) -> bool:
        self.heard = heard
        return self.tells


class HandClock:
    """The wall clock is given; the monotonic one stands still until it leaps."""

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self.wall_ns = wall_ns
        self.leaps: list[int] = []

    def monotonic_ns(self) -> int:
        return self.leaps.pop(0) if self.leaps else 0

    def boot_id(self) -> str:
        return "00000000-0000-0000-0000-000000000000"

    def wall_trusted(self) -> bool:
        return True


class FakePacker:
    """Counts what it is given."""

    def __init__(self) -> None:
        self.frames = 0
        self.gaps: list[Gap] = []
        self.seals = 0
        self.has_open_batch = False
        self.stored = 0

    def process(self, block: FrameBlock) -> bool:
        self.frames += len(block)
        self.has_open_batch = self.has_open_batch or bool(len(block))
        return False

    def report_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def seal(self) -> bool:
        self.seals += 1
        stored, self.has_open_batch = self.has_open_batch, False
        self.stored += stored
        return stored


def build(packer: FakePacker, *sources: Script, **changes: Any) -> tuple[Pipeline, asyncio.Event]:
    async def call(function: Callable[..., bool], /, *arguments: Any) -> bool:
        return function(*arguments)

    stored = asyncio.Event()
    times = {"tick_s": 0.001, "interval_s": 0.002, "silence_s": 60.0}
    timing = TickTiming(**{name: changes.pop(name, seconds) for name, seconds in times.items()})
    settings: dict[str, Any] = {"call": call, "clock": HandClock(time.time_ns)} | changes
    return Pipeline(sources, cast("Packer", packer), timing=timing, stored=stored.set, **settings), stored


async def test_all_frames_of_all_sources_are_packed_and_sealed_at_their_end() -> None:
    packer = FakePacker()
    pipeline, stored = build(packer, Script([frames(5)] * 7), Script([frames(3)] * 2))
    await pipeline.run()
    assert packer.frames == 41
    assert not packer.has_open_batch
    assert stored.is_set()


async def test_stopping_drains_once_more_and_seals() -> None:
    packer = FakePacker()
    source = Script([frames(5)], ends=False)
    pipeline, _ = build(packer, source, interval_s=60.0)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 3:
        await asyncio.sleep(0)
    source.blocks += [frames(1), frames(1)]  # more than one drain gives
    pipeline.stop()
    await running
    assert (packer.frames, packer.seals) == (7, 1)


async def test_at_the_end_a_busy_source_is_drained_a_bounded_number_of_times() -> None:
    class Busy(Script):
        def drain(self) -> FrameBlock:
            assert len(self.blocks) < 100, "it goes on for ever"
            self.blocks.append(frames(1))
            return frames(1)

    packer, source = FakePacker(), Busy([], ends=False)
    pipeline, _ = build(packer, source)
    pipeline.stop()
    await pipeline.run()
    assert len(source.blocks) == packer.frames == tick.LAST_DRAINS_MAX


async def test_a_long_tick_holds_up_neither_a_block_nor_the_end() -> None:
    packer = FakePacker()
    source = Script([], ends=False)
    pipeline, _ = build(packer, source, tick_s=3600.0, interval_s=0.01)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 5:
        await asyncio.sleep(0.001)
    pipeline._timing = replace(pipeline._timing, interval_s=3600.0)
    await asyncio.sleep(0.03)
    source.blocks.append(frames(5))
    pipeline.stop()
    await running
    assert packer.frames == 5


async def test_a_block_due_while_the_worker_is_busy_is_handed_over_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tick, "BUSY_S", 0.001)
    packer, free = FakePacker(), asyncio.Event()

    async def call(function: Callable[..., bool], /, *arguments: Any) -> bool:
        await free.wait()
        return function(*arguments)

    source = Script([frames(5)], ends=False)
    pipeline, _ = build(packer, source, tick_s=3600.0, interval_s=0.01, call=call)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 5:
        await asyncio.sleep(0.001)
    source.blocks.append(frames(2))
    free.set()
    while packer.frames < 7:
        await asyncio.sleep(0.001)
    pipeline.stop()
    await running


async def test_a_full_drain_is_followed_by_another_at_once() -> None:
    packer = FakePacker()
    full = frames(DRAIN_FRAMES_MAX)
    source = Script([full, full, frames(1), frames(1)], ends=False)
    pipeline, _ = build(packer, source, tick_s=3600.0, interval_s=3600.0)
    running = asyncio.create_task(pipeline.run())
    while not packer.frames:
        await asyncio.sleep(0.001)
    assert packer.frames == 2 * DRAIN_FRAMES_MAX + 1
    pipeline.stop()
    await running


async def gap_of(now_ns: list[int]) -> Gap:
    """What is told of nine frames that are dropped when the wall clock goes from the first to the second time."""
    packer = FakePacker()
    source = Script([frames(2, 100)], ends=False)
    pipeline, _ = build(packer, source, clock=HandClock(lambda: now_ns[0]))
    running = asyncio.create_task(pipeline.run())
    while not packer.frames:
        await asyncio.sleep(0.001)
    source.dropped = 9
    del now_ns[0]
    while not packer.gaps:
        await asyncio.sleep(0.001)
    pipeline.stop()
    await running
    (gap,) = packer.gaps
    return gap


async def test_dropped_frames_are_a_gap_even_if_no_frame_follows() -> None:
    assert await gap_of([150, 700]) == Gap(GapKind.DROPPED, 150, 700, 9, detail="receive buffer full")


async def test_a_gap_in_which_the_clock_was_set_back_has_no_known_begin() -> None:
    assert await gap_of([700, 150]) == Gap(GapKind.DROPPED, 0, 150, 9, detail="receive buffer full")


async def test_silence_seals_the_open_batch() -> None:
    packer = FakePacker()
    pipeline, stored = build(packer, Script([frames(5)], ends=False), silence_s=0.01)
    running = asyncio.create_task(pipeline.run())
    await stored.wait()
    pipeline.stop()
    await running
    assert packer.stored == 1


async def test_a_slow_worker_stops_the_draining_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "FRAMES_WAITING_MAX", 20)
    packer = FakePacker()
    source = Script([frames(5)] * 50, ends=False)
    free = asyncio.Event()

    async def call(function: Callable[..., bool], /, *arguments: Any) -> bool:
        await free.wait()
        return function(*arguments)

    pipeline, _ = build(packer, source, interval_s=0.0, call=call)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 5:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert source.drains <= 5 + 1
    free.set()
    pipeline.stop()
    await running
    assert packer.frames + sum(map(len, source.blocks)) == 250


async def test_slow_packing_hands_blocks_over_sooner() -> None:
    pipeline, _ = build(FakePacker(), Script([]), interval_s=1.0)
    assert pipeline._block_s() == tick.BLOCK_SHARE
    for work_s, expected in ((0.2, tick.BLOCK_SHARE), (0.5, 0.5), (5.0, tick.BLOCK_SHARE_MIN)):
        pipeline._work_s = work_s
        assert pipeline._block_s() == expected


async def test_the_longest_packing_time_fades() -> None:
    async def call(function: Callable[..., bool], /, *arguments: Any) -> bool:
        await asyncio.sleep(0.01)
        return function(*arguments)

    packer = FakePacker()
    pipeline, _ = build(packer, Script([frames(5)]), call=call)
    await pipeline.run()
    assert pipeline._work_s >= 0.009
    pipeline._work_s, before = 100.0, packer.frames
    pipeline._waiting = [frames(1)]
    await pipeline._work(seal=False)
    assert packer.frames > before
    assert pipeline._work_s == 90.0


async def test_silent_buses_are_drained_at_their_next_frame_and_seldom_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tick, "QUIET_S", 0.0)
    monkeypatch.setattr(tick, "QUIET_TICK_S", 60.0)
    packer = FakePacker()
    source, other = Script([], ends=False), Script([], ends=False)
    source.tells = other.tells = True
    pipeline, _ = build(packer, source, other)
    running = asyncio.create_task(pipeline.run())
    while source.heard is None:
        await asyncio.sleep(0)
    drains = source.drains
    await asyncio.sleep(0.02)
    assert source.drains == drains
    source.blocks.append(frames(4))
    source.heard()
    while not packer.frames:
        await asyncio.sleep(0.001)
    pipeline.stop()
    await running
    assert source.heard is other.heard is None


async def test_a_source_that_cannot_tell_keeps_the_tick_going(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "QUIET_S", 0.0)
    monkeypatch.setattr(tick, "QUIET_TICK_S", 60.0)
    source, other = Script([], ends=False), Script([], ends=False)
    source.tells = True
    pipeline, _ = build(FakePacker(), source, other)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 20:
        await asyncio.sleep(0.001)
    assert source.heard is None
    pipeline.stop()
    await running


async def test_a_suspend_between_two_ticks_is_reported() -> None:
    clock, woken = HandClock(time.time_ns), list[float]()
    clock.leaps = [0, 1_000_000, 1_000_000, 3_600_000_000_000]  # two ticks: a usual one, and an hour
    pipeline, _ = build(FakePacker(), Script([], ends=False), clock=clock, woken=woken.append)
    running = asyncio.create_task(pipeline.run())
    while not woken:
        await asyncio.sleep(0.001)
    pipeline.stop()
    await running
    assert woken == [3599.999]


async def test_a_pipeline_that_is_kept_from_its_tick_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "TURN_MAX_S", 0.0)
    source = Script([], ends=False)
    pipeline, _ = build(FakePacker(), source)
    running = asyncio.create_task(pipeline.run())
    while source.drains < 2:
        await asyncio.sleep(0)
    time.sleep(0.01)  # the loop hangs
    assert pipeline.deadline.late_s() > 0
    pipeline.stop()
    await running
    assert pipeline.deadline.late_s() == 0


async def test_drained_ns_covers_what_came_before_the_last_drain() -> None:
    now_ns = iter(range(1, 1 << 40))
    drained_ns: list[int] = []

    class Late(Script):
        def drain(self) -> FrameBlock:
            drained_ns.append(next(now_ns))
            return super().drain()

    pipeline, _ = build(FakePacker(), Late([frames(1)], ends=False), clock=HandClock(now_ns.__next__))
    pipeline.stop()
    await pipeline.run()
    assert pipeline.drained_ns == drained_ns[-1] - 1
