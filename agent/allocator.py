# SPDX-License-Identifier: Apache-2.0
"""glibc's allocator, told what kind of process this is.

A batch is sealed with temporary arrays of some megabytes, all at once, every ten seconds. glibc learns from them
to keep such blocks for ever, once for each thread's arena: 12 MB of resident memory, measured at 4,000 frames/s,
for nothing. With fixed thresholds the largest arrays go back to the system when they are freed; what a block of
frames needs each second stays.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_RETURNED_BYTES = 2 << 20
_KEPT_BYTES = 8 << 20


def settle() -> None:
    """To be called once, before there are threads. Nothing happens with another C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
