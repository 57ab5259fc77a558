# SPDX-License-Identifier: Apache-2.0
"""A vehicle's batches to the numbers of a report.

Promise: counts are those of the vehicle's `export`: each batch once, frames at the times that they should have had.
Limits: a trace of two numbers a column for each signal that occurs; batches are held one at a time.
Failure: a batch that cannot be read is left out, and is among the problems.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.cli.report_page.axis import PAUSE_NS, Axis
from agent.cli.report_page.message_bytes import MessageBytes
from agent.cli.report_page.trace import Trace
from agent.errors import AgentError
from agent.model import RAW_SIGNALS
from agent.receiver.export import chosen, corrections, named_gaps
from agent.uplink.cellular.budget import on_wire_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from agent.model import Event, MessageDefinition
    from agent.receiver.export import Correction
    from agent.receiver.gaps import NamedGap
    from agent.receiver.inventory import Inventory, Opened, Problem
    from agent.receiver.windows import WindowPart

TOPIC_BYTES = len("canferry//batch")
"""Of the default topic, without the vehicle's id."""
_RUN_MIN = 2


@dataclass(slots=True)
class MessageSummary:
    """One arbitration id on one bus.

    can_id         arbitration id word
    message        None for raw frames of an unknown id
    period_ns      the frames' own median distance, over all batches; 0 where there were never two in a batch
    silence_ns     the longest time between two of its frames within a drive
    size_bytes     its share of the batches
    traces         by the signal's number; those that occurred
    """

    bus: str
    can_id: int
    message: MessageDefinition | None
    frames: int = 0
    silence_ns: int = 0
    size_bytes: float = 0.0
    traces: dict[int, Trace] = field(default_factory=dict)
    _periods_ns: float = 0.0
    _distances: int = 0
    _last_ns: dict[str, int] = field(default_factory=dict)

    @property
    def period_ns(self) -> float:
        """The batches' medians, each as heavy as its frames."""
        return self._periods_ns / self._distances if self._distances else 0.0

    def add(self, part: WindowPart, stream: str, columns: NDArray[np.int64], width: int) -> None:
        """Add a batch's frames; `columns` are theirs of the `width` that there are."""
        self.frames += len(part.rows)
        self._add_times(part.time_ns, stream)
        signals = part.message.signals if part.message else RAW_SIGNALS
        for shaped in part.shaped():
            own = columns[shaped.index]
            order = np.argsort(own, kind="stable") if (np.diff(own) < 0).any() else None
            own = own if order is None else own[order]
            starts = np.flatnonzero(np.diff(own, prepend=-1))
            for number in shaped.signals:
                raw = shaped.raw(number)
                trace = self.traces.get(number)
                if trace is None:
                    trace = self.traces[number] = Trace.of(signals[number], width)
                trace.add(raw if order is None else raw[order], own[starts], starts)

    def _add_times(self, time_ns: NDArray[np.int64], stream: str) -> None:
        if len(time_ns) >= _RUN_MIN:
            self._periods_ns += float(np.median(np.diff(time_ns))) * (len(time_ns) - 1)
            self._distances += len(time_ns) - 1
        before = self._last_ns.get(stream)
        apart = np.diff(time_ns) if before is None else np.diff(time_ns, prepend=before)
        within = apart[apart <= PAUSE_NS]
        self.silence_ns = max(self.silence_ns, int(within.max(initial=0)))
        self._last_ns[stream] = int(time_ns[-1])


@dataclass(frozen=True, slots=True)
class UnknownFrames:
    """Frames of an arbitration id word that no DBC file of the bus describes, and that were not kept."""

    bus: str
    can_id: int
    frames: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What the batches of one vehicle come to.

    traffic        frames in each column, int64 (columns,), by bus
    on_wire_bytes  about what the batches take of a data plan: `size_bytes` and what MQTT, TLS and TCP add
    measured_batches        how many batches the messages' shares of bytes were measured in
    """

    vehicle: str
    axis: Axis
    batches: int
    duplicates: int
    frames: int
    size_bytes: int
    on_wire_bytes: int
    measured_batches: int
    messages: tuple[MessageSummary, ...]
    traffic: Mapping[str, NDArray[np.int64]]
    unknown: tuple[UnknownFrames, ...]
    gaps: tuple[NamedGap, ...]
    events: tuple[Event, ...]
    corrections: tuple[Correction, ...]
    problems: tuple[Problem, ...]

    @property
    def samples(self) -> int:
        """Signal values in all frames that a DBC file describes."""
        return sum(trace.samples for each in self.messages if each.message for trace in each.traces.values())


def survey(
    inventory: Inventory, vehicle: str | None = None, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Survey:
    """One vehicle's totals; raises `AgentError` where there is no frame of it.

    on_progress: gets how many batches are done, and of how many
    """
    vehicle = chosen(inventory, vehicle)
    found = sorted(inventory.exportable(vehicle), key=lambda each: each.id)
    axis = Axis((stretch.begin_ns, stretch.end_ns) for each in found for stretch in each.time_ranges)
    if not axis.drives:
        reasons = "; ".join(map(str, inventory.problems[:3])) or "the batches hold no frame"
        raise AgentError(f"nothing to report of {vehicle}: {reasons}")
    totals = _Totals(axis, MessageBytes(len(found)))
    for done, each in enumerate(found):
        on_progress(done, len(found))
        opened = inventory.open(each.id)
        if opened is not None:
            totals.add(opened)
    everything = [each for each in inventory.batches.values() if each.id.vehicle == vehicle]
    return Survey(
        vehicle=vehicle,
        axis=axis,
        batches=len(everything),
        duplicates=inventory.duplicates,
        frames=sum(each.frames for each in totals.messages.values()),
        size_bytes=totals.message_bytes.total_bytes,
        on_wire_bytes=totals.on_wire_bytes,
        measured_batches=totals.message_bytes.measured_batches,
        messages=totals.summaries(),
        traffic=totals.traffic,
        unknown=tuple(UnknownFrames(bus, can_id, frames) for (bus, can_id), frames in sorted(totals.unknown.items())),
        gaps=named_gaps(everything),
        events=tuple(sorted((event for each in found for event in each.events), key=lambda event: event.time_ns)),
        corrections=corrections(everything),
        problems=tuple(inventory.problems),
    )


class _Totals:
    """Sums over the batches added so far."""

    def __init__(self, axis: Axis, message_bytes: MessageBytes) -> None:
        self.message_bytes = message_bytes
        self.messages: dict[object, MessageSummary] = {}
        self.traffic: dict[str, NDArray[np.int64]] = {}
        self.unknown: Counter[tuple[str, int]] = Counter()
        self.on_wire_bytes = 0
        self._axis = axis

    def add(self, opened: Opened) -> None:
        """Add a batch."""
        batch, width = opened.batch, self._axis.columns
        keys: list[object] = []
        for part in opened.parts:
            key = (part.bus, part.group.can_id, part.message)
            keys.append(key)
            if key not in self.messages:
                self.messages[key] = MessageSummary(part.bus, part.group.can_id, part.message)
            columns = self._axis.columns_of(part.time_ns)
            self.messages[key].add(part, batch.id.stream, columns, width)
            counts = np.bincount(columns, minlength=width)
            self.traffic[part.bus] = self.traffic.get(part.bus, 0) + counts
        self.message_bytes.add(batch, opened.size_bytes, keys, opened.catalog.messages)
        self.on_wire_bytes += on_wire_bytes(opened.size_bytes, TOPIC_BYTES + len(batch.id.vehicle))
        buses = opened.catalog.buses
        for count in batch.unknown:
            if count.bus < len(buses):
                self.unknown[buses[count.bus], count.can_id] += count.frames

    def summaries(self) -> tuple[MessageSummary, ...]:
        """By bus, then name, then id; unknown ids at the end of their bus."""
        for key, size_bytes in self.message_bytes.shares().items():
            self.messages[key].size_bytes = size_bytes
        return tuple(sorted(self.messages.values(), key=_place))


def _place(each: MessageSummary) -> tuple[str, bool, str, int]:
    name = each.message.name if each.message else ""
    return each.bus, each.message is None, name, each.can_id
