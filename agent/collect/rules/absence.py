# SPDX-License-Identifier: Apache-2.0
"""Messages that have stopped: told as absent when they have been silent for their time, and as back when they
return. Nothing of an absent message is ever repeated; its next samples count as changed, whatever they say.

Silence is counted on the steady clock of the message's bus. Where a whole bus is silent, nothing tells the time, and
its messages are told when it is heard again.

Limit: a message that does not keep to the cycle that its DBC file gives it would be told with every frame. After
`STOPS_MAX` stops, each within `STOPS_APART_NS` of the one before, it is given twice the time; so again after as many.
What a rule says is kept to.
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
"""Of a block; what is beyond is told in one, by its number. Messages that a DBC file names come first."""


class AbsenceTimeout(NamedTuple):
    """After how long a lane counts as silent, 0: never; and whether that is only what its DBC file makes one expect."""

    silence_ns: int
    expected: bool


class AbsenceMonitor:
    """When each lane was heard last."""

    def __init__(self, roster: SignalIndex, patience_of: Callable[[int], AbsenceTimeout]) -> None:
        self._roster = roster
        self._patience_of = patience_of
        self._stale = np.empty(0, np.int64)
        self._stops: dict[int, tuple[int, int]] = {}
        """Of lanes of which it is only expected: stops close together so far, and when the last was."""
        self._last = np.empty(0, np.int64)
        self._last_time = np.empty(0, np.int64)
        self._silent = np.empty(0, np.bool_)
        self._returns = np.empty(0, np.int64)
        self._tracked = np.empty(0, np.int64)
        self._bus = np.empty(0, np.int64)
        self._has_returns = False
        roster.on_change(self._grow, self._shrink)

    def _grow(self, lanes: range) -> None:
        patience = [self._patience_of(lane) for lane in lanes]
        self._stale = np.concatenate([self._stale, np.array([each.silence_ns for each in patience], np.int64)])
        self._stops |= {lane: (0, NEVER) for lane, each in zip(lanes, patience, strict=True) if each.expected}
        self._last = np.concatenate([self._last, np.full(len(lanes), NEVER, np.int64)])
        self._last_time = np.concatenate([self._last_time, np.zeros(len(lanes), np.int64)])
        self._silent = np.concatenate([self._silent, np.zeros(len(lanes), np.bool_)])
        self._returns = np.concatenate([self._returns, np.zeros(len(lanes), np.int64)])
        self._tracked = self._stale.nonzero()[0]
        self._bus = self._roster.bus.take(self._tracked)

    def _shrink(self, staying: Staying) -> None:
        lanes = staying.lanes
        self._stale, self._silent = self._stale.take(lanes), self._silent.take(lanes)
        self._last, self._last_time = self._last.take(lanes), self._last_time.take(lanes)
        self._returns = self._returns.take(lanes)
        of = staying.lane_of
        self._stops = {int(of[lane]): stops for lane, stops in self._stops.items() if of[lane] >= 0}
        self._tracked = self._stale.nonzero()[0]
        self._bus = self._roster.bus.take(self._tracked)

    def observe(self, view: BlockView, now: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, list[Event]]:
        """How often each row's lane has returned so far, int64 (R,), None where none ever has; and new events.

        now   int64 (buses,), the steady time after the block
        """
        tracked, events, gaps = self._tracked, list[Event](), list[tuple[int, int]]()
        if not len(tracked):
            return None, events
        for lane in tracked.compress(self._overdue(view, now)).tolist():
            gaps += self._look_closer(view, lane, int(now[self._roster.bus[lane]]), events)
        if len(events) > EVENTS_MAX:
            events[EVENTS_MAX - 1 :] = [_summed(events[EVENTS_MAX - 1 :])]
        last = view.block.row_start[1:] - 1
        self._last[view.lane] = view.row_steady.take(last)
        self._last_time[view.lane] = view.block.time_ns.take(last)
        if not gaps and not self._has_returns:
            return None, events
        self._has_returns = True
        returns = self._returns.take(view.row_lane)
        for row, end in gaps:
            returns[row:end] += 1
            self._returns[view.row_lane[row]] += 1
        return returns, events

    def set_clock(self, step_ns: int) -> None:
        """As of `gates.Gates`."""
        self._last_time += step_ns

    def _overdue(self, view: BlockView, now: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the tracked lanes have been silent for their time, in the block or before it, and not told yet."""
        last = self._last.take(self._tracked)
        overdue = now.take(self._bus) - last > self._stale.take(self._tracked)
        resting = self._silent.take(self._tracked) | (last == NEVER)
        if not resting.any():
            return overdue
        heard = np.zeros(len(self._stale), np.bool_)
        heard[view.lane] = True
        heard_now: NDArray[np.bool_] = heard.take(self._tracked)
        return np.where(resting, heard_now, overdue)

    def _look_closer(self, view: BlockView, lane: int, now: int, events: list[Event]) -> list[tuple[int, int]]:
        """Tell what a lane's silences were; for each return the rows from it to the end of the group."""
        block = view.block
        begin, end = view.rows_of_lane(lane)
        last, last_time = int(self._last[lane]), int(self._last_time[lane])
        times = np.concatenate([[last], view.row_steady[begin:end]])
        returns = []
        gaps = np.diff(times)
        silences = gaps > self._stale[lane]
        silences[:1] |= self._silent[lane]  # its time may have grown since
        for row in silences.nonzero()[0].tolist():
            if times[row] > NEVER:
                if not self._silent[lane]:
                    if gaps[row] <= self._stale[lane]:
                        continue  # its time has just grown
                    absent_ns = int(block.time_ns[begin + row - 1]) if row else last_time
                    events.append(self._absent(lane, int(times[row]), absent_ns))
                events.append(self._event(EventKind.BACK, lane, int(block.time_ns[begin + row])))
                returns.append((begin + row, end))
            self._silent[lane] = False
        if now - int(times[-1]) > self._stale[lane] and not self._silent[lane]:
            absent_ns = int(block.time_ns[end - 1]) if end > begin else last_time
            events.append(self._absent(lane, int(times[-1]), absent_ns))
            self._silent[lane] = True
        return returns

    def _absent(self, lane: int, steady: int, time_ns: int) -> Event:
        """Tell that it was heard last at these times; who stops all the time is given more of it."""
        if lane in self._stops:
            stops, before = self._stops[lane]
            stops = stops + 1 if steady - before <= STOPS_APART_NS else 1
            if stops > STOPS_MAX:
                self._stale[lane] *= 2
                stops = 1
            self._stops[lane] = stops, steady
        return self._event(EventKind.ABSENT, lane, time_ns)

    def _event(self, kind: EventKind, lane: int, time_ns: int) -> Event:
        _, _, can_id = split_group_key(int(self._roster.key[lane]))
        return Event(kind, time_ns, f"{self._roster.bus_name(lane)}.{self._roster.message_name(lane)}", can_id)


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
