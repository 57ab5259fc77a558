# SPDX-License-Identifier: Apache-2.0
"""Rules that keep the last sample of each interval, and look for nothing else: most rules, on most channels.

Which interval a bus is in, its clock tells; while it is in the same one as after the block before, nothing has to be
looked at. When one is over, the samples that are the last of theirs are kept; a channel that has had none in the block
before the end closes with its latest one, if that came in the interval. Of what is open nothing is remembered but that.
`intervals` says what intervals are, and has all other rules of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.collect.rules.interval_results import IntervalResults
from agent.collect.rules.tables import is_plain_last
from agent.collect.steady_clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.rules.rules import EffectiveRule
    from agent.collect.signal_index import LastSamples, SignalIndex, Staying


class LastGates:
    """A gate is a channel and a rule; the gates of one bus whose intervals are of one length go by one *beat*.

    channel int64 (gates,) · priority uint8 (gates,) · beat int64 (gates,)
    bus, every, until   int64 (beats,): until is the steady time at which its interval is over
    """

    def __init__(self, roster: SignalIndex, latest: LastSamples, treatment_of: Callable[[int], EffectiveRule]) -> None:
        self._roster = roster
        self._latest = latest
        self._treatment_of = treatment_of
        self._beats: dict[tuple[int, int], int] = {}
        self._channel = np.empty(0, np.int64)
        self._priority = np.empty(0, np.uint8)
        self._beat = np.empty(0, np.int64)
        self._bus = np.empty(0, np.int64)
        self._every = np.empty(0, np.int64)
        self._until = np.empty(0, np.int64)
        roster.on_change(self._grow, self._shrink)

    def _grow(self, lanes: range) -> None:
        gates = [
            (channel, rule.priority, (int(self._roster.bus[lane]), rule.every_ns))
            for lane in lanes
            for channel in self._roster.channels(range(lane, lane + 1))
            for rule in self._treatment_of(channel).intervals
            if is_plain_last(rule)
        ]
        beats = [self._beats.setdefault(beat, len(self._beats)) for _, _, beat in gates]
        self._channel = np.concatenate([self._channel, np.array([channel for channel, _, _ in gates], np.int64)])
        self._priority = np.concatenate([self._priority, np.array([priority for _, priority, _ in gates], np.uint8)])
        self._beat = np.concatenate([self._beat, np.array(beats, np.int64)])
        self._bus = np.array([bus for bus, _ in self._beats], np.int64)
        self._every = np.array([every_ns for _, every_ns in self._beats], np.int64)
        self._until = np.append(self._until, np.full(len(self._beats) - len(self._until), NEVER))

    def _shrink(self, staying: Staying) -> None:
        stays = (staying.channel_of.take(self._channel) >= 0).nonzero()[0]
        self._channel = staying.channel_of.take(self._channel.take(stays))
        self._priority, self._beat = self._priority.take(stays), self._beat.take(stays)

    def finish(self, view: BlockView, kept: NDArray[np.uint8], now: NDArray[np.int64]) -> list[IntervalResults]:
        """What intervals that are over after a block are closed with.

        kept   uint8 (V,): the priorities that its values are kept with at once, all told
        now    int64 (buses,): steady time after it
        """
        now = now.take(self._bus)
        over = now >= self._until
        if not over.any():
            return []
        due = over.take(self._beat).nonzero()[0]
        beat, channel = self._beat.take(due), self._channel.take(due)
        column = view.place.take(channel)
        came = (column >= 0).nonzero()[0]
        gathered, beat_came = view.gather(column.take(came)), beat.take(came)
        steady, every = view.row_steady.take(view.rows_of(gathered)), self._every.take(beat_came)
        interval = steady // every.repeat(gathered.counts)
        goes_on = np.zeros(len(due), np.bool_)
        goes_on[came] = steady.take(gathered.begin[:-1]) < self._until.take(beat_came)
        silent = ~goes_on & self._is_open(channel, beat)
        last, final = np.empty(len(interval), np.bool_), gathered.begin[1:] - 1
        np.not_equal(interval[1:], interval[:-1], out=last[:-1])
        last[final] = interval.take(final) < (now // self._every).take(beat_came)
        at = last.nonzero()[0]
        of = np.arange(len(came)).repeat(gathered.counts).take(at)
        place, none = gathered.place.take(at), np.zeros(len(at), np.int64)
        of_values = IntervalResults(
            channel.take(came).take(of),
            place + self._latest.values,
            place,
            none,
            none.view(np.uint64),
            self._priority.take(due.take(came)).take(of),
            kept.take(place),
            (interval.take(at) + 1) * every.take(of),
        )
        closings = [of_values, self._latest_of(due.compress(silent))] if silent.any() else [of_values]
        self._until = np.where(over, (now // self._every + 1) * self._every, self._until)
        return closings

    def flush(self, leaves: NDArray[np.bool_] | None = None) -> list[IntervalResults]:
        """Close what is open; a later sample of the same interval begins it anew.

        leaves   bool (channels,): of these alone
        """
        is_open = self._is_open(self._channel, self._beat)
        if leaves is not None:
            is_open &= leaves.take(self._channel)
        self._latest.fresh[leaves if leaves is not None else slice(None)] = False
        return [self._latest_of(is_open.nonzero()[0])]

    def _is_open(self, channel: NDArray[np.int64], beat: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the latest sample of a gate is of the interval that was open after the block before."""
        begin = (self._until - self._every).take(beat)
        is_open: NDArray[np.bool_] = self._latest.fresh.take(channel) & (self._latest.steady.take(channel) >= begin)
        return is_open

    def _latest_of(self, gate: NDArray[np.int64]) -> IntervalResults:
        """The latest samples of these gates' channels."""
        channel, latest = self._channel.take(gate), self._latest
        return IntervalResults(
            channel,
            latest.serial.take(channel),
            np.full(len(gate), -1),
            latest.time_ns.take(channel),
            latest.raw.take(channel),
            self._priority.take(gate),
            latest.kept.take(channel),
            self._until.take(self._beat.take(gate)),
        )
