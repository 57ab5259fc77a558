# SPDX-License-Identifier: Apache-2.0
"""What conditions look at: for each signal the value it came with last and, where a condition looks back over a
span of time, its samples of that span; for each message that is counted, when its frames came.

What is looked up in a block is looked up once for all conditions.

Limits: of a signal or message no more than `SAMPLES_MAX` samples are remembered, the latest ones; a span that holds
more is cut short by that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.conditions.syntax import SignalRef
from agent.collect.rebased_time import NEVER
from agent.physical import is_counted, key_offset, numeric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView, LastSamples
    from agent.collect.conditions.evaluate import CompiledCondition
    from agent.collect.conditions.syntax import Count, Over
    from agent.collect.signal_index import SignalIndex, Staying

SAMPLES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """The value a signal came with last: raw, and the steady time of its frame."""

    raw: int
    steady: int


@dataclass(frozen=True, slots=True)
class Came:
    """A signal's samples in a block, in the order received: place of the frame, raw value, steady time."""

    arrival: NDArray[np.int64]
    raw: NDArray[np.uint64]
    steady: NDArray[np.int64]


@dataclass(slots=True)
class History:
    """Samples of a span of time, of blocks before: steady times, and numbers (of a message's frames: zeros).

    buses   of the messages whose frames are instants of the conditions that look back
    """

    span_ns: int = 0
    buses: set[int] = field(default_factory=set)
    steady: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.steady)

    def extended(
        self, steady: NDArray[np.int64], numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steady times and numbers of all samples, those of the block at hand included."""
        return np.concatenate([self.steady, steady]), np.concatenate([self.numbers, numbers])

    def keep(self, steady: NDArray[np.int64], numbers: NDArray[np.float64], now: NDArray[np.int64]) -> None:
        """Remember of these what instants to come look back to. `now`: int64 (buses,), steady time after the block."""
        horizon = min(int(now[bus]) for bus in self.buses) - self.span_ns
        first = max(int(steady.searchsorted(horizon, side="right")), len(steady) - SAMPLES_MAX)
        self.steady, self.numbers = steady[first:], numbers[first:]


class Inputs:
    """The signals and messages of all conditions. `latest` is of before the block at hand."""

    def __init__(self, roster: SignalIndex, latest: LastSamples) -> None:
        self.histories: dict[SignalRef | int, History] = {}
        self._roster = roster
        self._latest = latest
        self._held: dict[SignalRef, Held] = {}  # of those that more than one lane may carry
        self._channels: dict[SignalRef, list[int]] = {}
        self._lanes: dict[int, list[int]] = {}
        self._block: _LookedUp | None = None
        roster.on_change(self._grow, self._grow)

    def watch(self, condition: CompiledCondition, buses: set[int]) -> None:
        """Remember what a condition needs; `buses` are those of its trigger's messages."""
        self._channels |= {ref: self._found(ref) for ref in condition.signals}
        spans = [(over.signal.ref, over.span_ns) for over in condition.overs]  # type: ignore[union-attr]
        for source, span_ns in [*spans, *((count.messages[0], count.span_ns) for count in condition.counts)]:
            history = self.histories.setdefault(source, History())
            history.span_ns = max(history.span_ns, span_ns)
            history.buses |= buses

    def _grow(self, _: range | Staying) -> None:
        self._lanes.clear()
        self._channels = {ref: self._found(ref) for ref in self._channels}

    def _is_shared(self, ref: SignalRef) -> bool:
        return self._roster.messages[ref.message].j1939

    def _found(self, ref: SignalRef) -> list[int]:
        """The channels of a signal: more than one where its message is matched by parameter group."""
        lanes = (self._roster.message == ref.message).nonzero()[0]
        return [channel + ref.signal for channel in self._roster.first.take(lanes).tolist()]

    def held(self, ref: SignalRef) -> Held | None:
        """The value that a signal came with last, before the block; None where it has not come yet."""
        channels = self._channels[ref]
        if self._is_shared(ref) or not channels:
            return self._held.get(ref)
        steady = int(self._latest.steady[channels[0]])
        return Held(int(self._latest.raw[channels[0]]), steady) if steady != NEVER else None

    def _looked_up(self, view: BlockView) -> _LookedUp:
        if self._block is None or self._block.view is not view:
            self._block = _LookedUp(view)
        return self._block

    def instants(self, view: BlockView, messages: frozenset[int], stale_ns: int) -> BlockInstants | None:
        """The frames of some messages in a block, as instants; None where there are none."""
        found = self._looked_up(view).instants
        key = messages, stale_ns
        if key not in found:
            arrival = self.frames(view, messages)
            found[key] = BlockInstants(view, self, arrival, stale_ns) if len(arrival) else None
        return found[key]

    def came(self, view: BlockView, ref: SignalRef) -> Came:
        """A signal's samples in a block."""
        found = self._looked_up(view).came
        if ref not in found:
            gathered = view.gather(view.present(self._channels[ref]))
            row = view.rows_of(gathered)
            arrival, raw = view.arrival.take(row), view.block.values.take(gathered.place)
            if len(gathered.columns) > 1:
                order = np.argsort(arrival)
                arrival, raw = arrival.take(order), raw.take(order)
            found[ref] = Came(arrival, raw, view.steady.take(arrival))
        return found[ref]

    def frames(self, view: BlockView, messages: Iterable[int]) -> NDArray[np.int64]:
        """Places of the frames of some messages among those received, in their order."""
        lanes = [lane for message in messages for lane in self._lanes_of(message)]
        rows = [view.arrival[slice(*view.rows_of_lane(lane))] for lane in lanes]
        arrival = np.concatenate([np.empty(0, np.int64), *rows])
        arrival.sort()
        return arrival

    def _lanes_of(self, message: int) -> list[int]:
        lanes = self._lanes.get(message)
        if lanes is None:
            lanes = self._lanes[message] = (self._roster.message == message).nonzero()[0].tolist()
        return lanes

    def samples(self, view: BlockView, source: SignalRef | int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steady times and numbers of a signal's samples or a message's frames, in the span before and in the block."""
        found = self._looked_up(view).samples
        if source not in found:
            history = self.histories[source]
            if isinstance(source, SignalRef):
                came = self.came(view, source)
                found[source] = history.extended(came.steady, numbers_of(source, came.raw))
            else:
                steady = view.steady.take(self.frames(view, [source]))
                found[source] = history.extended(steady, np.zeros(len(steady)))
        return found[source]

    def remember(self, view: BlockView, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), steady time after it."""
        for ref in self._channels:
            if self._is_shared(ref) and len((came := self.came(view, ref)).raw):
                self._held[ref] = Held(int(came.raw[-1]), int(came.steady[-1]))
        for source, history in self.histories.items():
            history.keep(*self.samples(view, source), now)
        self._block = None


@dataclass(frozen=True, slots=True)
class _LookedUp:
    """What has been found in a block."""

    view: BlockView
    came: dict[SignalRef, Came] = field(default_factory=dict)
    samples: dict[SignalRef | int, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=dict)
    instants: dict[tuple[frozenset[int], int], BlockInstants | None] = field(default_factory=dict)


def numbers_of(ref: SignalRef, raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The numbers that raw values of a signal stand for, scale not applied."""
    if is_counted(ref.definition):
        offset = np.uint64(key_offset(ref.definition))
        return ((raw ^ offset) - offset).view(np.int64).astype(np.float64) if offset else raw.astype(np.float64)
    numbers: NDArray[np.float64] = numeric(ref.definition, raw).astype(np.float64)
    return numbers


class BlockInstants:
    """The frames of some messages in a block, as `evaluate.Instants`.

    Args:
        view: the block.
        inputs: what came before it.
        arrival: places of the instants among the frames received, ascending; at least one.
        stale_ns: a value older than this is not known; 0: it holds for ever.

    """

    def __init__(self, view: BlockView, inputs: Inputs, arrival: NDArray[np.int64], stale_ns: int) -> None:
        self._view = view
        self._inputs = inputs
        self.arrival = arrival
        self._stale_ns = stale_ns
        self._raw: dict[SignalRef, tuple[NDArray[np.uint64], NDArray[np.bool_]]] = {}

    def __len__(self) -> int:
        return len(self.arrival)

    @cached_property
    def steady(self) -> NDArray[np.int64]:
        """int64 (n,): the steady time of each instant."""
        return self._view.steady.take(self.arrival)

    def raw(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """A signal's raw value at each instant, and whether it is known."""
        if ref not in self._raw:
            self._raw[ref] = self._raw_of(ref)
        return self._raw[ref]

    def _raw_of(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        came, held = self._inputs.came(self._view, ref), self._inputs.held(ref)
        before = held or Held(0, 0)
        at = came.arrival.searchsorted(self.arrival, side="right")
        raw = np.concatenate([np.array([before.raw], np.uint64), came.raw]).take(at)
        known = at > 0 if held is None else np.ones(len(at), np.bool_)
        if self._stale_ns:
            steady = np.concatenate([np.array([before.steady], np.int64), came.steady]).take(at)
            known = known & (self.steady - steady <= self._stale_ns)
        return raw, known

    def constant(self, number: float) -> np.float64:
        """As `evaluate.Instants` says."""
        return np.float64(number)

    def keys(self, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """As `evaluate.Instants` says."""
        raw, known = self.raw(ref)
        return raw ^ np.uint64(key_offset(ref.definition)), known

    def numbers(self, ref: SignalRef) -> NDArray[np.float64]:
        """As `evaluate.Instants` says."""
        raw, known = self.raw(ref)
        return np.where(known, numbers_of(ref, raw), np.nan)

    def changed(self, ref: SignalRef) -> NDArray[np.bool_]:
        """As `evaluate.Instants` says."""
        came, held = self._inputs.came(self._view, ref), self._inputs.held(ref)
        differs = np.empty(len(came.raw), np.bool_)
        np.not_equal(came.raw[1:], came.raw[:-1], out=differs[1:])
        differs[:1] = held is not None and came.raw[:1] != held.raw
        changed = np.zeros(len(self), np.bool_)
        changed[self.arrival.searchsorted(came.arrival)] = differs
        return changed

    def over(self, over: Over, ref: SignalRef) -> NDArray[np.float64]:
        """As `evaluate.Instants` says."""
        steady, numbers = self._inputs.samples(self._view, ref)
        came = self._inputs.came(self._view, ref)
        end = len(steady) - len(came.raw) + came.arrival.searchsorted(self.arrival, side="right")
        begin = np.minimum(steady.searchsorted(self.steady - over.span_ns, side="right"), end)
        pairs = np.stack([begin, end], axis=1).ravel()
        reduce = {"min": np.minimum, "max": np.maximum, "mean": np.add}[over.function]
        with np.errstate(invalid="ignore", over="ignore"):
            found: NDArray[np.float64] = reduce.reduceat(np.append(numbers, 0.0), pairs)[::2]
        found[begin == end] = np.nan
        return found / np.maximum(end - begin, 1) if over.function == "mean" else found

    def count(self, count: Count) -> NDArray[np.float64]:
        """As `evaluate.Instants` says."""
        steady, _ = self._inputs.samples(self._view, count.messages[0])
        frames = self._inputs.frames(self._view, count.messages)
        end = len(steady) - len(frames) + frames.searchsorted(self.arrival, side="right")
        begin = steady.searchsorted(self.steady - count.span_ns, side="right")
        counted: NDArray[np.float64] = np.maximum(end - begin, 0).astype(np.float64)
        return counted
