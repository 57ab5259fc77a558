# SPDX-License-Identifier: Apache-2.0
"""What a message claims to hold, counted from its bytes before anything is made of them.

The protobuf library makes an object of some hundred bytes of every two bytes that say "an empty gap"; a payload of a
few hundred bytes, uncompressed, says so millions of times. So the wire format (https://protobuf.dev/programming-guides/
encoding) is walked through first: a tag is number << 3 | type, and types are varint 0, 64 bits 1, length-delimited 2,
32 bits 5. Groups (3, 4) have never been part of the format.

Promise: what passes has no more parts, and none longer, than the limits say; a packed field counts with its bytes.
Failure: `BatchError` with what is too many or too long, or that the bytes are no message.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_VARINT_BYTES_MAX = 10


@dataclass(frozen=True, slots=True)
class Limit:
    """How much there may be of one field.

    name    for a person
    many    how often it may occur in the whole; numbers: how many, or how many bytes where they are packed
    long    bytes that one may have
    within  the fields of it, where it is a message
    """

    name: str
    many: int
    long: int
    within: dict[int, Limit] = field(default_factory=dict)
    numbers: bool = False


def numbers(name: str, many: int) -> Limit:
    """Of a field of packed numbers."""
    return Limit(name, many, many, numbers=True)


def fields(content: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, and where it, its value and the next field begin, of each field of a message."""
    at = begin
    while at < end:
        start = at
        tag, at = (content[at], at + 1) if content[at] < 0x80 else _varint(content, at, end)
        kind = tag & 7
        value = at
        if kind == DELIMITED:
            length, value = (content[at], at + 1) if at < end and content[at] < 0x80 else _varint(content, at, end)
            at = value + length
        elif kind == VARINT:
            at = at + 1 if at < end and content[at] < 0x80 else _varint(content, at, end)[1]
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise BatchError("no message: it has a field of an unknown type")
        if at > end:
            raise BatchError("no message: it is cut short")
        yield tag >> 3, start, value, at


def screen(content: bytes, limits: dict[int, Limit], fields_max: int) -> list[tuple[int, int, int]]:
    """Number, begin and end of each field; raises `BatchError` where there are more parts than that, or longer ones."""
    found = []
    seen: Counter[str] = Counter()
    inner = [(0, len(content), limits)]
    for begin, end, known in inner:
        for number, start, value, stop in fields(content, begin, end):
            found.append((number, start, stop))
            limit = known.get(number)
            if limit is not None:
                _check(limit, stop - value, seen)
                if limit.within:
                    inner.append((value, stop, limit.within))
            if len(found) > fields_max:
                raise BatchError("more fields than can be")
    return found


def _check(limit: Limit, length: int, seen: Counter[str]) -> None:
    if length > limit.long:
        raise BatchError(f"{limit.name} of {length} bytes; at most {limit.long} are accepted")
    seen[limit.name] += max(length, 1) if limit.numbers else 1
    if seen[limit.name] > limit.many:
        raise BatchError(f"more than {limit.many} times {limit.name}")


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """A base-128 number, least significant group first, and where it ends."""
    if at < end and content[at] < 0x80:
        return content[at], at + 1
    number = 0
    for place in range(_VARINT_BYTES_MAX):
        if at >= end:
            break
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at
    raise BatchError("no message: it is cut short")
