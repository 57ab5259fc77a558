# SPDX-License-Identifier: Apache-2.0
"""The clocks of the unit, behind one seam so that tests can turn them.

Promise: `monotonic_ns` never steps and never stands still while the unit lives, `wall_ns` is what the system
believes, and `wall_trusted` says whether somebody has vouched for that belief.

The monotonic clock is CLOCK_BOOTTIME, not CLOCK_MONOTONIC: a head unit is suspended for hours with the engine
off, and the second of the two does not count them, so a batch opened before the suspend would seem seconds
old after it. Together with `boot_id`, which the kernel draws anew at each boot, a monotonic time places a
sample for ever, whatever the wall clock did.

`wall_trusted` asks the kernel (adjtimex(2)) whether an NTP or PTP daemon disciplines the clock: STA_UNSYNC
clear. A clock set once by hand or from a battery-backed chip is not trusted; neither is any before 2020, nor
where the kernel does not answer (a sandbox may forbid the call). Not trusted means "not known to be right",
never "known to be wrong".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
import uuid
from pathlib import Path
from typing import Protocol

BOOT_ID_VARIABLE = "CANFERRY_BOOT_ID"
"""Where the service manager tells it (%b of systemd.unit(5)): a hardened service does not see /proc/sys."""

_STA_UNSYNC = 0x0040  # linux/timex.h
_YEAR_2020_NS = 1_577_836_800_000_000_000
_TRUST_CACHED_NS = 1_000_000_000


class Clock(Protocol):
    """What the agent needs to know of time; nanoseconds throughout."""

    def wall_ns(self) -> int:
        """Nanoseconds since the UNIX epoch, as far as the system knows."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot, time spent suspended included."""

    def boot_id(self) -> str:
        """Which boot `monotonic_ns` counts from."""

    def wall_trusted(self) -> bool:
        """Whether the wall clock is known to be synchronised."""


class SystemClock:
    """The unit's own clocks."""

    def __init__(self, boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")) -> None:
        self._boot_id = _read_boot_id(os.environ.get(BOOT_ID_VARIABLE, ""), boot_id_file)
        self._trusted = False
        self._asked_ns: int | None = None

    def wall_ns(self) -> int:
        """Nanoseconds since the UNIX epoch, CLOCK_REALTIME."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot, CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        """The kernel's boot id; one of this process's own where neither kernel nor service manager tells it."""
        return self._boot_id

    def wall_trusted(self) -> bool:
        """Whether the kernel's clock is disciplined; asked at most once a second."""
        now_ns = self.monotonic_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= _TRUST_CACHED_NS:
            self._asked_ns = now_ns
            self._trusted = self.wall_ns() >= _YEAR_2020_NS and _kernel_synchronised()
        return self._trusted


def _read_boot_id(told: str, file: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(uuid.UUID(told))
    with contextlib.suppress(OSError, ValueError):
        return str(uuid.UUID(file.read_text(encoding="ascii").strip()))
    return str(uuid.uuid4())


class _Timex(ctypes.Structure):
    """``struct timex`` (linux/timex.h) as far as `status`; `rest` is room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )
    modes: int
    status: int


def _kernel_synchronised() -> bool:
    """Ask adjtimex(2) with modes = 0, which reads and needs no privilege."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    timex = _Timex()
    return adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & _STA_UNSYNC
