# SPDX-License-Identifier: Apache-2.0
"""A process that ends at a step of its work, as kill -9 ends it: nothing is unwound, nothing is closed."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

KILLED = 9


def killed_at(module: ModuleType, step: str, act: Callable[[], object], *, done: bool) -> None:
    """Do something in a child process that ends when it comes to `step`, a name in `module`: before it, or after."""
    child = os.fork()
    if not child:
        where, _, name = step.rpartition(".")
        place = operator.attrgetter(where)(module) if where else module
        real = getattr(place, name)

        def killed(*arguments: object, **named: object) -> None:
            if done:
                real(*arguments, **named)
            os._exit(KILLED)

        setattr(place, name, killed)
        try:
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == KILLED, f"{step} was never reached"
