# SPDX-License-Identifier: Apache-2.0
"""One trigger: its conditions, and when its event comes.

The event is that the condition becomes true: true at an instant, and not between the one before and this. With
`until` the trigger is over only when that is true, and until then nothing fires; with `hold` the condition must have
been true for that long, at each instant of it. An event that comes too soon after the last one (`at_most_every`) is
passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.conditions.binding import bind
from agent.collect.conditions.evaluate import Evaluator
from agent.collect.conditions.parser import parse_condition
from agent.collect.conditions.screen import ALWAYS_TRUE, NEVER_TRUE, UNCERTAIN
from agent.collect.patterns import SignalPatterns
from agent.config.priorities import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.collect.conditions.history import BlockInstants
    from agent.collect.conditions.names import Directory
    from agent.collect.conditions.syntax import Outlook, SignalRef
    from agent.config.collecting import TriggerConfig
    from agent.config.priorities import Priority


@dataclass(slots=True)
class Trigger:
    """A ``[[trigger]]``, and its state between blocks.

    armed     its condition has been known not to be true: from then on it fires; from the start, but not after a reload
    on        it has fired, and is not over yet
    level     what its condition was after the last instant
    since     steady time since which the condition has been true, while `hold` is waited for
    fired     steady time of the last event, and passed_over: how many have come too soon after it
    """

    config: TriggerConfig
    when: Evaluator
    until: Evaluator | None
    record: SignalPatterns
    armed: bool = True
    on: bool = False
    level: bool = False
    since: int | None = None
    fired: int | None = None
    passed_over: int = 0

    @classmethod
    def of(cls, config: TriggerConfig, directory: Directory, *, armed: bool = True) -> Trigger:
        """The trigger that a section says; raises ExpressionError."""
        until = Evaluator(bind(parse_condition(config.until), directory)) if config.until is not None else None
        when = Evaluator(bind(parse_condition(config.when), directory))
        return cls(config, when, until, SignalPatterns(config.record), armed)

    @property
    def priority(self) -> Priority:
        """What it records samples with."""
        return self.config.priority

    @property
    def evaluators(self) -> list[Evaluator]:
        """Its conditions."""
        return [self.when] if self.until is None else [self.when, self.until]

    @property
    def signals(self) -> set[SignalRef]:
        """The signals that its conditions name."""
        return {ref for each in self.evaluators for ref in each.signals()}

    @property
    def messages(self) -> set[int]:
        """The messages whose frames are its instants."""
        counted = {message for each in self.evaluators for count in each.counts() for message in count.messages}
        return {ref.message for ref in self.signals} | counted

    def has_nothing_to_do(self, when: Outlook, until: Outlook) -> bool:
        """Whether no instant of a block can change anything, as its conditions look over the block's bounds."""
        if not self.armed or UNCERTAIN in (when, until):
            return False
        if self.on:
            return when == ALWAYS_TRUE if self.until is None else until == NEVER_TRUE
        if self.until is None and not self.config.hold:
            return when == (ALWAYS_TRUE if self.level else NEVER_TRUE)
        return when == NEVER_TRUE and self.since is None

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
            events = self._walk(truth, over, at.steady)
        return self._due(events, at.steady)

    def _arm(
        self, at: BlockInstants, truth: NDArray[np.bool_], level: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Truth and level from the first instant on at which the condition is known not to hold; none before that."""
        fails = self.when.fails(at)
        self.armed = bool(fails.any())
        since = np.logical_or.accumulate(fails)
        return truth & since, level & since

    def _walk(self, truth: NDArray[np.bool_], over: NDArray[np.bool_], steady: NDArray[np.int64]) -> list[int]:
        """Instant by instant: on, off, and how long it has been true."""
        events = []
        for place, (is_true, is_over, now) in enumerate(
            zip(truth.tolist(), over.tolist(), steady.tolist(), strict=True)
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

    def _due(self, events: list[int], steady: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Those that come late enough after the last one, and how many before each did not."""
        due = []
        for event in events:
            now = int(steady[event])
            if self.fired is not None and now - self.fired < self.config.at_most_every:
                self.passed_over += 1
                continue
            due.append((event, self.passed_over))
            self.fired, self.passed_over = now, 0
        return due
