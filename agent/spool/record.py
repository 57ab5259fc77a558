# SPDX-License-Identifier: Apache-2.0
"""What a spool says of itself."""

from __future__ import annotations

from dataclasses import dataclass


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
