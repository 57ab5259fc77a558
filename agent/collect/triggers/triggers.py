# SPDX-License-Identifier: Apache-2.0
"""All triggers at work on a block: which fire, and what they have recorded of the time before.

Limit: of an id that has left since (`roster`) nothing is recorded of the time before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.collect.block_view import BlockView
from agent.collect.conditions.bounds import Screen
from agent.collect.conditions.calm import Calm
from agent.collect.conditions.history import BlockInstants, Inputs
from agent.collect.conditions.screen import NEVER_TRUE, Watcher
from agent.collect.conditions.syntax import Changed, Signal, nodes
from agent.collect.select_rows import chosen_block
from agent.collect.split_blocks import pieces
from agent.collect.triggers.ring_buffer import Ring
from agent.collect.triggers.windows import Recorder
from agent.model import Event, EventKind, FrameBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.collect.conditions.bounds import Bounds
    from agent.collect.conditions.syntax import SignalRef
    from agent.collect.rules.engine import RuleStates
    from agent.collect.rules.scan import ChangeScan
    from agent.collect.select_rows import Shapes
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.collect.triggers.trigger import Trigger
    from agent.config.collecting import TriggerConfig
    from agent.model import SignalBlock


class Triggers:
    """Conditions, windows and the ring of frames before them.

    Args:
        roster: knows the lanes.
        gates: scan the channels that are watched, and know their latest samples.
        triggers: in the order of the configuration.
        decode: what frames of the ring are decoded with, the way blocks are.
        ring_bytes: the size of the ring.
        payload_bytes: of a batch; what is recorded comes in blocks that fit one.

    """

    def __init__(
        self,
        roster: SignalIndex,
        gates: RuleStates,
        triggers: Sequence[Trigger],
        decode: Callable[[FrameBlock], SignalBlock],
        ring_bytes: int,
        payload_bytes: int,
    ) -> None:
        self._roster = roster
        self._triggers = tuple(triggers)
        self._messages = [frozenset(trigger.messages) for trigger in triggers]
        self._decode = decode
        self._ring = Ring(ring_bytes)
        self._payload_bytes = payload_bytes
        self._inputs = Inputs(roster, gates.latest)
        self._screen = Screen(roster, gates.latest, list({ref for trigger in triggers for ref in trigger.signals}))
        self._watchers = [self._watch(trigger) for trigger in triggers]
        number = self._screen.number
        self._calm = Calm(
            [{number[ref] for ref in trigger.signals} for trigger in triggers],
            [{number[ref] for ref in _watched_for_changes(trigger)} for trigger in triggers],
            [ref.definition.length for ref in number],
        )
        self.recorder = Recorder(roster, gates.book, triggers)
        self._uncertain: set[int] = set()
        self._gates = gates
        roster.on_change(self._grow, self._grow)
        bus_of = {message: roster.buses.index(definition.bus) for message, definition in enumerate(roster.messages)}
        for trigger in triggers:
            of_messages = {bus_of[message] for message in trigger.messages}
            for each in trigger.evaluators:
                self._inputs.watch(each.signals(), each.overs(), each.counts(), of_messages)

    def _grow(self, _: range | Staying) -> None:
        self._gates.watch(self._screen.channel)
        uncertain = self._screen.uncertain
        self._uncertain = {
            number for number, trigger in enumerate(self._triggers) if not uncertain.isdisjoint(trigger.signals)
        }
        for number in self._uncertain:
            self._calm.forget(number)

    def _watch(self, trigger: Trigger) -> tuple[Watcher, Watcher | None]:
        """Of `when` and `until`."""
        one_bus = len({self._roster.messages[message].bus for message in trigger.messages}) == 1
        when, *until = (
            Watcher(each, self._screen.number, int(trigger.config.stale_after or 0), one_bus=one_bus)
            for each in trigger.evaluators
        )
        return when, until[0] if until else None

    def _needs_a_look(self, number: int, bounds: Bounds) -> bool:
        if number in self._uncertain:
            return True
        trigger, (when, until) = self._triggers[number], self._watchers[number]

        def is_at_rest(bounds: Bounds) -> bool:
            return trigger.has_nothing_to_do(when.outlook(bounds), until.outlook(bounds) if until else NEVER_TRUE)

        if not is_at_rest(bounds):
            return True
        self._calm.learn(number, bounds, is_at_rest)
        return False

    def fire(self, view: BlockView, scan: ChangeScan) -> list[tuple[int, int, int]]:
        """The events in a block: place of the frame, number of the trigger, how many were passed over before."""
        glance = self._screen.glance(view, scan)
        asked = self._calm.left(glance)
        if not asked:
            return []
        events, bounds = [], glance.bounds(self._inputs)
        for number in [number for number in asked if self._needs_a_look(number, bounds)]:
            trigger = self._triggers[number]
            arrival = self._inputs.frames(view, self._messages[number])
            if len(arrival):
                self._calm.forget(number)
                at = BlockInstants(view, self._inputs, arrival, int(trigger.config.stale_after or 0))
                events += [(int(arrival[place]), number, passed_over) for place, passed_over in trigger.run(at)]
        return sorted(events)

    def record(
        self, view: BlockView, events: Sequence[tuple[int, int, int]], always: NDArray[np.uint8], shapes: Shapes
    ) -> Iterator[tuple[Trigger, Event, list[SignalBlock]]]:
        """For each event what is told of it and what is recorded of the time before it; its window opens with it.

        always   uint8 (channels,), the priority that rules keep all of each channel with
        """
        for arrival, number, passed_over in events:
            trigger, event = self._triggers[number], int(view.steady[arrival])
            frames, steady = self._ring.since(event - trigger.config.before)
            frames = FrameBlock.concatenate([frames, view.frames.slice(0, arrival)])
            steady = np.concatenate([steady, view.steady[:arrival]])
            missing = self.recorder.missing(number, steady, event)
            blocks: list[SignalBlock] = []
            frames, steady = frames.chosen(missing), steady[missing]
            for first, end in pieces(frames, self._payload_bytes):
                piece = frames.slice(first, end)
                before = self._view(piece, steady[first:end])
                block = chosen_block(before, self.recorder.chosen(number, before, always), shapes)
                blocks += [block] if block is not None else []
            self.recorder.open(number, arrival, event)
            yield trigger, _event(trigger.config, int(view.frames.time_ns[arrival]), passed_over), blocks

    def _view(self, frames: FrameBlock, steady: NDArray[np.int64]) -> BlockView:
        """Frames of the ring, decoded anew, but those of ids that are not remembered any more."""
        block = self._decode(frames)
        has = self._roster.has(block)
        if not has.all():
            ids = (block.group_key & np.uint64(0xFF_FFFF_FFFF)).compress(has)
            here = np.isin((frames.bus.astype(np.uint64) << np.uint64(32)) | frames.can_id, ids)
            frames, steady = frames.chosen(here), steady[here]
            block = self._decode(frames)
        return BlockView(self._roster, frames, block, steady)

    def remember(self, view: BlockView, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), steady time after it."""
        self._inputs.remember(view, now)
        self._ring.append(view.frames, view.steady)
        self.recorder.settle()

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the times of the frames that are held."""
        self._ring.set_clock(step_ns)


def _event(config: TriggerConfig, time_ns: int, passed_over: int) -> Event:
    detail = f"recorded from {config.before} before to {config.after} after"
    if passed_over:
        detail += f"; {passed_over} events passed over since the last one"
    return Event(EventKind.TRIGGERED, time_ns, config.name, detail=detail)


def _watched_for_changes(trigger: Trigger) -> set[SignalRef]:
    """The signals whose changes its conditions name."""
    found = (node for each in trigger.evaluators for node in nodes(each.condition) if isinstance(node, Changed))
    return {node.signal.ref for node in found if isinstance(node.signal, Signal)}
