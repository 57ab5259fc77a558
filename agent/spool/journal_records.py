# SPDX-License-Identifier: Apache-2.0
"""The journal's bytes: a mark, and records with a head at both ends. Pure.

Bytes, little endian; page 0 is the mark, records follow, each of whole pages of 4096 bytes:

    | mark | zeros | head | payload … | zeros | head | next record …

    head, at both ends of its record:           mark:
      0   4  magic "CFJR", of a set "CFJS"        0   4  magic "CFJM"
      4   4  version, 1                           4   4  version, 1
      8   8  epoch                                8   8  1 after a clean stop, 0 while running
      16  8  sequence of the (first) batch        16  8  zero
      24  8  written, ns since the epoch          24  8  written, ns since the epoch
      32  4  offset of the record in the file     32  …  zero
      36  4  index within the epoch, from 0;
             of a set: how many batches
      40  4  payload length; that of a set is
             a MessagePack array of batches
      44  4  CRC-32 of the payload
      48  4  CRC-32 of the 48 bytes before        48  4  CRC-32 of the 48 bytes before
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from agent.spool.disk import PAGE, padded
from agent.spool.state import VERSION, other_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = struct.Struct("<4sIQQqIIII")
HEAD_BYTES = _HEAD.size + 4
RECORD_MAGIC, SET_MAGIC, MARK_MAGIC = b"CFJR", b"CFJS", b"CFJM"


class RecordHead(NamedTuple):
    """A record's, or the mark's."""

    magic: bytes
    version: int
    epoch: int
    sequence: int
    written_ns: int
    offset: int = 0
    number: int = 0
    length: int = 0
    checksum: int = 0

    @property
    def end(self) -> int:
        """Where the next record may begin."""
        return self.offset + extent(self.length)


def found_records(content: bytes) -> Iterator[tuple[RecordHead, bytes | None]]:
    """Every record of every epoch, known by either head; the payload is None where it is damaged."""
    offset = PAGE
    while offset + PAGE <= len(content):
        page = content[offset : offset + PAGE]
        head = unpacked(page[:HEAD_BYTES], RECORD_MAGIC, SET_MAGIC)
        if head is None or head.offset != offset:
            head = unpacked(page[-HEAD_BYTES:], RECORD_MAGIC, SET_MAGIC)
            if head is None or head.end != offset + PAGE:
                offset += PAGE
                continue
        begin = head.offset + HEAD_BYTES
        payload = content[begin : begin + head.length]
        yield head, payload if len(payload) == head.length and crc32(payload) == head.checksum else None
        offset = min(head.end, offset + PAGE) if head.end > len(content) else head.end


def by_epoch(
    found: Iterable[tuple[RecordHead, bytes | None]],
) -> Iterator[tuple[int, dict[int, tuple[RecordHead, bytes | None]]]]:
    """The records of each epoch by number, newest epoch first; of two with one number, an intact one."""
    epochs: dict[int, dict[int, tuple[RecordHead, bytes | None]]] = {}
    for head, payload in found:
        records = epochs.setdefault(head.epoch, {})
        if payload is not None or head.number not in records:
            records[head.number] = head, payload
    yield from sorted(epochs.items(), reverse=True)


def packed(magic: bytes, *fields: int) -> bytes:
    """A head's bytes; the fields are those of `RecordHead` behind the version."""
    body = _HEAD.pack(magic, VERSION, *fields)
    return body + crc32(body).to_bytes(4, "little")


def unpacked(data: bytes, *magics: bytes) -> RecordHead | None:
    """The head in these bytes; None where they are not a sound one with such a magic."""
    body, checksum = data[: _HEAD.size], int.from_bytes(data[_HEAD.size :], "little")
    if len(data) != HEAD_BYTES or body[:4] not in magics or crc32(body) != checksum:
        return None
    head = RecordHead(*_HEAD.unpack(body))
    return head if head.version == VERSION else None


def foreign_version(mark: bytes) -> int | None:
    """The version of the journal, where it is another one, and not this one's with a flipped byte."""
    repaired = mark[:4] + VERSION.to_bytes(4, "little") + mark[8:]
    return other_version(mark, MARK_MAGIC) if unpacked(repaired, MARK_MAGIC) is None else None


def extent(length: int) -> int:
    """Bytes that a record with a payload of this length takes."""
    return padded(length + 2 * HEAD_BYTES)
