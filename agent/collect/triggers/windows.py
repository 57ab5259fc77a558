# SPDX-License-Identifier: Apache-2.0
"""What triggers record: all samples of their signals in a window of time around each event, each once.

A window of a trigger is a stretch of steady time, from `before` its event to `after` it, on all buses. What came
before the event is taken from the ring and decoded anew; what comes from then on is kept at once, as by a rule, in the
highest class of all that keep it. Windows that overlap are one. A sample that a rule keeps at once, always, in as high
a class is not recorded twice, nor one in the window of another trigger of as high a class. What rules forbid
(``keep = false``) is recorded only by a trigger that names it.

Limits: `WINDOWS_MAX` windows of a trigger are remembered, the latest; the ring holds what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.patterns import SignalPatterns
    from agent.collect.rules.rules import RuleBook
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.collect.triggers.triggers import Trigger
    from agent.model import SignalDefinition

WINDOWS_MAX = 64


@dataclass(slots=True)
class _Window:
    """A stretch of steady time, both ends included; frames before `arrival` in this block are not kept by it."""

    begin: int
    end: int
    arrival: int = 0


@dataclass(slots=True)
class _Recording:
    """A trigger's windows, and the channels that it records, bool (channels,)."""

    trigger: Trigger
    records: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    windows: list[_Window] = field(default_factory=list)
    of_message: dict[int, list[bool]] = field(default_factory=dict)

    def covers(self, steady: NDArray[np.int64], arrival: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which of these frames lie in a window; with `arrival`, their places, in one that knew of them."""
        covered = np.zeros(len(steady), np.bool_)
        for window in self.windows:
            inside = (steady >= window.begin) & (steady <= window.end)
            covered |= inside if arrival is None else inside & (arrival >= window.arrival)
        return covered


class Recorder:
    """The windows of all triggers."""

    def __init__(self, roster: SignalIndex, book: RuleBook, triggers: Sequence[Trigger]) -> None:
        self._roster = roster
        self._book = book
        self._recordings = [_Recording(trigger) for trigger in triggers]
        self._latest_end = -1
        roster.on_change(self._grow, self._shrink)

    def _grow(self, lanes: range) -> None:
        for recording in self._recordings:
            judge = partial(self._lets_record, recording.trigger.record)
            recorded = [self._roster.of_signals(lane, recording.of_message, judge) for lane in lanes]
            fresh = [records for signals in recorded for records in signals]
            recording.records = np.concatenate([recording.records, np.array(fresh, np.bool_)])

    def _lets_record(self, record: SignalPatterns, bus: str, message: str, signal: SignalDefinition) -> bool:
        return self._book.lets_record(record, bus, message, signal.name)

    def _shrink(self, staying: Staying) -> None:
        for recording in self._recordings:
            recording.records = recording.records.take(staying.channels)

    def is_idle(self, begin: int) -> bool:
        """Whether no window reaches as far as this steady time."""
        return begin > self._latest_end

    def open(self, number: int, arrival: int, event: int) -> _Window:
        """Begin a window of a trigger, for an event at a steady time and place in the block."""
        recording = self._recordings[number]
        config = recording.trigger.config
        window = _Window(event - config.before, event + config.after, arrival)
        recording.windows.append(window)
        self._latest_end = max(self._latest_end, window.end)
        return window

    def missing(self, number: int, steady: NDArray[np.int64], event: int) -> NDArray[np.bool_]:
        """Which of the frames before an event are to be recorded: in its window, and in none of the trigger before."""
        recording = self._recordings[number]
        begin, end = event - recording.trigger.config.before, event + recording.trigger.config.after
        return (steady >= begin) & (steady <= end) & ~recording.covers(steady)

    def chosen(self, number: int, view: BlockView, always: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """bool (V,): the values that are recorded, of a block before an event.

        always   uint8 (channels,), the priority that rules keep all of each channel with
        """
        recording = self._recordings[number]
        own = recording.trigger.priority
        chosen = (recording.records & (always < own)).take(view.channel).take(view.value_column)
        for other, each in enumerate(self._recordings):
            if other != number and each.trigger.priority >= own and each.windows:
                covered = each.covers(view.row_steady).take(view.value_row)
                chosen &= ~(covered & each.records.take(view.channel).take(view.value_column))
        return chosen

    def keep(self, view: BlockView, kept: NDArray[np.uint8], always: NDArray[np.uint8]) -> None:
        """Raise the priorities of the values of a block that lie in windows. `always`: as of `chosen`."""
        for recording in self._recordings:
            if recording.windows:
                priority = recording.trigger.priority
                covered = recording.covers(view.row_steady, view.arrival).take(view.value_row)
                covered &= (recording.records & (always < priority)).take(view.channel).take(view.value_column)
                np.maximum(kept, np.uint8(priority), out=kept, where=covered, dtype=np.uint8)

    def settle(self) -> None:
        """At the end of a block: join windows that overlap."""
        for recording in self._recordings:
            if not recording.windows:
                continue
            joined: list[_Window] = []
            for window in sorted(recording.windows, key=lambda each: each.begin):
                window.arrival = 0
                if joined and window.begin <= joined[-1].end:
                    joined[-1].end = max(joined[-1].end, window.end)
                else:
                    joined.append(window)
            recording.windows = joined[-WINDOWS_MAX:]
