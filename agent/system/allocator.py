# SPDX-License-Identifier: Apache-2.0
"""glibc's allocator, told what kind of process this is.

A batch is sealed with temporary arrays of some megabytes, all at once, every ten seconds. glibc learns from them
to keep such blocks for ever, once for each thread's arena: 12 MB of resident memory, measured at 4,000 frames/s,
for nothing. With fixed thresholds the largest arrays go back to the system when they are freed; what a block of
frames needs each second stays. What is free between pieces in use is no block at the end of the heap, and stays
resident until it is handed back in so many words: 9 MB, measured likewise, after a batch was sealed.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_RETURNED_BYTES = 2 << 20
_KEPT_BYTES = 8 << 20
_LIBRARY = ctypes.CDLL(None)


def settle() -> None:
    """To be called once, before there are threads. Nothing happens with another C library."""
    mallopt = getattr(_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def hand_back() -> None:
    """Give the system what is free, wherever it lies: some tenths of a millisecond. Nothing with another C library."""
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(ctypes.c_size_t(0))
