# SPDX-License-Identifier: Apache-2.0
"""What the broker has taken, told at the first batch and then once in `TOLD_EVERY_S`: a log of a few lines. Pure."""

from __future__ import annotations

import math

TOLD_EVERY_S = 60.0


class Tally:
    """Of acknowledged batches; times are those of any clock that does not step."""

    def __init__(self) -> None:
        self._told_s = -math.inf
        self._batches = self._size_bytes = 0

    def add(self, size_bytes: int, now_s: float) -> dict[str, int] | None:
        """One more; what there is to tell now, since it was told last."""
        self._batches += 1
        self._size_bytes += size_bytes
        if now_s - self._told_s < TOLD_EVERY_S:
            return None
        told = {"batches": self._batches, "size_bytes": self._size_bytes}
        self._told_s, self._batches, self._size_bytes = now_s, 0, 0
        return told
