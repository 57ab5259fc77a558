# SPDX-License-Identifier: Apache-2.0
"""The unit's clocks."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from agent import clock as clock_module
from agent.clock import SystemClock


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


def test_a_synchronised_clock_is_trusted_and_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [False, True]
    monkeypatch.setattr(clock_module, "_kernel_synchronised", lambda: answers.pop(0))
    clock = TurnedClock()
    assert not clock.wall_trusted()
    clock.monotonic += 999_999_999
    assert not clock.wall_trusted()
    clock.monotonic += 1
    assert clock.wall_trusted()
    assert not answers


def test_a_clock_before_2020_is_never_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "_kernel_synchronised", lambda: True)
    clock = TurnedClock()
    clock.wall = 1_000_000_000
    assert not clock.wall_trusted()


def test_the_kernel_is_asked_without_privilege_and_answers() -> None:
    assert SystemClock().wall_trusted() in (True, False)
