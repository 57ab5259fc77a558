# SPDX-License-Identifier: Apache-2.0
"""The blocks of an MDF 4 file: linked, each with a name, its links and its content (ASAM MDF 4.1 and 4.2).

    0    MDF␠␠␠␠␠ or UnFinMF␠ · version as text · … · 28 version · 60 what the recorder did not finish
    64   ##HD: when the log begins ─► ##DG ─► ##DG …
    ##DG a stretch of records ─► its groups ##CG ─► ##CG …, its data ##DT, ##DZ (zlib), ##DL and ##HL (lists of them)
    ##CG records of one kind ─► its channels ##CN ─► ##CN …, ##SI the source
    any  ##XX · 4 reserved · size · count of links · links · content

Promise: each block of a chain is visited once, whatever the links say, and none beyond the file; so all ends, and what
it holds is no larger than the file decompressed. An unfinished file (power cut) is read as far as it was written.

Failure: a link that leads to no such block is an UnreadableError that names the place.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.sources.logs.items import UnreadableError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

_FINISHED, _UNFINISHED = b"MDF     ", b"UnFinMF "
_ID_BYTES = 64
_HEAD = struct.Struct("<4s4xQQ")
_DZ = struct.Struct("<2sBxLQQ")
_DEFLATE, _TRANSPOSED = 0, 1
_DATA_KINDS = (b"##DT", b"##DV", b"##SD", b"##RD", b"##DZ", b"##DL", b"##LD", b"##HL")
_RATIO_MAX = 1100
"""What zlib makes of a byte at most, and a little more."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block: its links, and where its content begins and ends in the file."""

    address: int
    kind: bytes
    links: tuple[int, ...]
    begin: int
    end: int

    def link(self, number: int) -> int:
        """One of its links; 0 where it has none."""
        return self.links[number] if number < len(self.links) else 0


class MdfBlocks:
    """The blocks of a file; `torn` once something turned out to be cut off."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._size = len(content)
        head = content[:_ID_BYTES]
        if head[:8] not in {_FINISHED, _UNFINISHED} or len(head) < _ID_BYTES:
            raise UnreadableError("no MDF log: it does not begin as one", "byte 0", at_end=len(head) < _ID_BYTES)
        if int.from_bytes(head[28:30], "little") < 400:
            told = head[8:16].rstrip(b"\0 ").decode("ascii", "replace")
            raise UnreadableError(f"an MDF {told} log; read is MDF 4 (.mf4): convert it to that first", "byte 8")
        self.finished = head[:8] == _FINISHED
        self.torn = False

    def at(self, address: int, *kinds: bytes) -> Block:
        """The block of one of these kinds at an address."""
        if not _ID_BYTES <= address <= self._size - _HEAD.size:
            raise UnreadableError("a block beyond the end of the file", f"byte {address}", at_end=address >= _ID_BYTES)
        kind, size, links = _HEAD.unpack_from(self._content, address)
        begin = address + _HEAD.size + 8 * links
        if kind not in kinds or begin > self._size or (size and begin > address + size):
            raise UnreadableError("damaged: no block where one should be", f"byte {address}")
        told = struct.unpack_from(f"<{links}Q", self._content, address + _HEAD.size)
        end = address + size
        if not self.finished and kind in {b"##DT", b"##DV"} and size <= _HEAD.size:
            end = self._size  # its size was to be written in the end
        self.torn |= end > self._size
        return Block(address, kind, told, begin, min(end, self._size))

    def chain(self, address: int, kind: bytes) -> Iterator[Block]:
        """The block at an address and those that its first links lead to; 0 is none."""
        seen = set()
        while address:
            if address in seen:
                raise UnreadableError("damaged: a chain of blocks leads back into itself", f"byte {address}")
            seen.add(address)
            block = self.at(address, kind)
            yield block
            address = block.link(0)

    def fields(self, block: Block, layout: struct.Struct) -> tuple[int, ...]:
        """What its content begins with."""
        if block.end - block.begin < layout.size:
            raise UnreadableError("damaged: a block that is too short", f"byte {block.address}", at_end=self.torn)
        return layout.unpack_from(self._content, block.begin)

    def text(self, address: int) -> str:
        """A text block's; "" where there is none."""
        try:
            block = self.at(address, b"##TX", b"##MD")
        except UnreadableError:
            return ""
        return self._content[block.begin : min(block.end, block.begin + 1024)].split(b"\0")[0].decode(errors="replace")

    def data(self, address: int) -> bytes:
        """All that a data block, or a list of them, holds."""
        parts: list[bytes] = []
        waiting, seen = [address] if address else [], set()
        while waiting:
            block = self.at(waiting.pop(), *_DATA_KINDS)
            if block.address in seen:
                raise UnreadableError("damaged: data that holds itself", f"byte {block.address}")
            seen.add(block.address)
            if block.kind in {b"##DL", b"##LD", b"##HL"}:
                first, *others = block.links or (0,)
                waiting += [link for link in (first, *reversed(others)) if link]
            elif block.kind == b"##DZ":
                parts.append(self._unpacked(block))
            else:
                parts.append(self._content[block.begin : block.end])
        return b"".join(parts)

    def _unpacked(self, block: Block) -> bytes:
        _, method, columns, size, packed_bytes = self.fields(block, _DZ)
        if size > packed_bytes * _RATIO_MAX + 1024 or method not in {_DEFLATE, _TRANSPOSED}:
            reason = "data that is larger than it can be" if method <= _TRANSPOSED else "compressed in a way not read"
            raise UnreadableError(f"damaged: {reason}", f"byte {block.address}")
        packed = self._content[block.begin + _DZ.size : min(block.end, block.begin + _DZ.size + packed_bytes)]
        try:
            unpacked = zlib.decompressobj().decompress(packed, size or 1)
        except zlib.error as error:
            raise UnreadableError("damaged: data that cannot be decompressed", f"byte {block.address}") from error
        if method == _TRANSPOSED and columns:
            if len(unpacked) < size:  # its columns are not whole
                raise UnreadableError("data that is cut off", f"byte {block.address}", at_end=self.torn)
            rows = len(unpacked) // columns
            table = np.frombuffer(unpacked, np.uint8, rows * columns).reshape(columns, rows)
            unpacked = table.T.tobytes() + unpacked[rows * columns :]
        return unpacked
