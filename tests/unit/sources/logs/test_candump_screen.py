# SPDX-License-Identifier: Apache-2.0
"""Lines as candump of can-utils prints them: candump.c, and sprint_long_canframe in lib.c."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from agent.errors import LogFileError
from agent.model import EXTENDED, FrameBlock, FrameFlag
from agent.sources.logs.logfile import LogReader, read_log

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """\
 (1600000000.123456)  can0  123   [8]  11 22 33 44 55 66 77 88
 (1600000000.123460)  can1  18FEF100   [2]  11 22
 (1600000000.123470)  can0  004   [0] 
 (1600000000.123480)  can0  123   [8]  remote request
 (1600000000.123490)  can0  20000080   [8]  00 00 00 00 00 00 00 00   ERRORFRAME
 (1600000000.123500)  can0  RX - -  1A0   [1]  FF
 (1600000000.123510)  can0  TX B -  1A1  [12]  00 11 22 33 44 55 66 77 88 99 AA BB
 (1600000000.123520)  can0  RX B E  1A2  [08]  00 11 22 33 44 55 66 77
 (1600000000.123530)  can0  1A3  [00] 
 (1600000000.123540)    can0       123   [3]  41 42 0A                  'AB.'
 (1600000000.123550)  slcan12  00000123   [1]  23                        '#'
"""  # noqa: W291  candump leaves these blanks
LOG = """\
(1600000000.123456) can0 123#1122334455667788
(1600000000.123460) can1 18FEF100#1122
(1600000000.123470) can0 004#
(1600000000.123480) can0 123#R8
(1600000000.123490) can0 20000080#0000000000000000
(1600000000.123500) can0 1A0#FF
(1600000000.123510) can0 1A1##100112233445566778899AABB
(1600000000.123520) can0 1A2##30011223344556677
(1600000000.123530) can0 1A3##0
(1600000000.123540) can0 123#41420A
(1600000000.123550) slcan12 00000123#23
"""
COLUMNS = ("time_ns", "bus", "can_id", "length", "flags", "data")


def reading(folder: Path, text: str, name: str = "drive.log", **settings: int) -> LogReader:
    path = folder / name
    path.write_text(text)
    return read_log(path, **settings)  # type: ignore[arg-type]


def whole(reader: LogReader) -> FrameBlock:
    return FrameBlock.concatenate(list(reader))


@pytest.mark.parametrize("name", ["drive.log", "drive.txt"])
def test_what_candump_prints_is_what_it_logs(name: str, tmp_path: Path) -> None:
    printed, logged = reading(tmp_path, EVERYTHING, name), reading(tmp_path, LOG, "logged.log")
    seen, expected = whole(printed), whole(logged)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(seen, column), getattr(expected, column), column)
    assert seen.can_id[1] == 0x18FEF100 | EXTENDED
    assert seen.flags[4] == FrameFlag.FD | FrameFlag.BRS
    assert printed.buses == logged.buses
    assert printed.counters() == logged.counters()
    assert (printed.refused, printed.ignored) == (0, 2)


def stamped(times: list[str]) -> str:
    return "".join(f" ({told})  can0  123   [1]  11\n" for told in times)


def test_times_since_the_first_frame_stay_and_those_since_the_one_before_are_summed(tmp_path: Path) -> None:
    steps = np.random.default_rng(1).integers(1, 30_000, 500)
    steps[0] = 0
    since_first = np.cumsum(steps)
    swapped = since_first.copy()
    swapped[[100, 101]] = swapped[[101, 100]]  # a socket was read after another
    for told, expected in ((since_first, since_first), (swapped, swapped), (steps, since_first)):
        text = stamped([f"{us // 1_000_000:03}.{us % 1_000_000:06}" for us in told.tolist()])
        block = whole(reading(tmp_path, text, piece_bytes=5000))
        assert (block.time_ns // 1000).tolist() == expected.tolist()


def test_a_line_of_another_bus_counts_in_the_sum_of_times(tmp_path: Path) -> None:
    text = (stamped(["000.000000", "000.500000"]) + " (000.250000)  can9  123   [1]  11\n") * 2
    assert (whole(reading(tmp_path, text, buses={"can0": 0})).time_ns // 10**6).tolist() == [0, 500, 750, 1250]  # type: ignore[arg-type]


def test_dates_are_local_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = ["2026-03-02 10:00:00.500000", "2026-03-02 10:00:00.750000", "2026-03-02 10:00:01.000000"]
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        block = whole(reading(tmp_path, stamped(times)))
    time.tzset()
    begin_ms = 1_772_442_000_000
    assert (block.time_ns // 10**6).tolist() == [begin_ms + 500, begin_ms + 750, begin_ms + 1000]


def test_frames_without_times_are_refused_with_how_to_record_them(tmp_path: Path) -> None:
    reader = reading(tmp_path, "  can0  123   [8]  11 22 33 44 55 66 77 88\n")
    with pytest.raises(LogFileError, match=r"drive.log: frames without times: candump -L can0 > drive.log"):
        list(reader)


def test_what_is_no_frame_costs_itself(tmp_path: Path) -> None:
    bad = [
        "\tcontroller-problem{tx-error-warning}",
        " (1600000000.123456)  can0  123   [8]  11 22",
        "$ candump -ta can0",
    ]
    text = f"{bad[2]}\n{EVERYTHING}{bad[0]}\n{bad[1]}\n{EVERYTHING}"
    reader = reading(tmp_path, text)
    with capture_logs() as lines:
        assert len(whole(reader)) == 18
    assert reader.refused == 3
    assert [line["reason"] for line in lines] == [f"not a frame: {bad[2]!r}"]


@pytest.mark.parametrize(("cut", "torn"), [(0, False), (1, False), (2, True), (3, True), (20, True), (58, True)])
def test_a_last_line_that_is_cut_is_torn_where_bytes_are_missing(cut: int, torn: bool, tmp_path: Path) -> None:
    text = stamped(["1600000000.000000"] * 2) + " (1600000000.123456)  can0  123   [8]  11 22 33 44 55 66 77 88\n"
    reader = reading(tmp_path, text[: len(text) - cut])
    with capture_logs() as lines:
        assert whole(reader).length.tolist() == [1, 1, *[8] * (not torn)]
    assert [line["event"] for line in lines] == ["log_file_torn"] * torn


def test_nanoseconds_are_read(tmp_path: Path) -> None:
    text = " (1727438342.368435123)  can0  123   [8]  10 27 01 00 00 00 00 00\n"
    (block,) = reading(tmp_path, text)
    assert block.time_ns.tolist() == [1727438342368435123]


def test_times_since_the_frame_before_add_up_in_nanoseconds(tmp_path: Path) -> None:
    times = ["000.000000000", "000.500000001", "000.000000002", "000.000000001"]
    (block,) = reading(tmp_path, "".join(f" ({time})  can0  123   [1]  10\n" for time in times))
    assert block.time_ns.tolist() == [0, 500_000_001, 500_000_003, 500_000_004]


def test_a_data_length_code_as_it_was_sent_has_at_most_eight_bytes(tmp_path: Path) -> None:
    text = (
        " (1727438342.368435)  can0  123   {8}  10 27 01 00 00 00 00 00\n"
        " (1727438342.378435)  can0  123   {F}  10 27 02 00 00 00 00 00\n"
        " (1727438342.388435)  can0  123   {2}  10 27\n"
        " (1727438342.398435)  can0  123   {9}  remote request\n"
    )
    reader = reading(tmp_path, text)
    assert [block.length.tolist() for block in reader] == [[8, 8, 2]]
    assert (reader.ignored, reader.refused) == (1, 0)


@pytest.mark.parametrize(("time", "events"), [("000.500000", ["log_date_missing"]), ("1727438342.368435", [])])
def test_times_without_a_date_are_told_once(time: str, events: list[str], tmp_path: Path) -> None:
    with capture_logs() as lines:
        deque(reading(tmp_path, f" ({time})  can0  123   [1]  10\n" * 3), maxlen=0)
    assert [line["event"] for line in lines] == events
