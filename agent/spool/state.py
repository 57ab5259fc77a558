# SPDX-License-Identifier: Apache-2.0
"""The spool's memory of what is done: one preallocated file of two slots, written in place by turns.

Promise: a state that was saved is found again after a power cut at any moment, and after any one flipped
byte. A save goes to the slot which does not hold the newest state; torn, it leaves the other slot, the state
before it. Each slot holds its content twice, in one sync, so that a bad byte costs nothing at all.

A slot whose turn has not come is not a damaged one: generation 1 went to slot 1, so as long as nothing newer is found,
a copy of zeros in slot 0 is as it was allocated. It may be that a power cut took the whole first write there: no
`save` had returned then. Anything else that is no state is damaged, or torn by a power cut: zeros beside a newer
generation, and beside the copy of generation 1 in its own slot, too, for a save writes both.

Limits: `RANGES_MAX` runs of acknowledged sequences and `ledger.GAPS_MAX` gaps; their worst case fits a copy.

The version is that of the whole folder; what declares another one in both copies of a slot is not this version's to
touch (`foreign_version`), and is never opened as a `StateFile`.

Failure: a save whose write or sync fails is written once more into the same slot and read back from the
device (the good slot is never put at risk); the second failure raises the `OSError`. A file that holds no
valid copy reads as None: the spool then begins a new stream.

    offset 0        64 KiB     128 KiB    192 KiB    256 KiB
    | slot 0        | slot 0    | slot 1    | slot 1    |
    | first copy    | second    | first     | second    |

    copy, little endian:
      0   4  magic "CFST"
      4   4  version, 1
      8   8  generation; the newest valid copy wins; its lowest bit is the slot
      16  4  length of the document
      20  4  CRC-32 of the 20 bytes before and of the document
      24  …  the document: `State` as a MessagePack array

State, segments and journal declare the version of the spool's format behind their magic. What a later or an earlier
version of canferry has left is known before a byte of it is written; it is neither written to nor taken for damage
(quarantine.py says what becomes of it). The state's version is that of the whole
folder: whoever changes what is in a segment or a journal raises that, too.

A flipped byte is damage of today's version, no other one: of the state both copies of a slot have to agree, a segment's
head must have a checksum that holds, and a journal's mark none that would hold for today's version.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from agent.errors import SpoolVersionError
from agent.spool.disk import PAGE, Disk, padded, read_around
from agent.spool.gap_ledger import Entry  # noqa: TC001  (msgspec reads the annotation)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


COPY_BYTES = 64 * 1024
STATE_BYTES = 4 * COPY_BYTES
RANGES_MAX = 1024

_HEADER = struct.Struct("<4sIQI")
_MAGIC = b"CFST"
_DOCUMENT = _HEADER.size + 4


class Stream(msgspec.Struct, frozen=True, array_like=True):
    """A stream: its name, the first sequence given out in it, and whose batches they are, "" where nobody told.

    base   the sequence whose number in the stream is 0; earlier versions counted on from the stream before, from 0
    """

    name: str
    first: int
    vehicle: str = ""
    base: int = 0


class State(msgspec.Struct, frozen=True, array_like=True):
    """What outlives the process.

    streams             oldest first; the last one is written to
    next_sequence       no number below was ever free again
    unsealed_sequence   every number below was sealed for certain, or dropped and reported
    low, ranges         acknowledged, evicted or set aside: all below `low`, and inclusive ranges above
    gaps                the ledger
    """

    streams: tuple[Stream, ...]
    next_sequence: int
    unsealed_sequence: int
    low: int
    ranges: tuple[tuple[int, int], ...]
    gaps: tuple[Entry, ...]


def stream_at(streams: Sequence[Stream], sequence: int) -> Stream:
    """The one of these, oldest first, which the number was given out in."""
    return next((stream for stream in reversed(streams) if stream.first <= sequence), streams[0])


class StateFile:
    """The open file; `state` is what was last saved or found."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self.path = path
        self._file = disk.open(path, create=True)
        self.empty = disk.size(self._file) == 0
        self.state: State | None = None
        self._generation = 0
        self.damaged_copies = 0
        if not self.empty:
            self._load()
        if disk.size(self._file) < STATE_BYTES:
            disk.allocate(self._file, STATE_BYTES)
            disk.sync_directory(path.parent)

    def save(self, state: State) -> None:
        """Make the state last."""
        generation = self._generation + 1
        copy = _packed(generation, state)
        try:
            self._write(generation, copy)
        except OSError:
            self._write(generation, copy)
            self._verify(generation, copy)
        self._generation, self.state = generation, state

    @property
    def file(self) -> int:
        """The open file."""
        return self._file

    def close(self) -> None:
        """Close without saving."""
        self._disk.close(self._file)

    def _write(self, generation: int, copy: bytes) -> None:
        for offset in _offsets(generation):
            self._disk.write(self._file, offset, copy)
        self._disk.sync(self._file)

    def _verify(self, generation: int, copy: bytes) -> None:
        self._disk.forget_cached(self._file)
        for offset in _offsets(generation):
            if self._disk.read(self._file, offset, len(copy)) != copy:
                raise OSError(5, "what was written reads back differently")

    def _load(self) -> None:
        for found in _copies(self._disk, self._file):
            if found is None:
                self.damaged_copies += 1
            elif found[0] > self._generation:
                self._generation, self.state = found
        if self._generation == 1:
            self.damaged_copies -= sum(map(self._is_blank, _offsets(0)))

    def _is_blank(self, offset: int) -> bool:
        try:
            return self._disk.read(self._file, offset, COPY_BYTES) == bytes(COPY_BYTES)
        except OSError:
            return False


def read_state(disk: Disk, file: int) -> State | None:
    """The newest state in an open file, which is only read."""
    found = [copy for copy in _copies(disk, file) if copy is not None]
    return max(found, key=lambda copy: copy[0])[1] if found else None


def foreign_version(disk: Disk, path: Path) -> int | None:
    """The version of the state, where another one has written a slot of it."""
    file = disk.open(path)
    try:
        copies = [other_version(read_around(disk, file, number * COPY_BYTES, PAGE), _MAGIC, 4) for number in range(4)]
    finally:
        disk.close(file)
    return next((one for one, other in (copies[:2], copies[2:]) if one is not None and one == other), None)


def _copies(disk: Disk, file: int) -> Iterator[tuple[int, State] | None]:
    for number in range(4):
        yield _unpacked(read_around(disk, file, number * COPY_BYTES, COPY_BYTES))


def _offsets(generation: int) -> tuple[int, int]:
    slot = (generation & 1) * 2 * COPY_BYTES
    return slot, slot + COPY_BYTES


def _packed(generation: int, state: State) -> bytes:
    document = msgspec.msgpack.encode(state)
    header = _HEADER.pack(_MAGIC, VERSION, generation, len(document))
    copy = header + crc32(document, crc32(header)).to_bytes(4, "little") + document
    assert len(copy) <= COPY_BYTES
    return copy.ljust(padded(len(copy)), b"\0")


def _unpacked(copy: bytes) -> tuple[int, State] | None:
    if len(copy) < PAGE:
        return None
    magic, version, generation, length = _HEADER.unpack_from(copy)
    document = copy[_DOCUMENT : _DOCUMENT + length]
    checksum = int.from_bytes(copy[_HEADER.size : _DOCUMENT], "little")
    if magic != _MAGIC or version != VERSION or crc32(document, crc32(copy[: _HEADER.size])) != checksum:
        return None
    try:
        return generation, msgspec.msgpack.decode(document, type=State)
    except msgspec.DecodeError:
        return None


VERSION = 1


def other_version(data: bytes, magic: bytes, width: int = 4) -> int | None:
    """The version that is declared there, where it is not this one; None, too, where it is nothing of ours."""
    version = int.from_bytes(data[len(magic) : len(magic) + width], "little")
    return version if data[: len(magic)] == magic and version != VERSION else None


def refusal(path: object, version: int) -> SpoolVersionError:
    """To be raised."""
    return SpoolVersionError(
        f"{path}: written by another version of canferry, in format {version}; accepted: {VERSION}"
    )
