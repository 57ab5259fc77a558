# SPDX-License-Identifier: Apache-2.0
"""What a batch holds, as its writer gives it and its reader gets it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.model import ClockReading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.model import BatchId, Event, Gap


UNKNOWN_CLOCK = ClockReading()


@dataclass(frozen=True, slots=True)
class UnknownCount:
    """Frames of one arbitration id word on one bus (index into the catalog's) that no DBC knows."""

    bus: int
    can_id: int
    frames: int


@dataclass(frozen=True, slots=True)
class Header:
    """All of a batch but its rows.

    catalog        hash of the catalog that the numbers refer to, 32 hexadecimal digits
    resolution_ns  time unit of the rows
    opened_ns, sealed_ns   wall clock of the first and the last frame
    frames         data frames received in that time, known or not; of a vehicle's streams only one counts them
    partial        frames decoded only in part: (group key, `decode.plan.Defect`) to how many
    """

    id: BatchId
    catalog: str
    resolution_ns: int
    opened_ns: int
    sealed_ns: int
    frames: int
    clock: ClockReading = UNKNOWN_CLOCK
    gaps: tuple[Gap, ...] = ()
    unknown: tuple[UnknownCount, ...] = ()
    partial: dict[tuple[int, int], int] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """All frames of one arbitration id on one bus.

    message   index into the catalog's messages; -1: raw frames, whose signals are the payload's bytes 0…63
    bus       index into the catalog's buses
    can_id    arbitration id word as seen on the bus
    time_ns   int64 (n,)
    shape     uint32 (n,), index into `shapes`: the signals that a frame carries, ascending
    columns   signal index to uint64 raw field bits, one for each row that carries the signal
    """

    message: int
    bus: int
    can_id: int
    time_ns: NDArray[np.int64]
    shape: NDArray[np.uint32]
    shapes: tuple[tuple[int, ...], ...]
    columns: dict[int, NDArray[np.uint64]]

    def rows(self, signal: int) -> NDArray[np.int64]:
        """The rows that the signal's column belongs to."""
        carries = np.array([_carries(shape, signal) for shape in self.shapes], np.bool_)
        return np.flatnonzero(carries[self.shape])


def _carries(shape: tuple[int, ...], signal: int) -> bool:
    place = bisect_left(shape, signal)
    return place < len(shape) and shape[place] == signal


@dataclass(frozen=True, slots=True)
class Batch(Header):
    """A batch as a reader sees it: the header's fields, and the groups."""

    groups: tuple[Group, ...] = ()
