# SPDX-License-Identifier: Apache-2.0
"""What triggers are to do, said one frame at a time; beside `collect_reference`, whose rules go on meanwhile."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.model import RAW_SIGNALS, SignalDefinition, split_group_key
from agent.units import Duration
from tests.property.collect_conditions import MESSAGE_OF, SIGNALS, Number, Written, physical
from tests.support.collect_car import BUSES, MESSAGES, Frame, block, plan
from tests.support.collect_reference import Reference, number, samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config.collecting import CollectConfig
    from agent.config.priorities import Priority


@dataclass
class Seen:
    """One frame as it was received: steady time, message, its samples as (signal, raw)."""

    frame: Frame
    steady: int
    message: str
    definitions: dict[str, SignalDefinition]
    raws: dict[str, int]


@dataclass
class Running:
    """A trigger at work."""

    written: Written
    on: bool = False
    level: bool = False
    since: int | None = None
    fired: int | None = None
    passed_over: int = 0
    windows: list[tuple[int, int]] = field(default_factory=list)

    @property
    def priority(self) -> Priority:
        return self.written.priority

    @property
    def messages(self) -> set[str]:
        until = self.written.until
        return self.written.when.messages | (until.messages if until else set())

    def covers(self, steady: int) -> bool:
        return any(begin <= steady <= end for begin, end in self.windows)

    def records(self, seen: Seen, signal: str) -> bool:
        forms = (signal, f"{seen.message}.{signal}", f"{BUSES[seen.frame.bus]}.{seen.message}.{signal}")
        return fnmatch.fnmatchcase(forms[min(self.written.record.count("."), 2)], self.written.record)


class View:
    """What conditions see at the latest of some frames."""

    def __init__(self, seen: list[Seen], stale_after: str | None) -> None:
        self._seen = seen
        self._stale = Duration.parse(stale_after) if stale_after else None

    def _samples(self, signal: str) -> list[tuple[int, int]]:
        return [
            (each.steady, each.raws[signal])
            for each in self._seen
            if MESSAGE_OF[signal] == each.message and signal in each.raws
        ]

    def value(self, signal: str) -> Number | None:
        found = self._samples(signal)
        if not found or (self._stale and self._seen[-1].steady - found[-1][0] > self._stale):
            return None
        return physical(SIGNALS[signal], number(SIGNALS[signal], found[-1][1]))

    def window(self, signal: str, span_ns: int) -> list[Number]:
        begin = self._seen[-1].steady - span_ns
        return [
            physical(SIGNALS[signal], number(SIGNALS[signal], raw))
            for steady, raw in self._samples(signal)
            if steady > begin
        ]

    def count(self, message: str, span_ns: int) -> int:
        begin = self._seen[-1].steady - span_ns
        return sum(each.message == message and each.steady > begin for each in self._seen)

    def changed(self, signal: str) -> bool:
        found = self._samples(signal)
        latest = self._seen[-1]
        return (
            MESSAGE_OF[signal] == latest.message
            and signal in latest.raws
            and len(found) > 1
            and found[-1][1] != found[-2][1]
        )


class TriggerReference(Reference):
    """Rules and triggers, one frame at a time."""

    def __init__(self, rules: Sequence[CollectConfig], triggers: Sequence[Written]) -> None:
        super().__init__(rules)
        self.triggers = [Running(written) for written in triggers]
        self.fired: list[tuple[int, str, int]] = []
        """Time, name, how many events were passed over since the last one."""
        self._seen: list[Seen] = []
        self._of_triggers = Decoder(plan())

    def before_samples(self, frame: Frame, steady: int) -> None:
        signals = self._of_triggers.decode(block([frame])).signals
        if len(signals):
            message, _, _ = split_group_key(int(signals.group_key[0]))
            definitions = RAW_SIGNALS if message < 0 else MESSAGES[message].signals
            name = f"0x{frame.can_id:X}" if message < 0 else MESSAGES[message].name
            raws = {signal: raw for _, _, signal, _, raw in samples(signals)}
            self._seen.append(Seen(frame, steady, name, {each.name: each for each in definitions}, raws))
            for trigger in self.triggers:
                if name in trigger.messages and self._fires(trigger, steady):
                    self._record(trigger, steady, frame.time_ns)

    def _fires(self, trigger: Running, steady: int) -> bool:
        written, view = trigger.written, View(self._seen, trigger.written.stale_after)
        with np.errstate(all="ignore"):
            truth = written.when.truth(view, moments=True) is True
            level = written.when.truth(view, moments=False) is True
            over = written.until.truth(view, moments=True) is True if written.until else not truth
        hold = Duration.parse(written.hold)
        if not written.until and not hold:
            fires, trigger.level = truth and not trigger.level, level
        elif trigger.on:
            fires, trigger.on, trigger.since = False, not over, None
        else:
            trigger.since = None if not truth else steady if trigger.since is None else trigger.since
            fires = trigger.on = trigger.since is not None and steady - trigger.since >= hold
        if not fires:
            return False
        if trigger.fired is not None and steady - trigger.fired < Duration.parse(written.at_most_every):
            trigger.passed_over += 1
            return False
        trigger.fired = steady
        return True

    def _record(self, trigger: Running, steady: int, time_ns: int) -> None:
        self.fired.append((time_ns, trigger.written.name, trigger.passed_over))
        trigger.passed_over = 0
        begin, end = steady - Duration.parse(trigger.written.before), steady + Duration.parse(trigger.written.after)
        for seen in self._seen[:-1]:
            if not begin <= seen.steady <= end or trigger.covers(seen.steady):
                continue
            for signal, raw in seen.raws.items():
                others = (
                    other for other in self.triggers if other is not trigger and other.priority >= trigger.priority
                )
                if (
                    self._may_record(trigger, seen, signal)
                    and self._always(seen, signal) < trigger.priority
                    and not any(other.covers(seen.steady) and self._may_record(other, seen, signal) for other in others)
                ):
                    frame = seen.frame
                    self.kept[trigger.priority].append((frame.bus, frame.can_id, signal, frame.time_ns, raw))
        trigger.windows.append((begin, end))

    def _always(self, seen: Seen, signal: str) -> int:
        keepers = [rule for _, rule in self.keepers(seen.frame.bus, seen.message, signal)]
        return max((rule.priority for rule in keepers if rule.every is None and not rule.on_change), default=0)

    def priority_at_once(self, frame: Frame, signal: str, steady: int) -> int:
        return max(
            (
                each.priority
                for each in self.triggers
                if each.covers(steady) and self._may_record(each, self._seen[-1], signal)
            ),
            default=0,
        )

    def _may_record(self, trigger: Running, seen: Seen, signal: str) -> bool:
        if not trigger.records(seen, signal):
            return False
        verdict = [rule.keep for rule in self.rules if self.names(rule, seen.frame.bus, seen.message, signal)]
        is_forbidden = bool(verdict) and not verdict[-1]
        return not is_forbidden or not set(trigger.written.record) & set("*?[")
