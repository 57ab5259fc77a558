# SPDX-License-Identifier: Apache-2.0
"""The clocks that frames are timed by, and where what is open (a batch, a block) has to end because of them.

Mostly all buses go by one clock. An adapter may have its own, and a recorded log may hold what two units recorded, or
two parts of one that stamp frames differently: then times go back and forth with every frame, and nobody has set
anything. So each bus is followed by itself: its frames go on from the times that it had before, from up to
`CLOCKS_MAX` of them.

    A   1700000000.0          .1          .2          what is open spans 0.2 s by either clock
    B              12345.0        12345.1

What is open ends before frames that

    - go on from none of their bus's times: its clock was set, if the bus has been heard in what is open
    - come the interval after the first of their bus in it, or of any bus that goes by the same clock

Two buses go by the same clock while the one that is heard is neither behind what was heard of the other, by more than
`BACKWARD_NS_MAX`, nor was before.

Promise: within what is open the times of each bus and clock run on, and none spans the interval. However two buses are
interleaved, what is ended is ended for one of them, which alone would have ended it as well.
Limits: of buses with clocks of their own each spans its interval; together they may take longer. A clock that a bus has
left for longer than the interval, by that clock, is not known again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.model import FrameBlock

BACKWARD_NS_MAX = 1_000_000_000
"""Buses that are read apart may differ by this much without the clock having been set back."""
CLOCKS_MAX = 4
"""So many are remembered of a bus; of more the one that it has not gone by for the longest time is forgotten."""


class BusSpan(NamedTuple):
    """Earliest and latest time of frames of a bus which follow each other by one clock."""

    bus: int
    begin_ns: int
    end_ns: int


def spans_of(frames: FrameBlock) -> tuple[BusSpan, ...]:
    """Of some frames, by bus and time: a bus has several where its times are further apart than buses may differ."""
    (buses,) = np.bincount(frames.bus).nonzero()
    if len(buses) == 1:
        return tuple(_runs(int(buses[0]), frames.time_ns))
    return tuple(span for bus in buses.tolist() for span in _runs(bus, frames.time_ns[frames.bus == bus]))


def _runs(bus: int, time_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[BusSpan]:
    begin, end = int(time_ns.min()), int(time_ns.max())
    if end - begin <= BACKWARD_NS_MAX:
        yield BusSpan(bus, begin, end)
        return
    ordered = np.sort(time_ns)
    lasts = np.flatnonzero(np.diff(ordered) > BACKWARD_NS_MAX)
    ends = [*ordered[lasts].tolist(), end]
    yield from map(BusSpan, [bus] * len(ends), [begin, *ordered[lasts + 1].tolist()], ends)


@dataclass(slots=True, eq=False)
class _Clock:
    """One that a bus goes by.

    last_ns   the latest that was heard of it
    begin_ns  the first in what is open; None: not heard in it
    apart     what is open has another bus that does not go by it
    """

    last_ns: int
    begin_ns: int | None = None
    apart: bool = False


class BusClocks:
    """Follows the times of frames in the order received. `interval_ns`: how much what is open may span."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._of_bus: dict[int, list[_Clock]] = {}  # the one gone by last at the end
        self._placed: list[tuple[_Clock, BusSpan]] = []

    def ends(self, spans: Sequence[BusSpan]) -> bool:
        """Whether what is open ends before frames of these times, which come now."""
        return self._place(spans)

    def update(self, spans: Sequence[BusSpan]) -> None:
        """Frames of these times come now, and what has to end before them has ended."""
        self._place(spans)
        for clock, span in self._placed:
            self._follow(clock, span)

    def include(self) -> None:
        """What was heard last is in what is open."""
        for clock, span in self._placed:
            clock.begin_ns = span.begin_ns if clock.begin_ns is None else min(clock.begin_ns, span.begin_ns)

    def clear(self) -> None:
        """What was open has ended: nothing is open."""
        for clocks in self._of_bus.values():
            for clock in clocks:
                clock.begin_ns, clock.apart = None, False

    def _known(self, span: BusSpan) -> _Clock | None:
        """The clock of the bus that these times go on from."""
        going_on = [
            clock
            for clock in self._of_bus.get(span.bus, ())
            if -BACKWARD_NS_MAX <= span.begin_ns - clock.last_ns < self._interval_ns
        ]
        return min(going_on, key=lambda clock: abs(span.begin_ns - clock.last_ns), default=None)

    def _place(self, spans: Iterable[BusSpan]) -> bool:
        """Beside what is open, and each other: `_placed` anew, and whether any does not belong there."""
        self._placed = []
        ends = False
        for span in spans:
            clock = self._known(span)
            ends |= self._ends(clock, span) if clock else self._ends_of_set_clock(span)
            self._placed.append((clock or _Clock(span.end_ns, apart=not self._fits(span)), span))
        return ends

    def _ends(self, clock: _Clock, span: BusSpan) -> bool:
        """By what its own bus spans, or another by the same clock; a clock that turns out another one is apart."""
        if clock.begin_ns is not None and span.end_ns - clock.begin_ns >= self._interval_ns:
            return True
        if not clock.apart and (together := self._together(clock)):
            begin_ns, end_ns = together
            was_ahead = clock.begin_ns is None and clock.last_ns > end_ns + BACKWARD_NS_MAX
            if was_ahead or span.begin_ns < end_ns - BACKWARD_NS_MAX:
                clock.apart = True
            else:
                return span.end_ns - begin_ns >= self._interval_ns
        return False

    def _ends_of_set_clock(self, span: BusSpan) -> bool:
        clocks = self._of_bus.get(span.bus, ())
        return any(clock.begin_ns is not None for clock in clocks) or not self._fits(span)

    def _fits(self, span: BusSpan) -> bool:
        """Whether it may be of the clock that others in what is open go by, and within its interval."""
        if not (together := self._together()):
            return True
        begin_ns, end_ns = together
        return span.end_ns - begin_ns < self._interval_ns and span.begin_ns >= end_ns - BACKWARD_NS_MAX

    def _together(self, but: _Clock | None = None) -> tuple[int, int] | None:
        """First and latest time of what is open, heard now or before, by the clocks but this that are not apart."""
        spans = [
            (clock.begin_ns, clock.last_ns)
            for clocks in self._of_bus.values()
            for clock in clocks
            if clock.begin_ns is not None and not clock.apart and clock is not but
        ]
        spans += [span[1:] for clock, span in self._placed if not clock.apart and clock is not but]
        return (min(begin for begin, _ in spans), max(end for _, end in spans)) if spans else None

    def _follow(self, clock: _Clock, span: BusSpan) -> None:
        """The bus goes by this clock now; one that it has caught up with is the same."""
        clock.last_ns = max(clock.last_ns, span.end_ns)
        others = []
        for other in self._of_bus.get(span.bus, ()):
            if other is clock:
                continue
            if abs(other.last_ns - clock.last_ns) > BACKWARD_NS_MAX:
                others.append(other)
            elif other.begin_ns is not None:
                clock.begin_ns = min(other.begin_ns, other.begin_ns if clock.begin_ns is None else clock.begin_ns)
        self._of_bus[span.bus] = [*others[1 - CLOCKS_MAX :], clock]
