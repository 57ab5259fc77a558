# SPDX-License-Identifier: Apache-2.0
"""The payloads of a block, read as 64-bit words in either byte order.

A classic frame is one word. Of a block that holds a longer CAN FD frame, 8-byte windows are read that may begin at any
byte of a frame, and a ninth byte where a field needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Words:
    """The payloads of a block, ready to be read as 64-bit words in either byte order."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._width: int = data.shape[1]
        if self._width == 8:
            self._words = data.view("<u8").ravel()
        else:
            self._bytes = np.zeros(data.size + 9, np.uint8)
            self._bytes[: data.size] = data.ravel()
            # A window of eight bytes may begin at any byte: strides of 1, not of 8.
            self._windows: NDArray[np.uint64] = np.ndarray(
                data.size + 1, dtype="<u8", buffer=self._bytes.data, strides=(1,)
            )

    @property
    def classic(self) -> bool:
        """True where every frame has at most eight bytes."""
        return self._width == 8

    def of_rows(self, rows: NDArray[np.int64], *, swapped: bool) -> NDArray[np.uint64]:
        """The frames of these rows, read as Intel words, or swapped as Motorola ones. Classic blocks only."""
        words: NDArray[np.uint64] = self._words.take(rows)
        return words.byteswap(inplace=True) if swapped else words

    def read(
        self,
        rows: NDArray[np.intp],
        byte: NDArray[np.int64],
        shift: NDArray[np.uint64],
        motorola: NDArray[np.bool_],
    ) -> NDArray[np.uint64]:
        """The windows of eight bytes that begin at a byte of a row, read in either order and shifted right; of blocks
        with CAN FD frames.
        """
        windows = self._windows[rows * self._width + byte]
        windows = np.where(motorola, windows.byteswap(), windows)
        shifted: NDArray[np.uint64] = windows >> shift
        return shifted

    def ninth_bytes(self, rows: NDArray[np.intp], byte: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The byte after each window."""
        ninth: NDArray[np.uint64] = self._bytes[rows * self._width + byte + 8].astype(np.uint64)
        return ninth
