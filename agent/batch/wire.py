# SPDX-License-Identifier: Apache-2.0
"""Protocol Buffers' wire format for whole arrays: packed repeated fields made and read by numpy.

The protobuf library builds a packed field one Python number at a time; a batch has tens of thousands. What is
produced here is the same bytes (https://protobuf.dev/programming-guides/encoding): base-128 varints, least
significant group first, and ZigZag for signed numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTH_DELIMITED = 2
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
    said = rest != 0
    said[:, 0] = True
    written: bytes = out[said].tobytes()
    return written


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field (bytes, or packed numbers); nothing where the content is empty."""
    if not content:
        return b""
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
