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
_THRESHOLDS = np.array([1 << 7 * n for n in range(1, 10)], np.uint64)


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
    if int(numbers.max()) < 0x80:
        return numbers.astype(np.uint8).tobytes()
    sizes = np.searchsorted(_THRESHOLDS, numbers, side="right") + 1
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]), np.uint8)
    at, rest, left = ends - sizes, numbers, sizes
    while len(at):
        more = left > 1
        out[at] = (rest & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        at, rest, left = at[more] + 1, rest[more] >> np.uint64(7), left[more] - 1
    return out.tobytes()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field (bytes, or packed numbers); nothing where the content is empty."""
    if not content:
        return b""
    tag = np.array([number << 3 | LENGTH_DELIMITED, len(content)], np.uint64)
    return varints(tag) + content
