# SPDX-License-Identifier: Apache-2.0
"""The tick: from the buses to the packer, and so to the store. Where the rooms meet.

    sources ─ drain ─► FrameBlock ─ decode ─► SignalBlock ─ collect ─► open batch ─ seal ─► store
              (here, every tick)    (packer.py, in the worker thread, in time for the journal)

Waking for every frame costs more than decoding it, and waking at all costs more than a block does. So the sources are
drained on a timer, as seldom as their queues allow, and what has come together is handed over in blocks. A block is
handed over early enough to be in the journal within the interval: after `BLOCK_SHARE` of it, or sooner where packing
took longer of late. A queue that holds as much is drained but once a block. When the buses have been silent for
`QUIET_S`, the timer gives way to a wake-up by the next frame: a parked car costs next to nothing.

A suspend, or a stop as long, is found here: the tick comes `LEAP_S` later than it was to.

Limits: while the worker is busy at most `FRAMES_WAITING_MAX` frames wait here; then nothing is drained. What the
sources' own queues cannot hold is counted there, and reported to the cloud as a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from agent.model import DRAIN_FRAMES_MAX, FrameBlock, Gap, GapKind, SourceCounters
from agent.system.liveness import LivenessDeadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent.pipeline.packer import Packer
    from agent.system.clock import Clock

log = structlog.get_logger()

FRAMES_WAITING_MAX = 100_000
LAST_DRAINS_MAX = 16
"""At the end the sources are drained until nothing comes, but no more often: a live bus never falls silent."""
BLOCK_SHARE, BLOCK_SHARE_MIN = 0.7, 0.2
"""Of the interval: after so much of it a block is handed over; the rest is for packing it."""
BUSY_S = 0.1
"""While the worker is busy with the block before, one that is due is tried again after this."""
WORK_DECAY = 0.9
"""How much of the longest time that packing took still counts at the next block."""
QUIET_S, QUIET_TICK_S = 1.0, 1.0
"""Buses that have been silent for the one are drained once in the other, and at their next frame."""
LEAP_S = 5.0
TURN_MAX_S = 20.0
"""A tick that takes longer is stuck."""


class Source(Protocol):
    """One or more buses that are read together."""

    @property
    def exhausted(self) -> bool:
        """No frame will come any more: a recorded log has ended."""

    @property
    def drain_within_s(self) -> float:
        """How long what comes in can wait in its queue; infinite where nothing is lost."""

    def drain(self) -> FrameBlock:
        """What has come since the last call, at most `DRAIN_FRAMES_MAX` (then there may be more); never waits."""

    def wake(self, arrived: Callable[[], None] | None, /) -> bool:
        """Call `arrived` on the event loop when a frame comes, until given None; False: only draining finds out."""

    def counters(self) -> SourceCounters:
        """What has been seen since the source was opened."""

    def states(self) -> dict[str, str]:
        """How each of its buses is, by name."""


@dataclass(frozen=True, slots=True)
class TickTiming:
    """When the pipeline does what, in seconds.

    tick_s       how long the sources are left alone at most
    interval_s   within this time what was drained is decoded and in the journal
    silence_s    an open batch is sealed when nothing has come for this long
    """

    tick_s: float
    interval_s: float
    silence_s: float


class Pipeline:
    """Drains the sources on a tick and hands the frames to a packer in its own thread.

    Args:
        sources: opened; closed by whoever opened them.
        packer: used only through `call`.
        call: runs a function in the thread that owns the packer, and waits for it.
        timing: when to drain, hand over and seal.
        clock: says when something was lost, and whether the unit was suspended.
        stored: called after each block that stored a batch.
        woken: called after a suspend, with its seconds.
        dropped: frames that the sources have lost, and that were reported, before.

    Attributes:
        dropped: likewise, up to now.
        drained_ns: wall clock; what came before is not in the sources' queues any more.

    """

    def __init__(
        self,
        sources: Sequence[Source],
        packer: Packer,
        call: Callable[..., Awaitable[bool]],
        *,
        timing: TickTiming,
        clock: Clock,
        stored: Callable[[], None],
        woken: Callable[[float], None] = lambda _: None,
        dropped: int = 0,
    ) -> None:
        self.dropped = dropped
        self.drained_ns = clock.wall_ns()
        self.deadline = LivenessDeadline("pipeline")
        self._sources = sources
        self._packer = packer
        self._call = call
        self._timing = timing
        self._work_s = 0.0
        self._clock = clock
        self._stored = stored
        self._woken = woken
        self._waiting: list[FrameBlock] = []
        self._counted_ns = 0  # when the sources were asked last; since they were opened it is unknown
        self._stopping = asyncio.Event()
        self._woken_up = asyncio.Event()  # a frame after silence, or the end

    def stop(self) -> None:
        """End `run` after one last drain; what has come is sealed and stored."""
        self._stopping.set()
        self._woken_up.set()

    async def run(self) -> None:
        """Go on until stopped, or until all sources are exhausted; then seal."""
        working: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        last_frame_s = loop.time()
        handed_over = (
            last_frame_s - self._timing.interval_s
        )  # what has come since the sources were opened is not kept waiting
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping.is_set():
                ended = all(source.exhausted for source in self._sources)
                self._drain()
                now = loop.time()
                if working is None or working.done():
                    last_frame_s = now if self._waiting else last_frame_s
                    if now - handed_over >= self._block_s() or self._is_large() or ended:
                        silent = not self._waiting and now - last_frame_s >= self._timing.silence_s
                        working = tasks.create_task(self._work(seal=silent), name="pack")
                        handed_over = now
                if ended:
                    break
                due_s = handed_over + self._block_s() - now
                await self._rest(
                    min(self._timing.tick_s, due_s if due_s > 0 else BUSY_S),
                    quiet=not self._waiting and now - last_frame_s >= QUIET_S,
                )
        self.deadline.extend(LAST_DRAINS_MAX * TURN_MAX_S)
        for _ in range(LAST_DRAINS_MAX):
            if not self._drain():
                break
        await self._work(seal=True)
        self.deadline.end()

    async def _rest(self, tick_s: float, *, quiet: bool) -> None:
        """Until the next tick; on quiet buses until one after a frame has come, where that can be told."""
        begun_ns = self._clock.monotonic_ns()
        asleep = quiet and self._wake(self._woken_up.set)
        self.deadline.extend((QUIET_TICK_S if asleep else 0.0) + tick_s + TURN_MAX_S)
        if asleep:
            await _within(QUIET_TICK_S, self._woken_up)
        if quiet:
            self._wake(None)
        if not asleep or self._woken_up.is_set():
            await _within(tick_s, self._stopping)  # woken, too: it may be by a frame of no use, and many of those
        self._woken_up.clear()
        away_s = (self._clock.monotonic_ns() - begun_ns) / 1e9
        if away_s >= LEAP_S:
            log.info("suspend_found", seconds=round(away_s, 1))
            self._woken(away_s)

    def _wake(self, arrived: Callable[[], None] | None) -> bool:
        """Whether all sources will call; each of them is asked."""
        return all([source.wake(arrived) for source in self._sources])  # noqa: C419

    def _drain(self) -> bool:
        """Take what has come, as far as there is room; whether anything had."""
        self.drained_ns = self._clock.wall_ns()
        before = len(self._waiting)
        room = FRAMES_WAITING_MAX - sum(map(len, self._waiting))
        for source in self._sources:
            drained = DRAIN_FRAMES_MAX
            while room > 0 and drained >= DRAIN_FRAMES_MAX:
                block = source.drain()
                drained = len(block)
                if drained:
                    self._waiting.append(block)
                    room -= drained
        return len(self._waiting) > before

    def _block_s(self) -> float:
        """After how long a block is handed over."""
        longest, shortest = self._timing.interval_s * BLOCK_SHARE, self._timing.interval_s * BLOCK_SHARE_MIN
        return min(longest, max(shortest, self._timing.interval_s - self._work_s))

    def _is_large(self) -> bool:
        return sum(map(len, self._waiting)) >= FRAMES_WAITING_MAX // 4

    async def _work(self, *, seal: bool) -> None:
        frames, self._waiting = FrameBlock.concatenate(self._waiting), []
        gap = self._new_gap()
        if not len(frames) and gap is None and not (seal and self._packer.has_open_batch):
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        stored = await self._call(_pack, self._packer, frames, gap, seal)
        self._work_s = max(loop.time() - begun, self._work_s * WORK_DECAY)
        if stored:
            self._stored()

    def _new_gap(self) -> Gap | None:
        """What the sources have lost since they were asked last, be it after the last frame that was drained."""
        dropped = sum(source.counters().dropped for source in self._sources)
        begin_ns, self._counted_ns = self._counted_ns, self._clock.wall_ns()
        if dropped == self.dropped:
            return None
        lost, self.dropped = dropped - self.dropped, dropped
        begin_ns = begin_ns if begin_ns <= self._counted_ns else 0  # the clock was set back: nobody knows
        return Gap(GapKind.DROPPED, begin_ns, self._counted_ns, lost, detail="receive buffer full")


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but no longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _pack(packer: Packer, frames: FrameBlock, gap: Gap | None, seal: bool) -> bool:
    """In the worker's thread; whether a batch was stored."""
    if gap is not None:
        packer.report_gap(gap)
    stored = packer.process(frames)
    return packer.seal() or stored if seal else stored
