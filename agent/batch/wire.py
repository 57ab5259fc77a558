# SPDX-License-Identifier: Apache-2.0
"""Protocol Buffers' wire format: packed arrays, and limits that hold before parsing.

Source: https://protobuf.dev/programming-guides/encoding

The protobuf library builds a packed field one Python number at a time; a batch has tens of thousands. `varints` and
`delimited_field` produce the same bytes by numpy: base-128 varints, least significant group first, ZigZag for signed
numbers.

The library also makes an object of some hundred bytes of two bytes that say "an empty gap". `screen` therefore walks
through a message first. A tag is number << 3 | type; types are varint 0, 64 bits 1, length-delimited 2, 32 bits 5.
Groups (3, 4) have never been part of the format.

Promise: a message that passes `screen` has no more fields, and none longer, than its limits say. A packed field counts
with its bytes.
Failure: `BatchError` names what is too many or too long, or says that the bytes are no message.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_VARINT_BYTES_MAX = 10
_SEVENS = np.arange(0, 64, 7, dtype=np.uint64)
_CELLS_MAX = 131_072
"""Bytes that are laid out at a time: each takes eight bytes of temporary memory, and more."""


def zigzag(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Signed to unsigned, small magnitudes to small numbers: 0, -1, 1, -2 … to 0, 1, 2, 3 …"""
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def unzigzag(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The inverse of `zigzag`."""
    return ((numbers >> np.uint64(1)) ^ (~(numbers & np.uint64(1)) + np.uint64(1))).view(np.int64)


def varints(numbers: NDArray[np.uint64]) -> bytes:
    """Base-128 varints of unsigned numbers, end to end."""
    if not len(numbers):
        return b""
    largest = int(numbers.max())
    if largest < 0x80:
        return numbers.astype(np.uint8).tobytes()
    sevens = _SEVENS[: (largest.bit_length() + 6) // 7]
    rows = _CELLS_MAX // len(sevens)
    return b"".join(_varints(numbers[begin : begin + rows], sevens) for begin in range(0, len(numbers), rows))


def _varints(numbers: NDArray[np.uint64], sevens: NDArray[np.uint64]) -> bytes:
    """A row of bytes for each number, as long as the longest needs; what is behind a number's last one is left out."""
    rest = numbers[:, None] >> sevens
    out = rest.astype(np.uint8) & np.uint8(0x7F)
    out |= (rest > np.uint64(0x7F)).view(np.uint8) << 7
    used = rest != 0
    used[:, 0] = True
    written: bytes = out[used].tobytes()
    return written


def delimited_field(number: int, content: bytes) -> bytes:
    """A length-delimited field (bytes, or packed numbers); nothing where the content is empty."""
    if not content:
        return b""
    return _varint(number << 3 | DELIMITED) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


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
        tag, at = (content[at], at + 1) if content[at] < 0x80 else _read_varint(content, at, end)
        kind = tag & 7
        value = at
        if kind == DELIMITED:
            length, value = (content[at], at + 1) if at < end and content[at] < 0x80 else _read_varint(content, at, end)
            at = value + length
        elif kind == VARINT:
            at = at + 1 if at < end and content[at] < 0x80 else _read_varint(content, at, end)[1]
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


def _read_varint(content: bytes, at: int, end: int) -> tuple[int, int]:
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
