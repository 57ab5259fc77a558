# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest

from agent.errors import LogFileError
from agent.model import EXTENDED, FrameFlag
from agent.sources.logs.candump import LINE_MAX_BYTES, Parsed, parse, pieces


def parsed(*lines: str, wanted: tuple[str, ...] | None = None) -> Parsed:
    channels: dict[str, int] = {name: index for index, name in enumerate(wanted or ())}

    def bus_of(channel: str) -> int | None:
        return channels.get(channel) if wanted else channels.setdefault(channel, len(channels))

    return parse(("\n".join(lines) + "\n").encode(), bus_of)


def test_a_line_is_a_frame() -> None:
    block = parsed("(1436509052.249713) vcan0 123#1122AAbb").block
    assert block.time_ns.tolist() == [1436509052249713000]
    assert (block.can_id[0], block.length[0], block.flags[0]) == (0x123, 4, 0)
    assert bytes(block.data[0]) == bytes.fromhex("1122AABB00000000")


def test_three_digits_are_a_standard_identifier_and_eight_an_extended_one() -> None:
    block = parsed("(0.0) can0 123#", "(0.0) can0 00000123#", "(0.0) can0 1FFFFFFF#", "(0.0) can0 0123#").block
    assert block.can_id.tolist() == [0x123, 0x123 | EXTENDED, 0x1FFFFFFF | EXTENDED, 0x123 | EXTENDED]


def test_fd_frames_have_a_digit_of_flags() -> None:
    block = parsed("(0.0) can0 123##5" + "AB" * 64, "(0.0) can0 123##2", "(0.0) can0 123#00").block
    fd, brs, esi = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI
    assert block.flags.tolist() == [fd | brs, fd | esi, 0]
    assert block.length.tolist() == [64, 0, 1]
    assert bytes(block.data[0]) == b"\xab" * 64


def test_remote_frames_are_counted_by_bus() -> None:
    result = parsed("(0.0) can0 123#R", "(0.0) can1 123#R8", "(0.0) can1 1#11")
    assert len(result.block) == 1
    assert result.remotes == {0: 1, 1: 1}


def test_an_identifier_with_the_error_flag_is_an_error_frame() -> None:
    result = parsed("(0.0) can0 20000004#0001000000000000", "(0.0) can0 20000080#", "(0.0) can0 004#01")
    assert result.block.can_id.tolist() == [4]
    assert result.errors == {0: 2}


def test_lines_may_tell_the_direction() -> None:
    block = parsed("(0.1) can0 123#11 R", "(0.2) can0 00000124#22 T", "(0.3) can0 125#33").block
    assert block.can_id.tolist() == [0x123, 0x124 | EXTENDED, 0x125]
    assert block.length.tolist() == [1, 1, 1]


def test_line_ends_of_windows_and_empty_lines_are_no_matter() -> None:
    result = parsed("(0.1) can0 123#11\r", "\r", "", "   ", "(0.2) can0 124#22\r")
    assert result.block.can_id.tolist() == [0x123, 0x124]
    assert not result.refused


def test_times_are_exact_to_the_nanosecond() -> None:
    block = parsed("(1700000000.123456789) can0 1#", "(5.5) can0 1#", "(9199999999.000001) can0 1#").block
    assert block.time_ns.tolist() == [1700000000123456789, 5500000000, 9199999999000001000]


def test_channels_that_are_numbers_are_named_as_interfaces_are() -> None:
    assert parsed("(0.0) 1 123#", "(0.0) can0 123#", wanted=("can0", "can1")).block.bus.tolist() == [1, 0]


def test_frames_of_channels_that_nobody_wants_are_counted() -> None:
    result = parsed("(0.0) can0 1#", "(0.0) can7 2#", "(0.0) can7 3#R", wanted=("can0",))
    assert result.block.can_id.tolist() == [1]
    assert result.ignored == 2
    assert not result.remotes


@pytest.mark.parametrize(
    "line",
    [
        "(0.1) can0 123#1",
        "(0.1) can0 123#1X",
        "(0.1) can0 XYZ#11",
        "(0.1) can0 FFF#11",
        "(0.1) can0 123",
        "(0.1) can0",
        "(0.1",
        "can0 123#11",
        "  can0  123   [2]  11 22",
        "(0.1) can0 123#" + "00" * 9,
        "(0.1) can0 123##1" + "00" * 65,
        "(0.1) can0 123##",
        "(x.y) can0 123#11",
        "(9999999999.0) can0 123#11",
        "(inf) can0 123#11",
        "\x00\xff\x00",
    ],
)
def test_a_line_that_is_no_frame_costs_itself(line: str) -> None:
    result = parsed("(0.1) can0 001#AA", line, "(0.2) can0 002#BB")
    assert result.block.can_id.tolist() == [1, 2]
    assert [number for number, _ in result.refused] == [2]


def test_unusual_lines_keep_their_place_among_the_others() -> None:
    result = parsed("(0.1) can0 001#", "(0.2)  can0  002#", " (0.3) can0 003#", "(4) can0 004#", "(0.5) can0 005#")
    assert result.block.can_id.tolist() == [1, 2, 3, 4, 5]
    assert result.block.time_ns.tolist() == [100_000_000, 200_000_000, 300_000_000, 4_000_000_000, 500_000_000]


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_pieces_are_whole_lines_whatever_the_size_of_a_read(size: int) -> None:
    text = b"".join(b"(%d.0) can0 123#\n" % number for number in range(50)) + b"the last"
    cut = list(pieces(io.BytesIO(text), size))
    assert b"".join(cut) == text
    assert all(piece.endswith(b"\n") for piece in cut[:-1])
    assert cut[-1] == b"the last"


def test_a_file_without_line_ends_is_not_read_into_memory() -> None:
    with pytest.raises(LogFileError, match="no line end"):
        list(pieces(io.BytesIO(b"x" * (LINE_MAX_BYTES + 10)), 1000))


def test_a_data_length_code_above_eight_has_eight_bytes() -> None:
    result = parsed(
        "(0.1) can_a 123#1122334455667788_9", "(0.2) can_a 123#1122334455667788_F R", "(0.3) can_a 123#R8_9"
    )
    assert result.block.length.tolist() == [8, 8]
    assert bytes(result.block.data[1]) == bytes.fromhex("1122334455667788")
    assert (result.remotes, result.refused) == ({0: 1}, [])
