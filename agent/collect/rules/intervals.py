# SPDX-License-Identifier: Apache-2.0
"""Rules that keep one sample of each interval, at the latest when the interval is over.

Intervals lie on a grid of the steady time of the message's bus: [0 s, 1 s), [1 s, 2 s), … An interval of a channel
begins with its first sample in it and is closed by the first frame of the bus, whichever it is, that lies in
another. What it closes with is chosen then:

    last        the last sample
    first       the first one was kept at once; the last one too, if it differs, so that no change is lost
    min, max    the first sample with the least, or greatest, value
    mean        the value nearest to the mean of all that the signal can carry, with the last sample's time

With a dead band (`on_change`), what would be kept is kept only if it differs by more from what was kept before.
A sample that was kept in as high a class already is not kept again (`closing`).

A gate is a channel and a rule. While no interval ends, the gates of last and first samples have nothing to do: what
they would close with is the channel's latest sample. The others, and those whose interval ends, have their values cut
to pieces by interval; the first piece of a gate goes on where the gate left off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.collect.rules.interval_table import (
    CLOSED,
    FIRST,
    LAST,
    LEAST,
    MEAN,
    NOTHING,
    SUMMARY,
    IntervalResults,
    Pieces,
    RuleStateTable,
    Sum,
    float_keys,
    mean,
    sum_of,
)
from agent.collect.rules.on_change import beyond
from agent.physical import reads_as_float

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView, LastSamples
    from agent.collect.rules.rules import EffectiveRule
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import SignalDefinition

_SUMMED_BITS, _SUMMED_MAX = 44, 1 << 20
"""So many keys of so many bits add up within 64 bits."""


class IntervalStates:
    """All rules with an interval, by channel. For each block first `begin`, then `finish`."""

    def __init__(self, roster: SignalIndex, latest: LastSamples, treatment_of: Callable[[int], EffectiveRule]) -> None:
        self._roster = roster
        self._latest = latest
        self._treatment_of = treatment_of
        self._gates = RuleStateTable.of(roster, [])
        # By number of the gate:
        self._sums: dict[int, Sum] = {}  # of those that keep a mean
        self._means: dict[int, tuple[SignalDefinition, bool]] = {}  # of those, too: whether keys add up within 64 bits
        self._bands: dict[int, float] = {}  # of those that look for changes
        self._told: dict[int, tuple[int, int]] = {}  # what those kept last: raw value, lane's returns
        self._busy_gates = 0  # the first so many
        self._lapsed: IntervalResults | None = None
        self._pieces: Pieces | None = None
        self._less: list[tuple[int, int]] = []  # gates whose interval goes on, and the place of their new least value
        self._made = 0  # how many gates there have been
        roster.on_change(self._grow, self._shrink)

    def _grow(self, lanes: range) -> None:
        channels = self._roster.channels(lanes)
        rules = [(channel, rule) for channel in channels for rule in self._treatment_of(channel).intervals]
        for gate, (channel, rule) in enumerate(rules, self._made):
            if rule.value == "mean":
                definition = self._roster.definition(channel)
                adds_up = definition.length <= _SUMMED_BITS and not reads_as_float(definition)
                self._means[gate] = definition, adds_up
            if rule.band is not None:
                self._bands[gate] = rule.band
        self._gates = self._gates.with_more(RuleStateTable.of(self._roster, rules, self._made))
        self._made += len(rules)
        self._busy_gates = int(np.count_nonzero(self._gates.busy))

    def _shrink(self, staying: Staying) -> None:
        before = set(self._gates.number.tolist())
        self._gates = self._gates.staying(staying.channel_of)
        self._busy_gates = int(np.count_nonzero(self._gates.busy))
        for number in before.difference(self._gates.number.tolist()):
            for table in (self._sums, self._means, self._bands, self._told):
                table.pop(number, None)

    def begin(
        self, view: BlockView, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None, now: NDArray[np.int64]
    ) -> None:
        """Find what intervals end in a block; raise priorities of what is kept at once, the first of intervals.

        kept: uint8 (V,) · returns: as of `AbsenceMonitor.observe` · now: int64 (buses,), steady time after the block
        """
        gates = self._gates
        column = view.place.take(gates.channel)
        live, over = column >= 0, now.take(gates.bus) >= gates.until
        is_open = gates.until > CLOSED
        self._pieces = self._lapsed = None
        self._less.clear()
        if not (over & (live | is_open)).any():
            self._go_on(view, column, (live & gates.busy).nonzero()[0])
            return
        chosen = (live & (over | gates.busy)).nonzero()[0]
        ended = (over > live) & is_open
        if len(chosen):
            self._pieces = pieces = Pieces.cut(view, gates, column, chosen, now)
            ended[chosen] = is_open.take(chosen) & ~pieces.goes_on.take(pieces.first_of)
        lapsed = ended.nonzero()[0]
        if len(lapsed):
            self._lapsed = self._close(lapsed)
        if self._pieces is not None:
            self._choose(view, self._pieces, kept, returns)

    def _go_on(self, view: BlockView, column: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
        """No interval ends: what comes adds to those that are open."""
        if not len(chosen):
            return
        gathered = view.gather(column.take(chosen))
        begin, values = gathered.begin, view.block.values.take(gathered.place)
        least = int(self._gates.kind.take(chosen).searchsorted(MEAN))
        if least:
            keys, carried = self._least_keys(chosen[:least], begin[: least + 1], values)
            less = np.minimum.reduceat(keys, begin[:least]) < carried
            for gate in less.nonzero()[0].tolist():
                first, end = begin[gate : gate + 2].tolist()
                self._less.append((int(chosen[gate]), int(gathered.place[first + keys[first:end].argmin()])))
        if least < len(chosen):
            self._add_up(chosen[least:], begin[least:], values, [True] * (len(chosen) - least))

    def _choose(
        self, view: BlockView, pieces: Pieces, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> None:
        """What pieces close with, and which of their first samples are kept."""
        gates = self._gates
        kind = gates.kind.take(pieces.gate)
        least, busy, last = kind.searchsorted((MEAN, LAST, FIRST)).tolist()
        self._choose_least(pieces, least)
        self._choose_mean(pieces, least, busy)
        leads = kind == FIRST
        leads &= ~pieces.goes_on
        if self._bands:
            self._compare(view, pieces, leads, returns)
        for piece in range(last, len(leads)):
            if leads[piece]:
                place = pieces.gathered.place[pieces.begin[piece]]
                kept[place] = max(kept[place], gates.priority[pieces.gate[piece]])

    # What pieces close with ----------------------------------------------------------------------------------

    def _choose_least(self, pieces: Pieces, pieces_end: int) -> None:
        """The first of the least values of the first so many pieces; the one carried, where none is less."""
        if not pieces_end:
            return
        gates, gate, begin = self._gates, pieces.gate[:pieces_end], pieces.begin[:pieces_end]
        start = np.append(begin, pieces.end[pieces_end - 1])
        keys, carried = self._least_keys(gate, start, pieces.values)
        found = np.minimum.reduceat(keys, begin)
        equal = (keys == found.repeat(start[1:] - begin)).nonzero()[0]
        at = equal.take(equal.searchsorted(begin))
        stays = pieces.goes_on[:pieces_end] & (carried <= found)
        pieces.place[:pieces_end] = np.where(stays, -1, pieces.gathered.place.take(at))
        pieces.raw[:pieces_end] = np.where(stays, gates.raw.take(gate), pieces.values.take(at))

    def _least_keys(
        self, gate: NDArray[np.int64], start: NDArray[np.int64], values: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The least is that with the least of these keys: of the gates' values, start[g]…start[g+1], and carried."""
        gates, flip = self._gates, self._gates.flip.take(gate)
        raw = values[: start[-1]]
        keys, carried = raw ^ flip.repeat(start[1:] - start[:-1]), gates.raw.take(gate) ^ flip
        for piece in gates.floating.take(gate).nonzero()[0].tolist():
            definition, falling = self._roster.definition(int(gates.channel[gate[piece]])), bool(flip[piece])
            part = slice(start[piece], start[piece + 1])
            keys[part] = float_keys(definition, raw[part], falling=falling)
            carried[piece] = float_keys(definition, gates.raw[gate[piece : piece + 1]], falling=falling)[0]
        return keys, carried

    def _choose_mean(self, pieces: Pieces, pieces_begin: int, pieces_end: int) -> None:
        """The sums of these pieces, and of those that close the mean."""
        if pieces_begin == pieces_end:
            return
        part = slice(pieces_begin, pieces_end)
        gate, start = pieces.gate[part], np.append(pieces.begin[part], pieces.end[pieces_end - 1])
        totals = self._add_up(gate, start, pieces.values, pieces.goes_on[part].tolist())
        for piece, (number, total) in enumerate(totals, pieces_begin):
            if pieces.closes[piece]:
                raw = mean(total, self._means[number][0])
                pieces.tells[piece], pieces.raw[piece] = raw is not None, raw or 0

    def _add_up(
        self, gate: NDArray[np.int64], start: NDArray[np.int64], values: NDArray[np.uint64], goes_on: list[bool]
    ) -> list[tuple[int, Sum]]:
        """Add the values start[g]…start[g+1] of each gate to its sum, or begin that anew; the numbers and sums."""
        counts, offset = start[1:] - start[:-1], start[0]
        keys = values[offset : start[-1]] ^ self._gates.flip.take(gate).repeat(counts)
        begin = start[:-1] - offset
        sums, numbers = np.add.reduceat(keys, begin).tolist(), self._gates.number.take(gate).tolist()
        totals = []
        for number, samples, at, on, key_sum in zip(
            numbers, counts.tolist(), begin.tolist(), goes_on, sums, strict=True
        ):
            definition, adds_up = self._means[number]
            more: Sum = (key_sum, samples)
            if not adds_up or samples > _SUMMED_MAX:
                more = sum_of(definition, keys[at : at + samples])
            before = self._sums.get(number, NOTHING) if on else NOTHING
            self._sums[number] = total = before[0] + more[0], before[1] + more[1]
            totals.append((number, total))
        return totals

    # What differs enough from what was kept before -----------------------------------------------------------

    def _compare(
        self, view: BlockView, pieces: Pieces, leads: NDArray[np.bool_], returns: NDArray[np.int64] | None
    ) -> None:
        """Take back what would be kept and does not differ enough from what its gate kept before."""
        for piece in (self._gates.banded.take(pieces.gate) & (leads | pieces.tells)).nonzero()[0].tolist():
            gate = int(pieces.gate[piece])
            if leads[piece]:
                count = _count(view, returns, int(pieces.gathered.place[pieces.begin[piece]]))
                leads[piece] = self._differs(gate, int(pieces.first[piece]), count)
            if pieces.tells[piece]:
                place = int(pieces.place[piece])
                count = int(self._gates.returns[gate]) if place < 0 else _count(view, returns, place)
                pieces.tells[piece] = self._differs(gate, int(pieces.raw[piece]), count)

    def _differs(self, gate: int, raw: int, count: int) -> bool:
        """Whether a gate that looks for changes is to keep this value; if so it is remembered."""
        number = int(self._gates.number[gate])
        definition = self._roster.definition(int(self._gates.channel[gate]))
        if not beyond(definition, np.array([raw], np.uint64), [count], self._told.get(number), self._bands[number]):
            return False
        self._told[number] = raw, count
        return True

    # Closing -------------------------------------------------------------------------------------------------

    def finish(
        self, view: BlockView, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> list[IntervalResults]:
        """What intervals are closed with. `kept`: the priorities that the values are kept with at once, all told."""
        closings = [] if self._lapsed is None else [self._lapsed]
        pieces = self._pieces
        if self._less:
            gate, place = np.array(self._less).T
            self._carry(view, gate, place, kept, returns)
        if pieces is None:
            return closings
        self._close_pieces(view, pieces, kept, closings)
        self._remember(view, pieces, kept, returns)
        return closings

    def _close_pieces(
        self, view: BlockView, pieces: Pieces, kept: NDArray[np.uint8], closings: list[IntervalResults]
    ) -> None:
        gates = self._gates
        telling = pieces.tells.nonzero()[0]
        if not len(telling):
            return
        gate, place, raw = pieces.gate.take(telling), pieces.place.take(telling), pieces.raw.take(telling)
        carried, at = place < 0, np.maximum(place, 0)
        column = view.value_column.take(at)
        summary = ~carried & (raw != view.block.values.take(at))
        serial = np.where(carried, gates.serial.take(gate), place + self._latest.values)
        time = np.where(carried, gates.time_ns.take(gate), view.block.time_ns.take(view.row_of(at, column)))
        so_far = np.where(carried, gates.kept.take(gate), kept.take(at))
        serial[summary], place[summary], so_far[summary] = SUMMARY, -1, 0
        end = (pieces.interval.take(telling) + 1) * gates.every.take(gate)
        closings.append(
            IntervalResults(gates.channel.take(gate), serial, place, time, raw, gates.priority.take(gate), so_far, end)
        )

    def _remember(
        self, view: BlockView, pieces: Pieces, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> None:
        """The state of the gates after their last pieces."""
        gates, last = self._gates, pieces.last
        closes = pieces.closes.take(last)
        gates.interval[pieces.gates] = np.where(closes, CLOSED, pieces.interval.take(last))
        gates.until[pieces.gates] = np.where(closes, CLOSED, pieces.until)
        gates.first[pieces.gates] = pieces.first.take(last)
        place = pieces.place.take(last)
        busy = int(pieces.gates.searchsorted(self._busy_gates))
        fresh = (place[:busy] >= 0).nonzero()[0]
        if len(fresh):
            self._carry(view, pieces.gates.take(fresh), place.take(fresh), kept, returns)

    def _carry(
        self,
        view: BlockView,
        gate: NDArray[np.int64],
        place: NDArray[np.int64],
        kept: NDArray[np.uint8],
        returns: NDArray[np.int64] | None,
    ) -> None:
        """Values of the block are the least of their gates so far."""
        gates = self._gates
        row = view.row_of(place, view.value_column.take(place))
        gates.raw[gate] = view.block.values.take(place)
        gates.time_ns[gate] = view.block.time_ns.take(row)
        gates.kept[gate] = kept.take(place)
        gates.returns[gate] = 0 if returns is None else returns.take(row)
        gates.serial[gate] = place + self._latest.values

    def mark(self, serial: NDArray[np.int64], priority: NDArray[np.uint8]) -> None:
        """Samples have been kept with these priorities now, higher than before; in order, of one the last counts."""
        gates = self._gates
        carried = gates.serial[: int(gates.kind.searchsorted(MEAN))]
        at = serial.searchsorted(carried, side="right") - 1
        found = (serial.take(at, mode="clip") == carried).nonzero()[0]
        gates.kept[found] = priority.take(at.take(found))

    def set_clock(self, step_ns: int) -> None:
        """As of `gates.Gates`."""
        self._gates.time_ns += step_ns

    def flush(self, leaves: NDArray[np.bool_] | None = None) -> list[IntervalResults]:
        """Close what is open; a later sample of the same interval begins it anew.

        leaves   bool (channels,): of these alone
        """
        is_open = self._gates.until > CLOSED
        if leaves is not None:
            is_open &= leaves.take(self._gates.channel)
        return [self._close(is_open.nonzero()[0])]

    def _close(self, lapsed: NDArray[np.int64]) -> IntervalResults:
        """Close the open intervals of these gates with samples of earlier blocks."""
        gates, latest = self._gates, self._latest
        channel, kind, end = gates.channel.take(lapsed), gates.kind.take(lapsed), gates.until.take(lapsed)
        gates.until[lapsed] = gates.interval[lapsed] = CLOSED
        least = kind == LEAST
        raw = np.where(least, gates.raw.take(lapsed), latest.raw.take(channel))
        time = np.where(least, gates.time_ns.take(lapsed), latest.time_ns.take(channel))
        kept = np.where(least, gates.kept.take(lapsed), latest.kept.take(channel))
        returns = np.where(least, gates.returns.take(lapsed), latest.returns.take(channel))
        serial = np.where(least, gates.serial.take(lapsed), latest.serial.take(channel))
        tells = (kind != FIRST) | (raw != gates.first.take(lapsed))
        numbers = gates.number.take(lapsed).tolist()
        for index in (kind == MEAN).nonzero()[0].tolist():
            found = mean(self._sums.get(numbers[index], NOTHING), self._means[numbers[index]][0])
            tells[index] = found is not None
            if found is not None and found != raw[index]:
                raw[index], serial[index], kept[index] = found, SUMMARY, 0
        for index in (gates.banded.take(lapsed) & tells).nonzero()[0].tolist():
            tells[index] = self._differs(int(lapsed[index]), int(raw[index]), int(returns[index]))
        none = np.full(len(lapsed), -1)
        return IntervalResults(channel, serial, none, time, raw, gates.priority.take(lapsed), kept, end).at(
            tells.nonzero()[0]
        )


def _count(view: BlockView, returns: NDArray[np.int64] | None, place: int) -> int:
    """How often its lane had returned when a value of the block came."""
    return 0 if returns is None else int(returns[view.value_row[place]])
