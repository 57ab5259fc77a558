# SPDX-License-Identifier: Apache-2.0
"""``[[trigger]]``: when events come in a block, and what they have recorded of the time before.

The event is that the condition becomes true: true at an instant, and not between the one before and this. With
`until` the trigger is over only when that is true, and until then nothing fires; with `hold` the condition must have
been true for that long, at each instant of it. An event that comes too soon after the last one (`at_most_every`) is
passed over.

Limit: of an id that has left the signal index nothing is recorded of the time before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.blocks import split_frames
from agent.collect.block_view import BlockView
from agent.collect.conditions.binding import bind
from agent.collect.conditions.evaluate import CompiledCondition
from agent.collect.conditions.history import Inputs
from agent.collect.conditions.parser import parse_condition
from agent.collect.select_rows import chosen_block
from agent.collect.triggers.windows import Recorder, Ring
from agent.model import Event, EventKind, FrameBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import LastSamples
    from agent.collect.conditions.binding import Directory
    from agent.collect.conditions.history import BlockInstants
    from agent.collect.rules.rules import RuleBook
    from agent.collect.select_rows import Shapes
    from agent.collect.signal_index import SignalIndex
    from agent.config.collecting import TriggerConfig
    from agent.model import SignalBlock


@dataclass(slots=True)
class Trigger:
    """A ``[[trigger]]``, and its state between blocks.

    messages  those whose frames are its instants
    armed     its condition has been known not to be true: from then on it fires; from the start, but not after a reload
    on        it has fired, and is not over yet
    level     what its condition was after the last instant
    since     rebased time since which the condition has been true, while `hold` is waited for
    fired     rebased time of the last event, and passed_over: how many have come too soon after it
    """

    config: TriggerConfig
    when: CompiledCondition
    until: CompiledCondition | None
    armed: bool = True
    on: bool = False
    level: bool = False
    since: int | None = None
    fired: int | None = None
    passed_over: int = 0
    messages: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = frozenset(message for each in self.conditions for message in each.messages)

    @classmethod
    def of(cls, config: TriggerConfig, directory: Directory, *, armed: bool = True) -> Trigger:
        """The trigger that a section says; raises ExpressionError."""
        until = CompiledCondition(bind(parse_condition(config.until), directory)) if config.until is not None else None
        when = CompiledCondition(bind(parse_condition(config.when), directory))
        return cls(config, when, until, armed)

    @property
    def conditions(self) -> list[CompiledCondition]:
        """`when`, and `until` where there is one."""
        return [self.when] if self.until is None else [self.when, self.until]

    def run(self, at: BlockInstants) -> list[tuple[int, int]]:
        """The instants at which it fires, and how many events were passed over before each, since the last one."""
        truth, level = self.when.evaluate(at)
        if not self.armed:
            truth, level = self._arm(at, truth, level)
        if self.until is None and not self.config.hold:
            before = np.concatenate([[self.level], level[:-1]])
            events = np.flatnonzero(truth & ~before).tolist()
            self.level = bool(level[-1])
        else:
            over = ~truth if self.until is None else self.until.evaluate(at)[0]
            events = self._walk(truth, over, at.rebased)
        return self._due(events, at.rebased)

    def _arm(
        self, at: BlockInstants, truth: NDArray[np.bool_], level: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Truth and level from the first instant on at which the condition is known not to hold; none before that."""
        fails = self.when.fails(at)
        self.armed = bool(fails.any())
        since = np.logical_or.accumulate(fails)
        return truth & since, level & since

    def _walk(self, truth: NDArray[np.bool_], over: NDArray[np.bool_], rebased: NDArray[np.int64]) -> list[int]:
        """Instant by instant: on, off, and how long it has been true."""
        events = []
        for place, (is_true, is_over, now) in enumerate(
            zip(truth.tolist(), over.tolist(), rebased.tolist(), strict=True)
        ):
            if self.on:
                self.on = not is_over
                self.since = None
            elif not is_true:
                self.since = None
            else:
                self.since = now if self.since is None else self.since
                if now - self.since >= self.config.hold:
                    self.on = True
                    events.append(place)
        return events

    def _due(self, events: list[int], rebased: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Those that come late enough after the last one, and how many before each did not."""
        due = []
        for event in events:
            now = int(rebased[event])
            if self.fired is not None and now - self.fired < self.config.at_most_every:
                self.passed_over += 1
                continue
            due.append((event, self.passed_over))
            self.fired, self.passed_over = now, 0
        return due


class Fired(NamedTuple):
    """An event: the place of its frame among those of the block, its trigger, how many were passed over before it."""

    arrival: int
    trigger: int
    passed_over: int


class Triggers:
    """Conditions, windows and the ring of frames before them.

    Args:
        signal_index: knows the stream keys.
        latest: sample of each slot, before the block at hand.
        book: the rules; what they forbid is recorded only where it is named.
        triggers: in the order of the configuration.
        decode: what frames of the ring are decoded with, the way blocks are.
        ring_bytes: the size of the ring.
        payload_bytes: of a batch; what is recorded comes in blocks that fit one.

    """

    def __init__(
        self,
        signal_index: SignalIndex,
        latest: LastSamples,
        book: RuleBook,
        triggers: Sequence[Trigger],
        decode: Callable[[FrameBlock], SignalBlock],
        ring_bytes: int,
        payload_bytes: int,
    ) -> None:
        self._signal_index = signal_index
        self._triggers = tuple(triggers)
        self._decode = decode
        self._ring = Ring(ring_bytes)
        self._payload_bytes = payload_bytes
        self._inputs = Inputs(signal_index, latest)
        self.recorder = Recorder(signal_index, book, [trigger.config for trigger in triggers])
        bus_of = {
            message: signal_index.buses.index(definition.bus)
            for message, definition in enumerate(signal_index.messages)
        }
        for trigger in triggers:
            for condition in trigger.conditions:
                self._inputs.watch(condition, {bus_of[message] for message in trigger.messages})

    def fire(self, view: BlockView) -> list[Fired]:
        """The events in a block, in their order."""
        events = []
        for number, trigger in enumerate(self._triggers):
            at = self._inputs.instants(view, trigger.messages, int(trigger.config.stale_after or 0))
            if at is not None:
                events += [Fired(int(at.arrival[place]), number, passed) for place, passed in trigger.run(at)]
        return sorted(events)

    def record(
        self, view: BlockView, events: Sequence[Fired], always: NDArray[np.uint8], shapes: Shapes
    ) -> Iterator[tuple[Trigger, Event, list[SignalBlock]]]:
        """For each event what is reported, and what is recorded of the time before; its window opens with it.

        always   uint8 (slots,), the priority that rules keep all of each slot with
        """
        for arrival, number, passed_over in events:
            trigger, event = self._triggers[number], int(view.rebased[arrival])
            frames, rebased = self._ring.since(event - trigger.config.before)
            frames = FrameBlock.concatenate([frames, view.frames.slice(0, arrival)])
            rebased = np.concatenate([rebased, view.rebased[:arrival]])
            missing = self.recorder.missing(number, rebased, event)
            blocks: list[SignalBlock] = []
            frames, rebased = frames.chosen(missing), rebased[missing]
            for first, end in split_frames(frames, self._payload_bytes):
                piece = frames.slice(first, end)
                before = self._view(piece, rebased[first:end])
                block = chosen_block(before, self.recorder.chosen(number, before, always), shapes)
                blocks += [block] if block is not None else []
            self.recorder.open(number, arrival, event)
            yield trigger, _event(trigger.config, int(view.frames.time_ns[arrival]), passed_over), blocks

    def _view(self, frames: FrameBlock, rebased: NDArray[np.int64]) -> BlockView:
        """Frames of the ring, decoded anew, but those of ids that are not remembered any more."""
        block = self._decode(frames)
        has = self._signal_index.has(block)
        if not has.all():
            ids = (block.group_key & np.uint64(0xFF_FFFF_FFFF)).compress(has)
            here = np.isin((frames.bus.astype(np.uint64) << np.uint64(32)) | frames.can_id, ids)
            frames, rebased = frames.chosen(here), rebased[here]
            block = self._decode(frames)
        return BlockView(self._signal_index, frames, block, rebased)

    def remember(self, view: BlockView, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), rebased time after it."""
        self._inputs.remember(view, now)
        self._ring.append(view.frames, view.rebased)
        self.recorder.settle()

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the times of the frames that are held."""
        self._ring.set_clock(step_ns)


def _event(config: TriggerConfig, time_ns: int, passed_over: int) -> Event:
    detail = f"recorded from {config.before} before to {config.after} after"
    if passed_over:
        detail += f"; {passed_over} events passed over since the last one"
    return Event(EventKind.TRIGGERED, time_ns, config.name, detail=detail)
