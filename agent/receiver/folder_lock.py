# SPDX-License-Identifier: Apache-2.0
"""A folder belongs to the one process that receives into it: two would count and name each other's files.

Limits: the lock is the kernel's, on ``OUT/.lock``, and ends with the process; no vehicle's folder has that name.
Failure: SpoolError where another process has the folder, or the disk refuses; ConfigError where it is a spool.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import SpoolError
from agent.receiver.spools import refuse_spool
from agent.spool.disk import Disk
from agent.system.durable import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Have the folder, made where it is missing, to oneself."""
    refuse_spool(out)
    try:
        make_folder(out)
        lock = Disk().lock(out / LOCK)
    except BlockingIOError:
        raise SpoolError(f"{out}: another process receives into this folder: end it first, or name another") from None
    except OSError as error:
        raise SpoolError(f"cannot use {out}: {error.strerror or error}") from error
    try:
        yield
    finally:
        os.close(lock)
