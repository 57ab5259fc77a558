# SPDX-License-Identifier: Apache-2.0
"""The clocks of the unit, behind one seam so that tests can turn them.

Promise: `monotonic_ns` never steps and never stands still while the unit lives, `wall_ns` is what the system
believes, and `wall_trusted` says whether somebody has vouched for that belief. `read` takes all of them together.

The monotonic clock is CLOCK_BOOTTIME, not CLOCK_MONOTONIC: a head unit is suspended for hours with the engine
off, and the second of the two does not count them, so a batch opened before the suspend would seem seconds
old after it. Together with `boot_id`, which the kernel draws anew at each boot, a monotonic time places a
sample for ever, whatever the wall clock did.

Linux steers both clocks alike: an NTP daemon that slews the one slews the other, and a suspend takes both with it.
So the wall clock less the monotonic one is a constant, until somebody sets the clock.

The clock sync sources, of which one is enough:

    KernelSyncSource     adjtimex(2): an NTP or PTP daemon disciplines the clock. STA_UNSYNC is clear
    TimesyncdSyncSource  systemd-timesyncd has synchronised, as a file under /run says: for a service to which
                         adjtimex is forbidden (ProtectClock= of systemd.exec(5))
    GnssSyncSource       the time that a GNSS receiver reported agrees with it

Not trusted means "not known to be right", never "known to be wrong": a clock set once by hand or from a
battery-backed chip is not trusted. None before 2020 is, whatever a source says. The sources are asked once a second,
and when the clock has been set since.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.model import ClockReading

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOT_ID_VARIABLE = "CANFERRY_BOOT_ID"
"""Where the service manager tells it (%b of systemd.unit(5)): a hardened service does not see /proc/sys."""

SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd.service(8): touched on each successful synchronisation, anew after each boot."""

YEAR_2020_NS = 1_577_836_800 * 10**9
"""No clock that was ever set says less."""

STEP_NS_MIN = 10_000_000
"""The clock was set where it has moved this far against the monotonic one: a busy unit reads them apart by less."""
WAITED_NS_MAX = 10_000_000_000
"""No frame waits longer to be read, if nothing is amiss."""
REPORTED_ERROR_MAX_NS = 1_000_000_000
REPORTED_DRIFT = 100e-6
"""How fast a reported time grows old: what a quartz is off by at worst."""
TIMESYNCD_SILENT_MAX_NS = 2 * 3600 * 10**9
"""It synchronises every 34 minutes at least (PollIntervalMaxSec=), if it still does."""

_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5
_TRUST_CACHED_NS = 1_000_000_000
_READ_APART_NS = 20_000
_READ_ATTEMPTS = 4


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


class ClockSyncSource(Protocol):
    """What may know whether the wall clock is right. Asked often: answers at once."""

    def vouches(self, wall_ns: int, monotonic_ns: int, /) -> bool:
        """Whether the wall clock, which says `wall_ns`, is known to be right."""


def was_stepped(before: ClockReading, after: ClockReading) -> bool:
    """Whether the wall clock was set between two readings of one boot."""
    return abs(after.offset_ns - before.offset_ns) > STEP_NS_MIN


def read(clock: Clock) -> ClockReading:
    """Read all clocks: wall and monotonic within 20 µs of each other, or as close as some attempts come."""
    wall_ns, monotonic_ns = _read_together(clock)
    boot_id = uuid.UUID(clock.boot_id()).bytes
    return ClockReading(boot_id, wall_ns, monotonic_ns, clock.wall_trusted(), holds=True)


def _read_together(clock: Clock) -> tuple[int, int]:
    """The wall clock between two looks at the monotonic one: a thread may be put aside at any moment."""
    readings = []
    for _ in range(_READ_ATTEMPTS):
        before_ns = clock.monotonic_ns()
        wall_ns = clock.wall_ns()
        apart_ns = clock.monotonic_ns() - before_ns
        readings.append((apart_ns, wall_ns, before_ns + apart_ns // 2))
        if apart_ns <= _READ_APART_NS:
            break
    return min(readings)[1:]


class SystemClock:
    """The unit's own clocks; by default the sync_sources that need no help of anybody are asked."""

    def __init__(
        self,
        boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id"),
        sync_sources: Sequence[ClockSyncSource] | None = None,
    ) -> None:
        self._boot_id = _read_boot_id(os.environ.get(BOOT_ID_VARIABLE, ""), boot_id_file)
        self._sync_sources = (
            (KernelSyncSource(), TimesyncdSyncSource()) if sync_sources is None else tuple(sync_sources)
        )
        self._trusted = False
        self._asked_ns: int | None = None
        self._offset_ns = 0

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
        """Whether a sync source vouches for the wall clock; asked at most once a second, and after a step."""
        wall_ns, monotonic_ns = _read_together(self)
        stepped = abs(wall_ns - monotonic_ns - self._offset_ns) > STEP_NS_MIN
        if self._asked_ns is None or stepped or monotonic_ns - self._asked_ns >= _TRUST_CACHED_NS:
            self._asked_ns, self._offset_ns = monotonic_ns, wall_ns - monotonic_ns
            answers = {source.vouches(wall_ns, monotonic_ns) for source in self._sync_sources}
            self._trusted = wall_ns >= YEAR_2020_NS and True in answers
        return self._trusted


class LogClock(SystemClock):
    """For a recorded log: its frames' times have nothing to do with this unit's clocks, so nobody vouches for these,
    and its boot is nobody else's.
    """

    def __init__(self) -> None:
        super().__init__(sync_sources=())
        self._boot_id = str(uuid.uuid4())


def times_frames(clock: Clock) -> bool:
    """Whether frames bear this clock's time."""
    return not isinstance(clock, LogClock)


class KernelSyncSource:
    """An NTP or PTP daemon that disciplines the kernel's clock; never where the kernel does not answer."""

    def vouches(self, _wall_ns: int, _monotonic_ns: int, /) -> bool:
        """Whether it is synchronised now. Setting the clock ends that, until the daemon has looked at it."""
        return _kernel_synchronised()


class TimesyncdSyncSource:
    """systemd-timesyncd, by the file that it touches; never where it does not run."""

    def __init__(self, file: Path = SYNCHRONISED) -> None:
        self._file = file
        self._touched_ns: int | None = None
        self._offset_ns = 0

    def vouches(self, wall_ns: int, monotonic_ns: int, /) -> bool:
        """Whether it has synchronised lately, and nobody was seen to set the clock since."""
        try:
            touched_ns = self._file.stat().st_mtime_ns
        except OSError:
            return False
        offset_ns = wall_ns - monotonic_ns
        if touched_ns != self._touched_ns:
            self._touched_ns, self._offset_ns = touched_ns, offset_ns
        lately = -STEP_NS_MIN <= wall_ns - touched_ns <= TIMESYNCD_SILENT_MAX_NS
        return lately and abs(offset_ns - self._offset_ns) <= STEP_NS_MIN


class GnssSyncSource:
    """The time that a satellite receiver reported last, counted on since."""

    def __init__(self) -> None:
        self._reported: tuple[int, int, int] | None = None

    def report(self, utc_ns: int, monotonic_ns: int, error_ns: int) -> None:
        """It was `utc_ns` since 1970-01-01 UTC, give or take the error, when the monotonic clock said this."""
        self._reported = utc_ns, monotonic_ns, error_ns

    def vouches(self, wall_ns: int, monotonic_ns: int, /) -> bool:
        """Whether the wall clock agrees with the reported time, and that is not too old to say so."""
        if self._reported is None:
            return False
        utc_ns, reported_ns, error_ns = self._reported
        age_ns = monotonic_ns - reported_ns
        error_ns += round(abs(age_ns) * REPORTED_DRIFT)
        return error_ns <= REPORTED_ERROR_MAX_NS and abs(utc_ns + age_ns - wall_ns) <= error_ns


def _read_boot_id(variable: str, file: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(uuid.UUID(variable))
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
    return 0 <= adjtimex(ctypes.byref(timex)) < _TIME_ERROR and not timex.status & _STA_UNSYNC
