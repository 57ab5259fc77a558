# SPDX-License-Identifier: Apache-2.0
"""What rules with an interval work on: their states, a block's values cut by interval, what these are summed up to, and
what intervals are closed with.

A sample that several intervals choose is kept by the one that is over first, and by a later one only if that is of a
higher priority: what has gone out with a lower one cannot be taken back. Of intervals that are over at the same time,
and at a flush of all, the highest priority counts. A mean that is what the last sample says is that sample.

Promise: it is the same whether the intervals are over in one block or in several: what a sample was kept with is
remembered with it, in `LastSamples` and `RuleStateTable`, for as long as an interval may choose it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.select_rows import Samples
from agent.config.priorities import Priority
from agent.physical import key_offset, numeric, reads_as_float

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView, Gathered
    from agent.collect.rules.rules import IntervalRule
    from agent.collect.signal_index import SignalIndex
    from agent.model import SignalDefinition


LEAST, MEAN, LAST, FIRST = range(4)
"""Kinds of states, in the order that they are kept in; "max" is the least of the keys upside down."""
_KIND = {"last": LAST, "first": FIRST, "min": LEAST, "max": LEAST, "mean": MEAN}
CLOSED = -(1 << 62)
"""The end of the interval of a state that has none open."""


@dataclass(slots=True)
class RuleStateTable:
    """Rule states: a slot and a rule with an interval each; arrays by state.

    number int64, its place when it was made · slot int64 · bus int64 · every int64 · priority uint8 · kind uint8
    flip        uint64, turns a raw value into what is least for the one looked for; of floats 0, or all ones
    busy        bool, to be looked at in each block: all but last and first
    has_deadband  bool, what differs enough from what it kept before is kept · floating: bool, the least float
    interval    int64, the number of the interval that is open · until: rebased time at which it is over
    first       uint64, raw value of its first sample
    raw, time_ns, kept, returns, serial   of its least sample, as in `LastSamples`
    """

    number: NDArray[np.int64]
    slot: NDArray[np.int64]
    bus: NDArray[np.int64]
    every: NDArray[np.int64]
    priority: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    flip: NDArray[np.uint64]
    busy: NDArray[np.bool_]
    has_deadband: NDArray[np.bool_]
    floating: NDArray[np.bool_]
    interval: NDArray[np.int64]
    until: NDArray[np.int64]
    first: NDArray[np.uint64]
    raw: NDArray[np.uint64]
    time_ns: NDArray[np.int64]
    kept: NDArray[np.uint8]
    returns: NDArray[np.int64]
    serial: NDArray[np.int64]

    @classmethod
    def of(cls, signal_index: SignalIndex, rules: Sequence[tuple[int, IntervalRule]], first: int = 0) -> RuleStateTable:
        """States for these slots and rules, none of them open, numbered from `first`."""
        slot = np.array([slot for slot, _ in rules], np.int64)
        kind = np.array([_KIND[rule.value] for _, rule in rules], np.uint8)
        upside_down = np.array([rule.value == "max" for _, rule in rules], np.bool_)
        flip = signal_index.sign.take(slot)
        floating = [
            _KIND[rule.value] == LEAST and reads_as_float(signal_index.definition(each)) for each, rule in rules
        ]
        count = len(rules)
        return cls(
            number=np.arange(first, first + count),
            slot=slot,
            bus=signal_index.bus.take(signal_index.stream_key.take(slot)),
            every=np.array([rule.every_ns for _, rule in rules], np.int64),
            priority=np.array([rule.priority for _, rule in rules], np.uint8),
            kind=kind,
            flip=np.where(upside_down, ~flip, flip),
            busy=kind < LAST,
            has_deadband=np.array([rule.deadband is not None for _, rule in rules], np.bool_),
            floating=np.array(floating, np.bool_),
            interval=np.full(count, CLOSED),
            until=np.full(count, CLOSED),
            first=np.zeros(count, np.uint64),
            raw=np.zeros(count, np.uint64),
            time_ns=np.zeros(count, np.int64),
            kept=np.zeros(count, np.uint8),
            returns=np.zeros(count, np.int64),
            serial=np.zeros(count, np.int64),
        )

    def with_more(self, more: RuleStateTable) -> RuleStateTable:
        """These states, and some more, by kind."""
        order = np.argsort(np.concatenate([self.kind, more.kind]), kind="stable")
        names = [each.name for each in fields(self)]
        return RuleStateTable(*(np.concatenate([getattr(self, name), getattr(more, name)])[order] for name in names))

    def staying(self, slot_of: NDArray[np.int64]) -> RuleStateTable:
        """Those whose slots have a number from now on, by their old ones."""
        stays = (slot_of.take(self.slot) >= 0).nonzero()[0]
        found = RuleStateTable(*(getattr(self, each.name).take(stays) for each in fields(self)))
        found.slot = slot_of.take(found.slot)
        return found


@dataclass(slots=True)
class IntervalRuns:
    """Values of a block, cut by rule state and interval to runs. By state, in the order given:

    states            its number in the table · first_of, last: its first and last run
    until             rebased time at which the last one is over
    By run, in the order of the states and then of time:
    state, interval   it is part of · goes_on: with the interval that was open before · closes: the interval is over
    begin, end       of its values among those gathered, whose raw values are `values`
    place            of the sample to close with, -1 where it is the one carried
    raw              of that sample, or the mean · first: raw value of the first sample of the interval
    keeps            what it closes with is to be kept
    """

    gathered: Gathered
    values: NDArray[np.uint64]
    states: NDArray[np.int64]
    first_of: NDArray[np.int64]
    last: NDArray[np.int64]
    until: NDArray[np.int64]
    state: NDArray[np.int64]
    interval: NDArray[np.int64]
    goes_on: NDArray[np.bool_]
    closes: NDArray[np.bool_]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    place: NDArray[np.int64]
    raw: NDArray[np.uint64]
    first: NDArray[np.uint64]
    keeps: NDArray[np.bool_]

    @classmethod
    def cut(
        cls,
        view: BlockView,
        states: RuleStateTable,
        column: NDArray[np.int64],
        chosen: NDArray[np.int64],
        now: NDArray[np.int64],
    ) -> IntervalRuns:
        """Of the chosen states. `column`: that of each state · now: int64 (buses,), rebased time after the block."""
        gathered = view.gather(column.take(chosen))
        start, every = gathered.begin[:-1], states.every.take(chosen)
        interval = view.row_rebased.take(view.rows_of(gathered)) // every.repeat(gathered.counts)
        fresh = np.empty(len(interval), np.bool_)
        np.not_equal(interval[1:], interval[:-1], out=fresh[1:])
        fresh[start] = True
        begin = fresh.nonzero()[0]
        end = np.append(begin[1:], len(interval))
        first = begin.searchsorted(start)
        last = np.append(first[1:], len(begin)) - 1
        interval = interval.take(begin)
        state = chosen.repeat(last - first + 1)
        goes_on, closes = np.zeros(len(begin), np.bool_), np.ones(len(begin), np.bool_)
        goes_on[first] = states.interval.take(chosen) == interval.take(first)
        until = (interval.take(last) + 1) * every
        closes[last] = until <= now.take(states.bus.take(chosen))
        values = view.block.values.take(gathered.place)
        place, raw = gathered.place.take(end - 1), values.take(end - 1)
        first_raw = np.where(goes_on, states.first.take(state), values.take(begin))
        keeps = closes & ((states.kind.take(state) != FIRST) | (raw != first_raw))
        return cls(
            gathered=gathered,
            values=values,
            states=chosen,
            first_of=first,
            last=last,
            until=until,
            state=state,
            interval=interval,
            goes_on=goes_on,
            closes=closes,
            begin=begin,
            end=end,
            place=place,
            raw=raw,
            first=first_raw,
            keeps=keeps,
        )


SUMMARY = -1
"""In place of a number: a mean, which is no sample that came."""


@dataclass(frozen=True, slots=True)
class IntervalResults:
    """Samples that intervals choose; arrays of one length.

    slot   int64 · serial: int64, the sample's number among all that have come, or `SUMMARY`
    place     int64, in the block at hand, -1 of what is no value of it · time_ns int64, raw uint64: of the latter
    priority      uint8, that the rule keeps it with · kept: uint8, that it has been kept with so far
    end       int64, rebased time at which the interval is over
    """

    slot: NDArray[np.int64]
    serial: NDArray[np.int64]
    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    raw: NDArray[np.uint64]
    priority: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    end: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[IntervalResults]) -> IntervalResults:
        """All of them."""
        return cls(*map(np.concatenate, zip(*map(_arrays, parts), strict=True))) if len(parts) > 1 else parts[0]

    def at(self, places: NDArray[np.int64]) -> IntervalResults:
        """Some of them."""
        return IntervalResults(*[each.take(places) for each in _arrays(self)])

    def of_higher_priority(self, always: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which are of a higher priority than they have been kept with so far.

        always   uint8 (slots,), the priority that all samples of a slot are kept with
        """
        return (self.priority > self.kept) & ((self.serial < 0) | (self.priority > always.take(self.slot)))

    def once(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these are kept beside one another, by sample and then by priority.

        Of each sample that of the interval that is over first, and those of higher priorities after it.
        """
        serial = self.serial.take(places)
        places = places.take(np.lexsort((~self.priority.take(places), self.end.take(places), serial)))
        serial = self.serial.take(places)
        level = serial * (len(Priority) + 1) + self.priority.take(places)
        stays = np.ones(len(places), np.bool_)
        np.greater(level[1:], np.maximum.accumulate(level)[:-1], out=stays[1:])
        return places.compress(stays)

    def places(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The values of the block at hand, priority by priority."""
        here = self.place >= 0
        priority, place = self.priority.compress(here), self.place.compress(here)
        for each in set(priority.tolist()):
            yield each, place.compress(priority == each)

    def samples(self) -> Samples:
        """Those that are no values of the block at hand."""
        there = (self.place < 0).nonzero()[0]
        return Samples(self.slot.take(there), self.time_ns.take(there), self.raw.take(there), self.priority.take(there))


_arrays = attrgetter(*(each.name for each in fields(IntervalResults)))


Sum = tuple[Fraction | int, int]
"""The exact sum of some samples, and how many they are: of keys, or of the floats that they stand for."""
NOTHING: Sum = (0, 0)
_FLOATS = {16: (np.float16, np.uint16), 32: (np.float32, np.uint32), 64: (np.float64, np.uint64)}


def float_keys(definition: SignalDefinition, raw: NDArray[np.uint64], *, falling: bool) -> NDArray[np.uint64]:
    """Numbers in the order of the floats that raw values stand for, or falling; what is no number comes last."""
    sign, ones = np.uint64(1 << definition.length - 1), np.uint64((1 << definition.length) - 1)
    keys = np.where(raw & sign, raw ^ ones, raw | sign)
    return np.where(np.isnan(numeric(definition, raw)), ones, keys ^ ones if falling else keys)


def sum_of(definition: SignalDefinition, keys: NDArray[np.uint64]) -> Sum:
    """The sum of some samples, as their keys; of floats, those that are no finite number are left out."""
    if reads_as_float(definition):
        numbers = numeric(definition, keys)
        finite = numbers[np.isfinite(numbers)].tolist()
        return sum(map(Fraction, finite), Fraction(0)), len(finite)
    return sum(keys.tolist()), len(keys)


def mean(total: Sum, definition: SignalDefinition) -> int | None:
    """The raw value nearest to the mean, the even one of two; None of no samples."""
    amount, samples = total
    if not samples:
        return None
    if reads_as_float(definition):
        floating, bits = _FLOATS[definition.length]
        return int(np.array([float(Fraction(amount) / samples)], floating).view(bits)[0])
    assert isinstance(amount, int)
    key, rest = divmod(amount, samples)
    sign = key_offset(definition)
    is_odd = (key - sign) & 1
    return (key + (2 * rest + is_odd > samples)) ^ sign
