# SPDX-License-Identifier: Apache-2.0
"""Segment files: records in pages of 4 KiB, checksummed, appended, never changed.

Promise: a record whose `append` returned is found again, whole, after a power cut. A damaged byte costs at
most the record that it lies in: head and payload have checksums of their own, the head is repeated at the
record's end, and every record begins on a page, so that a reader who has lost the thread looks at the next
pages until it finds one.

A segment is filled with zeros once, when it is made, and then recycled under a new number: an append
overwrites blocks that the file system has already written, so `fdatasync` is one flush of the data and
nothing else. The number stands in the file's name and in every head, so what an earlier life left behind is
never taken for a record; neither is a record of another stream, or one that lies where it was not written.

Limits: a record and its two heads fit one segment; a catalog's name has up to 32 bytes, a stream's up to 32.

Failure: an `OSError` of `append` means that nothing is known about the region; the caller leaves the segment.

The name is 12 digits and ".segment"; the content, little endian, in pages of 4096 bytes:

    | head | payload …                      zeros | head |    head, payload, head: padded to whole pages
    0      128                                    end-128

    head:
      0    4   magic "CFRC"
      4    2   version, 1
      6    2   zero
      8    8   segment number
      16   8   sequence
      24   8   begin, ns since the epoch      what the payload spans
      32   8   end, ns since the epoch
      40   8   frames, -1 where unknown
      48   4   offset of the record in the segment
      52   4   payload length
      56   4   CRC-32 of the payload
      60   32  catalog, ASCII, zero padded
      92   32  stream, ASCII, zero padded
      124  4   CRC-32 of the 124 bytes before

CRC-32 (zlib's, the polynomial of IEEE 802.3) finds every burst up to 32 bits and misses one in 2**32 of the
rest; the payload's own zstd checksum stands behind it. It comes with Python and runs at more than 1 GB/s, a
hundred times what the busiest car fills, so a dependency for CRC-32C would buy nothing."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from agent.spool.disk import PAGE, Disk, blank, padded, read_around
from agent.spool.state import VERSION, other_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.spool.index import SequenceSet

SUFFIX = ".segment"
HEAD_BYTES = 128
NAME_BYTES_MAX = 32
_HEAD = struct.Struct("<4sHHQQqqqIII32s32s")
_MAGIC = b"CFRC"
_SCAN_BYTES = 64 * PAGE


@dataclass(frozen=True, slots=True)
class Head:
    """A record's head; `offset` is where the record begins in its segment."""

    segment: int
    sequence: int
    begin_ns: int
    end_ns: int
    frames: int
    offset: int
    length: int
    checksum: int
    catalog: str
    stream: str

    @property
    def extent(self) -> int:
        """Bytes that the record takes in its segment."""
        return extent(self.length)

    def pack(self) -> bytes:
        """The 128 bytes."""
        body = _HEAD.pack(
            _MAGIC,
            VERSION,
            0,
            self.segment,
            self.sequence,
            self.begin_ns,
            self.end_ns,
            self.frames,
            self.offset,
            self.length,
            self.checksum,
            self.catalog.encode("ascii"),
            self.stream.encode("ascii"),
        )
        return body + crc32(body).to_bytes(4, "little")

    @classmethod
    def unpack(cls, data: bytes) -> Head | None:
        """The head in these 128 bytes; None where they are not a valid one."""
        if data[:4] != _MAGIC or len(data) != HEAD_BYTES:
            return None
        body = data[: _HEAD.size]
        if crc32(body) != int.from_bytes(data[_HEAD.size :], "little"):
            return None
        _, version, _, *numbers, catalog, stream = _HEAD.unpack(body)
        if version != VERSION:
            return None
        segment, sequence, begin_ns, end_ns, frames, offset, length, checksum = numbers
        return cls(
            segment,
            sequence,
            begin_ns,
            end_ns,
            frames,
            offset,
            length,
            checksum,
            catalog.rstrip(b"\0").decode("ascii"),
            stream.rstrip(b"\0").decode("ascii"),
        )


@dataclass(slots=True)
class Segment:
    """One open segment file and the index of its records, in compact arrays with ascending sequences.

    end     where the next record would begin
    live    how many records are neither acknowledged nor evicted nor set aside
    sealed  nothing more is appended: full, or a write to it has failed
    bad     a write to it has failed: deleted rather than recycled
    stale   something that is done with may lie in it
    """

    disk: Disk
    number: int
    path: Path
    file: int
    size: int
    end: int = 0
    live: int = 0
    sealed: bool = False
    bad: bool = False
    stale: bool = True
    sequences: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    begins: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    frames: array[int] = field(default_factory=lambda: array("q"))

    def place(self, sequence: int) -> int:
        """The record's place in the arrays, -1 where this segment does not hold it."""
        place = bisect_left(self.sequences, sequence)
        return place if place < len(self.sequences) and self.sequences[place] == sequence else -1

    def index(self, head: Head) -> None:
        """Note a record that lies in the file; its sequence is above all others of the segment."""
        self.sequences.append(head.sequence)
        self.offsets.append(head.offset)
        self.lengths.append(head.length)
        self.begins.append(head.begin_ns)
        self.ends.append(head.end_ns)
        self.frames.append(head.frames)
        self.live += 1

    def fits(self, length: int) -> bool:
        """Whether a payload of this length can be appended."""
        return not self.sealed and self.end + extent(length) <= self.size

    def append(self, head: Head, payload: bytes, *, verify: bool = False) -> None:
        """Write the record where `head` says, with one sync; optionally read it back from the device."""
        data = b"".join((head.pack(), payload, bytes(head.extent - 2 * HEAD_BYTES - head.length), head.pack()))
        self.disk.write(self.file, head.offset, data)
        self.disk.sync(self.file)
        if verify:
            self.disk.forget_cached(self.file)
            if self.disk.read(self.file, head.offset, head.extent) != data:
                raise OSError(5, "what was written reads back differently")
        self.end = head.offset + head.extent
        self.index(head)

    def read(self, place: int) -> tuple[Head, bytes] | None:
        """The record's head and payload, None where either fails its checksum."""
        length = self.lengths[place]
        try:
            data = self.disk.read(self.file, self.offsets[place], extent(length))
        except OSError:
            return None
        head = Head.unpack(data[:HEAD_BYTES]) or Head.unpack(data[-HEAD_BYTES:])
        payload = data[HEAD_BYTES : HEAD_BYTES + length]
        if head is None or head.sequence != self.sequences[place] or head.length != length:
            return None
        return (head, payload) if len(payload) == length and crc32(payload) == head.checksum else None

    def erase(self, done: SequenceSet) -> int:
        """Overwrite all that is no record in use, also what an earlier life has left; bytes that were written."""
        used = [
            (offset, offset + extent(length))
            for sequence, offset, length in zip(self.sequences, self.offsets, self.lengths, strict=True)
            if sequence not in done
        ]
        written = blank(self.disk, self.file, self.size, used)
        self.stale = False
        return written

    def raw(self, place: int) -> bytes:
        """The record's bytes as they lie in the file, as far as they can be read."""
        try:
            return self.disk.read(self.file, self.offsets[place], extent(self.lengths[place]))
        except OSError:
            return b""

    def copy_name(self, place: int) -> str:
        """The file name of a copy of the record that is set aside; sorts by age."""
        return f"{self.sequences[place]:012d}-{self.path.stem}-{self.offsets[place]}.record"

    def forget(self) -> None:
        """Empty the index, for the segment's next life."""
        for column in (self.sequences, self.offsets, self.lengths, self.begins, self.ends, self.frames):
            del column[:]
        self.end = self.live = 0
        self.sealed = False


def extent(length: int) -> int:
    """Bytes that a record with a payload of this length takes in a segment."""
    return padded(length + 2 * HEAD_BYTES)


def foreign_version(disk: Disk, path: Path) -> int | None:
    """The version of the segment, where its first head is a sound one of another version."""
    file = disk.open(path)
    try:
        data = read_around(disk, file, 0, HEAD_BYTES)
    finally:
        disk.close(file)
    sound = crc32(data[: _HEAD.size]) == int.from_bytes(data[_HEAD.size :], "little")
    return other_version(data, _MAGIC, 2) if sound else None


def name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:012d}{SUFFIX}"


def scan(disk: Disk, file: int, number: int) -> Iterator[Head]:
    """Heads of the segment's records in the order they lie in, payloads unread; damaged heads are skipped."""
    size = disk.size(file)
    offset = 0
    while offset + PAGE <= size:
        head = _head_at(read_around(disk, file, offset, HEAD_BYTES), number, offset, size)
        if head is None:
            head = _resynchronised(disk, file, number, offset, size)
            if head is None:
                return
        yield head
        offset = head.offset + head.extent


def _resynchronised(disk: Disk, file: int, number: int, offset: int, size: int) -> Head | None:
    """The next record at or after `offset`, known by either of its heads."""
    for begin in range(offset, size - PAGE + 1, _SCAN_BYTES):
        block = read_around(disk, file, begin, _SCAN_BYTES)
        if block.find(_MAGIC) < 0:
            continue
        for page in range(0, len(block) - PAGE + 1, PAGE):
            head = _head_at(block[page : page + HEAD_BYTES], number, begin + page, size)
            if head is None:
                head = _valid(block[page + PAGE - HEAD_BYTES : page + PAGE], number, size)
                if head is not None and not offset <= head.offset == begin + page + PAGE - head.extent:
                    head = None
            if head is not None:
                return head
    return None


def _head_at(data: bytes, number: int, offset: int, size: int) -> Head | None:
    head = _valid(data, number, size)
    return head if head is not None and head.offset == offset else None


def _valid(data: bytes, number: int, size: int) -> Head | None:
    head = Head.unpack(data)
    return head if head is not None and head.segment == number and head.offset + head.extent <= size else None
