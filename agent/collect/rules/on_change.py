# SPDX-License-Identifier: Apache-2.0
"""Rules that keep a sample as soon as it differs from the one kept before.

Without a deadband that is any change from the sample before (`ChangeScan`). With one, a sample is compared with the
last *kept* one. Slots that stay within their deadband, as most do most of the time, are recognized by their least and
greatest key; only the others are gone through sample by sample.

The first sample of a slot is kept, and the first after an absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.rebased_time import NEVER
from agent.physical import key_offset, numeric, reads_as_float

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView, LastSamples
    from agent.collect.rules.rules import EffectiveRule
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import SignalDefinition


MOST = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""No key is greater."""


class ChangeScan:
    """The watched slots of a block; arrays by segment, one for each of its columns that are watched.

    slot int64 (S,) · gathered: their values · raw uint64, of these
    changed    bool, by value: another raw value than the one before, or none before, or its stream key returned
    stirred    bool (S+1,): any of the segment's has; False in the last place, that of slots that are not here
    least, greatest   uint64 (S+1,): of the segment's keys; in the last place what is less, or greater, than none
    """

    def __init__(
        self, view: BlockView, latest: LastSamples, watched: NDArray[np.bool_], returns: NDArray[np.int64] | None
    ) -> None:
        self.view = view
        columns = watched.take(view.slot).nonzero()[0]
        self.slot = view.slot.take(columns)
        self.gathered = view.gather(columns)
        self.raw = raw = view.block.values.take(self.gathered.place)
        self.changed = changed = np.empty(len(raw), np.bool_)
        first = self.gathered.begin[:-1]
        np.not_equal(raw[1:], raw[:-1], out=changed[1:])
        changed[first] = (raw.take(first) != latest.raw.take(self.slot)) | (latest.rebased.take(self.slot) == NEVER)
        if returns is not None:
            count = returns.take(view.rows_of(self.gathered))
            returned = np.empty(len(raw), np.bool_)
            np.not_equal(count[1:], count[:-1], out=returned[1:])
            returned[first] = count.take(first) != latest.returns.take(self.slot)
            changed |= returned
        self.stirred = np.zeros(len(columns) + 1, np.bool_)
        if len(columns):
            np.logical_or.reduceat(changed, first, out=self.stirred[:-1])

    @cached_property
    def segment(self) -> NDArray[np.int64]:
        """int64: the segment of each slot, -1 where it has none."""
        segment = np.full(len(self.view.signal_index.stream_key), -1, np.int64)
        segment[self.slot] = np.arange(len(self.slot))
        return segment

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """uint64: the key of each value."""
        keys: NDArray[np.uint64] = self.raw ^ self.view.signal_index.sign.take(self.slot).repeat(self.gathered.counts)
        return keys

    @cached_property
    def least(self) -> NDArray[np.uint64]:
        """As above."""
        return self._reduced(np.minimum, MOST)

    @cached_property
    def greatest(self) -> NDArray[np.uint64]:
        """As above."""
        return self._reduced(np.maximum, np.uint64(0))

    def _reduced(self, reduce: np.ufunc, of_none: np.uint64) -> NDArray[np.uint64]:
        reduced = np.full(len(self.slot) + 1, of_none, np.uint64)
        if len(self.slot):
            reduce.reduceat(self.keys, self.gathered.begin[:-1], out=reduced[:-1])
        return reduced


@dataclass(slots=True)
class _DeadbandState:
    """A deadband at work on one slot: `kept` is the raw value kept last, of the stream key's return `returns`."""

    slot: int
    priority: int
    deadband: int | float
    definition: SignalDefinition
    kept: int | None = None
    returns: int = 0


class ChangeStates:
    """All rules that look for changes, by slot."""

    def __init__(self, signal_index: SignalIndex, rule_of: Callable[[int], EffectiveRule]) -> None:
        self._signal_index = signal_index
        self._rule_of = rule_of
        self._priority = np.empty(0, np.uint8)  # of the rule without a deadband, by slot
        self._deadbands: list[_DeadbandState] = []
        self._with_deadband, self._watched = np.empty(0, np.int64), np.empty(0, np.bool_)
        self._low, self._high = np.empty(0, np.uint64), np.empty(0, np.uint64)  # keys that are within each deadband
        signal_index.on_change(self._grow, self._shrink)

    def _grow(self, stream_keys: range) -> None:
        priority = np.zeros(len(self._signal_index.stream_key), np.uint8)
        priority[: len(self._priority)] = self._priority
        fresh = []
        for slot in self._signal_index.slots(stream_keys):
            for rule in self._rule_of(slot).changes:
                if rule.deadband == 0:
                    priority[slot] = rule.priority
                else:
                    fresh.append(
                        _DeadbandState(slot, rule.priority, rule.deadband, self._signal_index.definition(slot))
                    )
        self._priority = priority
        self._deadbands += fresh
        self._watch()
        self._low = np.concatenate([self._low, np.ones(len(fresh), np.uint64)])
        self._high = np.concatenate([self._high, np.zeros(len(fresh), np.uint64)])

    def _shrink(self, staying: Staying) -> None:
        self._priority = self._priority.take(staying.slots)
        stays = (staying.slot_of.take(self._with_deadband) >= 0).nonzero()[0]
        self._deadbands = [self._deadbands[number] for number in stays.tolist()]
        for state in self._deadbands:
            state.slot = int(staying.slot_of[state.slot])
        self._watch()
        self._low, self._high = self._low.take(stays), self._high.take(stays)

    def _watch(self) -> None:
        self._with_deadband = np.array([state.slot for state in self._deadbands], np.int64)
        self._watched = self._priority > 0
        self._watched[self._with_deadband] = True

    def keep(
        self, view: BlockView, latest: LastSamples, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> None:
        """Raise the priorities of what is kept of a block. `returns` is what `AbsenceMonitor.observe` gives."""
        scan = ChangeScan(view, latest, self._watched, returns)
        priorities = self._priority.take(scan.slot).repeat(scan.gathered.counts)
        priorities *= scan.changed
        chosen = priorities.nonzero()[0]
        kept[scan.gathered.place.take(chosen)] = priorities.take(chosen)
        if len(self._with_deadband):
            self._keep_beyond(scan, kept, returns)

    def _keep_beyond(self, scan: ChangeScan, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None) -> None:
        segment = scan.segment.take(self._with_deadband)
        live = scan.stirred.take(segment).nonzero()[0]
        if not len(live):
            return
        of_live = segment.take(live)
        outside = (scan.least.take(of_live) < self._low.take(live)) | (
            scan.greatest.take(of_live) > self._high.take(live)
        )
        if returns is not None:
            outside[:] = True
        for number in live[outside].tolist():
            state = self._deadbands[number]
            begin, end = scan.gathered.begin[segment[number] : segment[number] + 2].tolist()
            counts = (
                None
                if returns is None
                else returns.take(scan.view.value_row.take(scan.gathered.place[begin:end])).tolist()
            )
            last = None if state.kept is None else (state.kept, state.returns)
            raw = scan.raw[begin:end]
            chosen = beyond(state.definition, raw, counts, last, state.deadband)
            if chosen:
                places = scan.gathered.place[begin:end][chosen]
                kept[places] = np.maximum(kept[places], np.uint8(state.priority))
                state.kept, state.returns = int(raw[chosen[-1]]), counts[chosen[-1]] if counts else 0
                self._set_bounds(number, state)

    def _set_bounds(self, number: int, state: _DeadbandState) -> None:
        """Of a float there are none: it is looked at whenever it has changed."""
        if state.kept is None or reads_as_float(state.definition):
            return
        key = state.kept ^ int(self._signal_index.sign[state.slot])
        last = (1 << state.definition.length) - 1
        self._low[number], self._high[number] = max(0, key - int(state.deadband)), min(last, key + int(state.deadband))


def beyond(
    definition: SignalDefinition,
    values: NDArray[np.uint64],
    returns: Sequence[int] | None,
    last: tuple[int, int] | None,
    deadband: float,
) -> list[int]:
    """Which of these raw values are further than the deadband from the last one that was; `last` is that of before.

    Where the stream key's count of returns differs from the last one's, a value is, whatever it says. Of floats, one
    that is no number differs from all others, and from itself not at all.
    """
    raws = values.tolist()
    numbers, counts = _comparable(definition, raws), returns or [0] * len(raws)
    raw, count = last if last is not None else (-1, -1)
    (number,) = _comparable(definition, [max(raw, 0)])
    chosen = []
    if returns is None and last is not None and not reads_as_float(definition):
        low, high = number - deadband, number + deadband
        for place, value in enumerate(numbers):
            if not low <= value <= high:
                chosen.append(place)
                low, high = value - deadband, value + deadband
        return chosen
    for place, value in enumerate(numbers):
        if counts[place] != count or (raws[place] != raw and not abs(value - number) <= deadband):
            chosen.append(place)
            raw, number, count = raws[place], value, counts[place]
    return chosen


def _comparable(definition: SignalDefinition, raws: list[int]) -> Sequence[float]:
    """What raw values stand for; of whole numbers their keys, which lie as far apart."""
    if reads_as_float(definition):
        return numeric(definition, np.array(raws, np.uint64)).tolist()  # type: ignore[no-any-return]
    sign = key_offset(definition)
    return [raw ^ sign for raw in raws] if sign else raws
