# SPDX-License-Identifier: Apache-2.0
"""What conditions look at: for each signal the value it came with last and, where a condition looks back over a span of
time, its samples of that span; for each message that is counted, when its frames came.

What is looked up in a block is looked up once for all conditions.

Limits: of a signal or message the latest `SAMPLES_MAX` samples are remembered; a longer span is cut short by that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.conditions.syntax import SignalRef
from agent.collect.rebased_time import NEVER
from agent.physical import key_offset, numeric

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
    """The value a signal came with last: raw, and the rebased time of its frame."""

    raw: int
    rebased: int


@dataclass(frozen=True, slots=True)
class Came:
    """A signal's samples in a block, in the order received: place of the frame, raw value, rebased time."""

    arrival: NDArray[np.int64]
    raw: NDArray[np.uint64]
    rebased: NDArray[np.int64]


@dataclass(slots=True)
class History:
    """Samples of a span of time, of blocks before: rebased times, and numbers (of a message's frames: zeros).

    buses   of the messages whose frames are instants of the conditions that look back
    """

    span_ns: int = 0
    buses: set[int] = field(default_factory=set)
    rebased: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.rebased)

    def extended(
        self, rebased: NDArray[np.int64], numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rebased times and numbers of all samples, those of the block at hand included."""
        return np.concatenate([self.rebased, rebased]), np.concatenate([self.numbers, numbers])

    def keep(self, rebased: NDArray[np.int64], numbers: NDArray[np.float64], now: NDArray[np.int64]) -> None:
        """Remember of these what instants to come look back to. `now`: int64 (buses,), rebased time after the block."""
        horizon = min(int(now[bus]) for bus in self.buses) - self.span_ns
        first = max(int(rebased.searchsorted(horizon, side="right")), len(rebased) - SAMPLES_MAX)
        self.rebased, self.numbers = rebased[first:], numbers[first:]


class Inputs:
    """The signals and messages of all conditions. `latest` is of before the block at hand."""

    def __init__(self, signal_index: SignalIndex, latest: LastSamples) -> None:
        self.histories: dict[SignalRef | int, History] = {}
        self._signal_index = signal_index
        self._latest = latest
        self._held: dict[SignalRef, Held] = {}  # of those that more than one stream key may carry
        self._slots: dict[SignalRef, list[int]] = {}
        self._stream_keys: dict[int, list[int]] = {}
        self._block: _LookedUp | None = None
        signal_index.on_change(self._grow, self._grow)

    def watch(self, condition: CompiledCondition, buses: set[int]) -> None:
        """Remember what a condition needs; `buses` are those of its trigger's messages."""
        self._slots |= {ref: self._found(ref) for ref in condition.signals}
        spans = [(over.signal.ref, over.span_ns) for over in condition.overs]  # type: ignore[union-attr]
        for source, span_ns in [*spans, *((count.messages[0], count.span_ns) for count in condition.counts)]:
            history = self.histories.setdefault(source, History())
            history.span_ns = max(history.span_ns, span_ns)
            history.buses |= buses

    def _grow(self, _: range | Staying) -> None:
        self._stream_keys.clear()
        self._slots = {ref: self._found(ref) for ref in self._slots}

    def _is_shared(self, ref: SignalRef) -> bool:
        return self._signal_index.messages[ref.message].j1939

    def _found(self, ref: SignalRef) -> list[int]:
        """The slots of a signal: more than one where its message is matched by parameter group."""
        first = self._signal_index.first
        return [int(first[stream_key]) + ref.signal for stream_key in self._stream_keys_of(ref.message)]

    def held(self, ref: SignalRef) -> Held | None:
        """The value that a signal came with last, before the block; None where it has not come yet."""
        slots = self._slots[ref]
        if self._is_shared(ref) or not slots:
            return self._held.get(ref)
        rebased = int(self._latest.rebased[slots[0]])
        return Held(int(self._latest.raw[slots[0]]), rebased) if rebased != NEVER else None

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
            gathered = view.gather(view.present(self._slots[ref]))
            row = view.rows_of(gathered)
            arrival, raw = view.arrival.take(row), view.block.values.take(gathered.place)
            if len(gathered.columns) > 1:
                order = np.argsort(arrival)
                arrival, raw = arrival.take(order), raw.take(order)
            found[ref] = Came(arrival, raw, view.rebased.take(arrival))
        return found[ref]

    def frames(self, view: BlockView, messages: Iterable[int]) -> NDArray[np.int64]:
        """Places of the frames of some messages among those received, in their order."""
        stream_keys = [stream_key for message in messages for stream_key in self._stream_keys_of(message)]
        rows = [view.arrival[slice(*view.rows_of_stream_key(stream_key))] for stream_key in stream_keys]
        arrival = np.concatenate([np.empty(0, np.int64), *rows])
        arrival.sort()
        return arrival

    def _stream_keys_of(self, message: int) -> list[int]:
        stream_keys = self._stream_keys.get(message)
        if stream_keys is None:
            stream_keys = self._stream_keys[message] = (self._signal_index.message == message).nonzero()[0].tolist()
        return stream_keys

    def samples(self, view: BlockView, source: SignalRef | int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rebased times and numbers of a signal or of a message's frames, in the span before and in the block."""
        found = self._looked_up(view).samples
        if source not in found:
            history = self.histories[source]
            if isinstance(source, SignalRef):
                came = self.came(view, source)
                found[source] = history.extended(came.rebased, numeric(source.definition, came.raw).astype(np.float64))
            else:
                rebased = view.rebased.take(self.frames(view, [source]))
                found[source] = history.extended(rebased, np.zeros(len(rebased)))
        return found[source]

    def remember(self, view: BlockView, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), rebased time after it."""
        for ref in self._slots:
            if self._is_shared(ref) and len((came := self.came(view, ref)).raw):
                self._held[ref] = Held(int(came.raw[-1]), int(came.rebased[-1]))
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
    def rebased(self) -> NDArray[np.int64]:
        """int64 (n,): the rebased time of each instant."""
        return self._view.rebased.take(self.arrival)

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
            rebased = np.concatenate([np.array([before.rebased], np.int64), came.rebased]).take(at)
            known = known & (self.rebased - rebased <= self._stale_ns)
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
        return np.where(known, numeric(ref.definition, raw).astype(np.float64), np.nan)

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
        rebased, numbers = self._inputs.samples(self._view, ref)
        came = self._inputs.came(self._view, ref)
        end = len(rebased) - len(came.raw) + came.arrival.searchsorted(self.arrival, side="right")
        begin = np.minimum(rebased.searchsorted(self.rebased - over.span_ns, side="right"), end)
        pairs = np.stack([begin, end], axis=1).ravel()
        reduce = {"min": np.minimum, "max": np.maximum, "mean": np.add}[over.function]
        with np.errstate(invalid="ignore", over="ignore"):
            found: NDArray[np.float64] = reduce.reduceat(np.append(numbers, 0.0), pairs)[::2]
        found[begin == end] = np.nan
        return found / np.maximum(end - begin, 1) if over.function == "mean" else found

    def count(self, count: Count) -> NDArray[np.float64]:
        """As `evaluate.Instants` says."""
        rebased, _ = self._inputs.samples(self._view, count.messages[0])
        frames = self._inputs.frames(self._view, count.messages)
        end = len(rebased) - len(frames) + frames.searchsorted(self.arrival, side="right")
        begin = rebased.searchsorted(self.rebased - count.span_ns, side="right")
        counted: NDArray[np.float64] = np.maximum(end - begin, 0).astype(np.float64)
        return counted
