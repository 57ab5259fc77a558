# SPDX-License-Identifier: Apache-2.0
"""BLF logs by the structures of Vector's binlog_objects.h."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from agent.model import EXTENDED, FrameFlag
from tests.support.blf_files import PYTHON_CAN, blf, blf_object, can_object, container
from tests.support.recorded_logs import seen_of, time_zone

if TYPE_CHECKING:
    from pathlib import Path

BEGIN_NS = 1759150800_000_000_000  # date -u -d '2025-09-29 13:00' +%s
EIGHT = bytes(range(8))


def error_object(channel: int = 1) -> bytes:
    """CAN_ERROR_EXT."""
    return blf_object(73, struct.pack("<HHLBBBxLLH2x8s", channel, 0, 0, 0, 0, 0, 0, 0, 0, b""), 3.0)


def fd_object(payload: bytes, *, flags: int = 0, fd: int = 1, dlc: int = 9) -> bytes:
    """CAN_FD_MESSAGE."""
    content = struct.pack("<HBBLLBBB5x64s4x", 2, flags, dlc, 0x123, 0, 0, fd, len(payload), payload)
    return blf_object(100, content, 4.0)


def fd_64_object(payload: bytes, *, valid: int, flags: int = 0x1000, direction: int = 0, channel: int = 3) -> bytes:
    """CAN_FD_MESSAGE_64."""
    head = struct.pack("<BBBBLLLLLLLHBBL", channel, 9, valid, 0, 0x98FEF100, 0, flags, 0, 0, 0, 0, 0, direction, 0, 0)
    return blf_object(101, head + payload, 5.0)


def test_channel_n_is_bus_n(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.blf", blf([can_object(1, 0x123, EIGHT), can_object(2, 0x123, EIGHT, channel=2)]))
    assert log.buses == ["can1", "can2"]


@pytest.mark.parametrize(("zone", "east_s"), [("UTC", 0), ("Asia/Shanghai", 28_800), ("America/New_York", -14_400)])
def test_vectors_begin_is_local_time_and_python_cans_is_utc(zone: str, east_s: int, tmp_path: Path) -> None:
    frames = [can_object(1, 0x123, EIGHT)]
    with time_zone(zone):
        ours = seen_of(tmp_path, "vector.blf", blf(frames)).times_ns
        theirs = seen_of(tmp_path, "python_can.blf", blf(frames, application=PYTHON_CAN)).times_ns
    assert ours == [BEGIN_NS + 1_000_000_000 - east_s * 1_000_000_000]
    assert theirs == [BEGIN_NS + 1_000_000_000]


def test_times_before_the_begin_and_in_ten_microseconds_are_read(tmp_path: Path) -> None:
    with time_zone("UTC"):
        log = seen_of(tmp_path, "drive.blf", blf([can_object(-60, 1, EIGHT), can_object(2.00001, 2, EIGHT, unit=1)]))
    assert [time_ns - BEGIN_NS for time_ns in log.times_ns] == [-60_000_000_000, 2_000_010_000]


def test_each_object_is_a_frame_or_counted(tmp_path: Path) -> None:
    objects = [
        can_object(1, 0x123, EIGHT),
        can_object(2, 0x98FEF100, b"\x11\x22"),
        can_object(2, 0x123, b"", dlc=8, flags=0x80),
        can_object(2, 0x123, EIGHT, dlc=15),
        error_object(2),
        blf_object(2, struct.pack("<HH", 1, 0)),
        blf_object(104, struct.pack("<BBBB", 1, 0, 0, 0) + bytes(40)),
        fd_object(bytes(12), fd=3),
        fd_object(b"", flags=0x80),
        fd_64_object(bytes(12), valid=12, flags=0x5000),
        fd_64_object(bytes(4), valid=12),  # written shorter than it is
        fd_64_object(bytes(8), valid=8, flags=0),
        fd_64_object(b"", valid=0, flags=0x10),
        fd_64_object(bytes(8), valid=8, direction=2),
        blf_object(4, bytes(24)),  # statistics
        blf_object(96, bytes(48)),  # a global marker
        blf_object(65, b"text" * 5),  # application text
    ]
    log = seen_of(tmp_path, "drive.blf", blf(objects))
    assert (len(log.frames), log.ignored, log.refused, log.events) == (7, 10, 0, [])
    assert (log.errors, log.remotes) == ({"can1": 2, "can2": 1}, {"can1": 1, "can2": 1, "can3": 1})
    fd, brs, esi = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI
    assert log.frames.flags.tolist() == [0, 0, 0, fd | brs, fd | esi, fd, 0]
    assert log.frames.can_id.tolist()[:2] == [0x123, 0x18FEF100 | EXTENDED]
    assert [len(payload) // 2 for payload in log.payloads] == [8, 2, 8, 12, 12, 12, 8]


def test_an_object_of_no_size_ends_the_log_after_the_frames_before_it(tmp_path: Path) -> None:
    good = can_object(1, 0x123, EIGHT)
    log = seen_of(tmp_path, "drive.blf", blf([good, blf_object(86, bytes(24), size=0), good]))
    assert (len(log.frames), log.ignored, log.refused, log.events) == (1, 0, 2, [])
    assert "object 2, in the container at byte 144: the file is damaged: an object of 0 bytes" in log.failure


@pytest.mark.parametrize("size", [1, 16, 31, 1 << 31])
def test_a_size_that_no_object_has_ends_the_log(size: int, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.blf", blf([can_object(1, 1, EIGHT), blf_object(86, bytes(24), size=size)]))
    assert (len(log.frames), log.refused) == (1, 1)
    assert "object 2" in log.failure


def test_an_object_with_damaged_content_costs_itself(tmp_path: Path) -> None:
    good = can_object(1, 0x123, EIGHT)
    bad = [
        can_object(1, 0x123, EIGHT, dlc=200),
        can_object(1, 0x7FF_FFFF, EIGHT),
        blf_object(86, bytes(4)),
        fd_object(bytes(12), dlc=99),
        fd_64_object(bytes(4), valid=65),
    ]
    log = seen_of(tmp_path, "drive.blf", blf([good, *bad, good]))
    assert (len(log.frames), log.refused, log.events, log.failure) == (2, len(bad), ["log_line_refused"], "")
    assert log.said[0]["place"] == "object 2"


def test_a_container_that_cannot_be_decompressed_costs_itself(tmp_path: Path) -> None:
    frame = can_object(1, 0x123, EIGHT)
    broken = bytearray(container(frame))
    broken[36:48] = bytes(12)
    log = seen_of(
        tmp_path, "drive.blf", blf([frame] * 3, containers=[container(frame), bytes(broken), container(frame)])
    )
    assert (len(log.frames), log.refused, log.failure) == (2, 1, "")


def test_objects_go_on_in_the_next_container_and_may_be_uncompressed_or_outside(tmp_path: Path) -> None:
    content = b"".join(can_object(n, n, EIGHT) for n in range(20))
    containers = [container(content[at : at + 100], method=at // 100 % 2 * 2) for at in range(0, len(content), 100)]
    log = seen_of(tmp_path, "drive.blf", blf([b""] * 21, containers=[*containers, can_object(30, 30, EIGHT)]))
    assert log.frames.can_id.tolist() == [*range(20), 30]
    assert log.refused == 0


def test_a_log_without_a_begin_says_that_it_has_no_date(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.blf", blf([can_object(1, 1, EIGHT)], start=(0,) * 8))
    assert (log.times_ns, log.events) == ([1_000_000_000], ["log_date_missing"])


def test_padding_is_of_no_matter(tmp_path: Path) -> None:
    texts = [blf_object(65, bytes(size)) for size in range(20, 28)]
    objects = [each for text in texts for each in (text, can_object(1, 1, EIGHT))]
    log = seen_of(tmp_path, "drive.blf", blf(objects))
    assert (len(log.frames), log.ignored, log.refused, log.failure) == (8, 8, 0, "")
