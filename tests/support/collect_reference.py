# SPDX-License-Identifier: Apache-2.0
"""What collecting is to do, said one frame at a time and as plainly as can be: the slow reference for its properties.

Nothing here is shared with `agent.collect` but the numbers of decoded signals, which have properties of their own.
"""

from __future__ import annotations

import fnmatch
import math
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from agent.config.collecting import CollectConfig
from agent.decode.decoder import Decoder
from agent.model import RAW_SIGNALS, SignalBlock, SignalDefinition, split_group_key
from agent.physical import numeric
from tests.support.collect_car import BUSES, MESSAGES, Frame, block, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

Sample = tuple[int, int, str, int, int]
"""Bus, arbitration id word, signal, time, raw value."""
Channel = tuple[int, int, str]


def samples(signals: SignalBlock) -> list[Sample]:
    """All samples of a block, one by one."""
    found = []
    for group, key in enumerate(signals.group_key.tolist()):
        message, bus, can_id = split_group_key(key)
        names = [signal.name for signal in (RAW_SIGNALS if message < 0 else MESSAGES[message].signals)]
        place = {
            int(signals.column_signal[column]): int(signals.column_start[column])
            for column in np.flatnonzero(signals.column_group == group)
        }
        for row in range(signals.row_start[group], signals.row_start[group + 1]):
            for signal in signals.shapes[signals.shape[row]]:
                found.append(
                    (bus, can_id, names[signal], int(signals.time_ns[row]), int(signals.values[place[signal]]))
                )
                place[signal] += 1
    return found


NEVER = -(1 << 62)
WAITED_NS_MAX = 10 * 10**9


@dataclass
class Clock:
    """Steady time of a recorded log: the latest of each bus, by the one of its clocks that the frames are by.

    A clock is told by how far it is behind steady time. A frame that is more than a second older than its bus' latest
    is by another one, and so is one that is more than ten seconds newer than all before it where frames have come by
    another one before: by the one of those that says about what it is now.
    """

    latest: dict[int, int] = field(default_factory=dict)
    behind: int = 0
    others: list[int] = field(default_factory=list)

    def at(self, bus: int, time_ns: int) -> int:
        """Of the next frame of a bus."""
        newest = max(self.latest.values(), default=NEVER)
        latest = self.latest.get(bus, NEVER)
        if time_ns + self.behind < latest - 10**9:
            self._change(time_ns, latest, latest - time_ns)
        elif self.others and time_ns + self.behind > newest + WAITED_NS_MAX:
            self._change(time_ns, newest, self.behind)
        self.latest[bus] = max(latest, time_ns + self.behind)
        return self.latest[bus]

    def _change(self, time_ns: int, now_ns: int, otherwise: int) -> None:
        off_by = {each: abs(time_ns + each - now_ns) for each in self.others}
        closest = min(off_by, key=off_by.__getitem__, default=None)
        behind = otherwise if closest is None or off_by[closest] > WAITED_NS_MAX else closest
        if behind in self.others and behind == closest:
            self.others.remove(behind)
        if behind != self.behind:
            self.others = [*self.others, self.behind][-4:]
            self.behind = behind


@dataclass
class Told:
    """What a rule that looks for changes kept last."""

    raw: int | None = None
    returns: int = 0

    def differs(self, definition: SignalDefinition, raw: int, returns: int, deadband: float) -> bool:
        if self.raw is None or returns != self.returns:
            changed = True
        elif raw == self.raw:
            changed = False
        else:
            changed = deadband == 0 or not _apart(definition, raw, self.raw) <= deadband
        if changed:
            self.raw, self.returns = raw, returns
        return changed


def _apart(definition: SignalDefinition, raw: int, other: int) -> Fraction | float:
    numbers = [number(definition, each) for each in (raw, other)]
    if definition.is_float:
        return float(abs(numbers[0] - numbers[1])) * abs(definition.scale)
    return abs(Fraction(numbers[0]) - Fraction(numbers[1])) * abs(Fraction(repr(definition.scale)))


def number(definition: SignalDefinition, raw: int) -> int | float:
    """What a raw value stands for, scale not applied."""
    value: int | float = numeric(definition, np.array([raw], np.uint64)).tolist()[0]
    return value


@dataclass
class Taken:
    """A sample, and the highest priority that it has been kept with."""

    time_ns: int
    raw: int
    kept: int
    returns: int


@dataclass
class Open:
    """The interval of one channel that one rule has open."""

    interval: int
    taken: list[Taken] = field(default_factory=list)

    def closing(self, definition: SignalDefinition, value: str) -> Taken | None:
        """The sample to close with; a mean that is not what the last one says is none that was kept before."""
        last = self.taken[-1]
        if value == "last":
            return last
        if value == "first":
            return last if last.raw != self.taken[0].raw else None
        numbers = [number(definition, each.raw) for each in self.taken]
        if value == "mean":
            finite = [Fraction(each) for each in numbers if math.isfinite(each)]
            if not finite:
                return None
            mean = sum(finite) / len(finite)
            if definition.is_float:
                raw = int(np.array([float(mean)], np.float32).view(np.uint32)[0])
            else:
                raw = round(mean) % 2**definition.length
            return last if raw == last.raw else Taken(last.time_ns, raw, 0, last.returns)
        best = 0
        for place, each in enumerate(numbers):
            if math.isnan(numbers[best]) or (each < numbers[best] if value == "min" else each > numbers[best]):
                best = best if math.isnan(each) else place
        return self.taken[best]


class Reference:
    """Rules, one frame at a time. `kept`: for each priority the samples kept; `events`: what was told."""

    def __init__(self, rules: Sequence[CollectConfig]) -> None:
        self.rules = list(rules)
        self.kept: dict[int, list[Sample]] = defaultdict(list)
        self.events: list[tuple[str, int, int, int]] = []
        self._decoder = Decoder(plan())
        self._clock = Clock()
        self._told: dict[tuple[Channel, int], Told] = defaultdict(Told)
        self._open: dict[tuple[Channel, int], Open] = {}
        self._heard: dict[tuple[int, int], tuple[int, int]] = {}
        self._stale: dict[tuple[int, int], int] = {}
        self._silent: set[tuple[int, int]] = set()
        self._returns: dict[tuple[int, int], int] = defaultdict(int)
        self._definitions: dict[Channel, SignalDefinition] = {}

    def take(self, frame: Frame) -> None:
        steady = self._clock.at(frame.bus, frame.time_ns)
        over = []
        for (channel, rule), opened in self._open.items():
            every = self.rules[rule].every
            assert every is not None
            if channel[0] == frame.bus and steady // every != opened.interval:
                over.append(((opened.interval + 1) * every, -self.rules[rule].priority, channel, rule))
        for _, _, channel, rule in sorted(over):
            self.close(channel, rule)
        for lane, (last, last_time) in self._heard.items():
            if (
                lane[0] == frame.bus
                and self._stale[lane]
                and steady - last > self._stale[lane]
                and lane not in self._silent
            ):
                self._silent.add(lane)
                self.events.append(("absent", *lane, last_time))
        self.before_samples(frame, steady)
        decoded = self._decoder.decode(block([frame])).signals
        if not len(decoded):
            return
        message, _, _ = split_group_key(int(decoded.group_key[0]))
        name = f"0x{frame.can_id:X}" if message < 0 else MESSAGES[message].name
        definitions = RAW_SIGNALS if message < 0 else MESSAGES[message].signals
        lane = (frame.bus, frame.can_id)
        if lane in self._silent:
            self._silent.remove(lane)
            self._returns[lane] += 1
            self.events.append(("back", *lane, frame.time_ns))
        self._heard[lane] = (steady, frame.time_ns)
        self._stale[lane] = min(
            (
                int(rule.stale_after)
                for definition in definitions
                for _, rule in self.keepers(frame.bus, name, definition.name)
                if rule.stale_after
            ),
            default=0,
        )
        for _, _, signal, _, raw in samples(decoded):
            definition = next(each for each in definitions if each.name == signal)
            self._sample(frame, name, definition, raw, steady)

    def keepers(self, bus: int, message: str, signal: str) -> list[tuple[int, CollectConfig]]:
        if not self.rules:
            return [(-1, CollectConfig())]
        found: list[tuple[int, CollectConfig]] = []
        for place, rule in enumerate(self.rules):
            if self.names(rule, bus, message, signal):
                found = [*found, (place, rule)] if rule.keep else []
        return found

    def names(self, rule: CollectConfig, bus: int, message: str, signal: str) -> bool:
        return _names(rule.bus, BUSES[bus]) and _names(rule.message, message) and _names(rule.signal, signal)

    def before_samples(self, frame: Frame, steady: int) -> None:
        """What else there is to do with a frame."""

    def priority_at_once(self, frame: Frame, signal: str, steady: int) -> int:
        """What else than rules keeps a sample at once."""
        return 0

    def _sample(self, frame: Frame, message: str, definition: SignalDefinition, raw: int, steady: int) -> None:
        channel = (frame.bus, frame.can_id, definition.name)
        self._definitions[channel] = definition
        returns = self._returns[channel[:2]]
        keepers = self.keepers(frame.bus, message, definition.name)
        always = max((rule.priority for _, rule in keepers if rule.every is None and not rule.on_change), default=0)
        priority = max(always, self.priority_at_once(frame, definition.name, steady))
        opening, alike = [], set()
        for place, rule in keepers:
            if rule.every is None:
                if rule.on_change and self._differs(channel, place, raw, returns):
                    priority = max(priority, rule.priority)
            elif not _outdone(rule, [other for _, other in keepers], always):
                says = (rule.every, rule.value, rule.priority, _steps(rule, definition))
                if says in alike:
                    continue  # rules that come to the same are one
                alike.add(says)
                opening.append((place, rule))
                if (channel, place) not in self._open:
                    self._open[channel, place] = Open(steady // rule.every)
                    if rule.value == "first" and (not rule.on_change or self._differs(channel, place, raw, returns)):
                        priority = max(priority, rule.priority)
        if priority:
            self.kept[priority].append((*channel, frame.time_ns, raw))
        taken = Taken(frame.time_ns, raw, priority, returns)
        for place, _ in opening:
            self._open[channel, place].taken.append(taken)

    def _differs(self, channel: Channel, rule: int, raw: int, returns: int) -> bool:
        deadband = self.rules[rule].deadband or 0
        return self._told[channel, rule].differs(self._definitions[channel], raw, returns, deadband)

    def close(self, channel: Channel, place: int) -> None:
        """Close an interval."""
        rule = self.rules[place]
        closing = self._open.pop((channel, place)).closing(self._definitions[channel], rule.value)
        if closing is None:
            return
        if rule.on_change and not self._differs(channel, place, closing.raw, closing.returns):
            return
        if rule.priority > closing.kept:
            closing.kept = rule.priority
            self.kept[closing.kept].append((*channel, closing.time_ns, closing.raw))

    def flush(self) -> None:
        """Close all that is open, for the highest priority first."""
        for channel, place in sorted(self._open, key=lambda each: -self.rules[each[1]].priority):
            self.close(channel, place)


def _steps(rule: CollectConfig, definition: SignalDefinition) -> Fraction | int | None:
    """A rule's dead band, in steps of the raw value, whole ones where it is a whole number."""
    if not rule.on_change:
        return None
    steps = Fraction(repr(rule.deadband or 0)) / abs(Fraction(repr(definition.scale)))
    return steps if definition.is_float else int(steps)


def _names(written: str | tuple[str, ...], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, one) for one in ((written,) if isinstance(written, str) else written))


def _outdone(rule: CollectConfig, keepers: list[CollectConfig], always: int) -> bool:
    """All samples are kept at once in as high a class, or a shorter interval's last sample is this one's as well."""
    assert rule.every is not None
    if rule.value != "mean" and rule.priority <= always:
        return True
    return (rule.value == "last" and not rule.on_change) and any(
        other.every is not None
        and other.value == "last"
        and not other.on_change
        and (other.every, other.priority) != (rule.every, rule.priority)
        and rule.every % other.every == 0
        and other.priority >= rule.priority
        for other in keepers
    )
