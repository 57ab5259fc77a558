# SPDX-License-Identifier: Apache-2.0
"""Recovery: what an earlier process left on disk, made into a sound index before anything else happens.

Only the newest record can be torn: every other append had returned before the next one began. A torn record
was offered to nobody, but nobody can prove afterwards that it was torn and not damaged later; so its number
is skipped and reported, and `unsealed_sequence` stays at it: the journal's payloads of that batch go into the
next one.

No readable state (deleted, or all four copies damaged) begins a new stream. Records that are found
nevertheless are kept under their own stream and numbers, the new stream begins above them, and a gap says
that the index was lost.

A stream is of one vehicle, and of one boot: where the vehicle's id was changed, a new stream begins, and so it does
where nothing proves that the spool is the one that was left (continuity.py). What waits in the one before keeps stream,
number and vehicle. How many batches that one has is told as a gap of kind `ENDED`, so that the receiver can name what
is missing at its end. Where as many streams have records as the state has room for, the last one goes on all the same:
then the receiver's comparison is the only guard.

Payloads are not read here, but for the newest record's: opening costs one small read a record.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import structlog

from agent.model import Gap, GapKind
from agent.spool import segment as segments
from agent.spool import state as states
from agent.spool.gap_ledger import PENDING
from agent.spool.index import STREAMS_MAX, SequenceSet, SpoolIndex, gaps_between
from agent.spool.state import Stream, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from agent.spool.continuity import Continuity, Left
    from agent.spool.disk import Disk
    from agent.spool.quarantine import Quarantine

log = structlog.get_logger()

_ENDED = "another stream has begun"
_REPLACED = "the spool was put back, copied or deleted: what the open batch held that it does not know of"
_CORRUPT = "it is lost, the cloud is told: look at the disk"


def recover(
    index: SpoolIndex, corrupt: Quarantine, fresh_stream: str, vehicle: str, continuity: Continuity | None = None
) -> None:
    """Index the segments, find what is torn or missing, and make the result last.

    What comes now is of this vehicle, and in the fresh stream unless it is proven that the last one may go on.
    """
    if not index.streams:
        _begin_stream(index, fresh_stream)
    elif index.file.damaged_copies:
        hint = "one copy was damaged, the other served: look at the disk if it comes again"
        log.warning("state_repaired", path=str(index.file.path), copies=index.file.damaged_copies, hint=hint)
    index.segments.recover(
        lambda head: head.sequence not in index.done and head.stream == index.stream_of(head.sequence).name
    )
    index.payload_bytes = sum(sum(segment.lengths) for segment in index.segments.segments)
    _check_newest(index, corrupt)
    _report_missing(index)
    _return_gaps(index)
    _choose_stream(index, fresh_stream, vehicle, continuity)
    index.save()


def refuse_other_versions(disk: Disk, directory: Path) -> None:
    """Raise SpoolVersionError where another version has written what is in the folder."""
    for name in disk.names(directory):
        version = None
        if name == "state":
            version = states.foreign_version(disk, directory / name)
        elif name.endswith(segments.SUFFIX):
            version = segments.foreign_version(disk, directory / name)
        if version is not None:
            raise refusal(directory / name, version)


def stream_name(name: str) -> str:
    """A name for another stream, which begins with this."""
    safe = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:19] or "stream"
    return f"{safe}-{os.urandom(6).hex()}"


def _begin_stream(index: SpoolIndex, fresh_stream: str) -> None:
    heads = list(index.segments.heads())
    if not heads:
        index.streams = (Stream(fresh_stream, 0),)
        return
    found = max(heads, key=lambda head: (head.segment, head.offset)).stream
    kept = sorted({head.sequence for head in heads if head.stream == found})
    index.streams = (Stream(found, 0), Stream(fresh_stream, kept[-1] + 1, base=kept[-1] + 1))
    index.next_sequence = index.unsealed_sequence = kept[-1] + 1
    for first, last in gaps_between(kept, index.next_sequence):
        index.done.add(first, last)
    detail = "the spool's state was lost: earlier gaps are unknown, acknowledged batches may come again"
    index.ledger.add(Gap(GapKind.CORRUPT, stream=found, detail=detail))
    hint = "a new stream begins, batches may be sent twice: look at the disk"
    log.error("state_unreadable", path=str(index.file.path), records=len(kept), stream=fresh_stream, hint=hint)


def _choose_stream(index: SpoolIndex, fresh_stream: str, vehicle: str, continuity: Continuity | None) -> None:
    """Let the last stream go on, or begin another one, of which nothing was given out yet."""
    *before, last = index.streams
    unused = last.first == index.next_sequence
    if last.vehicle not in ("", vehicle) and not unused:
        waiting = sum(segment.live for segment in index.segments.segments)
        log.info("vehicle_changed", before=last.vehicle, now=vehicle, stream=fresh_stream, waiting=waiting)
    elif continuity is None or _may_go_on(index, continuity):
        index.streams = (*before, Stream(last.name, last.first, vehicle, last.base))
        return
    else:
        _report_ended(index, continuity.left)
    kept = before if unused else index.streams
    index.streams = (*kept, Stream(fresh_stream, index.next_sequence, vehicle, index.next_sequence))


def _may_go_on(index: SpoolIndex, continuity: Continuity) -> bool:
    last = index.streams[-1]
    if continuity.proves(last.name, index.next_sequence - last.base):
        return True
    if last.first == index.next_sequence or len(index.streams_in_use()) < STREAMS_MAX:
        return False
    hint = "each boot since the link was lost has left batches: were the spool a copy, only the receiver would notice"
    log.warning("stream_kept", stream=last.name, hint=hint)
    return True


def _report_ended(index: SpoolIndex, left: Left | None) -> None:
    """How many batches the streams have that are left: the spool's last one, and what memory knows of this boot."""
    last = index.streams[-1]
    known = index.next_sequence - last.base
    streams = {last.name: (last.first - last.base, known)}
    if left is not None:
        first, numbers = streams.get(left.stream, (0, 0))
        streams[left.stream] = first, max(numbers, left.numbers)
    told = {entry.gap for entry in index.ledger.entries}
    for stream, (first, numbers) in streams.items():
        gap = Gap(GapKind.ENDED, stream=stream, first_sequence=first, last_sequence=numbers - 1, detail=_ENDED)
        if numbers <= first or gap in told:
            continue
        index.ledger.add(gap)
        if left is not None and left.stream == stream:
            hint = "it was put back, copied or deleted while no agent ran: another stream begins, the cloud is told"
            index.ledger.add(Gap(GapKind.INTERRUPTED, detail=_REPLACED))
            log.warning("spool_replaced", stream=stream, batches=numbers, hint=hint)


def _check_newest(index: SpoolIndex, corrupt: Quarantine) -> None:
    newest = index.segments.newest()
    if newest is None:
        return
    segment, place = newest
    sequence, offset = segment.sequences[place], segment.offsets[place]
    index.next_sequence = max(index.next_sequence, sequence + 1)
    if segment.read(place) is not None:
        index.unsealed_sequence = max(index.unsealed_sequence, sequence + 1)
    elif sequence < index.unsealed_sequence:
        set_aside_corrupt(index, corrupt, sequence)
    else:
        index.unsealed_sequence = sequence
        corrupt.keep(segment.copy_name(place), segment.raw(place))
        detail = "its write was cut off; what the journal holds of it comes with the next batch"
        index.report_gap(GapKind.INTERRUPTED, segment, place, detail)
        index.counters.corrupt_records += 1
        hint = "the journal has its content: nothing is to be done"
        log.warning("record_torn", path=str(segment.path), offset=offset, sequence=sequence, hint=hint)


def set_aside_corrupt(index: SpoolIndex, corrupt: Quarantine, sequence: int) -> None:
    """A damaged record: a copy for a person, a gap for the cloud, a line in the log. The caller saves."""
    found = index.segments.find(sequence)
    if found is None:
        return
    segment, place = found
    offset = segment.offsets[place]
    corrupt.keep(segment.copy_name(place), segment.raw(place))
    index.report_gap(GapKind.CORRUPT, segment, place, f"{segment.path.name} at {offset}")
    index.counters.corrupt_records += 1
    log.error("record_corrupt", path=str(segment.path), offset=offset, sequence=sequence, hint=_CORRUPT)


def _report_missing(index: SpoolIndex) -> None:
    """Numbers that were given out, are not done with, and of which no head could be read."""
    known = SequenceSet(index.done.low, index.done.ranges())
    for sequence in index.segments.sequences():
        known.add(sequence)
    for first, last in known.missing(index.next_sequence):
        index.report_unreadable(first, last)
        log.error(
            "record_corrupt",
            path=str(index.file.path.parent),
            offset=-1,
            sequence=first,
            last_sequence=last,
            hint=_CORRUPT,
        )


def _return_gaps(index: SpoolIndex) -> None:
    """Gaps whose carrier was never written, or is lost, are pending again."""
    for entry in index.ledger.entries:
        gone = entry.carrier in index.done or index.segments.find(entry.carrier) is None
        if entry.carrier != PENDING and gone:
            index.ledger.returned(entry.carrier)
