# SPDX-License-Identifier: Apache-2.0
"""Messages that have stopped: reported as absent when they have been silent for their timeout, and as back when they
return. Nothing of an absent message is ever repeated; its next samples count as changed, whatever they say.

Silence is counted in the rebased time of the message's bus. Where a whole bus is silent, nothing tells the time, and
its messages are reported when it is heard again. A message that has never come is not missed.

The timeout is a rule's `stale_after`. Without one it is three of the cycles that the DBC file gives the message: a bus
under load delays frames, and a gateway drops one now and then.

Limit: a message that does not keep to the cycle of its DBC file would be reported with every frame. After `STOPS_MAX`
stops, each within `STOPS_APART_NS` of the one before, its timeout is doubled; so again after as many. A rule's is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.collect.rebased_time import NEVER
from agent.model import Event, EventKind, split_group_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.signal_index import SignalIndex, Staying
    from agent.model import MessageDefinition


STOPS_MAX = 8
STOPS_APART_NS = 60_000_000_000
EVENTS_MAX = 256
"""Of a block; what is beyond is reported in one, by its number. Messages that a DBC file names come first."""


class AbsenceTimeout(NamedTuple):
    """After how long a stream key counts as absent, 0: never; and whether only its DBC file says so."""

    silence_ns: int
    expected: bool


class AbsenceMonitor:
    """When each stream key was heard last."""

    def __init__(self, signal_index: SignalIndex, timeout_of: Callable[[int], AbsenceTimeout]) -> None:
        self._signal_index = signal_index
        self._timeout_of = timeout_of
        self._stale = np.empty(0, np.int64)
        self._stops: dict[int, tuple[int, int]] = {}
        """Of stream keys of which it is only expected: stops close together so far, and when the last was."""
        self._last = np.empty(0, np.int64)
        self._last_time = np.empty(0, np.int64)
        self._silent = np.empty(0, np.bool_)
        self._returns = np.empty(0, np.int64)
        self._tracked = np.empty(0, np.int64)
        self._bus = np.empty(0, np.int64)
        self._has_returns = False
        signal_index.on_change(self._grow, self._shrink)

    def _grow(self, stream_keys: range) -> None:
        timeouts = [self._timeout_of(stream_key) for stream_key in stream_keys]
        self._stale = np.concatenate([self._stale, np.array([each.silence_ns for each in timeouts], np.int64)])
        self._stops |= {
            stream_key: (0, NEVER) for stream_key, each in zip(stream_keys, timeouts, strict=True) if each.expected
        }
        self._last = np.concatenate([self._last, np.full(len(stream_keys), NEVER, np.int64)])
        self._last_time = np.concatenate([self._last_time, np.zeros(len(stream_keys), np.int64)])
        self._silent = np.concatenate([self._silent, np.zeros(len(stream_keys), np.bool_)])
        self._returns = np.concatenate([self._returns, np.zeros(len(stream_keys), np.int64)])
        self._tracked = self._stale.nonzero()[0]
        self._bus = self._signal_index.bus.take(self._tracked)

    def _shrink(self, staying: Staying) -> None:
        stream_keys = staying.stream_keys
        self._stale, self._silent = self._stale.take(stream_keys), self._silent.take(stream_keys)
        self._last, self._last_time = self._last.take(stream_keys), self._last_time.take(stream_keys)
        self._returns = self._returns.take(stream_keys)
        of = staying.stream_key_of
        self._stops = {int(of[stream_key]): stops for stream_key, stops in self._stops.items() if of[stream_key] >= 0}
        self._tracked = self._stale.nonzero()[0]
        self._bus = self._signal_index.bus.take(self._tracked)

    def observe(self, view: BlockView, now: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, list[Event]]:
        """How often each row's stream key has returned so far, int64 (R,), None where none ever has; and new events.

        now   int64 (buses,), the rebased time after the block
        """
        tracked, events, gaps = self._tracked, list[Event](), list[tuple[int, int]]()
        if not len(tracked):
            return None, events
        for stream_key in tracked.compress(self._overdue(view, now)).tolist():
            gaps += self._look_closer(view, stream_key, int(now[self._signal_index.bus[stream_key]]), events)
        if len(events) > EVENTS_MAX:
            events[EVENTS_MAX - 1 :] = [_summed(events[EVENTS_MAX - 1 :])]
        last = view.block.row_start[1:] - 1
        self._last[view.stream_key] = view.row_rebased.take(last)
        self._last_time[view.stream_key] = view.block.time_ns.take(last)
        if not gaps and not self._has_returns:
            return None, events
        self._has_returns = True
        returns = self._returns.take(view.row_stream_key)
        for row, end in gaps:
            returns[row:end] += 1
            self._returns[view.row_stream_key[row]] += 1
        return returns, events

    def set_clock(self, step_ns: int) -> None:
        """As of `RuleStates`."""
        self._last_time += step_ns

    def _overdue(self, view: BlockView, now: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the tracked stream keys have reached their timeout, in the block or before; not those reported."""
        last = self._last.take(self._tracked)
        overdue = now.take(self._bus) - last > self._stale.take(self._tracked)
        resting = self._silent.take(self._tracked) | (last == NEVER)
        if not resting.any():
            return overdue
        heard = np.zeros(len(self._stale), np.bool_)
        heard[view.stream_key] = True
        heard_now: NDArray[np.bool_] = heard.take(self._tracked)
        return np.where(resting, heard_now, overdue)

    def _look_closer(self, view: BlockView, stream_key: int, now: int, events: list[Event]) -> list[tuple[int, int]]:
        """Report a stream key's absences; for each return the rows from it to the end of the group."""
        block = view.block
        begin, end = view.rows_of_stream_key(stream_key)
        last, last_time = int(self._last[stream_key]), int(self._last_time[stream_key])
        times = np.concatenate([[last], view.row_rebased[begin:end]])
        returns = []
        gaps = np.diff(times)
        is_absence = gaps > self._stale[stream_key]
        is_absence[:1] |= self._silent[stream_key]  # its time may have grown since
        for row in is_absence.nonzero()[0].tolist():
            if times[row] > NEVER:
                if not self._silent[stream_key]:
                    if gaps[row] <= self._stale[stream_key]:
                        continue  # its time has just grown
                    absent_ns = int(block.time_ns[begin + row - 1]) if row else last_time
                    events.append(self._absent(stream_key, int(times[row]), absent_ns))
                events.append(self._event(EventKind.BACK, stream_key, int(block.time_ns[begin + row])))
                returns.append((begin + row, end))
            self._silent[stream_key] = False
        if now - int(times[-1]) > self._stale[stream_key] and not self._silent[stream_key]:
            absent_ns = int(block.time_ns[end - 1]) if end > begin else last_time
            events.append(self._absent(stream_key, int(times[-1]), absent_ns))
            self._silent[stream_key] = True
        return returns

    def _absent(self, stream_key: int, rebased: int, time_ns: int) -> Event:
        """Report that it was heard last at these times; double the timeout of one that stops all the time."""
        if stream_key in self._stops:
            stops, before = self._stops[stream_key]
            stops = stops + 1 if rebased - before <= STOPS_APART_NS else 1
            if stops > STOPS_MAX:
                self._stale[stream_key] *= 2
                stops = 1
            self._stops[stream_key] = stops, rebased
        return self._event(EventKind.ABSENT, stream_key, time_ns)

    def _event(self, kind: EventKind, stream_key: int, time_ns: int) -> Event:
        _, _, can_id = split_group_key(int(self._signal_index.key[stream_key]))
        return Event(
            kind,
            time_ns,
            f"{self._signal_index.bus_name(stream_key)}.{self._signal_index.message_name(stream_key)}",
            can_id,
        )


def _summed(events: Sequence[Event]) -> Event:
    """One event that stands for several."""
    return replace(
        events[0], subject=f"{events[0].subject.partition('.')[0]}.*", can_id=0, detail=f"{len(events)} more"
    )


CYCLES_MISSED = 3
SILENCE_NS_MIN = 100_000_000
"""Fast messages share the bus with others, and the units that send them are busy at times."""
_MS = 1_000_000


def stopped_after_ns(message: MessageDefinition) -> int:
    """After how long a silence a message has stopped; 0: never, for it is not sent in cycles, or not all the time."""
    return max(CYCLES_MISSED * message.cycle_ms * _MS, SILENCE_NS_MIN) if message.cyclic and message.cycle_ms else 0
