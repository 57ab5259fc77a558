# SPDX-License-Identifier: Apache-2.0
"""BLF files made byte by byte, by the structures of Vector's binlog_objects.h."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEMTIME = (2025, 9, 1, 29, 13, 0, 0, 0)
CANOE, PYTHON_CAN = 2, 5


def blf_object(kind: int, content: bytes, time: float = 0, *, size: int | None = None, unit: int = 2) -> bytes:
    """One object; `size` is what it says of itself, `unit` 1 ten microseconds, 2 nanoseconds."""
    ticks = round(time * (1e9 if unit == 2 else 1e5))
    whole = 32 + len(content)
    told = whole if size is None else size
    header = struct.pack("<4sHHLLLHHq", b"LOBJ", 32, 1, told, kind, unit, 0, 0, ticks)
    return header + content + bytes(whole % 4)


def can_object(
    time: float, can_id: int, payload: bytes, *, channel: int = 1, dlc: int | None = None, flags: int = 0, unit: int = 2
) -> bytes:
    """CAN_MESSAGE2."""
    code = len(payload) if dlc is None else dlc
    content = struct.pack("<HBBL8sLBBH", channel, flags, code, can_id, payload, 0, 0, 0, 0)
    return blf_object(86, content, time, unit=unit)


def container(content: bytes, *, method: int = 2) -> bytes:
    """A container of objects."""
    packed = zlib.compress(content) if method == 2 else content
    header = struct.pack("<4sHHLLH6xL4x", b"LOBJ", 16, 1, 32 + len(packed), 10, method, len(content))
    return header + packed + bytes((32 + len(packed)) % 4)


def blf(
    objects: Sequence[bytes],
    *,
    start: Sequence[int] = SYSTEMTIME,
    application: int = CANOE,
    containers: Sequence[bytes] | None = None,
) -> bytes:
    """A file of one container, or of these."""
    body = b"".join([container(b"".join(objects))] if containers is None else containers)
    header = struct.pack(
        "<4sL8BQQLL8H8H",
        b"LOGG",
        144,
        application,
        0,
        0,
        0,
        2,
        6,
        8,
        1,
        144 + len(body),
        0,
        len(objects),
        0,
        *start,
        *start,
    )
    return header.ljust(144, b"\0") + body
