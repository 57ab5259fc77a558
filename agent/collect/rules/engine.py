# SPDX-License-Identifier: Apache-2.0
"""All rules on a block: which of its samples are kept, with which priority, and which of earlier ones now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.block_view import LastSamples
from agent.collect.rules.absence import AbsenceMonitor, AbsenceTimeout, stopped_after_ns
from agent.collect.rules.interval_table import IntervalResults
from agent.collect.rules.intervals import IntervalStates
from agent.collect.rules.on_change import ChangeStates
from agent.config.priorities import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.rules.rules import EffectiveRule, RuleBook
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import Event


@dataclass(slots=True)
class KeepMask:
    """What is kept of a block at once, and the events that are reported.

    kept       uint8 (V,): the priority that each value is kept with at once, by what does not keep all of its slot
    returns    int64 (R,): how often the row's stream key has returned, None where none ever has
    """

    kept: NDArray[np.uint8]
    returns: NDArray[np.int64] | None
    events: list[Event]


class RuleStates:
    """The rules of all slots, and their state between blocks. For each block first `begin`, then `finish`.

    always   uint8 (slots,): the priority that all samples of a slot are kept with, 0 where not all are
    latest   sample of each slot, before the block at hand
    """

    def __init__(self, signal_index: SignalIndex, book: RuleBook) -> None:
        self._signal_index = signal_index
        self._book = book
        self.always = np.empty(0, np.uint8)
        self._always_slots = np.empty(0, np.int64)
        self._shared = np.empty(0, np.bool_)  # with more than one interval
        self._effective_rules: list[EffectiveRule] = []
        self._of_message: dict[int, list[EffectiveRule]] = {}
        signal_index.on_change(self._grow, self._shrink)  # before those that ask for the rules
        self.latest = LastSamples(signal_index)
        self._absence = AbsenceMonitor(signal_index, self._timeout_of)
        self._changes = ChangeStates(signal_index, self._effective_rules.__getitem__)
        self._intervals = IntervalStates(signal_index, self.latest, self._effective_rules.__getitem__)

    def _grow(self, stream_keys: range) -> None:
        fresh = [
            rule
            for stream_key in stream_keys
            for rule in self._signal_index.of_signals(stream_key, self._of_message, self._book.effective_rule)
        ]
        self._effective_rules += fresh
        self.always = np.concatenate([self.always, np.array([each.priority for each in fresh], np.uint8)])
        self._always_slots = self.always.nonzero()[0]
        self._shared = np.concatenate([self._shared, np.array([len(each.intervals) > 1 for each in fresh], np.bool_)])

    def _shrink(self, staying: Staying) -> None:
        self._effective_rules[:] = [self._effective_rules[slot] for slot in staying.slots.tolist()]
        self.always = self.always.take(staying.slots)
        self._always_slots = self.always.nonzero()[0]
        self._shared = self._shared.take(staying.slots)

    def _timeout_of(self, stream_key: int) -> AbsenceTimeout:
        slots = self._signal_index.slots(range(stream_key, stream_key + 1))
        given = [stale_ns for each in slots if (stale_ns := self._effective_rules[each].stale_ns)]
        if given:
            return AbsenceTimeout(min(given), expected=False)
        message = int(self._signal_index.message[stream_key])
        return AbsenceTimeout(
            stopped_after_ns(self._signal_index.messages[message]) if message >= 0 else 0, expected=True
        )

    def observe(self, view: BlockView, now: NDArray[np.int64]) -> list[Event]:
        """Events of messages that stop and start, where everything is kept."""
        return self._absence.observe(view, now)[1]

    def begin(self, view: BlockView, now: NDArray[np.int64]) -> KeepMask:
        """What is kept at once, and what is reported. `now`: int64 (buses,), rebased time after the block."""
        kept = np.zeros(len(view.block.values), np.uint8)
        returns, events = self._absence.observe(view, now)
        self._changes.keep(view, self.latest, kept, returns)
        self._intervals.begin(view, kept, returns, now)
        return KeepMask(kept, returns, events)

    def finish(self, view: BlockView, mask: KeepMask) -> IntervalResults | None:
        """What intervals are closed with, once all else that keeps samples at once has had its say."""
        results = self._intervals.finish(view, mask.kept, mask.returns)
        self.latest.update(view, mask.kept, mask.returns)
        return self._once(IntervalResults.joined(results)) if results else None

    def _once(self, results: IntervalResults) -> IntervalResults:
        """Each sample once with a priority; what it is kept with is remembered where it may be chosen again."""
        keeps = results.of_higher_priority(self.always)
        again = (keeps & self._shared.take(results.slot) & (results.serial >= 0)).nonzero()[0]
        if len(again):
            once = results.once(again)
            keeps[again] = False
            keeps[once] = True
            serial, priority = results.serial.take(once), results.priority.take(once)
            self.latest.mark(results.slot.take(once), serial, priority)
            self._intervals.mark(serial, priority)
        return results.at(keeps.nonzero()[0])

    def picks(self, view: BlockView, mask: KeepMask) -> dict[int, NDArray[np.bool_]]:
        """Which values of a block are kept at once, by priority: bool (V,) each. Takes over `mask.kept`."""
        kept = mask.kept
        always = self._always_slots
        if len(always):
            gathered = view.gather(view.present(always))
            priorities = self.always.take(view.slot.take(gathered.columns)).repeat(gathered.counts)
            kept[gathered.place] = np.maximum(kept.take(gathered.place), priorities)
        return {priority: chosen for priority in Priority if (chosen := kept == priority).any()}

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the times of what is held back."""
        self.latest.time_ns += step_ns
        self._intervals.set_clock(step_ns)
        self._absence.set_clock(step_ns)

    def flush(self) -> IntervalResults:
        """Close all intervals that are open."""
        return self._closed(self._intervals.flush())

    def leave(self, staying: Staying) -> IntervalResults:
        """Close the intervals that are open of slots that are about to leave."""
        return self._closed(self._intervals.flush(staying.slot_of < 0))

    def _closed(self, results: IntervalResults) -> IntervalResults:
        return self._once(replace(results, end=np.zeros_like(results.end)))
