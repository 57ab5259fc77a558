# SPDX-License-Identifier: Apache-2.0
"""The unit's clocks."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from agent.system.clock import (
    STEP_NS_MIN,
    TIMESYNCD_SILENT_MAX_NS,
    GnssSyncSource,
    KernelSyncSource,
    LogClock,
    SystemClock,
    TimesyncdSyncSource,
    read,
)


def test_the_monotonic_clock_counts_from_boot_and_never_back() -> None:
    clock = SystemClock()
    times = [clock.monotonic_ns() for _ in range(100)]
    assert times == sorted(times)
    assert abs(times[0] - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 1_000_000_000


def test_the_wall_clock_is_the_systems() -> None:
    assert abs(SystemClock().wall_ns() - time.time_ns()) < 1_000_000_000


def test_the_boot_id_is_the_kernels(tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    file.write_text("0e1b2c3d-0000-4000-8000-00000000abcd\n")
    clock = SystemClock(boot_id_file=file)
    assert clock.boot_id() == "0e1b2c3d-0000-4000-8000-00000000abcd"
    assert SystemClock().boot_id() == SystemClock().boot_id() or not Path("/proc/sys/kernel").exists()


def test_a_boot_id_that_the_service_manager_tells_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANFERRY_BOOT_ID", "0e1b2c3d00004000800000000000abcd")
    assert SystemClock(boot_id_file=tmp_path / "hidden").boot_id() == "0e1b2c3d-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize("content", [None, "not a boot id"])
def test_without_a_boot_id_the_process_has_one_of_its_own(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "boot_id"
    if content is not None:
        file.write_text(content)
    clock = SystemClock(boot_id_file=file)
    assert uuid.UUID(clock.boot_id()).version == 4
    assert clock.boot_id() == clock.boot_id()
    assert clock.boot_id() != SystemClock(boot_id_file=file).boot_id()


class TurnedClock(SystemClock):
    """A system clock whose hands a test turns."""

    wall = 1_800_000_000_000_000_000
    monotonic = 5_000_000_000

    def wall_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.monotonic

    def run(self, by_ns: int) -> None:
        self.wall += by_ns
        self.monotonic += by_ns


class Answers:
    """A sync source with its answers prepared."""

    def __init__(self, *answers: bool) -> None:
        self.left = list(answers)

    def vouches(self, wall_ns: int, monotonic_ns: int, /) -> bool:
        return self.left.pop(0)


def test_a_synchronised_clock_is_trusted_and_asked_once_a_second() -> None:
    source = Answers(False, True)
    clock = TurnedClock(sync_sources=[source])
    assert not clock.wall_trusted()
    clock.run(999_999_999)
    assert not clock.wall_trusted()
    clock.run(1)
    assert clock.wall_trusted()
    assert not source.left


def test_a_clock_that_has_been_set_is_asked_about_at_once() -> None:
    clock = TurnedClock(sync_sources=[Answers(True, False)])
    assert clock.wall_trusted()
    clock.wall += STEP_NS_MIN
    assert clock.wall_trusted()
    clock.wall += 1
    assert not clock.wall_trusted()


def test_one_sync_source_is_enough_and_none_is_not() -> None:
    assert TurnedClock(sync_sources=[Answers(False), Answers(True)]).wall_trusted()
    assert not TurnedClock(sync_sources=[Answers(False), Answers(False)]).wall_trusted()
    assert not TurnedClock(sync_sources=[]).wall_trusted()


def test_a_clock_before_2020_is_never_trusted() -> None:
    clock = TurnedClock(sync_sources=[Answers(True)])
    clock.wall = 1_000_000_000
    assert not clock.wall_trusted()


def test_timesyncd_vouches_from_its_touch_until_somebody_else_sets_the_clock(tmp_path: Path) -> None:
    file, clock = tmp_path / "synchronized", TurnedClock()
    source = TimesyncdSyncSource(file)

    def vouches() -> bool:
        return source.vouches(clock.wall, clock.monotonic)

    def touch() -> None:
        file.touch()
        os.utime(file, ns=(clock.wall, clock.wall))

    assert not vouches()
    touch()
    assert vouches()
    clock.run(3_600_000_000_000)
    assert vouches()
    clock.wall += 60_000_000_000
    assert not vouches()
    touch()
    assert vouches()
    clock.run(TIMESYNCD_SILENT_MAX_NS + 1)
    assert not vouches()


def test_timesyncd_does_not_vouch_for_a_clock_that_is_behind_its_touch(tmp_path: Path) -> None:
    file, clock = tmp_path / "synchronized", TurnedClock()
    file.touch()
    os.utime(file, ns=(clock.wall + 3_600_000_000_000,) * 2)
    assert not TimesyncdSyncSource(file).vouches(clock.wall, clock.monotonic)


def test_gnss_time_vouches_for_an_agreeing_clock_until_it_is_too_old() -> None:
    clock, gnss = TurnedClock(), GnssSyncSource()
    assert not gnss.vouches(clock.wall, clock.monotonic)
    gnss.report(clock.wall - 300_000_000, clock.monotonic, error_ns=400_000_000)
    assert gnss.vouches(clock.wall, clock.monotonic)
    assert not gnss.vouches(clock.wall + 100_000_001, clock.monotonic)
    clock.run(6_000_000_000_000)
    assert gnss.vouches(clock.wall, clock.monotonic)
    clock.run(1_000_000_000)
    assert not gnss.vouches(clock.wall, clock.monotonic)


def test_a_logs_clock_is_of_a_boot_of_its_own_and_nobody_vouches_for_it() -> None:
    clock = LogClock()
    assert clock.boot_id() not in (SystemClock().boot_id(), LogClock().boot_id())
    assert not clock.wall_trusted()


class SlowClock(TurnedClock):
    """A clock whose reading is interrupted for some nanoseconds, each time for others."""

    def __init__(self, interruptions_ns: list[int]) -> None:
        super().__init__(sync_sources=[])
        self.interruptions_ns = interruptions_ns

    def wall_ns(self) -> int:
        wall = self.wall
        self.run(self.interruptions_ns.pop(0) if self.interruptions_ns else 0)
        return wall


def test_all_clocks_are_read_together_with_the_least_delay_between_them() -> None:
    clock = SlowClock([5_000_000, 80_000, 40_000, 7_000_000])
    reading = read(clock)
    assert abs(reading.offset_ns - (TurnedClock.wall - TurnedClock.monotonic)) <= 20_000
    assert (reading.boot_id, reading.trusted) == (uuid.UUID(clock.boot_id()).bytes, False)


def test_a_reading_without_delay_is_taken_at_once() -> None:
    clock = SlowClock([10_000, 20_000, 5_000_000])
    read(clock)
    assert clock.interruptions_ns == [5_000_000]  # two were taken: one for the reading, one for the trust in it


def test_the_kernel_is_asked_without_privilege_and_answers() -> None:
    assert KernelSyncSource().vouches(0, 0) in (True, False)
