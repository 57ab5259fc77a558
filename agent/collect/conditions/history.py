# SPDX-License-Identifier: Apache-2.0
"""What conditions look at: for each signal the value it came with last and, where a condition looks back over a
span of time, its samples of that span; for each message that is counted, when its frames came.

Limits: of a signal or message no more than `SAMPLES_MAX` samples are remembered, the latest ones; a span that holds
more is cut short by that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.collect.conditions.binding import is_counted, key_offset
from agent.collect.conditions.evaluate import key_numbers
from agent.collect.conditions.syntax import SignalRef
from agent.collect.steady_clock import NEVER
from agent.physical import numeric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.conditions.syntax import Count, Over
    from agent.collect.signal_index import LastSamples, SignalIndex, Staying

SAMPLES_MAX = 100_000
_BLOCKS_WAITING_MAX, _SAMPLES_WAITING_MAX = 64, 1024
"""Of no more blocks, and samples, a chunk is made; of what comes in a span of time at most."""
_LANES_FEW = 4
"""Of no more lanes than these the frames are looked for; of more, all frames are put in order."""


@dataclass(frozen=True, slots=True)
class Held:
    """The value a signal came with last: raw, and the steady time of its frame."""

    raw: int
    steady: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Samples of some blocks: steady times, numbers, the last time, and the least and the greatest number."""

    steady: NDArray[np.int64]
    numbers: NDArray[np.float64]
    last: int
    low: float
    high: float


class History:
    """Samples of a span of time: steady times, and numbers (of a message's frames: zeros).

    What comes in a block waits as it is until it is asked for, or there is enough of it to make a chunk of.
    """

    def __init__(self, numbers: Callable[[NDArray[Any]], NDArray[np.float64]]) -> None:
        self.span_ns = 0
        self.buses: set[int] = set()
        self._numbers = numbers
        self._chunks: deque[_Chunk] = deque()
        self._now = np.empty(0, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
        self._waiting_samples = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length + self._waiting_samples

    def extend(self, steady: NDArray[np.int64], raw: NDArray[Any], now: NDArray[np.int64]) -> None:
        """Take in the samples of a block. `now`: int64 (buses,), steady time after it."""
        self._now = now
        if not len(steady):
            return
        self._waiting.append((steady.copy(), raw.copy()))
        self._waiting_samples += len(steady)
        if (
            int(steady[-1]) - int(self._waiting[0][0][0]) >= self.span_ns
            or len(self._waiting) >= _BLOCKS_WAITING_MAX
            or self._waiting_samples >= _SAMPLES_WAITING_MAX
        ):
            self._settle()

    def _settle(self) -> None:
        """Make a chunk of what waits; drop what no instant to come looks back to."""
        chunks = self._chunks
        if self._waiting:
            steady = np.concatenate([each for each, _ in self._waiting])
            numbers = self._numbers(np.concatenate([each for _, each in self._waiting]))
            chunks.append(_Chunk(steady, numbers, int(steady[-1]), float(numbers.min()), float(numbers.max())))
            self._length += len(steady)
            self._waiting, self._waiting_samples = [], 0
        if not chunks:
            return
        horizon = min(int(self._now[bus]) for bus in self.buses) - self.span_ns
        while chunks and (chunks[0].last <= horizon or self._length - len(chunks[0].steady) >= SAMPLES_MAX):
            self._length -= len(chunks.popleft().steady)

    def samples(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steady times and numbers of all."""
        self._settle()
        chunks = self._chunks
        if not chunks:
            return np.empty(0, np.int64), np.empty(0)
        return np.concatenate([each.steady for each in chunks]), np.concatenate([each.numbers for each in chunks])

    def extent(self, low: float, high: float) -> tuple[float, float]:
        """The least and the greatest number, of these two and its own."""
        self._settle()
        chunks = self._chunks
        return min([low, *(each.low for each in chunks)]), max([high, *(each.high for each in chunks)])

    def count_since(self, steady: int) -> int:
        """How many samples are later than a steady time."""
        count = 0
        for times in chain(
            (each for each, _ in reversed(self._waiting)), (each.steady for each in reversed(self._chunks))
        ):
            if times[0] <= steady:
                return count + len(times) - int(times.searchsorted(steady, side="right"))
            count += len(times)
        return count

    def times(self) -> NDArray[np.int64]:
        """Steady times of all."""
        return np.concatenate(
            [np.empty(0, np.int64), *(each.steady for each in self._chunks), *(steady for steady, _ in self._waiting)]
        )


@dataclass(frozen=True, slots=True)
class Came:
    """A signal's samples in a block, in the order received: place of the frame, raw value, steady time."""

    arrival: NDArray[np.int64]
    raw: NDArray[np.uint64]
    steady: NDArray[np.int64]


class Inputs:
    """The signals and messages of all conditions. `latest` is of before the block at hand."""

    def __init__(self, roster: SignalIndex, latest: LastSamples) -> None:
        self.histories: dict[SignalRef | int, History] = {}
        self._roster = roster
        self._latest = latest
        self._held: dict[SignalRef, Held] = {}  # of those of `_shared`, also where who sent them has left
        self._channels: dict[SignalRef, list[int]] = {}
        self._shared: list[SignalRef] = []  # those that more than one lane may carry
        self._lanes: dict[int, list[int]] = {}
        self._seen: BlockView | None = None
        self._came: dict[SignalRef, Came] = {}
        roster.on_change(self._grow, self._grow)

    def watch(self, refs: Iterable[SignalRef], overs: Iterable[Over], counts: Iterable[Count], buses: set[int]) -> None:
        """Remember what one condition needs; `buses` are those of its messages."""
        self._channels |= {ref: self._found(ref) for ref in refs}
        self._shared = [ref for ref in self._channels if self._is_shared(ref)]
        spans = [(over.signal.ref, over.span_ns) for over in overs]  # type: ignore[union-attr]
        for source, span_ns in [*spans, *((count.messages[0], count.span_ns) for count in counts)]:
            history = self.histories.setdefault(source, History(_numbers_of(source)))
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

    def came(self, view: BlockView, ref: SignalRef) -> Came:
        """A signal's samples in a block; those of the block at hand are found once for all who ask."""
        if view is not self._seen:
            self._seen, self._came = view, {}
        if ref not in self._came:
            self._came[ref] = self._find(view, ref)
        return self._came[ref]

    def _find(self, view: BlockView, ref: SignalRef) -> Came:
        channels = self._channels[ref]
        gathered = view.gather(view.present(channels))
        at, row = gathered.place, view.rows_of(gathered)
        if len(gathered.columns) == 1:
            lane = int(self._roster.lane[view.channel[gathered.columns[0]]])
            arrival = view.frames_of(lane).take(row - view.rows_of_lane(lane)[0])
        else:
            arrival = view.arrival.take(row)
            order = np.argsort(arrival)
            at, row, arrival = at.take(order), row.take(order), arrival.take(order)
        return Came(arrival, view.block.values.take(at), view.row_steady.take(row))

    def _lanes_of(self, message: int) -> list[int]:
        lanes = self._lanes.get(message)
        if lanes is None:
            lanes = self._lanes[message] = (self._roster.message == message).nonzero()[0].tolist()
        return lanes

    def frames(self, view: BlockView, messages: Iterable[int]) -> NDArray[np.int64]:
        """Places of the frames of some messages among those received, in their order."""
        lanes = [lane for message in messages for lane in self._lanes_of(message) if view.has_lane(lane)]
        if len(lanes) == 1:
            return view.frames_of(lanes[0])
        of_lane = (
            view.frames_of if len(lanes) <= _LANES_FEW else lambda lane: view.arrival[slice(*view.rows_of_lane(lane))]
        )
        arrival = np.concatenate([np.empty(0, np.int64), *map(of_lane, lanes)])
        arrival.sort()
        return arrival

    def frame_times(self, view: BlockView, message: int) -> NDArray[np.int64]:
        """int64: the steady times of a message's frames in a block, in the order received."""
        lanes = self._lanes_of(message)
        if len(lanes) == 1:
            return view.row_steady[slice(*view.rows_of_lane(lanes[0]))]
        return view.steady.take(self.frames(view, [message]))

    def remember(self, view: BlockView, now: NDArray[np.int64]) -> None:
        """What the block leaves behind. `now`: int64 (buses,), steady time after it."""
        for ref in self._shared:
            if len((came := self.came(view, ref)).raw):
                self._held[ref] = Held(int(came.raw[-1]), int(came.steady[-1]))
        for source, history in self.histories.items():
            if isinstance(source, SignalRef):
                raw, steady = self._samples(view, source)
                history.extend(steady, raw, now)
            else:
                steady = self.frame_times(view, source)
                history.extend(steady, steady, now)
        self._seen, self._came = None, {}

    def _samples(self, view: BlockView, ref: SignalRef) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Raw values and steady times of a signal's samples in a block, in the order received."""
        channels = self._channels[ref]
        if len(channels) == 1:
            return view.samples(channels[0])
        came = self.came(view, ref)
        return came.raw, came.steady


def numbers_of(ref: SignalRef, raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The numbers that raw values of a signal stand for, scale not applied."""
    if is_counted(ref.definition):
        return key_numbers(ref, raw ^ np.uint64(key_offset(ref.definition)))
    numbers: NDArray[np.float64] = numeric(ref.definition, raw).astype(np.float64)
    return numbers


def _numbers_of(source: SignalRef | int) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """Of raw values of a signal; of a message's frames zeros."""
    return partial(numbers_of, source) if isinstance(source, SignalRef) else lambda frames: np.zeros(len(frames))


class BlockInstants:
    """The instants of one condition in a block, as `condition.Instants`.

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
        came, held = self.came(ref), self._inputs.held(ref)
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
        came, held = self.came(ref), self._inputs.held(ref)
        differs = np.empty(len(came.raw), np.bool_)
        np.not_equal(came.raw[1:], came.raw[:-1], out=differs[1:])
        differs[:1] = held is not None and came.raw[:1] != held.raw
        changed = np.zeros(len(self), np.bool_)
        changed[self.arrival.searchsorted(came.arrival)] = differs
        return changed

    def over(self, over: Over, ref: SignalRef) -> NDArray[np.float64]:
        """As `condition.Instants` says."""
        came, history = self.came(ref), self._inputs.histories[ref]
        steady, numbers = history.samples()
        steady = np.concatenate([steady, came.steady])
        numbers = np.concatenate([numbers, numbers_of(ref, came.raw), [0.0]])
        end = len(history) + came.arrival.searchsorted(self.arrival, side="right")
        begin = np.minimum(steady.searchsorted(self.steady - over.span_ns, side="right"), end)
        pairs = np.stack([begin, end], axis=1).ravel()
        reduce = {"min": np.minimum, "max": np.maximum, "mean": np.add}[over.function]
        with np.errstate(invalid="ignore", over="ignore"):
            found = reduce.reduceat(numbers, pairs)[::2]
        found[begin == end] = np.nan
        return found / np.maximum(end - begin, 1) if over.function == "mean" else found

    def count(self, count: Count) -> NDArray[np.float64]:
        """As `condition.Instants` says."""
        history = self._inputs.histories[count.messages[0]]
        frames = self._inputs.frames(self._view, count.messages)
        steady = np.concatenate([history.times(), self._view.steady.take(frames)])
        end = len(history) + frames.searchsorted(self.arrival, side="right")
        begin = steady.searchsorted(self.steady - count.span_ns, side="right")
        counted: NDArray[np.float64] = np.maximum(end - begin, 0).astype(np.float64)
        return counted
