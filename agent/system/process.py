# SPDX-License-Identifier: Apache-2.0
"""What the process asks of its runtime: memory that is free goes back, and work that may hang holds up nobody.

Memory: a batch is sealed with temporary arrays of some megabytes, every ten seconds. glibc learns from them to keep
such blocks for ever, in each thread's arena: 12 MB of resident memory, measured at 4,000 frames/s. With fixed
thresholds the largest arrays go back to the system when they are freed. What is free between blocks in use stays
resident until `release_memory`: 9 MB, measured likewise, after a batch was sealed.

Threads: `run_in_daemon_thread` is for a resolver, a driver, a TPM. Whatever these hang in, neither the event loop nor
the end of the process waits for it. The loop's own executor would: `asyncio.run` waits at its end for what runs there.
Limit: a thread for each piece of work, and nothing ends it but its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_M_MMAP_THRESHOLD = -3  # malloc.h
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_RETURNED_BYTES = 2 << 20
_KEPT_BYTES = 8 << 20
_LIBRARY = ctypes.CDLL(None)


def configure_allocator() -> None:
    """To be called once, before there are threads. Nothing happens with another C library than glibc."""
    mallopt = getattr(_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def release_memory() -> None:
    """Give free memory back to the system: some tenths of a millisecond. Nothing with another C library than glibc."""
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(ctypes.c_size_t(0))


async def run_in_daemon_thread(work: Callable[[], T], name: str, late: Callable[[], None] = lambda: None) -> T:
    """What the work returns or raises.

    Args:
        work: may block, for whatever time.
        name: of the thread.
        late: called in the event loop when `work` is over and nobody has waited for it.

    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_run, args=(loop, answer, work, late), name=name, daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        if not answer.cancelled():  # it was over just before
            late()
        raise
    finally:
        del answer  # it holds the error, which holds this frame


def _run(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T], work: Callable[[], T], late: Callable[[], None]
) -> None:
    """In the thread."""
    over: Callable[[], None]
    try:
        over = functools.partial(answer.set_result, work())
    except Exception as error:  # noqa: BLE001 - it is raised where the work is waited for
        over = functools.partial(answer.set_exception, error)
    with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
        loop.call_soon_threadsafe(lambda: late() if answer.done() else over())
