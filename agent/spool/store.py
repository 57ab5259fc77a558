# SPDX-License-Identifier: Apache-2.0
"""The spool: sealed batches on disk, from the moment they are sealed until the cloud has acknowledged them.

Promises:
- A record whose `append` returned is there after a power cut or kill -9 at any moment, until it is
  acknowledged, evicted or set aside. An append costs one `fdatasync`.
- A stream and a number name one batch for ever: it is never used again, not after everything was acknowledged,
  not after a torn write, not after the directory was wiped, restored or copied (that begins a new stream, see
  continuity.py). A stream's numbers begin at 0; the spool's own sequence numbers go on through all of its streams.
- A flipped byte costs at most one record, which is logged and becomes a gap; the records around it are
  delivered.
- Whoever deletes or moves the directory beneath an open spool takes nothing from it: its files are put back.
- Whatever goes missing becomes a gap, made last in one write with the decision that loses the data, and
  before the data is deleted. Gaps stay until a batch that carries them is acknowledged.
- All files together stay within `limit_bytes`; the oldest segment is evicted when there is no other way. Spools
  that share a `SharedLimit` stay within it together, and the lowest priority gives way first.

What it does not promise: an acknowledged record stays where it is until its place is written again, unless `erase` was
asked for. An acknowledgement is made last lazily (after `ack_delay_s` or `ACKS_MAX`, and on
close), so a crash sends a few batches again, under the same sequence; the receiver drops them.

Failure: a full disk evicts and goes on, down to dropping the new batch (`append` returns None). A failed
write or sync is never trusted afterwards (the kernel may mark the pages clean and forget): the segment is
left, and the record written once more elsewhere and read back from the device; a second failure is a
`SpoolError`, after which the object is dead and the process should restart.

Limits: one thread, one process (a lock sees to that), payloads up to one segment. Memory: 48 bytes a record.

    DIRECTORY/lock  state  000000000042.segment …  corrupt/  refused/
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

import structlog

from agent.errors import SpoolError
from agent.model import Gap, GapKind, SpooledBatch
from agent.spool import retention
from agent.spool.disk import Disk, blank_folder, locked, naming, put_back
from agent.spool.index import SpoolIndex, StoreStatus
from agent.spool.placement import Placement
from agent.spool.quarantine import Quarantine
from agent.spool.recovery import recover, refuse_other_versions, set_aside_corrupt, stream_name
from agent.spool.retention import SharedLimit, SpoolOptions
from agent.spool.segment import NAME_BYTES_MAX
from agent.spool.segment_set import SegmentSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from agent.model import SealedBatch
    from agent.spool.continuity import Continuity

__all__ = ["Spool", "SpoolOptions", "StoreStatus"]

log = structlog.get_logger()

ACKS_MAX = 64


class Spool:
    """One stream of sealed batches in one directory. Made by `open`, ended by `close`."""

    def __init__(
        self,
        directory: Path,
        options: SpoolOptions,
        *,
        shared: SharedLimit,
        clock: Callable[[], float],
        disk: Disk,
        continuity: Continuity | None,
    ) -> None:
        layout = shared.layout
        self.directory = directory
        self._options = options
        self._clock = clock
        self._disk = disk
        self._continuity = continuity
        self._unsaved_since = 0.0
        self._acknowledged_end_ns, self._acknowledged_s = 0, 0.0
        self._failure: SpoolError | None = None
        self._corrupt = Quarantine(disk, directory / "corrupt", layout.quarantine_bytes)
        self._refused = Quarantine(disk, directory / "refused", layout.quarantine_bytes)
        with contextlib.ExitStack() as files:
            if continuity is not None:
                files.callback(continuity.close)
            self._lock = locked(disk, directory)
            files.callback(disk.close, self._lock)
            refuse_other_versions(disk, directory)
            self._segments = SegmentSet(disk, directory, layout.segment_bytes)
            files.callback(self._segments.close)
            self._index = SpoolIndex.open(disk, directory / "state", self._segments, erases=options.erase)
            files.callback(self._index.file.close)
            self._placement = Placement(disk, directory, self._index, shared)
            recover(
                self._index, self._corrupt, stream_name(options.name or directory.name), options.vehicle, continuity
            )
            self._record_continuity()
            self._corrupt.trim()
            self._refused.trim()
            shared.register(self._placement, options.priority)
            shared.trim()
            self._placement.reserve()
            self._files = files.pop_all()

    @classmethod
    def open(
        cls,
        directory: Path,
        options: SpoolOptions,
        *,
        shared: SharedLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
        continuity: Continuity | None = None,
    ) -> Self:
        """Open or make the spool in `directory`.

        Args:
            directory: the spool's own.
            options: its limits, whose batches it takes, whether it erases.
            shared: the limit over several spools, which are opened in the order of their priority; segments and free
                bytes are its.
            clock: seconds, monotonic.
            disk: all access to the file system.
            continuity: proves that the last stream may go on; without one the caller vouches for that.

        Raises:
            SpoolVersionError: another version has written it; nothing is changed then.

        """
        disk = disk or Disk()
        if shared is None:
            shared = SharedLimit(retention.layout(options.limit_bytes, options.segment_bytes), options.min_free_bytes)
        with naming("open the spool", directory):
            disk.make_directory(directory)
            disk.sync_directory(directory.parent)
            return cls(directory, options, shared=shared, clock=clock, disk=disk, continuity=continuity)

    @property
    def stream(self) -> str:
        """The stream's name, made with the directory, and anew with each boot or vehicle, see recovery.py."""
        return self._index.streams[-1].name

    @property
    def next_sequence(self) -> int:
        """The number that the next batch gets; none was ever given out twice."""
        return self._index.next_sequence

    @property
    def next_number(self) -> int:
        """What that is called in its stream, and in the batch's id: each stream is numbered from 0."""
        return self._index.number_of(self._index.next_sequence)

    @property
    def unsealed_sequence(self) -> int:
        """Every batch below was sealed for certain; what the journal holds from here on is in no record."""
        return self._index.unsealed_sequence

    def append(self, batch: SealedBatch) -> SpooledBatch | None:
        """Spool a batch as `next_sequence`; durable on return. None: no room at all, dropped as a gap.

        Its gaps are among `pending_gaps()`; its acknowledgement ends them. They cost one more sync.
        """
        if len(batch.catalog) > NAME_BYTES_MAX or not batch.catalog.isascii():
            raise ValueError(f"catalog {batch.catalog!r}: at most {NAME_BYTES_MAX} ASCII characters")
        stream, sequence = self._index.streams[-1], self.next_sequence
        record = SpooledBatch(
            payload=batch.payload,
            catalog=batch.catalog,
            begin_ns=batch.begin_ns,
            end_ns=batch.end_ns,
            frames=batch.frames,
            gaps=batch.gaps,
            vehicle=stream.vehicle,
            stream=stream.name,
            number=sequence - stream.base,
            sequence=sequence,
        )
        self.keep_in_place()
        with self._guarded("append"):
            if batch.gaps:
                self._index.ledger.carry(batch.gaps, record.sequence)
                self._index.save()
            if not self._placement.store(record):
                self._index.drop(record, "no room: dropped when it was sealed")
                self._index.save()
                hint = "the disk is full of other things: free some room"
                log.error("batch_dropped", stream=self.stream, sequence=record.number, hint=hint)
                self._record_continuity()
                return None
            self._index.give_out(record.sequence)
            self._index.counters.appended_records += 1
            self._index.payload_bytes += len(batch.payload)
            self._record_continuity()
            self._save_if_due()
        return record

    def pending_gaps(self) -> tuple[Gap, ...]:
        """Gaps that no spooled batch carries, oldest first."""
        return self._index.ledger.pending()

    def add_gap(self, gap: Gap) -> None:
        """Record a gap; durable on return, at the price of one sync: call it per batch, not per frame."""
        with self._guarded("record a gap"):
            self._index.ledger.add(gap)
            self._index.save()

    def oldest(
        self, after: int = -1, limit: int = 1, held: Collection[str] = (), bytes_max: int | None = None
    ) -> list[SpooledBatch]:
        """The oldest records above `after`, at most `limit`, none of the vehicles that are held back, none with a
        payload of more than `bytes_max`; corrupt ones are set aside on the way."""
        records: list[SpooledBatch] = []
        with self._guarded("read"):
            for sequence in self._index.live(after + 1, held):
                if bytes_max is not None and self._index.size_of(sequence) > bytes_max:
                    continue
                if len(records) >= limit:
                    break
                record = self.read(sequence)
                if record is not None:
                    records.append(record)
        return records

    def read(self, sequence: int) -> SpooledBatch | None:
        """The record; None where it is done with, unknown, or just found corrupt (and set aside)."""
        with self._guarded("read"):
            found = self._index.find(sequence)
            if found is None:
                return None
            segment, place = found
            content = segment.read(place)
            if content is None:
                set_aside_corrupt(self._index, self._corrupt, sequence)
                self._index.save()
                return None
        head, payload = content
        stream = self._index.stream_of(sequence)
        return SpooledBatch(
            payload=payload,
            catalog=head.catalog,
            begin_ns=head.begin_ns,
            end_ns=head.end_ns,
            frames=head.frames,
            vehicle=stream.vehicle,
            stream=head.stream,
            number=sequence - stream.base,
            sequence=sequence,
        )

    def larger_than(self, size_bytes: int) -> int:
        """How many records have a larger payload."""
        return len(self._index.larger(size_bytes))

    def larger(self, size_bytes: int) -> list[int]:
        """The records with a larger payload, by their sequence, oldest first."""
        return self._index.larger(size_bytes)

    def forget_cut(self, gap: Gap) -> None:
        """The record that the gap names is in other batches now; durable with the next append. Repeated: nothing."""
        with self._guarded("forget"):
            self._index.forget_cut(gap)

    def waiting_of(self, vehicle: str) -> int:
        """How many records of a vehicle there are."""
        return self._index.waiting_of(vehicle)

    def acknowledge(self, sequence: int) -> None:
        """The cloud has this batch, and knows the gaps it carried. Unknown or repeated: nothing happens."""
        with self._guarded("acknowledge"):
            found = self._index.find(sequence)
            if found is not None:
                self._index.ledger.acknowledged(sequence)
                self._index.finish(*found)
                self._index.counters.acknowledged_records += 1
                segment, place = found
                self._acknowledged_end_ns = max(self._acknowledged_end_ns, segment.ends[place])
                self._acknowledged_s = self._clock()
                if not self._index.unsaved:
                    self._unsaved_since = self._clock()
                self._index.unsaved += 1
            self._save_if_due()

    def set_aside(self, sequence: int, reason: str) -> bool:
        """The broker will never take this batch: keep a copy for a person, record the gap, go on. False: the folder of
        copies is full, so the batch stays where it is."""
        with self._guarded("set aside"):
            found = self._index.find(sequence)
            if found is None:
                return True
            segment, place = found
            raw = segment.raw(place)
            if not self._refused.has_room(len(raw)):
                return False
            self._refused.keep(segment.copy_name(place), raw)
            self._index.report_gap(GapKind.REFUSED, segment, place, reason)
            self._index.counters.refused_records += 1
            self._index.save()
        hint = "it lies in refused/, the cloud is told; the others go on"
        name = {"stream": self._index.stream_of(sequence).name, "sequence": self._index.number_of(sequence)}
        log.warning("batch_refused", **name, reason=reason, hint=hint)
        return True

    def expire(self, before_ns: int, since_ns: int) -> None:
        """Give up records that end before one time and after another: nobody wants them any more.

        All are looked at, wherever they lie: a clock that was set has left older ones behind younger ones.
        """
        with self._guarded("expire"):
            expired = self._index.expire(before_ns, since_ns, "past its time to live")
            if expired:
                self._index.save()
                log.info("batches_expired", stream=self.stream, batches=expired)

    def flush(self) -> None:
        """Make acknowledgements last now; else they are after `ack_delay_s`, looked at in each call."""
        with self._guarded("flush"):
            if self._index.changed:
                self._index.save()

    def keep_in_place(self) -> None:
        """Put back what somebody has deleted, moved or replaced beneath this spool, from what it has open; done before
        each append, so that none goes into nothing, and to be done now and then."""
        with self._guarded("put back what was deleted"):
            state = self._index.file
            files = [(state.file, state.path), *self._segments.files()]
            found = put_back(self._disk, self.directory, self._lock, files)
        if found:
            self._index.counters.put_back_files += found
            hint = "its files were written anew, and nothing that waits is lost: find out who deletes or moves them"
            log.error("spool_deleted", stream=self.stream, path=str(self.directory), files=found, hint=hint)

    def erase(self, *, everything: bool = False) -> int:
        """Overwrite what is done with, and delete what was set aside, in a spool that was opened to erase; how many
        bytes were written. With `everything` also what waits, which becomes a gap."""
        with self._guarded("erase"):
            if everything:
                self._index.report_all(GapKind.EVICTED, "erased by hand")
            self._index.save()
            self._segments.discard_spares()
            copies = sum(blank_folder(self._disk, self.directory / name) for name in ("corrupt", "refused"))
        return self._segments.erased_bytes + copies

    def status(self) -> StoreStatus:
        """What is held and what was done."""
        oldest = next(self._index.live(0), -1)
        found = self._segments.find(oldest)
        return StoreStatus(
            records=sum(segment.live for segment in self._segments.segments),
            payload_bytes=self._index.payload_bytes,
            oldest_begin_ns=0 if found is None else found[0].begins[found[1]],
            disk_bytes=self._segments.used_bytes,
            limit_bytes=self._options.limit_bytes,
            gaps=len(self._index.ledger.entries),
            bytes_written=self._disk.bytes_written,
            syncs=self._disk.syncs,
            acknowledged_end_ns=self._acknowledged_end_ns,
            acknowledged_s=self._acknowledged_s,
            **self._index.counters.items(),
        )

    def close(self) -> None:
        """Make everything last and let go of the directory; after a failure only the latter."""
        with self._files:
            if self._failure is None:
                self.flush()
        self._failure = SpoolError(f"{self.directory}: the spool is closed")

    def _record_continuity(self) -> None:
        if self._continuity is not None:
            self._continuity.record(self.stream, self.next_number)

    def _save_if_due(self) -> None:
        unsaved = self._index.unsaved
        if unsaved and (unsaved >= ACKS_MAX or self._clock() - self._unsaved_since >= self._options.ack_delay_s):
            self._index.save()

    @contextlib.contextmanager
    def _guarded(self, operation: str) -> Iterator[None]:
        """Refuse to go on after a failure; turn the disk's refusal into a `SpoolError`."""
        if self._failure is not None:
            raise SpoolError(f"{self._failure} (nothing is done after that)")
        try:
            with naming(operation, self.directory):
                yield
        except SpoolError as error:
            self._failure = error
            raise
