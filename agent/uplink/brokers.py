# SPDX-License-Identifier: Apache-2.0
"""What earlier connections have shown of a broker, kept over restarts in one small file beside the spool.

    PATH   {"host:port": {"five": true, "payload_bytes": 30000}}

    five            MQTT 5 has been spoken with it
    payload_bytes   the largest payload that it takes, 0 where it names no limit

Promise: what is noted is on disk on return, if the disk takes it, and lasts as long as the process does in any case.
Limits: `BROKERS_MAX` brokers, the one noted longest ago forgotten first. Blocks for the disk.
Failure: none that gets out. A file that cannot be read or written is a warning: what it held has to be learnt again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent.system.durable import make_folder, write_durably

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

FILE = "brokers"
"""Its name beside the spool."""
BROKERS_MAX = 64
_FILE_BYTES_MAX = 64 << 10
_LOST = "what each broker speaks and takes is found out again; if it comes again, look at the disk"
_NOT_KEPT = "after the next start it is found out again: look at room and rights of spool.path"


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one broker; see above."""

    five: bool = False
    payload_bytes: int = 0


_UNKNOWN = Known()


class BrokerMemory:
    """Of all brokers that one spool has been emptied to.

    path     of the file; None: nothing is kept beyond the process
    writes   False for whoever only looks: nothing is written or logged
    """

    def __init__(self, path: Path | None = None, *, writes: bool = True) -> None:
        self._path = path
        self._writes = writes
        self._lock = threading.Lock()
        self._known = {} if path is None else _read(path, reports=writes)

    def speaks_five(self, address: str) -> bool:
        """Whether MQTT 5 has worked with the broker at host:port."""
        return self._of(address).five

    def payload_bytes(self, address: str) -> int | None:
        """The largest payload that it took at the last link; None where it named no limit."""
        return self._of(address).payload_bytes or None

    def remember_five(self, address: str) -> None:
        """MQTT 5 has just worked; durable on return."""
        self._remember(address, five=True)

    def remember_payload_bytes(self, address: str, payload_bytes: int | None) -> None:
        """The largest that it takes; durable on return."""
        self._remember(address, payload_bytes=payload_bytes or 0)

    def _of(self, address: str) -> Known:
        return self._known.get(address, _UNKNOWN)

    def _remember(self, address: str, **news: int) -> None:
        with self._lock:
            known = msgspec.structs.replace(self._of(address), **news)
            if known == self._of(address):
                return
            self._known.pop(address, None)
            self._known[address] = known
            while len(self._known) > BROKERS_MAX:
                del self._known[next(iter(self._known))]
            if self._path is not None and self._writes:
                self._write(self._path)

    def _write(self, path: Path) -> None:
        try:
            make_folder(path.parent)
            write_durably(path, msgspec.json.encode(self._known))
        except OSError as error:
            log.warning("brokers_not_kept", path=str(path), reason=error.strerror, hint=_NOT_KEPT)


def _read(path: Path, *, reports: bool) -> dict[str, Known]:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_FILE_BYTES_MAX), type=dict[str, Known])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        if reports:
            log.warning("brokers_lost", path=str(path), reason=str(error), hint=_LOST)
        return {}
