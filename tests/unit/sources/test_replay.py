# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.errors import LogFileError
from agent.sources.logs.channels import BEGINNING_FRAMES
from agent.sources.replay import ReplaySource
from tests.support.blf_files import blf, blf_object, can_object

if TYPE_CHECKING:
    from pathlib import Path

NOW_NS = 1_800_000_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drive(folder: Path, seconds: int = 10) -> Path:
    """A frame each second, at 0.0, 1.0, 2.0, … from some day in the past."""
    path = folder / "drive.log"
    path.write_text("".join(f"({1_500_000_000 + n}.000000) can{n % 2} {n:03X}#\n" for n in range(seconds)))
    return path


def playing(path: Path, clock: Clock, **settings: float) -> ReplaySource:
    return ReplaySource(path, monotonic=clock, wall_ns=lambda: NOW_NS, **settings)  # type: ignore[arg-type]


async def test_frames_come_when_they_are_due_with_times_of_now(tmp_path: Path) -> None:
    clock = Clock()
    async with playing(drive(tmp_path), clock) as source:
        first = source.drain()
        assert (first.can_id.tolist(), first.time_ns.tolist()) == ([0], [NOW_NS])
        assert not len(source.drain())
        clock.now += 2.5
        block = source.drain()
        assert block.can_id.tolist() == [1, 2]
        assert block.time_ns.tolist() == [NOW_NS + 1_000_000_000, NOW_NS + 2_000_000_000]
        assert block.bus.tolist() == [1, 0]
        assert not source.exhausted


async def test_states_and_counts_go_by_the_names_of_the_buses(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.000000) can0 123#R\n(1.000000) can0 20000040#0000000000000000\n(1.000000) can0 123#\n")
    async with ReplaySource(path, buses={"can0": 3}, names={"can0": "powertrain"}, monotonic=Clock()) as source:
        assert source.drain().bus.tolist() == [3]
        assert set(source.states()) == {"powertrain"}
        assert source.counters().error_frames == {"powertrain": 1}
        assert source.counters().remote_frames == {"powertrain": 1}


async def test_the_log_ends_with_its_last_frame(tmp_path: Path) -> None:
    clock = Clock()
    async with playing(drive(tmp_path), clock) as source:
        seen = []
        for step_s in (8.5, 1, 0):
            clock.now += step_s
            seen.append((len(source.drain()), source.exhausted))
        assert seen == [(9, False), (1, True), (0, True)]
        assert source.counters().frames == 10


async def test_at_another_speed_the_times_between_frames_shrink_with_it(tmp_path: Path) -> None:
    clock = Clock()
    async with playing(drive(tmp_path), clock, speed=10) as source:
        clock.now += 0.35
        block = source.drain()
    assert (block.time_ns - NOW_NS).tolist() == [0, 100_000_000, 200_000_000, 300_000_000]


async def test_a_drain_is_bounded_and_the_rest_comes_next(tmp_path: Path) -> None:
    clock = Clock()
    async with playing(drive(tmp_path), clock, drain_frames_max=4) as source:
        clock.now += 100
        assert [source.drain().can_id.tolist() for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]
        assert source.exhausted


async def test_only_the_channels_asked_for_are_played(tmp_path: Path) -> None:
    clock = Clock()
    async with ReplaySource(drive(tmp_path), buses={"can1": 5}, monotonic=clock) as source:
        assert source.states() == {"can1": "up"}
        clock.now += 100
        block = source.drain()
        assert source.states() == {"can1": "ended"}
    assert set(block.bus.tolist()) == {5}
    assert block.can_id.tolist() == [1, 3, 5, 7, 9]


async def test_the_only_channel_of_a_log_is_the_only_bus_whatever_that_is_called(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.0) can0 123#11\n(1.1) can0 123#R\n")
    clock = Clock()
    with capture_logs() as lines:
        async with ReplaySource(
            path, buses={"powertrain": 3}, names={"powertrain": "powertrain"}, monotonic=clock
        ) as source:
            clock.now += 1
            assert source.drain().bus.tolist() == [3]
            assert not len(source.drain())
            assert source.states() == {"powertrain": "ended"}
            assert source.counters().remote_frames == {"powertrain": 1}
    assert [line["event"] for line in lines] == ["log_channel_taken", "log_replayed"]
    assert (lines[0]["channel"], lines[0]["bus"]) == ("can0", "powertrain")
    assert (lines[1]["frames"], lines[1]["frames_ignored"]) == (1, 1)


@pytest.mark.parametrize(
    ("channels", "buses", "names"),
    [
        (["can0", "can1"], {"can7": 0}, {}),
        (["can0"], {"can7": 0, "can8": 1}, {}),
        (["can0"], {"can7": 0}, {"can7": "powertrain"}),  # its options name the channel
    ],
)
async def test_a_log_of_other_buses_is_refused_with_their_names(
    channels: list[str], buses: dict[str, int], names: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "drive.log"
    path.write_text("".join(f"(1.0) {channel} 123#11\n" for channel in channels))
    with pytest.raises(LogFileError, match=rf"no frame is of can7.*; the log's buses: {', '.join(channels)}"):
        async with ReplaySource(path, buses=buses, names=names):
            pass


async def test_a_bus_that_may_still_come_is_waited_for_and_told(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.0) can0 123#11\n(1.0) can1 123#11\n" * (BEGINNING_FRAMES // 2) + "(2.0) can2 123#11\n")
    clock = Clock()
    with capture_logs() as lines:
        async with ReplaySource(path, buses={"can2": 0}, monotonic=clock) as source:
            clock.now += 10
            assert source.drain().bus.tolist() == [0]
    (line,) = [line for line in lines if line["event"] == "log_bus_missing"]
    assert line["reason"] == "none of the first 20,000 frames is of can2; the log's buses: can0, can1"


async def test_a_missing_log_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="No such file"):
        async with ReplaySource(tmp_path / "missing.log"):
            pass


async def test_a_log_that_turns_out_unreadable_ends_there_and_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "drive.blf"
    path.write_bytes(blf([can_object(1.0, 0x123, b"\xaa"), blf_object(86, b"", size=0)]))
    with capture_logs() as lines:
        async with ReplaySource(path) as source:
            assert len(source.drain()) == 1
            assert not len(source.drain())
            assert source.exhausted
    assert [line["frames_before"] for line in lines if line["event"] == "log_file_refused"] == [1]


def test_a_speed_that_does_not_move_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive"):
        ReplaySource(tmp_path, speed=0)
