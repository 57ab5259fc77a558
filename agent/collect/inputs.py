# SPDX-License-Identifier: Apache-2.0
"""What conditions look at: for each signal the value it came with last and, where a condition looks back over a
span of time, its samples of that span; for each message that is counted, when its frames came.

Limits: of a signal or message no more than `SAMPLES_MAX` samples are remembered, the latest ones; a span that holds
more is cut short by that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.physical import numeric
from agent.collect.binding import is_counted, key_offset
from agent.collect.condition import key_numbers
from agent.collect.expression import SignalRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agent.collect.expression import Count, Over
    from agent.collect.roster import Roster
    from agent.collect.view import View

SAMPLES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """The value a signal came with last: raw, and the steady time of its frame."""

    raw: int
    steady: int


@dataclass(slots=True)
class History:
    """Samples of a span of time: steady times, and numbers (of a message's frames: nothing)."""

    span_ns: int = 0
    buses: set[int] = field(default_factory=set)
    steady: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))

    def extend(self, steady: NDArray[np.int64], numbers: NDArray[np.float64], now: NDArray[np.int64]) -> None:
        """Take in what came in a block, and forget what no instant to come looks back to."""
        steady, numbers = np.concatenate([self.steady, steady]), np.concatenate([self.numbers, numbers])
        horizon = int(now.take(sorted(self.buses)).min()) - self.span_ns
        begin = max(int(steady.searchsorted(horizon, side="right")), len(steady) - SAMPLES_MAX)
        self.steady, self.numbers = steady[begin:], numbers[begin:]


@dataclass(frozen=True, slots=True)
class Came:
    """A signal's samples in a block, in the order received: place of the frame, raw value, steady time."""

    arrival: NDArray[np.int64]
    raw: NDArray[np.uint64]
    steady: NDArray[np.int64]


class Inputs:
    """The signals and messages of all conditions."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.held: dict[SignalRef, Held] = {}
        self.histories: dict[SignalRef | int, History] = {}
        self._channels: dict[SignalRef, NDArray[np.int64]] = {}
        self._lanes: dict[int, NDArray[np.int64]] = {}
        self._refs: set[SignalRef] = set()
        self._is_of: dict[frozenset[int], NDArray[np.bool_]] = {}
        self._seen: View | None = None
        self._came: dict[SignalRef, Came] = {}
        roster.on_growth(self._grow)

    def watch(self, refs: Iterable[SignalRef], overs: Iterable[Over], counts: Iterable[Count], buses: set[int]) -> None:
        """Remember what one condition needs; `buses` are those of its messages."""
        self._refs |= set(refs)
        spans = [(over.signal.ref, over.span_ns) for over in overs]  # type: ignore[union-attr]
        for source, span_ns in [*spans, *((count.messages[0], count.span_ns) for count in counts)]:
            history = self.histories.setdefault(source, History())
            history.span_ns = max(history.span_ns, span_ns)
            history.buses |= buses
        self._grow(range(0))

    def _grow(self, _: range) -> None:
        self._channels.clear()
        self._lanes.clear()
        self._is_of.clear()

    def lanes(self, message: int) -> NDArray[np.int64]:
        """The lanes of a message: more than one where it is matched by parameter group."""
        if message not in self._lanes:
            self._lanes[message] = np.flatnonzero(self.roster.message == message)
        return self._lanes[message]

    def channels(self, ref: SignalRef) -> NDArray[np.int64]:
        """The channels of a signal."""
        if ref not in self._channels:
            self._channels[ref] = self.roster.first.take(self.lanes(ref.message)) + ref.signal
        return self._channels[ref]

    def came(self, view: View, ref: SignalRef) -> Came:
        """A signal's samples in a block; those of the block at hand are found once for all who ask."""
        if view is not self._seen:
            self._seen, self._came = view, {}
        if ref not in self._came:
            self._came[ref] = self._find(view, ref)
        return self._came[ref]

    def _find(self, view: View, ref: SignalRef) -> Came:
        column = view.place.take(self.channels(ref))
        gathered = view.gather(column[column >= 0])
        at, row = gathered.place, view.rows_of(gathered)
        arrival = view.arrival.take(row)
        if np.count_nonzero(column >= 0) > 1:
            order = np.argsort(arrival)
            at, row, arrival = at.take(order), row.take(order), arrival.take(order)
        return Came(arrival, view.block.values.take(at), view.row_steady.take(row))

    def frames(self, view: View, messages: Iterable[int]) -> NDArray[np.int64]:
        """The places of these messages' frames among the frames received, ascending."""
        wanted = frozenset(messages)
        if wanted not in self._is_of:
            self._is_of[wanted] = np.isin(self.roster.message, list(wanted))
        arrival = view.arrival[self._is_of[wanted].take(view.row_lane)]
        arrival.sort()
        return arrival

    def remember(self, view: View, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), steady time after it."""
        for ref in self._refs:
            came = self.came(view, ref)
            if len(came.raw):
                self.held[ref] = Held(int(came.raw[-1]), int(came.steady[-1]))
            if ref in self.histories:
                self.histories[ref].extend(came.steady, numbers_of(ref, came.raw), now)
        for source, history in self.histories.items():
            if not isinstance(source, SignalRef):
                steady = view.steady.take(self.frames(view, [source]))
                history.extend(steady, np.zeros(len(steady)), now)
        self._seen, self._came = None, {}


def numbers_of(ref: SignalRef, raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The numbers that raw values of a signal stand for, scale not applied."""
    if is_counted(ref.definition):
        return key_numbers(ref, raw ^ np.uint64(key_offset(ref.definition)))
    numbers: NDArray[np.float64] = numeric(ref.definition, raw).astype(np.float64)
    return numbers


class BlockInstants:
    """The instants of one condition in a block, as `condition.Instants`.

    Args:
        view: the block.
        inputs: what came before it.
        arrival: places of the instants among the frames received, ascending; at least one.
        stale_ns: a value older than this is not known; 0: it holds for ever.

    """

    def __init__(self, view: View, inputs: Inputs, arrival: NDArray[np.int64], stale_ns: int) -> None:
        self._view = view
        self._inputs = inputs
        self.arrival = arrival
        self._stale_ns = stale_ns

    def __len__(self) -> int:
        return len(self.arrival)

    @cached_property
    def steady(self) -> NDArray[np.int64]:
        """int64 (n,): the steady time of each instant."""
        return self._view.steady.take(self.arrival)

    def came(self, ref: SignalRef) -> Came:
        """A signal's samples in the block."""
        return self._inputs.came(self._view, ref)

    def _raw(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        came, held = self.came(ref), self._inputs.held.get(ref)
        before = held or Held(0, 0)
        at = came.arrival.searchsorted(self.arrival, side="right")
        raw = np.concatenate([np.array([before.raw], np.uint64), came.raw]).take(at)
        known = at > 0 if held is None else np.ones(len(at), np.bool_)
        if self._stale_ns:
            steady = np.concatenate([np.array([before.steady], np.int64), came.steady]).take(at)
            known = known & (self.steady - steady <= self._stale_ns)
        return raw, known

    def keys(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """As `condition.Instants` says."""
        raw, known = self._raw(ref)
        return raw ^ np.uint64(key_offset(ref.definition)), known

    def numbers(self, ref: SignalRef) -> NDArray[np.float64]:
        """As `condition.Instants` says."""
        raw, known = self._raw(ref)
        return np.where(known, numbers_of(ref, raw), np.nan)

    def changed(self, ref: SignalRef) -> NDArray[np.bool_]:
        """As `condition.Instants` says."""
        came, held = self.came(ref), self._inputs.held.get(ref)
        differs = np.empty(len(came.raw), np.bool_)
        np.not_equal(came.raw[1:], came.raw[:-1], out=differs[1:])
        differs[:1] = held is not None and came.raw[:1] != held.raw
        changed = np.zeros(len(self), np.bool_)
        changed[self.arrival.searchsorted(came.arrival)] = differs
        return changed

    def over(self, over: Over, ref: SignalRef) -> NDArray[np.float64]:
        """As `condition.Instants` says."""
        came, history = self.came(ref), self._inputs.histories[ref]
        steady = np.concatenate([history.steady, came.steady])
        numbers = np.concatenate([history.numbers, numbers_of(ref, came.raw), [0.0]])
        end = len(history.steady) + came.arrival.searchsorted(self.arrival, side="right")
        begin = np.minimum(steady.searchsorted(self.steady - over.span_ns, side="right"), end)
        pairs = np.stack([begin, end], axis=1).ravel()
        reduce = {"min": np.minimum, "max": np.maximum, "mean": np.add}[over.function]
        with np.errstate(invalid="ignore"):
            found = reduce.reduceat(numbers, pairs)[::2]
        found[begin == end] = np.nan
        return found / np.maximum(end - begin, 1) if over.function == "mean" else found

    def count(self, count: Count) -> NDArray[np.float64]:
        """As `condition.Instants` says."""
        history = self._inputs.histories[count.messages[0]]
        frames = self._inputs.frames(self._view, count.messages)
        steady = np.concatenate([history.steady, self._view.steady.take(frames)])
        end = len(history.steady) + frames.searchsorted(self.arrival, side="right")
        begin = steady.searchsorted(self.steady - count.span_ns, side="right")
        counted: NDArray[np.float64] = np.maximum(end - begin, 0).astype(np.float64)
        return counted
