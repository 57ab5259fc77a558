# SPDX-License-Identifier: Apache-2.0
"""Rules that keep a sample as soon as it differs from the one kept before.

Without a dead band that is any change from the sample before, as `scan` has found them. With one, a sample is compared
with the last *kept* one: channels that stay within their band, which most do most of the time, are told by their least
and greatest key, and only the others are gone through sample by sample.

The first sample of a channel is kept, and the first after a silence (`silence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.conditions.binding import key_offset
from agent.physical import numeric, reads_as_float

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.collect.rules.rules import EffectiveRule
    from agent.collect.rules.scan import ChangeScan
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import SignalDefinition


@dataclass(slots=True)
class _Band:
    """A dead band at work on one channel: `kept` is the raw value kept last, of the lane's return `returns`."""

    channel: int
    priority: int
    width: int | float
    definition: SignalDefinition
    kept: int | None = None
    returns: int = 0


class ChangeStates:
    """All rules that look for changes, by channel."""

    def __init__(self, roster: SignalIndex, treatment_of: Callable[[int], EffectiveRule]) -> None:
        self._roster = roster
        self._treatment_of = treatment_of
        self._priority = np.empty(0, np.uint8)  # of the rule without a dead band, by channel
        self._bands: list[_Band] = []
        self._banded = np.empty(0, np.int64)
        self._low, self._high = np.empty(0, np.uint64), np.empty(0, np.uint64)  # keys that are within each band
        roster.on_change(self._grow, self._shrink)

    def _grow(self, lanes: range) -> None:
        priority = np.zeros(len(self._roster.lane), np.uint8)
        priority[: len(self._priority)] = self._priority
        fresh = []
        for channel in self._roster.channels(lanes):
            for rule in self._treatment_of(channel).changes:
                if rule.band == 0:
                    priority[channel] = rule.priority
                else:
                    fresh.append(_Band(channel, rule.priority, rule.band, self._roster.definition(channel)))
        self._priority = priority
        self._bands += fresh
        self._banded = np.array([band.channel for band in self._bands], np.int64)
        self._low = np.concatenate([self._low, np.ones(len(fresh), np.uint64)])
        self._high = np.concatenate([self._high, np.zeros(len(fresh), np.uint64)])

    def _shrink(self, staying: Staying) -> None:
        self._priority = self._priority.take(staying.channels)
        stays = (staying.channel_of.take(self._banded) >= 0).nonzero()[0]
        self._bands = [self._bands[gate] for gate in stays.tolist()]
        for band in self._bands:
            band.channel = int(staying.channel_of[band.channel])
        self._banded = np.array([band.channel for band in self._bands], np.int64)
        self._low, self._high = self._low.take(stays), self._high.take(stays)

    def watched(self) -> NDArray[np.int64]:
        """The channels that are to be scanned."""
        return np.concatenate([self._priority.nonzero()[0], self._banded])

    def keep(self, scan: ChangeScan, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None) -> None:
        """Raise the priorities of what is kept of a block. `returns` is what `AbsenceMonitor.observe` gives."""
        priorities = self._priority.take(scan.channel).repeat(scan.gathered.counts)
        priorities *= scan.changed
        chosen = priorities.nonzero()[0]
        kept[scan.gathered.place.take(chosen)] = priorities.take(chosen)
        if len(self._banded):
            self._keep_beyond(scan, kept, returns)

    def _keep_beyond(self, scan: ChangeScan, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None) -> None:
        segment = scan.segment.take(self._banded)
        live = scan.stirred.take(segment).nonzero()[0]
        if not len(live):
            return
        of_live = segment.take(live)
        outside = (scan.least.take(of_live) < self._low.take(live)) | (
            scan.greatest.take(of_live) > self._high.take(live)
        )
        if returns is not None:
            outside[:] = True
        for gate in live[outside].tolist():
            band = self._bands[gate]
            begin, end = scan.gathered.begin[segment[gate] : segment[gate] + 2].tolist()
            counts = (
                None
                if returns is None
                else returns.take(scan.view.value_row.take(scan.gathered.place[begin:end])).tolist()
            )
            told = None if band.kept is None else (band.kept, band.returns)
            raw = scan.raw[begin:end]
            chosen = beyond(band.definition, raw, counts, told, band.width)
            if chosen:
                places = scan.gathered.place[begin:end][chosen]
                kept[places] = np.maximum(kept[places], np.uint8(band.priority))
                band.kept, band.returns = int(raw[chosen[-1]]), counts[chosen[-1]] if counts else 0
                self._set_bounds(gate, band)

    def _set_bounds(self, gate: int, band: _Band) -> None:
        """Of a float there are none: it is looked at whenever it has changed."""
        if band.kept is None or reads_as_float(band.definition):
            return
        key = band.kept ^ int(self._roster.sign[band.channel])
        last = (1 << band.definition.length) - 1
        self._low[gate], self._high[gate] = max(0, key - int(band.width)), min(last, key + int(band.width))


def beyond(
    definition: SignalDefinition,
    values: NDArray[np.uint64],
    returns: Sequence[int] | None,
    told: tuple[int, int] | None,
    band: float,
) -> list[int]:
    """Which of these raw values are further than the band from the last one that was; `told` is that of before.

    Where the lane's count of returns differs from that of the one told, a value is, whatever it says. Of floats, one
    that is no number differs from all others, and from itself not at all.
    """
    raws = values.tolist()
    numbers, counts = _comparable(definition, raws), returns or [0] * len(raws)
    raw, count = told if told is not None else (-1, -1)
    (number,) = _comparable(definition, [max(raw, 0)])
    chosen = []
    if returns is None and told is not None and not reads_as_float(definition):
        low, high = number - band, number + band
        for place, value in enumerate(numbers):
            if not low <= value <= high:
                chosen.append(place)
                low, high = value - band, value + band
        return chosen
    for place, value in enumerate(numbers):
        if counts[place] != count or (raws[place] != raw and not abs(value - number) <= band):
            chosen.append(place)
            raw, number, count = raws[place], value, counts[place]
    return chosen


def _comparable(definition: SignalDefinition, raws: list[int]) -> Sequence[float]:
    """What raw values stand for; of whole numbers their keys, which lie as far apart."""
    if reads_as_float(definition):
        return numeric(definition, np.array(raws, np.uint64)).tolist()  # type: ignore[no-any-return]
    sign = key_offset(definition)
    return [raw ^ sign for raw in raws] if sign else raws
