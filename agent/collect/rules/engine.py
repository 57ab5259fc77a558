# SPDX-License-Identifier: Apache-2.0
"""All rules at work on a block: which of its samples are kept, in which class, and which of earlier ones now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    """What is kept of a block, or told.

    kept       uint8 (V,): the priority that each value is kept with at once, by what does not keep all of its channel
    returns    int64 (R,): how often the row's lane has returned, None where none ever has
    """

    kept: NDArray[np.uint8]
    returns: NDArray[np.int64] | None
    events: list[Event]


@dataclass(slots=True)
class RuleStates:
    """The rules of all channels, and their state between blocks. For each block first `begin`, then `finish`.

    always   uint8 (channels,): the priority that all samples of a channel are kept with, 0 where not all are
    """

    roster: SignalIndex
    book: RuleBook
    always: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    latest: LastSamples = field(init=False)
    _treatments: list[EffectiveRule] = field(default_factory=list)
    _of_message: dict[int, list[EffectiveRule]] = field(default_factory=dict)
    _always_channels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _shared: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))  # with more than one interval
    _changes: ChangeStates = field(init=False)
    _intervals: IntervalStates = field(init=False)
    _silences: AbsenceMonitor = field(init=False)

    def __post_init__(self) -> None:
        self.roster.on_change(self._grow, self._shrink)
        self.latest = LastSamples(self.roster)
        self._silences = AbsenceMonitor(self.roster, self._patience_of)
        self._changes = ChangeStates(self.roster, self._treatments.__getitem__)
        self._intervals = IntervalStates(self.roster, self.latest, self._treatments.__getitem__)

    def _grow(self, lanes: range) -> None:
        treated = [self.roster.of_signals(lane, self._of_message, self.book.treatment) for lane in lanes]
        fresh = [treatment for signals in treated for treatment in signals]
        self._treatments += fresh
        self.always = np.concatenate([self.always, np.array([each.priority for each in fresh], np.uint8)])
        self._always_channels = self.always.nonzero()[0]
        self._shared = np.concatenate([self._shared, np.array([len(each.intervals) > 1 for each in fresh], np.bool_)])

    def _shrink(self, staying: Staying) -> None:
        self._treatments[:] = [self._treatments[channel] for channel in staying.channels.tolist()]
        self.always = self.always.take(staying.channels)
        self._always_channels = self.always.nonzero()[0]
        self._shared = self._shared.take(staying.channels)

    def _patience_of(self, lane: int) -> AbsenceTimeout:
        channels = self.roster.channels(range(lane, lane + 1))
        told = [stale_ns for each in channels if (stale_ns := self._treatments[each].stale_ns)]
        if told:
            return AbsenceTimeout(min(told), expected=False)
        message = int(self.roster.message[lane])
        return AbsenceTimeout(stopped_after_ns(self.roster.messages[message]) if message >= 0 else 0, expected=True)

    def observe(self, view: BlockView, now: NDArray[np.int64]) -> list[Event]:
        """What is told of messages that stop and start, where nothing else is to be done."""
        return self._silences.observe(view, now)[1]

    def begin(self, view: BlockView, now: NDArray[np.int64]) -> KeepMask:
        """What is kept at once, and what is told. `now`: int64 (buses,), steady time after the block."""
        kept = np.zeros(len(view.block.values), np.uint8)
        returns, events = self._silences.observe(view, now)
        self._changes.keep(view, self.latest, kept, returns)
        self._intervals.begin(view, kept, returns, now)
        return KeepMask(kept, returns, events)

    def finish(self, view: BlockView, choice: KeepMask) -> IntervalResults | None:
        """What intervals are closed with, once all else that keeps samples at once has had its say."""
        closings = self._intervals.finish(view, choice.kept, choice.returns)
        self.latest.remember(view, choice.kept, choice.returns)
        return self._once(IntervalResults.joined(closings)) if closings else None

    def _once(self, closing: IntervalResults) -> IntervalResults:
        """Each sample once in a class; what it is kept with is remembered where it may be chosen again."""
        keeps = closing.of_higher_priority(self.always)
        again = (keeps & self._shared.take(closing.channel) & (closing.serial >= 0)).nonzero()[0]
        if len(again):
            once = closing.once(again)
            keeps[again] = False
            keeps[once] = True
            serial, priority = closing.serial.take(once), closing.priority.take(once)
            self.latest.mark(closing.channel.take(once), serial, priority)
            self._intervals.mark(serial, priority)
        return closing.at(keeps.nonzero()[0])

    def picks(self, view: BlockView, choice: KeepMask) -> dict[int, NDArray[np.bool_]]:
        """Which values of a block are kept at once, by priority: bool (V,) each. Takes over `choice.kept`."""
        kept = choice.kept
        always = self._always_channels
        if len(always):
            gathered = view.gather(view.present(always))
            priorities = self.always.take(view.channel.take(gathered.columns)).repeat(gathered.counts)
            kept[gathered.place] = np.maximum(kept.take(gathered.place), priorities)
        return {priority: chosen for priority in Priority if (chosen := kept == priority).any()}

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the times of what is held back."""
        self.latest.time_ns += step_ns
        self._intervals.set_clock(step_ns)
        self._silences.set_clock(step_ns)

    def flush(self) -> IntervalResults:
        """Close all intervals that are open."""
        return self._closed(self._intervals.flush())

    def leave(self, staying: Staying) -> IntervalResults:
        """Close the intervals that are open of channels that are about to leave."""
        leaves = staying.channel_of < 0
        return self._closed(self._intervals.flush(leaves))

    def _closed(self, closings: list[IntervalResults]) -> IntervalResults:
        closing = IntervalResults.joined(closings)
        return self._once(replace(closing, end=np.zeros_like(closing.end)))
