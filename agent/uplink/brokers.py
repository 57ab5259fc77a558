# SPDX-License-Identifier: Apache-2.0
"""What earlier connections have shown of a broker, kept over restarts in one small file beside the spool.

    PATH   {"host:port": {"five": true}}

    five   MQTT 5 has been spoken with it

Promise: what is noted is on disk on return, if the disk takes it, and lasts as long as the process does in any case.
Limits: `BROKERS_MAX` brokers, the one noted longest ago forgotten first. Blocks for the disk.
Failure: none that gets out. A file that cannot be read or written is a warning: what it held has to be learnt again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from agent.durable import make_folder, write_durably

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

FILE = "brokers"
"""Its name beside the spool."""
BROKERS_MAX = 64
_FILE_BYTES_MAX = 64 << 10
_LOST = "what each broker speaks is found out again; if it comes again, look at the disk"
_NOT_KEPT = "after the next start it is found out again: look at room and rights of spool.path"


class BrokerMemory:
    """Of all brokers that one spool has been emptied to.

    path     of the file; None: nothing is kept beyond the process
    writes   False for whoever only looks: nothing is written or logged
    """

    def __init__(self, path: Path | None = None, *, writes: bool = True) -> None:
        self._path = path
        self._writes = writes
        self._known = {} if path is None else _read(path, told=writes)

    def speaks_five(self, address: str) -> bool:
        """Whether MQTT 5 has worked with the broker at host:port."""
        return address in self._known

    def note_five(self, address: str) -> None:
        """It has just worked; durable on return."""
        self._known.pop(address, None)
        self._known[address] = {"five": True}
        while len(self._known) > BROKERS_MAX:
            del self._known[next(iter(self._known))]
        if self._path is None or not self._writes:
            return
        try:
            make_folder(self._path.parent)
            write_durably(self._path, json.dumps(self._known).encode())
        except OSError as error:
            log.warning("brokers_not_kept", path=str(self._path), reason=error.strerror, hint=_NOT_KEPT)


def _read(path: Path, *, told: bool) -> dict[str, dict[str, bool]]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_FILE_BYTES_MAX))
        return {str(address): {"five": True} for address, known in found.items() if known.get("five") is True}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        if told:
            log.warning("brokers_lost", path=str(path), reason=str(error), hint=_LOST)
        return {}
