# SPDX-License-Identifier: Apache-2.0
"""Checksums of many frames at once, each by its message's protection: no loop over frames, one step for each byte.

The CRCs are table-driven; the tables are made with crccheck, whose catalogue the parameters are of, and which
cantools brings along. Published check values are in the tests.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.collect.integrity.protection import MessageProtection

_SUM, _XOR, _CRC = range(3)
_METHOD = {"sum": _SUM, "xor": _XOR, "crc8-sae-j1850": _CRC, "crc8-h2f": _CRC, "e2e-1": _CRC, "e2e-2": _CRC}
_H2F = ("crc8-h2f", "e2e-2")


class Checksums:
    """Computes what checksums should be, of messages with these protections; only of those that have one."""

    def __init__(self, protections: Sequence[MessageProtection]) -> None:
        configs = [protection.config for protection in protections]
        self._method = np.array([_METHOD[config.kind or "sum"] for config in configs], np.int64)
        self._mask = np.array([protection.mask for protection in protections], np.uint8).reshape(-1, 64)
        self._modulus = np.array([1 << protection.bits for protection in protections], np.int64)
        self._start = np.array([config.start for config in configs], np.int64)
        self._with_id = np.array([config.with_id for config in configs], np.bool_)
        self._with_length = np.array([config.with_length for config in configs], np.bool_)
        self._has_more = bool((self._with_id | self._with_length).any())
        self._byte = np.array([protection.byte for protection in protections], np.int64)
        self._table = np.array([config.kind in _H2F for config in configs], np.int64) << 8
        self._turned = np.array([0 if config.kind == "e2e-1" else 0xFF for config in configs], np.uint8)
        self._before = np.array([_before(protection) for protection in protections], np.int64).reshape(-1, 2, 2)
        self._after = np.array([config.data_ids or (-1,) * 16 for config in configs], np.int64).reshape(-1, 16)

    def expected(
        self,
        protection: NDArray[np.int64],
        data: NDArray[np.uint8],
        length: NDArray[np.uint8],
        can_id: NDArray[np.uint32],
        counter: NDArray[np.int64],
    ) -> NDArray[np.uint64]:
        """What the checksum of each frame should be, uint64 (n,).

        protection    (n,), index into the protections
        data     (n, width), zero past the frame's length · length (n,) · can_id (n,), without flags
        counter  (n,), the message's counter in that frame, 0 where it has none
        """
        expected = np.zeros(len(protection), np.uint64)
        method = self._method.take(protection)
        for each, compute in (
            (_SUM, partial(self._folded, np.add)),
            (_XOR, partial(self._folded, np.bitwise_xor)),
            (_CRC, self._crc),
        ):
            rows = (method == each).nonzero()[0]
            if len(rows) == len(protection):
                return compute(protection, data, length, can_id, counter)
            if len(rows):
                expected[rows] = compute(protection[rows], data[rows], length[rows], can_id[rows], counter[rows])
        return expected

    def _folded(
        self,
        fold: np.ufunc,
        protection: NDArray[np.int64],
        data: NDArray[np.uint8],
        length: NDArray[np.uint8],
        can_id: NDArray[np.uint32],
        _counter: NDArray[np.int64],
    ) -> NDArray[np.uint64]:
        """All bytes added, or all of them XORed."""
        total = fold.reduce(data & self._mask[protection, : data.shape[1]], axis=1, dtype=np.int64)
        total = fold(total, self._start.take(protection))
        if self._has_more:
            total = fold(total, np.where(self._with_length.take(protection), length, 0))
            total = fold(total, np.where(self._with_id.take(protection), fold.reduce(_bytes(can_id), 1, np.int64), 0))
        expected: NDArray[np.uint64] = (total % self._modulus.take(protection)).astype(np.uint64)
        return expected

    def _crc(
        self,
        protection: NDArray[np.int64],
        data: NDArray[np.uint8],
        length: NDArray[np.uint8],
        _can_id: NDArray[np.uint32],
        counter: NDArray[np.int64],
    ) -> NDArray[np.uint64]:
        table, turned = self._table.take(protection), self._turned.take(protection)
        crc = turned
        before = self._before[protection, counter & 1]
        for column in range(before.shape[1]):
            crc = _fed(crc, table, before[:, column], before[:, column] >= 0)
        own = self._byte.take(protection)
        for column in range(int(length.max(initial=0))):
            crc = _fed(crc, table, data[:, column], (column < length) & (own != column))
        after = self._after[protection, counter & 15]
        crc = _fed(crc, table, after, after >= 0)
        return (crc ^ turned).astype(np.uint64)


def _fed(
    crc: NDArray[np.uint8], table: NDArray[np.int64], byte: NDArray[np.integer], given: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The CRC after one more byte, where one is given."""
    if not given.any():
        return crc
    following = _tables().take(table + (crc ^ byte.astype(np.uint8)))
    return following if given.all() else np.where(given, following, crc)


def _before(protection: MessageProtection) -> list[list[int]]:
    """What goes into the CRC before the payload, of an even counter and of an odd one; -1: nothing."""
    data_id = protection.config.data_id
    if data_id is None:
        return [[-1, -1]] * 2
    low, high = data_id & 0xFF, data_id >> 8
    by_mode = {
        "both": [[low, high]] * 2,
        "alternating": [[low, -1], [high, -1]],
        "low": [[low, -1]] * 2,
        "nibble": [[low, 0]] * 2,
    }
    return by_mode[protection.config.data_id_mode]


def _bytes(can_id: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(can_id, np.uint32).view(np.uint8).reshape(-1, 4)


@cache
def _tables() -> NDArray[np.uint8]:
    """256 entries of polynomial 0x1D, then as many of 0x2F."""
    from crccheck.crc import Crc8Autosar, Crc8SaeJ1850

    tables = [[kind.calc(bytes([byte]), initvalue=0) for byte in range(256)] for kind in (Crc8SaeJ1850, Crc8Autosar)]
    return np.array([[entry ^ table[0] for entry in table] for table in tables], np.uint8).ravel()
