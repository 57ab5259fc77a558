# SPDX-License-Identifier: Apache-2.0
"""What is kept: decoded blocks in; out come blocks of the samples that rules and triggers keep, by priority."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.block_view import BlockView
from agent.collect.integrity.verify import Findings, Integrity
from agent.collect.rebased_time import RebasedClock
from agent.collect.rules.engine import RuleStates
from agent.collect.select_rows import Samples, Shapes, chosen_block, samples_at, samples_blocks
from agent.collect.signal_index import SignalIndex
from agent.collect.triggers.triggers import Triggers
from agent.config.priorities import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agent.collect.integrity.protection import MessageProtection
    from agent.collect.integrity.verify import IntegrityCounters
    from agent.collect.rules.engine import KeepMask
    from agent.collect.rules.rules import RuleBook
    from agent.collect.triggers.triggers import Trigger
    from agent.decode.plan import Plan
    from agent.model import ClockReading, Event, FrameBlock, SignalBlock


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of some frames, by priority: blocks, those with older samples first, and events."""

    blocks: dict[Priority, list[SignalBlock]] = field(default_factory=dict)
    events: dict[Priority, list[Event]] = field(default_factory=dict)

    def add(self, priority: Priority, block: SignalBlock | None) -> None:
        """Add a block, if there is anything in it."""
        if block is not None and len(block):
            self.blocks.setdefault(priority, []).append(block)

    def report(self, priority: Priority, events: Iterable[Event]) -> None:
        """Add events, if there are any."""
        for event in events:
            self.events.setdefault(priority, []).append(event)


class Collector:
    """Applies rules and triggers to the blocks of one stream of frames.

    Args:
        plan: of the decoder.
        book: the rules; none keep everything, with the priority "normal".
        reporting: the priority of events that no trigger is behind.
        triggers: as `Trigger.of` makes them.
        decode: decodes frames the way blocks were: what came before an event is decoded anew.
        ring_bytes: how much is held for that.
        payload_bytes: of a batch; what is recorded of the time before an event comes in blocks that fit one.
        protections: what messages are verified by, by their index in the plan's.

    Attributes:
        held_ns: the latest time of the frames that were processed last, None where all intervals have been closed
            since. Set by who stores what is kept.

    """

    def __init__(
        self,
        plan: Plan,
        book: RuleBook,
        reporting: Priority = Priority.NORMAL,
        triggers: Sequence[Trigger] = (),
        decode: Callable[[FrameBlock], SignalBlock] | None = None,
        ring_bytes: int = 0,
        payload_bytes: int = 48 << 10,
        protections: Mapping[int, MessageProtection] | None = None,
    ) -> None:
        self.held_ns: int | None = None
        self._reporting = reporting
        self._decode = decode
        self._keeps_all = not book.rules and not triggers
        self._clock = RebasedClock(len(plan.buses))
        self._signal_index = SignalIndex(plan)
        self._rules = RuleStates(self._signal_index, book)
        self._shapes = Shapes()
        self._integrity = Integrity(self._signal_index, protections) if protections else None
        self._findings = Findings()
        self._triggers = None
        if triggers:
            assert decode is not None
            self._triggers = Triggers(
                self._signal_index,
                self._rules.latest,
                book,
                triggers,
                decode,
                ring_bytes=ring_bytes,
                payload_bytes=payload_bytes,
            )
        self._signal_index.enter(plan.plain_keys)

    def process(self, frames: FrameBlock, block: SignalBlock, reading: ClockReading | None = None) -> Kept:
        """Process a block of frames; what is kept now.

        block     what the frames were decoded to
        reading   of the clocks when the frames had come; None: they are of a recorded log
        """
        if not len(frames):
            return Kept()
        if reading is not None and (step_ns := self._clock.update(reading)):
            self._set_clock(step_ns)
        kept = Kept()
        self._make_room(kept)
        view = BlockView(self._signal_index, frames, block, *self._clock.advance(frames))
        if self._integrity is not None:
            view = self._verified(self._integrity, view, kept)
        if self._keeps_all:
            kept.report(self._reporting, self._rules.observe(view, self._clock.now))
            kept.add(self._reporting, view.block)
            return kept
        mask = self._rules.begin(view, self._clock.now)
        kept.report(self._reporting, mask.events)
        if self._triggers is not None and len(view.frames):
            self._trigger(self._triggers, view, mask, kept)
        results = self._rules.finish(view, mask)
        picks = self._rules.picks(view, mask)
        samples = []
        if results is not None:
            samples.append(results.samples())
            for priority, places in results.places():
                if priority in picks:
                    picks[priority][places] = True
                else:
                    samples.append(samples_at(view, places, priority))
        self._put_samples(kept, samples)
        for priority, chosen in picks.items():
            kept.add(Priority(priority), chosen_block(view, chosen, self._shapes))
        return kept

    def _make_room(self, kept: Kept) -> None:
        """Remove the stream keys that came least recently, where there are too many; close their intervals."""
        staying = self._signal_index.crowded_out()
        if staying is not None:
            self._put_samples(kept, [self._rules.leave(staying).samples()])
            self._signal_index.shrink(staying)

    def _set_clock(self, step_ns: int) -> None:
        """Re-stamp what is held back with the corrected clock."""
        self._rules.set_clock(step_ns)
        self._findings.set_clock(step_ns)
        if self._triggers is not None:
            self._triggers.set_clock(step_ns)

    def _verified(self, integrity: Integrity, view: BlockView, kept: Kept) -> BlockView:
        """The block without the frames that are to be dropped, which still tell the time; findings are reported."""
        verdict = integrity.verify(view)
        kept.report(self._reporting, self._findings.report(verdict.findings, view.span[1]))
        if verdict.dropped is None:
            return view
        assert self._decode is not None
        stays = np.ones(len(view.frames), np.bool_)
        stays[view.arrival[verdict.dropped]] = False
        frames = view.frames.chosen(stays)
        return BlockView(self._signal_index, frames, self._decode(frames), view.rebased[stays], view.ahead)

    def _trigger(self, triggers: Triggers, view: BlockView, mask: KeepMask, kept: Kept) -> None:
        for trigger, event, blocks in triggers.record(view, triggers.fire(view), self._rules.always, self._shapes):
            kept.report(trigger.config.priority, [event])
            for block in blocks:
                kept.add(trigger.config.priority, block)
        if not triggers.recorder.is_idle(view.span[0]):
            triggers.recorder.keep(view, mask.kept, self._rules.always)
        triggers.remember(view, self._clock.now)

    def verified(self) -> dict[str, IntegrityCounters]:
        """Counters of the messages that are verified, by bus.message."""
        return {} if self._integrity is None else self._integrity.counters()

    def flush(self) -> Kept:
        """Close open intervals: at the end, or when all buses have fallen silent."""
        kept = Kept()
        kept.report(self._reporting, self._findings.flush())
        self._put_samples(kept, [self._rules.flush().samples()])
        return kept

    def _put_samples(self, kept: Kept, samples: Sequence[Samples]) -> None:
        if samples:
            for priority, block in samples_blocks(self._signal_index, Samples.joined(samples), self._shapes):
                kept.add(Priority(priority), block)
