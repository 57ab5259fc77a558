# SPDX-License-Identifier: Apache-2.0
"""What the agent tells the service manager that started it: sd_notify(3) in a few lines.

Promise: `tell` never blocks and never fails. Where no manager listens (no ``NOTIFY_SOCKET``, as on a terminal) it does
nothing. A message is one datagram of ``KEY=value`` lines to the UNIX socket that the variable names; a leading ``@``
is an abstract one.

The variables are those of sd_notify(3) and sd_watchdog_enabled(3); a watchdog that is meant for another process
(``WATCHDOG_PID``) is not ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


LOOK_S = 10.0
WATCHDOG_SHARE = 1 / 3
"""Of the watchdog's time: how often it is fed."""


class ServiceManager:
    """The manager's end, as the environment of the process describes it.

    watchdog_s   within this time it wants to hear `alive`; None: it does not watch
    look_s       how often to tell it how it goes
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        self.look_s = LOOK_S if self.watchdog_s is None else min(LOOK_S, self.watchdog_s * WATCHDOG_SHARE)

    def ready(self) -> None:
        """What it starts after us may start; also the end of `reloading`."""
        self.tell("READY=1")

    def reloading(self) -> None:
        """A reload has begun."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def extend(self, seconds: float) -> None:
        """What goes on, be it starting or reloading, is not over yet, nor may it be within this time."""
        self.tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def stopping(self) -> None:
        """The end has begun."""
        self.tell("STOPPING=1")

    def alive(self) -> None:
        """All is well: the watchdog may wait again."""
        self.tell("WATCHDOG=1")

    def status(self, line: str) -> None:
        """One line for whoever asks ``systemctl status``."""
        self.tell("STATUS=" + " ".join(line.split()))

    def tell(self, *lines: str) -> None:
        """Send one message."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(os.getpid()))
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) and pid == str(os.getpid()) else None
