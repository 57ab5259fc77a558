# SPDX-License-Identifier: Apache-2.0
"""Work that may block for whatever time, beside the event loop: a resolver, a driver, a TPM.

Promise: it holds up neither the loop nor the end of the process, whatever it hangs in. The loop's own executor would:
`asyncio.run` waits at its end for what runs there.
Limit: a thread for each piece of work, and nothing ends it but its work: what is tried anew hangs in another.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def apart(work: Callable[[], T], name: str, late: Callable[[], None] = lambda: None) -> T:
    """What it returns or raises, run in a daemon thread.

    Args:
        work: may block, for whatever time.
        name: of the thread.
        late: called in the event loop when `work` is over and nobody has waited for it.

    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_work_apart, args=(loop, answer, work, late), name=name, daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        if not answer.cancelled():  # it was over just before
            late()
        raise
    finally:
        del answer  # it holds the error, which holds this frame


def _work_apart(
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
