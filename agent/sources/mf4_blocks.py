# SPDX-License-Identifier: Apache-2.0
"""What an MF4 log has to be before asammdf may read it: MDF 4, and its chains of blocks without end in sight.

    0   MDF␠␠␠␠␠ or UnFinMF␠ · version as text · … · 28 version as a number
    64  ##HD ─► ##DG ─► next ##DG …     ##CG ─► ##CN …     data: ##DT ##DZ ##DL ##HL

Promise: `check_blocks` reads the blocks' heads only, each once, and so ends whatever they hold. What leads back into a
chain, out of the file, or to data that would be larger than its bytes can hold, is an UnreadableError.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from agent.sources.logitems import UnreadableError

if TYPE_CHECKING:
    from pathlib import Path

_ID_BYTES = 64
_HEAD = struct.Struct("<4s4xQQ")
_DZ = struct.Struct("<2sBxLQQ")
_LINKS_MAX = 1 << 20
_FOLLOWED = {
    b"##HD": range(5),
    b"##DG": range(3),
    b"##CG": range(2),
    b"##CN": range(2),
    b"##DL": range(_LINKS_MAX),
    b"##LD": range(_LINKS_MAX),
    b"##HL": range(1),
    b"##CA": range(1),
    b"##CH": range(2),
    b"##FH": range(1),
    b"##AT": range(1),
    b"##EV": range(1),
    b"##SR": range(1),
    b"##DT": range(0),
    b"##DZ": range(0),
    b"##DV": range(0),
    b"##DI": range(0),
    b"##SD": range(0),
    b"##RD": range(0),
    b"##RV": range(0),
    b"##RI": range(0),
}
"""By block: which of its links lead on; the others lead to texts, units and conversions, or across."""
_RATIO_MAX = 1100
"""What zlib makes of a byte at most, and a little more."""


def check_blocks(path: Path) -> None:
    """Raise UnreadableError where asammdf must not be given the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(_ID_BYTES)
        if head[:8] not in {b"MDF     ", b"UnFinMF "} or len(head) < _ID_BYTES:
            raise UnreadableError("no MDF log: it does not begin as one", "byte 0", at_end=not head)
        version = int.from_bytes(head[28:30], "little")
        if version < 400:
            told = head[8:16].rstrip(b"\0 ").decode("ascii", "replace")
            raise UnreadableError(f"an MDF {told} log; read is MDF 4 (.mf4): convert it to that first", "byte 8")
        _walk(file, size)


def _walk(file: BinaryIO, size: int) -> None:
    seen: set[int] = set()
    waiting = [_ID_BYTES]
    while waiting:
        address = waiting.pop()
        if address in seen:
            raise _damaged("a chain of blocks leads back into itself", address)
        seen.add(address)
        file.seek(address)
        head = file.read(_HEAD.size)
        if address > size - _HEAD.size or len(head) < _HEAD.size:
            raise _damaged("a block beyond the end", address)
        kind, length, links = _HEAD.unpack(head)
        if kind not in _FOLLOWED or not _HEAD.size <= length:
            raise _damaged("no block where one should be", address)
        if links > min(_LINKS_MAX, (length - _HEAD.size) // 8):
            raise _damaged("a block with more links than it has room for", address)
        told = file.read(8 * links)
        if len(told) < 8 * links:
            raise _damaged("a block beyond the end", address)
        if kind == b"##DZ":
            _check_packed(file, address)
        targets = struct.unpack(f"<{links}Q", told)
        waiting += [targets[index] for index in range(min(links, len(_FOLLOWED[kind]))) if targets[index]]


def _check_packed(file: BinaryIO, address: int) -> None:
    packed = file.read(_DZ.size)
    if len(packed) < _DZ.size:
        raise _damaged("a block beyond the end", address)
    *_, original, stored = _DZ.unpack(packed)
    if original > stored * _RATIO_MAX + 1024:
        raise _damaged("compressed data that cannot be as large as it says", address)


def _damaged(reason: str, address: int) -> UnreadableError:
    return UnreadableError(f"damaged: {reason}", f"byte {address}")
