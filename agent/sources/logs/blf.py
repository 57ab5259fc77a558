# SPDX-License-Identifier: Apache-2.0
"""BLF logs: Vector's CANalyzer, CANoe, CANape and loggers, python-can, and who writes like them.

    file     LOGG header (144 bytes: who wrote it, sizes, when it begins) · objects
    object   LOBJ, header size, version, size, type · flags, time · content          up to 3 bytes of padding
    type 10  a container: compression, size · objects, which may go on in the next container

Promise: each object in a container is a data frame, is counted, or is refused; one whose content is damaged costs
itself. Channel n is bus n. Times are nanoseconds or ten microseconds since the file's begin, before it too. The begin
is local time, for that is what Vector's tools write; python-can's own files, told by its mark (application 5 without a
version), are UTC.

Limits: python-can wrote local time in its early years, and nothing tells those files from today's. An object has at
most `OBJECT_BYTES_MAX`, and so has a container when decompressed. What is behind the last whole object of a container
that is no other's beginning is torn off.

Failure: where sizes no longer lead to the next object, the file is damaged from there on: an UnreadableError that names
the place, after the frames before it; the objects that the header counts behind it are refused.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO

from agent.model import EXTENDED_MASK
from agent.sources.logs.dates import system_time
from agent.sources.logs.items import (
    BAD_ITEM,
    EVENT,
    FD_BYTES,
    Item,
    Kind,
    LogFound,
    Other,
    UnreadableError,
    classic,
    fd_flags,
    id_word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OBJECT_BYTES_MAX = 1 << 25
_FILE = struct.Struct("<4sL8BQQLL8H8H")
_FILE_BYTES = 144
_BASE = struct.Struct("<4sHHLL")
_TIMED = struct.Struct("<4sHHLLL4xq")
_CONTAINER = struct.Struct("<H6xL4x")
_MESSAGE = struct.Struct("<HBBL8s")
_FD_MESSAGE = struct.Struct("<HBBL5xBB5x")
_FD_MESSAGE_64 = struct.Struct("<BBBxL4xL18xBB4x")
_MAGIC = b"LOBJ"
_ITEMS_AT_ONCE = 2000
_PADDING_BYTES_MAX = 8
_CONTAINER_TYPE = 10
_UNCOMPRESSED = 0
_PYTHON_CAN = (5, 0, 0, 0)
_TEN_MICROSECONDS = 1
_EXTENDED_BIT = 0x8000_0000
_TX_REQUEST = 2


class BlfLog:
    """One pass over a BLF log; `items` gives those of each container."""

    def __init__(self, stream: BinaryIO, found: LogFound) -> None:
        self._stream = stream
        self._refuse = found.refuse
        header = stream.read(_FILE_BYTES)
        if len(header) < _FILE_BYTES or not header.startswith(b"LOGG"):
            short = len(header) < _FILE_BYTES
            raise UnreadableError("no BLF log: it does not begin with a header of one", "byte 0", at_end=short)
        fields = _FILE.unpack_from(header)
        self._of_python_can = fields[2:6] == _PYTHON_CAN
        self._size, self._count_told = fields[10], fields[12]
        start = fields[14:22]
        if any(start):
            found.date.tell(system_time(start, utc=self._of_python_can), f"SYSTEMTIME {start}")
        self._begin_ns = found.date.begin_ns
        self._read_bytes = len(header) + len(stream.read(max(0, min(fields[1], 1 << 16) - _FILE_BYTES)))
        self._count = 0
        self._rest = b""

    def items(self) -> Iterator[list[Item]]:
        """The items of each container, or of objects that stand outside of one."""
        while (head := self._next_head()) is not None:
            *_, size, kind = _BASE.unpack(head)
            place = f"byte {self._read_bytes - _BASE.size}"
            if not _BASE.size <= size <= OBJECT_BYTES_MAX:
                raise self._damaged(f"an object of {size} bytes", place)
            body = self._read(size - _BASE.size)
            torn = len(body) < size - _BASE.size
            if kind != _CONTAINER_TYPE:
                yield from self._objects(head + body, place)
            elif content := self._content(body, place):
                yield from self._objects(content, place)
            if torn:
                break
        if self._rest.strip(b"\0") or self._read_bytes < self._size:
            raise UnreadableError("the file ends too early", f"byte {self._read_bytes}", at_end=True)

    def _read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._read_bytes += len(piece)
        return piece

    def _next_head(self) -> bytes | None:
        """The header of the next object of the file, behind its padding; None at the end."""
        head = self._read(_BASE.size)
        begin = head.find(_MAGIC, 0, _PADDING_BYTES_MAX + len(_MAGIC))
        if begin > 0:
            head = head[begin:] + self._read(begin)
        if len(head) == _BASE.size and begin >= 0:
            return head
        if head.strip(b"\0") and (len(head) == _BASE.size or self._read_bytes < self._size):
            if len(head) == _BASE.size:
                raise self._damaged("no object where one should be", f"byte {self._read_bytes - len(head)}")
            self._rest = head
        return None

    def _content(self, body: bytes, place: str) -> bytes:
        """What a container holds, as far as it can be had."""
        if len(body) < _CONTAINER.size:
            return b""
        method, _ = _CONTAINER.unpack_from(body)
        if method == _UNCOMPRESSED:
            return body[_CONTAINER.size :]
        try:
            return zlib.decompressobj().decompress(body[_CONTAINER.size :], OBJECT_BYTES_MAX)
        except zlib.error:
            self._refuse(place, "a container that cannot be decompressed")
            self._rest = b""
            return b""

    def _objects(self, content: bytes, place: str) -> Iterator[list[Item]]:
        """The objects of a container, some at a time; the beginning of one that goes on in the next is kept for it."""
        data, at = self._rest + content, 0
        items: list[Item] = []
        while (begin := data.find(_MAGIC, at, at + _PADDING_BYTES_MAX + len(_MAGIC))) >= 0:
            at = begin
            if at + _BASE.size > len(data):
                break
            _, header_size, _, size, kind = _BASE.unpack_from(data, at)
            if not _TIMED.size <= header_size <= size <= OBJECT_BYTES_MAX:
                yield items
                raise self._damaged(
                    f"an object of {size} bytes", f"object {self._count + 1}, in the container at {place}"
                )
            if at + size > len(data):
                break
            self._count += 1
            try:
                items.append(self._item(data, at, header_size, size, kind))
            except (*BAD_ITEM, struct.error) as error:
                self._refuse(f"object {self._count}", str(error))
            at += size
            if len(items) == _ITEMS_AT_ONCE:
                yield items
                items = []
        self._rest = data[at:]
        yield items
        if len(self._rest) > _PADDING_BYTES_MAX + len(_MAGIC) and not self._rest.startswith(_MAGIC):
            raise self._damaged(
                "no object where one should be", f"object {self._count + 1}, in the container at {place}"
            )

    def _damaged(self, reason: str, place: str) -> UnreadableError:
        """From here on nothing can be found; what the header counts of it is refused."""
        lost = max(1, min(self._count_told - self._count, self._size // _TIMED.size))
        return UnreadableError(f"the file is damaged: {reason}", place, lost=lost)

    def _item(self, data: bytes, at: int, header_size: int, size: int, kind: int) -> Item:
        _, _, version, _, _, unit, time = _TIMED.unpack_from(data, at)
        if not 1 <= version <= 3:
            raise ValueError(f"an object header of version {version}")
        content_of = _CONTENTS.get(kind)
        if content_of is None:
            return EVENT
        time_ns = self._begin_ns + (time * 10_000 if unit == _TEN_MICROSECONDS else time)
        if self._of_python_can:  # made of floating-point seconds, which have no nanoseconds
            time_ns = (time_ns + 500) // 1000 * 1000
        return content_of(time_ns, data[at + header_size : at + size], header_size)


def _message(time_ns: int, content: bytes, _: int) -> Item:
    channel, flags, dlc, can_id, payload = _MESSAGE.unpack_from(content)
    if flags & 0x80:
        return Other(Kind.REMOTE, channel)
    if dlc >= len(FD_BYTES):
        raise ValueError(f"a data length code of {dlc}")
    return time_ns, channel, _word(can_id), 0, classic(payload, dlc)


def _fd_message(time_ns: int, content: bytes, _: int) -> Item:
    channel, flags, dlc, can_id, fd, valid = _FD_MESSAGE.unpack_from(content)
    if flags & 0x80:
        return Other(Kind.REMOTE, channel)
    payload = content[_FD_MESSAGE.size :][:valid]
    if len(payload) < valid or valid > FD_BYTES[-1] or dlc >= len(FD_BYTES):
        raise ValueError("not as many bytes as it says")
    flags = fd_flags(brs=bool(fd & 2), esi=bool(fd & 4)) if fd & 1 or valid > 8 else 0
    return time_ns, channel, _word(can_id), flags, payload


def _fd_message_64(time_ns: int, content: bytes, header_size: int) -> Item:
    """Its payload may be written shorter than it is: the rest is zero, as binlog.dll has it."""
    channel, dlc, valid, can_id, flags, direction, extra = _FD_MESSAGE_64.unpack_from(content)
    if flags & 0x10:
        return Other(Kind.REMOTE, channel)
    if direction == _TX_REQUEST:
        return EVENT
    if valid > FD_BYTES[-1] or dlc >= len(FD_BYTES):
        raise ValueError("more bytes than a frame has")
    end = extra - header_size if extra else len(content)
    payload = content[_FD_MESSAGE_64.size : min(end, _FD_MESSAGE_64.size + valid)].ljust(valid, b"\0")
    fd = flags & 0x1000 or valid > 8
    kind = fd_flags(brs=bool(flags & 0x2000), esi=bool(flags & 0x4000)) if fd else 0
    return time_ns, channel, _word(can_id), kind, payload


def _error(_time_ns: int, content: bytes, _: int) -> Item:
    return Other(Kind.ERROR, *struct.unpack_from("<H", content))


def _fd_error(_time_ns: int, content: bytes, _: int) -> Item:
    return Other(Kind.ERROR, content[0])


def _word(can_id: int) -> int:
    extended = bool(can_id & _EXTENDED_BIT)
    return id_word(can_id & (EXTENDED_MASK if extended else ~_EXTENDED_BIT), extended=extended)


_CONTENTS: dict[int, Callable[[int, bytes, int], Item]] = {
    1: _message,
    86: _message,
    100: _fd_message,
    101: _fd_message_64,
    2: _error,
    73: _error,
    104: _fd_error,
}
