# SPDX-License-Identifier: Apache-2.0
"""Blocks of frames cut so that each fits one batch, even if nothing in it compresses."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.model import FrameBlock

_FRAME_OVERHEAD_BYTES = 3
_SHARE, _BYTES_MIN = 3 / 4, 128


def pieces(frames: FrameBlock, payload_bytes: int) -> list[tuple[int, int]]:
    """Begin and end of each piece, for batches of this size; one where they are few, none of no frames."""
    if not len(frames):
        return []
    size = np.cumsum(frames.length.astype(np.int64) + _FRAME_OVERHEAD_BYTES)
    steps = np.arange(0, int(size[-1]), max(int(payload_bytes * _SHARE), _BYTES_MIN))
    return list(pairwise([*np.unique(np.searchsorted(size, steps, side="right")).tolist(), len(frames)]))
