# SPDX-License-Identifier: Apache-2.0
"""From frames to stored batches: decode, collect, and hand each priority what it keeps. Synchronous, for one thread.

    FrameBlock ─ decode ─► SignalBlock ─ collect ─► critical ─► stream ─► store
                                              ├───► normal ───► stream ─► store
                                              └───► bulk ─────► stream ─► store

Without rules and triggers everything is kept with the priority "normal". With them one priority *reports*: its stream
carries how many frames were received, unknown or decoded in part, and what is missing, for all of them.

Batches follow the frames' own clock: the same frames in the same blocks make the same batches, live or replayed. The
unit's clocks are read with each block, so that a batch says by what clocks its frames were timed.

Promise: what is kept of the frames is in the journals when `process` returns. Journals are appended to by falling
priority, the reporting one last: what it holds the others hold, and after a kill the gap begins where its entries end.
What rules hold back until an interval is over is not kept yet: a kill loses what open intervals would have closed with,
and the samples that a trigger's window was still to get. `seal` closes the intervals first, so that a clean end, or a
bus that falls silent, loses nothing. Over a reload that does not concern it a collector goes on, with all that it holds
(`hand_over`).

Limits: a block of frames is cut so that it fits one batch even if nothing in it compresses.

Failure: a SpoolError of a store ends the process: restarting is the recovery.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from agent.blocks import split_frames
from agent.config.priorities import Priority
from agent.decode.plan import Defect
from agent.model import SignalBlock
from agent.pipeline.clock_steps import ClockSteps
from agent.pipeline.open_batch import PART_COLUMNS_MAX, Part
from agent.pipeline.stream import StreamCounters
from agent.system.bus_clocks import spans_of
from agent.system.clock import read, times_frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch
    from agent.collect.collector import Collector, Kept
    from agent.collect.integrity.verify import IntegrityCounters
    from agent.decode.decoder import Decoded, Decoder
    from agent.model import ClockReading, FrameBlock, Gap, SealedBatch
    from agent.pipeline.stream import Stream
    from agent.pipeline.traffic import TrafficStatistics
    from agent.system.bus_clocks import BusSpan


log = structlog.get_logger()

UNDECODED_HINT = "more arbitration ids, or multiplexor values, than a car has: look for who sends them (canferry tail)"


@dataclass(slots=True)
class PackerCounters:
    """What has passed, since the start.

    frames, frames_decoded, frames_unknown   data frames; decoded ones those of a known id, however short; unknown ones
                                             also those of ids that there was no room for
    decode_errors                            decoded ones of which only a part could be decoded
    gaps                                     found in this process
    priorities                               what each priority has kept
    """

    frames: int = 0
    frames_decoded: int = 0
    frames_unknown: int = 0
    decode_errors: int = 0
    gaps: int = 0
    priorities: dict[Priority, StreamCounters] = field(default_factory=dict)

    def of(self, priority: Priority) -> StreamCounters:
        """Those of one priority."""
        return self.priorities.setdefault(priority, StreamCounters())

    @property
    def samples(self) -> int:
        """Values of signals that were kept."""
        return sum(each.samples for each in self.priorities.values())

    @property
    def batches(self) -> int:
        """Stored."""
        return sum(each.batches for each in self.priorities.values())

    @property
    def batch_bytes(self) -> int:
        """Stored."""
        return sum(each.batch_bytes for each in self.priorities.values())

    def as_dict(self) -> dict[str, Any]:
        """By name, in the log's and the summaries' words; priorities where there is more than one."""
        counted: dict[str, Any] = {
            "frames": self.frames,
            "frames_decoded": self.frames_decoded,
            "frames_unknown": self.frames_unknown,
            "decode_errors": self.decode_errors,
            "samples": self.samples,
            "batches": self.batches,
            "batch_bytes": self.batch_bytes,
            "gaps": self.gaps,
        }
        if len(self.priorities) > 1:
            counted["priorities"] = {str(priority): asdict(counters) for priority, counters in self.priorities.items()}
        return counted


class Packer:
    """Decodes and collects.

    Args:
        decoder: made of the configuration's DBC files.
        streams: of each priority, the highest first; may hold more than are in use.
        reporting: the priority whose stream reports what concerns all frames.
        collector: rules and triggers; None keeps everything, in `reporting`.
        counters: go on over a reload.
        traffic: counts each block, for those who look at the running agent; None: nobody ever does.

    """

    def __init__(
        self,
        decoder: Decoder,
        streams: Mapping[Priority, Stream],
        reporting: Priority = Priority.NORMAL,
        collector: Collector | None = None,
        counters: PackerCounters | None = None,
        traffic: TrafficStatistics | None = None,
    ) -> None:
        self.counters = counters or PackerCounters()
        self.counters.priorities |= {priority: stream.counters for priority, stream in streams.items()}
        self._decoder = decoder
        self._streams = streams
        self._reporting = streams[reporting]
        self._reporting_last = sorted(streams.items(), key=lambda entry: entry[0] == reporting)
        self._collector = collector
        self._traffic = traffic
        self._hands_over = False
        self._clock = self._reporting.clock
        self._times_frames = times_frames(self._clock)
        self._clock_steps = ClockSteps(read(self._clock))

    @property
    def has_open_batch(self) -> bool:
        """Whether there is anything to seal, or held back by a rule."""
        held_back = self._collector is not None and self._collector.held_ns is not None and not self._hands_over
        return held_back or any(stream.has_open_batch for stream in self._streams.values())

    def fit(self, payload_bytes: int | None) -> None:
        """Seal batches to no more than this from now on; None: as configured."""
        for stream in self._streams.values():
            stream.fit(payload_bytes)

    def process(self, frames: FrameBlock) -> bool:
        """Decode and collect; append to the journals, or seal what is due. Whether a batch was stored."""
        stored = False
        for part, its_reading in self._clock_steps.split(frames, read(self._clock)):
            for stream in self._streams.values():
                stored |= stream.update_clock(its_reading)
            for begin, end in split_frames(part, self._reporting.settings.limits.payload_bytes):
                stored |= self._process(part if end - begin == len(part) else part.slice(begin, end), its_reading)
        return stored

    def _process(self, frames: FrameBlock, reading: ClockReading) -> bool:
        decoded = self._decoder.decode(frames)
        self._count(len(frames), decoded)
        if self._traffic is not None:
            self._traffic.update(frames, decoded)
        spans = spans_of(frames)
        begin_ns, end_ns = min(span.begin_ns for span in spans), max(span.end_ns for span in spans)
        counted = Part(begin_ns, end_ns, len(frames), replace(decoded, signals=SignalBlock.empty()))
        if self._collector is not None:
            self._collector.held_ns = end_ns
            kept = self._collector.process(frames, decoded.signals, reading if self._times_frames else None)
            return self._keep(kept, spans, end_ns, counted)
        if len(decoded.signals.column_group) > PART_COLUMNS_MAX:
            parts = [*Part.all_kept(decoded.signals), counted]
        else:
            parts = [Part(begin_ns, end_ns, len(frames), decoded)]
        return self._reporting.process(spans, parts) and self._report_other_gaps()

    def _keep(self, kept: Kept, spans: Sequence[BusSpan], end_ns: int, *counted: Part) -> bool:
        """Give each priority what it keeps; the reporting one what was counted as well. Whether a batch was stored."""
        stored = False
        for priority, stream in self._reporting_last:
            parts = [part for block in kept.blocks.get(priority, ()) for part in Part.all_kept(block)]
            if events := kept.events.get(priority):
                parts.append(Part.of_events(end_ns, events))
            if stream is not self._reporting:
                stored |= stream.process(spans, parts)
            elif stream.process(spans, [*parts, *counted]):
                stored = self._report_other_gaps()
        return stored

    def _report_other_gaps(self) -> bool:
        """The reporting stream's go with its next batch, which is never far; others may have nothing else to send."""
        for stream in self._streams.values():
            if stream is not self._reporting:
                stream.report_gaps()
        return True

    def _count(self, frames: int, decoded: Decoded) -> None:
        counters = self.counters
        counters.frames += frames
        counters.frames_decoded += len(decoded.signals)
        counters.frames_unknown += sum(decoded.unknown.values())
        counters.decode_errors += sum(decoded.partial.values())
        unread = sum(count for (_, defect), count in decoded.partial.items() if defect == Defect.UNREAD)
        if decoded.outside or unread:
            log.warning("frames_undecoded", frames=decoded.outside + unread, hint=UNDECODED_HINT)

    def report_gap(self, gap: Gap) -> None:
        """Something is missing for ever: durable on return, and reported with the next batch."""
        self.counters.gaps += 1
        self._reporting.store.add_gap(gap)

    def verified(self) -> Mapping[str, IntegrityCounters]:
        """Counters of each message whose counter or checksum is verified, by bus.message."""
        return {} if self._collector is None else self._collector.verified()

    def hand_over(self) -> None:
        """Another packer goes on with the same collector: what rules hold back is not closed, but left to it."""
        self._hands_over = True

    def seal(self) -> bool:
        """Close open intervals, store every open batch, and report what had to make room for it: none may follow.

        Whether a batch was stored.
        """
        collector, stored = self._collector, False
        if collector is not None and collector.held_ns is not None and not self._hands_over:
            stored = self._keep(collector.flush(), (), collector.held_ns)
            collector.held_ns = None
        for stream in self._streams.values():
            stored |= stream.seal()
            stored |= stream.report_gaps()
        return stored

    def cut(
        self, priority: Priority, batch: Batch, catalog: Catalog, gap: Gap, payload_bytes: int
    ) -> list[SealedBatch]:
        """A priority's stored batch in smaller ones, see `Stream.cut`."""
        return self._streams[priority].cut(batch, catalog, gap, payload_bytes)

    def recover(self, priority: Priority, parts: Sequence[Batch], catalog: Catalog) -> None:
        """Seal the journal entries of an earlier process's open batch, of the catalog that it used."""
        self._streams[priority].recover(parts, catalog)
