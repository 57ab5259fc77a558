# SPDX-License-Identifier: Apache-2.0
"""What the spool hands out: a record, and figures about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """A spooled batch: its bytes, and what the spool knows of them without opening them.

    sequence  the spool's own number for it
    vehicle   whose batch it is, "" where the spool was not told
    base      the sequence whose number in the stream is 0
    """

    stream: str
    sequence: int
    payload: bytes
    catalog: str
    begin_ns: int
    end_ns: int
    frames: int
    vehicle: str = ""
    base: int = 0

    @property
    def number(self) -> int:
        """In its stream: the sequence number of the batch's id."""
        return self.sequence - self.base


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What the spool holds, and what it has done since it was opened.

    records, payload_bytes      not yet acknowledged
    oldest_begin_ns             when the oldest of them begins, 0 where there is none
    disk_bytes, limit_bytes     in segment files, and what all files together may take
    gaps                        recorded and not yet acknowledged
    …_records                   events since the spool was opened
    put_back_files              that somebody had deleted or moved, and that were written anew
    acknowledged_end_ns         when the latest of the acknowledged ones ends, 0 where none was since then
    acknowledged_s              when the last of them was, by the spool's clock
    bytes_written, syncs        asked of the file system, by everything in this directory
    """

    records: int
    payload_bytes: int
    oldest_begin_ns: int
    disk_bytes: int
    limit_bytes: int
    gaps: int
    appended_records: int
    evicted_records: int
    dropped_records: int
    corrupt_records: int
    refused_records: int
    bytes_written: int
    syncs: int
    acknowledged_records: int = 0
    put_back_files: int = 0
    acknowledged_end_ns: int = 0
    acknowledged_s: float = 0.0
