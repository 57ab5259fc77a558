# SPDX-License-Identifier: Apache-2.0
"""Recovery: what an earlier process left on disk, made into a sound account before anything else happens.

Only the newest record can be torn: every other append had returned before the next one began. A torn record
was offered to nobody, but nobody can prove afterwards that it was torn and not damaged later; so its number
is skipped and reported, and `unsealed_sequence` stays at it: the journal's payloads of that batch go into the
next one.

No readable state (deleted, or all four copies damaged) begins a new stream. Records that are found
nevertheless are kept under their own stream and numbers, the new stream begins above them, and a gap says
that the account was lost.

A stream is of one vehicle: where its id was changed, a new stream begins, and what waits in the one before keeps the id
that its batches bear.

Payloads are not read here, but for the newest record's: opening costs one small read a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.model import Gap, GapKind
from agent.spool.account import Account, gaps_between
from agent.spool.ledger import PENDING
from agent.spool.sequences import SequenceSet
from agent.spool.state import Stream

if TYPE_CHECKING:
    from agent.spool.aside import Aside

log = structlog.get_logger()

_CORRUPT = "it is lost, the cloud is told: look at the disk"


def recover(account: Account, corrupt: Aside, fresh_stream: str, vehicle: str) -> None:
    """Index the shelf, find what is torn or missing, and make the result last; what comes now is of this vehicle."""
    if not account.streams:
        _begin_stream(account, fresh_stream)
    elif account.file.damaged_copies:
        hint = "one copy was damaged, the other served: look at the disk if it comes again"
        log.warning("state_repaired", path=str(account.file.path), copies=account.file.damaged_copies, hint=hint)
    account.shelf.recover(
        lambda head: head.sequence not in account.done and head.stream == account.stream_of(head.sequence).name
    )
    account.payload_bytes = sum(sum(segment.lengths) for segment in account.shelf.segments)
    _check_newest(account, corrupt)
    _report_missing(account)
    _return_gaps(account)
    _take_vehicle(account, fresh_stream, vehicle)
    account.save()


def _begin_stream(account: Account, fresh_stream: str) -> None:
    heads = list(account.shelf.heads())
    if not heads:
        account.streams = (Stream(fresh_stream, 0),)
        return
    found = max(heads, key=lambda head: (head.segment, head.offset)).stream
    kept = sorted({head.sequence for head in heads if head.stream == found})
    account.streams = (Stream(found, 0), Stream(fresh_stream, kept[-1] + 1))
    account.next_sequence = account.unsealed_sequence = kept[-1] + 1
    for first, last in gaps_between(kept, account.next_sequence):
        account.done.add(first, last)
    detail = "the spool's state was lost: earlier gaps are unknown, acknowledged batches may come again"
    account.ledger.add(Gap(GapKind.CORRUPT, stream=found, detail=detail))
    hint = "a new stream begins, batches may be sent twice: look at the disk"
    log.error("state_unreadable", path=str(account.file.path), records=len(kept), stream=fresh_stream, hint=hint)


def _take_vehicle(account: Account, fresh_stream: str, vehicle: str) -> None:
    *before, last = account.streams
    if last.vehicle in ("", vehicle) or last.first == account.next_sequence:
        account.streams = (*before, Stream(last.name, last.first, vehicle))
        return
    account.streams = (*before, last, Stream(fresh_stream, account.next_sequence, vehicle))
    waiting = sum(segment.live for segment in account.shelf.segments)
    log.info("vehicle_changed", before=last.vehicle, now=vehicle, stream=fresh_stream, waiting=waiting)


def _check_newest(account: Account, corrupt: Aside) -> None:
    newest = account.shelf.newest()
    if newest is None:
        return
    segment, place = newest
    sequence, offset = segment.sequences[place], segment.offsets[place]
    account.next_sequence = max(account.next_sequence, sequence + 1)
    if segment.read(place) is not None:
        account.unsealed_sequence = max(account.unsealed_sequence, sequence + 1)
    elif sequence < account.unsealed_sequence:
        set_aside_corrupt(account, corrupt, sequence)
    else:
        account.unsealed_sequence = sequence
        corrupt.keep(segment.copy_name(place), segment.raw(place))
        detail = "its write was cut off; what the journal holds of it comes with the next batch"
        account.lose(GapKind.INTERRUPTED, segment, place, detail)
        account.counts.corrupt_records += 1
        hint = "the journal has its content: nothing is to be done"
        log.warning("record_torn", path=str(segment.path), offset=offset, sequence=sequence, hint=hint)


def set_aside_corrupt(account: Account, corrupt: Aside, sequence: int) -> None:
    """A damaged record: a copy for a person, a gap for the cloud, a line in the log. The caller saves."""
    found = account.shelf.find(sequence)
    if found is None:
        return
    segment, place = found
    offset = segment.offsets[place]
    corrupt.keep(segment.copy_name(place), segment.raw(place))
    account.lose(GapKind.CORRUPT, segment, place, f"{segment.path.name} at {offset}")
    account.counts.corrupt_records += 1
    log.error("record_corrupt", path=str(segment.path), offset=offset, sequence=sequence, hint=_CORRUPT)


def _report_missing(account: Account) -> None:
    """Numbers that were given out, are not done with, and of which no head could be read."""
    known = SequenceSet(account.done.low, account.done.ranges())
    for sequence in account.shelf.sequences():
        known.add(sequence)
    for first, last in known.missing(account.next_sequence):
        account.lose_unreadable(first, last)
        log.error(
            "record_corrupt",
            path=str(account.file.path.parent),
            offset=-1,
            sequence=first,
            last_sequence=last,
            hint=_CORRUPT,
        )


def _return_gaps(account: Account) -> None:
    """Gaps whose carrier was never written, or is lost, are pending again."""
    for entry in account.ledger.entries:
        gone = entry.carrier in account.done or account.shelf.find(entry.carrier) is None
        if entry.carrier != PENDING and gone:
            account.ledger.returned(entry.carrier)
