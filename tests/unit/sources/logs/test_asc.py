# SPDX-License-Identifier: Apache-2.0
"""ASC logs by Vector's format (CAN, Log & Trigger ASC Logging Format), and as other tools write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.model import EXTENDED, FrameFlag
from tests.support.recorded_logs import seen_of, time_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATE = "Wed Sep 30 03:06:13.191 pm 2017"
BEGIN_NS = 1506783973191_000_000  # date -u -d '2017-09-30 15:06:13.191' +%s%3N
HEADER = f"date {DATE}\nbase hex  timestamps absolute\ninternal events logged\n"
FRAME = "1  123             Rx   d 2 11 22"


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with time_zone("UTC"):
        yield


def test_channel_n_is_bus_n(tmp_path: Path) -> None:
    log = seen_of(
        tmp_path, "drive.asc", HEADER + f"   0.1 {FRAME}\n   0.2 2{FRAME[1:]}\n   0.3 CANFD 3 Rx 123 0 0 2 2 11 22\n"
    )
    assert log.buses == ["can1", "can2", "can3"]


def test_each_line_with_a_time_is_a_frame_or_counted(tmp_path: Path) -> None:
    text = (
        HEADER
        + "// version 9.0.0\n//0.000000 previous log file: other.asc\n"
        + f"Begin Triggerblock {DATE}\n"
        + "   0.000000 Start of measurement\n"
        + "   0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0\n"
        + "   1.015991 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%\n"
        + f"   2.000000 {FRAME}\n"
        + "   2.501000 1 ErrorFrame\n"
        + "   2.501010 2  ErrorFrame Flags = 0xe CodeExt = 0x20a2 Code = 0x82 ID = 0 DLC = 0 Position = 5\n"
        + "   2.501020 CANFD   2 Rx ErrorFrame Not Acknowledge error, dominant error flag fffe c7\n"
        + "   2.510000 1  OverloadFrame\n"
        + "   2.520000 1  123             Tx   r\n"
        + "   2.530000 1  123             Tx   r 8\n"
        + "   2.540000 1  123             TxRq d 2 11 22\n"
        + "   2.550000 Li1 3c             Rx     8 01 02 03 04 05 06 07 08\n"
        + "   2.560000 log trigger event\n"
        + "   2.570000 J1939TP FEE3p 6 0 0 - Rx d 23 A0 0F\n"
        + "   2.580000 SV: 2 0 1 ::Sys::Var = 1\n"
        + f"   2.590000 {FRAME}\n"
        + "End TriggerBlock\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    assert (len(log.frames), log.ignored, log.refused) == (2, 14, 0)
    assert (log.errors, log.remotes) == ({"can1": 1, "can2": 2}, {"can1": 2})
    assert log.events == []


def test_a_damaged_line_costs_itself(tmp_path: Path) -> None:
    bad = [
        "   0.200000 1  1Z3             Rx   d 2 11 22",
        "   0.200000 1  123             Rx   d 2 11 2Z",
        "   0.200000 1  123             Rx   d 8 11 22",
        "   0.200000 1  123             Rx   d Z 11 22",
        "   0.200000 1  123             R~   d 2 11 22",
        "   0.2000O0 1  123             Rx   d 2 11 22",
        "   0.200000 1  3FFFFFFFx       Rx   d 2 11 22",
        "   0.200000 CANFD 1 Rx 123 1 0 9 12 11 22",
        "   0.200000 CANFD 1 Rx 123 1 0 9 65 " + "11 " * 65,
        "   O.200000 1  123             Rx   d 2 11 22",
        "   0.200000",
    ]
    text = HEADER + f"   0.1 {FRAME}\n" + "\n".join(bad) + f"\n   0.3 {FRAME}\n"
    log = seen_of(tmp_path, "drive.asc", text)
    assert (len(log.frames), log.refused) == (2, len(bad))
    assert log.events == ["log_line_refused"]
    assert (log.said[0]["line"], log.failure) == (5, "")


def test_an_fd_frame_may_have_a_name_and_tells_its_flags(tmp_path: Path) -> None:
    bytes_12 = " ".join(f"{n:02x}" for n in range(12))
    text = (
        HEADER
        + f"   0.1 CANFD   1 Rx        123  EngineData  1 0 9 12 {bytes_12}   112000  230   203000 98300d50 46500250\n"
        + f"   0.2 CANFD   1 Rx   18fef100x             0 1 9 12 {bytes_12}   112000  230   205000 98300d50\n"
        + "   0.3 CANFD   1 Tx        123             0 0 0  0   112000  230     1000 98300d50\n"
        + "   0.4 CANFD   1 Rx        123             0 0 8 08 95 0b 80 00 00 00 00 00 0 0 3000 0 0 0 0 0\n"
        + "   0.5 CANFD   1 Rx        123             0 0 2  2 11 22   112000  230        0 98300d50\n"
        + "   0.6 CANFD   1 Rx        123             0 0 2  0   112000  230       10 98300d50\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    fd, brs, esi = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI
    assert log.frames.flags.tolist() == [fd | brs, fd | esi, fd, fd, 0]  # the last is a classic frame on an FD channel
    assert log.frames.can_id.tolist() == [0x123, 0x18FEF100 | EXTENDED, 0x123, 0x123, 0x123]
    assert log.payloads == [bytes(range(12)).hex()] * 2 + ["", "950b800000000000", "1122"]
    assert log.remotes == {"can1": 1}


def test_a_decimal_base_counts_for_identifiers_and_bytes(tmp_path: Path) -> None:
    text = (
        HEADER.replace("base hex", "base dec") + "   0.1 1  291   Rx   d 3 17 034 255\n   0.2 1  419360000x Rx d 1 9\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    assert log.frames.can_id.tolist() == [0x123, 419360000 | EXTENDED]
    assert log.payloads == ["1122ff", "09"]


def test_a_name_in_place_of_the_identifier_has_it_at_the_end(tmp_path: Path) -> None:
    text = (
        HEADER
        + "   0.1 1  EngineData      Rx   d 2 11 22  Length = 0 BitCount = 64 ID = 291\n"
        + "   0.2 1  ACC             Rx   d 2 11 22  Length = 0 BitCount = 64 ID = 256\n"
        + "   0.3 1  Abs             Rx   d 2 11 22  Length = 0 BitCount = 64 ID = 419360000x\n"
        + "   0.4 1  NoNumber        Rx   d 2 11 22\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    assert log.frames.can_id.tolist() == [0x123, 0x100, 419360000 | EXTENDED]
    assert log.refused == 1


def test_a_data_length_code_above_eight_has_eight_bytes(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", HEADER + "   0.1 1  123  Rx   d f 11 22 33 44 55 66 77 88\n")
    assert log.payloads == ["1122334455667788"]


def test_relative_times_are_since_the_line_before(tmp_path: Path) -> None:
    text = (
        HEADER.replace("absolute", "relative")
        + f"Begin Triggerblock {DATE}\n   0.000000 Start of measurement\n"
        + f"   0.100000 {FRAME}\n   0.100000 1  Statistic: D 0\n   0.100000 {FRAME}\n   0.250000 {FRAME}\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    assert [time_ns - BEGIN_NS for time_ns in log.times_ns] == [100_000_000, 300_000_000, 550_000_000]


def test_times_before_the_trigger_are_negative(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", HEADER + f" -60.000000 {FRAME}\n   2.000000 {FRAME}\n")
    assert [time_ns - BEGIN_NS for time_ns in log.times_ns] == [-60_000_000_000, 2_000_000_000]


def test_busmaster_has_the_base_and_the_events_on_one_line_and_times_of_the_day(tmp_path: Path) -> None:
    text = (
        "date Mon Dec 6 11:21:13 am 2021\nbase hex  no internal events logged\n// version 7.1.0\n"
        "40874.808200 1 122 Rx d 8 E3 0C 00 FE 07 00 00 28\n40874.810800 1 16A954A6x Rx d 8 00 00 20 79 78 5A 5A A5\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    midnight_ns = 1638748800_000_000_000  # 2021-12-06
    assert [time_ns - midnight_ns for time_ns in log.times_ns] == [40874_808_200_000, 40874_810_800_000]
    assert log.frames.can_id.tolist() == [0x122, 0x16A954A6 | EXTENDED]


def test_a_log_without_a_header_has_all_its_frames_and_says_that_it_has_no_date(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", f"   0.1 {FRAME}\n   0.2 {FRAME}\n")
    assert (log.times_ns, log.events) == ([100_000_000, 200_000_000], ["log_date_missing"])
    assert log.said[0]["reason"] == "the log has no date"


def test_a_header_may_end_with_the_base(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", f"date {DATE}\nbase hex timestamps absolute\n   0.1 {FRAME}\n   0.2 {FRAME}\n")
    assert [time_ns - BEGIN_NS for time_ns in log.times_ns] == [100_000_000, 200_000_000]


def test_a_date_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", HEADER.replace("Sep", "Xyz") + f"   0.1 {FRAME}\n   0.2 {FRAME}\n")
    assert log.times_ns == [100_000_000, 200_000_000]
    assert log.events == ["log_date_missing"]
    assert "Wed Xyz 30" in log.said[0]["reason"]


def test_a_block_counts_from_its_own_date(tmp_path: Path) -> None:
    later = DATE.replace("06:13", "06:33")
    text = HEADER + f"Begin Triggerblock {later}\n   0.000000 Start of measurement\n   0.5 {FRAME}\nEnd TriggerBlock\n"
    assert seen_of(tmp_path, "drive.asc", text).times_ns == [BEGIN_NS + 20_500_000_000]


def test_a_block_whose_times_go_on_from_the_measurements_start_counts_from_there(tmp_path: Path) -> None:
    later = DATE.replace("06:13", "06:33")
    text = (
        HEADER
        + f"Begin Triggerblock {DATE}\n   0.1 {FRAME}\nEnd TriggerBlock\n"
        + f"Begin Triggerblock {later}\n  20.1 {FRAME}\nEnd TriggerBlock\n"
    )
    log = seen_of(tmp_path, "drive.asc", text)
    assert [time_ns - BEGIN_NS for time_ns in log.times_ns] == [100_000_000, 20_100_000_000]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp850"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_are_of_no_matter(encoding: str, line_end: str, tmp_path: Path) -> None:
    text = HEADER.replace(DATE, "Mit Mär 11 13:14:48.626 2020") + f"   0.1 {FRAME}\n   0.2 {FRAME}\n"
    log = seen_of(tmp_path, "drive.asc", text.replace("\n", line_end).encode(encoding))
    assert log.times_ns == [1583932488_726_000_000, 1583932488_826_000_000]  # date -u -d '2020-03-11 13:14:48'
    assert (log.payloads, log.refused, log.events) == (["1122"] * 2, 0, [])


def test_a_line_without_end_is_refused_within_bounds(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.asc", HEADER + f"   0.1 {FRAME}\n" + "x" * 200_000)
    assert len(log.frames) == 1
    assert "line 5: no line end within" in log.failure
