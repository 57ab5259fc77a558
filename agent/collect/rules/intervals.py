# SPDX-License-Identifier: Apache-2.0
"""Rules that keep one sample of each interval, at the latest when the interval is over.

Intervals lie on a grid of the rebased time of the message's bus: [0 s, 1 s), [1 s, 2 s), … An interval of a slot
begins with its first sample in it and is closed by the first frame of the bus, whichever it is, that lies in
another. What it closes with is chosen then:

    last        the last sample
    first       the first one was kept at once; the last one too, if it differs, so that no change is lost
    min, max    the first sample with the least, or greatest, value
    mean        the value nearest to the mean of all that the signal can carry, with the last sample's time

With a deadband (`on_change`), what would be kept is kept only if it differs by more from what was kept before.
A sample that was kept with as high a priority already is not kept again (`IntervalResults`).

A rule state is a slot and a rule. While no interval ends, the states of last and first samples have nothing to do: what
they would close with is the slot's latest sample. The others, and those whose interval ends, have their values cut
to runs by interval; the first run of a state goes on where the state left off.
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
    IntervalRuns,
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
    """All rules with an interval, by slot. For each block first `begin`, then `finish`."""

    def __init__(self, signal_index: SignalIndex, latest: LastSamples, rule_of: Callable[[int], EffectiveRule]) -> None:
        self._signal_index = signal_index
        self._latest = latest
        self._rule_of = rule_of
        self._states = RuleStateTable.of(signal_index, [])
        # By number of the state:
        self._sums: dict[int, Sum] = {}  # of those that keep a mean
        self._means: dict[int, tuple[SignalDefinition, bool]] = {}  # of those, too: whether keys add up within 64 bits
        self._deadbands: dict[int, float] = {}  # of those that look for changes
        self._kept_last: dict[int, tuple[int, int]] = {}  # what those kept last: raw value, stream key's returns
        self._busy_states = 0  # the first so many
        self._lapsed: IntervalResults | None = None
        self._runs: IntervalRuns | None = None
        self._less: list[tuple[int, int]] = []  # states whose interval goes on, and the place of their new least value
        self._made = 0  # how many states there have been
        signal_index.on_change(self._grow, self._shrink)

    def _grow(self, stream_keys: range) -> None:
        slots = self._signal_index.slots(stream_keys)
        rules = [(slot, rule) for slot in slots for rule in self._rule_of(slot).intervals]
        for state, (slot, rule) in enumerate(rules, self._made):
            if rule.value == "mean":
                definition = self._signal_index.definition(slot)
                adds_up = definition.length <= _SUMMED_BITS and not reads_as_float(definition)
                self._means[state] = definition, adds_up
            if rule.deadband is not None:
                self._deadbands[state] = rule.deadband
        self._states = self._states.with_more(RuleStateTable.of(self._signal_index, rules, self._made))
        self._made += len(rules)
        self._busy_states = int(np.count_nonzero(self._states.busy))

    def _shrink(self, staying: Staying) -> None:
        before = set(self._states.number.tolist())
        self._states = self._states.staying(staying.slot_of)
        self._busy_states = int(np.count_nonzero(self._states.busy))
        for number in before.difference(self._states.number.tolist()):
            for table in (self._sums, self._means, self._deadbands, self._kept_last):
                table.pop(number, None)

    def begin(
        self, view: BlockView, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None, now: NDArray[np.int64]
    ) -> None:
        """Find what intervals end in a block; raise priorities of what is kept at once, the first of intervals.

        kept: uint8 (V,) · returns: as of `AbsenceMonitor.observe` · now: int64 (buses,), rebased time after the block
        """
        states = self._states
        column = view.place.take(states.slot)
        live, over = column >= 0, now.take(states.bus) >= states.until
        is_open = states.until > CLOSED
        self._runs = self._lapsed = None
        self._less.clear()
        if not (over & (live | is_open)).any():
            self._go_on(view, column, (live & states.busy).nonzero()[0])
            return
        chosen = (live & (over | states.busy)).nonzero()[0]
        ended = (over > live) & is_open
        if len(chosen):
            self._runs = runs = IntervalRuns.cut(view, states, column, chosen, now)
            ended[chosen] = is_open.take(chosen) & ~runs.goes_on.take(runs.first_of)
        lapsed = ended.nonzero()[0]
        if len(lapsed):
            self._lapsed = self._close(lapsed)
        if self._runs is not None:
            self._choose(view, self._runs, kept, returns)

    def _go_on(self, view: BlockView, column: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
        """No interval ends: what comes adds to those that are open."""
        if not len(chosen):
            return
        gathered = view.gather(column.take(chosen))
        begin, values = gathered.begin, view.block.values.take(gathered.place)
        least = int(self._states.kind.take(chosen).searchsorted(MEAN))
        if least:
            keys, carried = self._least_keys(chosen[:least], begin[: least + 1], values)
            less = np.minimum.reduceat(keys, begin[:least]) < carried
            for state in less.nonzero()[0].tolist():
                first, end = begin[state : state + 2].tolist()
                self._less.append((int(chosen[state]), int(gathered.place[first + keys[first:end].argmin()])))
        if least < len(chosen):
            self._add_up(chosen[least:], begin[least:], values, [True] * (len(chosen) - least))

    def _choose(
        self, view: BlockView, runs: IntervalRuns, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> None:
        """What runs close with, and which of their first samples are kept."""
        states = self._states
        kind = states.kind.take(runs.state)
        least, busy, last = kind.searchsorted((MEAN, LAST, FIRST)).tolist()
        self._choose_least(runs, least)
        self._choose_mean(runs, least, busy)
        leads = kind == FIRST
        leads &= ~runs.goes_on
        if self._deadbands:
            self._compare(view, runs, leads, returns)
        for run in range(last, len(leads)):
            if leads[run]:
                place = runs.gathered.place[runs.begin[run]]
                kept[place] = max(kept[place], states.priority[runs.state[run]])

    # What runs close with ----------------------------------------------------------------------------------

    def _choose_least(self, runs: IntervalRuns, runs_end: int) -> None:
        """The first of the least values of the first so many runs; the one carried, where none is less."""
        if not runs_end:
            return
        states, state, begin = self._states, runs.state[:runs_end], runs.begin[:runs_end]
        start = np.append(begin, runs.end[runs_end - 1])
        keys, carried = self._least_keys(state, start, runs.values)
        found = np.minimum.reduceat(keys, begin)
        equal = (keys == found.repeat(start[1:] - begin)).nonzero()[0]
        at = equal.take(equal.searchsorted(begin))
        stays = runs.goes_on[:runs_end] & (carried <= found)
        runs.place[:runs_end] = np.where(stays, -1, runs.gathered.place.take(at))
        runs.raw[:runs_end] = np.where(stays, states.raw.take(state), runs.values.take(at))

    def _least_keys(
        self, state: NDArray[np.int64], start: NDArray[np.int64], values: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The least is that with the least of these keys: of the states' values, start[g]…start[g+1], and carried."""
        states, flip = self._states, self._states.flip.take(state)
        raw = values[: start[-1]]
        keys, carried = raw ^ flip.repeat(start[1:] - start[:-1]), states.raw.take(state) ^ flip
        for run in states.floating.take(state).nonzero()[0].tolist():
            definition, falling = self._signal_index.definition(int(states.slot[state[run]])), bool(flip[run])
            part = slice(start[run], start[run + 1])
            keys[part] = float_keys(definition, raw[part], falling=falling)
            carried[run] = float_keys(definition, states.raw[state[run : run + 1]], falling=falling)[0]
        return keys, carried

    def _choose_mean(self, runs: IntervalRuns, runs_begin: int, runs_end: int) -> None:
        """The sums of these runs, and of those that close the mean."""
        if runs_begin == runs_end:
            return
        part = slice(runs_begin, runs_end)
        state, start = runs.state[part], np.append(runs.begin[part], runs.end[runs_end - 1])
        totals = self._add_up(state, start, runs.values, runs.goes_on[part].tolist())
        for run, (number, total) in enumerate(totals, runs_begin):
            if runs.closes[run]:
                raw = mean(total, self._means[number][0])
                runs.keeps[run], runs.raw[run] = raw is not None, raw or 0

    def _add_up(
        self, state: NDArray[np.int64], start: NDArray[np.int64], values: NDArray[np.uint64], goes_on: list[bool]
    ) -> list[tuple[int, Sum]]:
        """Add the values start[g]…start[g+1] of each state to its sum, or begin that anew; the numbers and sums."""
        counts, offset = start[1:] - start[:-1], start[0]
        keys = values[offset : start[-1]] ^ self._states.flip.take(state).repeat(counts)
        begin = start[:-1] - offset
        sums, numbers = np.add.reduceat(keys, begin).tolist(), self._states.number.take(state).tolist()
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
        self, view: BlockView, runs: IntervalRuns, leads: NDArray[np.bool_], returns: NDArray[np.int64] | None
    ) -> None:
        """Take back what would be kept and does not differ enough from what its state kept before."""
        for run in (self._states.has_deadband.take(runs.state) & (leads | runs.keeps)).nonzero()[0].tolist():
            state = int(runs.state[run])
            if leads[run]:
                count = _count(view, returns, int(runs.gathered.place[runs.begin[run]]))
                leads[run] = self._differs(state, int(runs.first[run]), count)
            if runs.keeps[run]:
                place = int(runs.place[run])
                count = int(self._states.returns[state]) if place < 0 else _count(view, returns, place)
                runs.keeps[run] = self._differs(state, int(runs.raw[run]), count)

    def _differs(self, state: int, raw: int, count: int) -> bool:
        """Whether a state that looks for changes is to keep this value; if so it is remembered."""
        number = int(self._states.number[state])
        definition = self._signal_index.definition(int(self._states.slot[state]))
        if not beyond(
            definition, np.array([raw], np.uint64), [count], self._kept_last.get(number), self._deadbands[number]
        ):
            return False
        self._kept_last[number] = raw, count
        return True

    # Closing -------------------------------------------------------------------------------------------------

    def finish(
        self, view: BlockView, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> list[IntervalResults]:
        """What intervals are closed with. `kept`: the priorities that the values are kept with at once."""
        results = [] if self._lapsed is None else [self._lapsed]
        runs = self._runs
        if self._less:
            state, place = np.array(self._less).T
            self._carry(view, state, place, kept, returns)
        if runs is None:
            return results
        self._close_runs(view, runs, kept, results)
        self._remember(view, runs, kept, returns)
        return results

    def _close_runs(
        self, view: BlockView, runs: IntervalRuns, kept: NDArray[np.uint8], results: list[IntervalResults]
    ) -> None:
        states = self._states
        telling = runs.keeps.nonzero()[0]
        if not len(telling):
            return
        state, place, raw = runs.state.take(telling), runs.place.take(telling), runs.raw.take(telling)
        carried, at = place < 0, np.maximum(place, 0)
        column = view.value_column.take(at)
        summary = ~carried & (raw != view.block.values.take(at))
        serial = np.where(carried, states.serial.take(state), place + self._latest.values)
        time = np.where(carried, states.time_ns.take(state), view.block.time_ns.take(view.row_of(at, column)))
        so_far = np.where(carried, states.kept.take(state), kept.take(at))
        serial[summary], place[summary], so_far[summary] = SUMMARY, -1, 0
        end = (runs.interval.take(telling) + 1) * states.every.take(state)
        results.append(
            IntervalResults(states.slot.take(state), serial, place, time, raw, states.priority.take(state), so_far, end)
        )

    def _remember(
        self, view: BlockView, runs: IntervalRuns, kept: NDArray[np.uint8], returns: NDArray[np.int64] | None
    ) -> None:
        """The state of the states after their last runs."""
        states, last = self._states, runs.last
        closes = runs.closes.take(last)
        states.interval[runs.states] = np.where(closes, CLOSED, runs.interval.take(last))
        states.until[runs.states] = np.where(closes, CLOSED, runs.until)
        states.first[runs.states] = runs.first.take(last)
        place = runs.place.take(last)
        busy = int(runs.states.searchsorted(self._busy_states))
        fresh = (place[:busy] >= 0).nonzero()[0]
        if len(fresh):
            self._carry(view, runs.states.take(fresh), place.take(fresh), kept, returns)

    def _carry(
        self,
        view: BlockView,
        state: NDArray[np.int64],
        place: NDArray[np.int64],
        kept: NDArray[np.uint8],
        returns: NDArray[np.int64] | None,
    ) -> None:
        """Values of the block are the least of their states so far."""
        states = self._states
        row = view.row_of(place, view.value_column.take(place))
        states.raw[state] = view.block.values.take(place)
        states.time_ns[state] = view.block.time_ns.take(row)
        states.kept[state] = kept.take(place)
        states.returns[state] = 0 if returns is None else returns.take(row)
        states.serial[state] = place + self._latest.values

    def mark(self, serial: NDArray[np.int64], priority: NDArray[np.uint8]) -> None:
        """Samples have been kept with these priorities now, higher than before; in order, of one the last counts."""
        states = self._states
        carried = states.serial[: int(states.kind.searchsorted(MEAN))]
        at = serial.searchsorted(carried, side="right") - 1
        found = (serial.take(at, mode="clip") == carried).nonzero()[0]
        states.kept[found] = priority.take(at.take(found))

    def set_clock(self, step_ns: int) -> None:
        """As of `RuleStates`."""
        self._states.time_ns += step_ns

    def flush(self, leaves: NDArray[np.bool_] | None = None) -> IntervalResults:
        """Close what is open; a later sample of the same interval begins it anew.

        leaves   bool (slots,): of these alone
        """
        is_open = self._states.until > CLOSED
        if leaves is not None:
            is_open &= leaves.take(self._states.slot)
        return self._close(is_open.nonzero()[0])

    def _close(self, lapsed: NDArray[np.int64]) -> IntervalResults:
        """Close the open intervals of these states with samples of earlier blocks."""
        states, latest = self._states, self._latest
        slot, kind, end = states.slot.take(lapsed), states.kind.take(lapsed), states.until.take(lapsed)
        states.until[lapsed] = states.interval[lapsed] = CLOSED
        least = kind == LEAST
        raw = np.where(least, states.raw.take(lapsed), latest.raw.take(slot))
        time = np.where(least, states.time_ns.take(lapsed), latest.time_ns.take(slot))
        kept = np.where(least, states.kept.take(lapsed), latest.kept.take(slot))
        returns = np.where(least, states.returns.take(lapsed), latest.returns.take(slot))
        serial = np.where(least, states.serial.take(lapsed), latest.serial.take(slot))
        keeps = (kind != FIRST) | (raw != states.first.take(lapsed))
        numbers = states.number.take(lapsed).tolist()
        for index in (kind == MEAN).nonzero()[0].tolist():
            found = mean(self._sums.get(numbers[index], NOTHING), self._means[numbers[index]][0])
            keeps[index] = found is not None
            if found is not None and found != raw[index]:
                raw[index], serial[index], kept[index] = found, SUMMARY, 0
        for index in (states.has_deadband.take(lapsed) & keeps).nonzero()[0].tolist():
            keeps[index] = self._differs(int(lapsed[index]), int(raw[index]), int(returns[index]))
        none = np.full(len(lapsed), -1)
        return IntervalResults(slot, serial, none, time, raw, states.priority.take(lapsed), kept, end).at(
            keeps.nonzero()[0]
        )


def _count(view: BlockView, returns: NDArray[np.int64] | None, place: int) -> int:
    """How often its stream key had returned when a value of the block came."""
    return 0 if returns is None else int(returns[view.value_row[place]])
