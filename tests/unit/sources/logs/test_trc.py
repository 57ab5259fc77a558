# SPDX-License-Identifier: Apache-2.0
"""TRC logs by PEAK's description of its file format, whose examples these are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.model import EXTENDED, FrameFlag
from tests.support.recorded_logs import seen_of, time_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

V1_0 = """\
;##########################################################################
;   C:\\TraceFile.trc
;
;   CAN activities recorded by PCAN Explorer
;   Start time: 11.09.2002 16:00:20.682
;   PCAN-Net: PCI1
;----+-  ---+---  ----+---  +  -+ -- -- ...
     1)      1841      0001  8  00 00 00 00 00 00 00 00
     2)      1842      0008  4  ERROR  00 19 08 08
     3)      1843  FFFFFFFF  4  00 00 00 04 -- -- -- -- BUSLIGHT
     4)      1844      0100  3  RTR
     5)      1850  18FEF100  2  11 22
"""
V1_1 = """\
;$FILEVERSION=1.1
;$STARTTIME=39878.6772258947
;
;   Start time: 06.03.2009 16:15:12.317.3
     1)      1059.9  Rx         0300  7  00 00 00 00 04 00 00
     2)      1283.2  Tx         0300  2  11 22
     3)      1298.9  Tx         0400  8  RTR
     4)      1323.0  Rx     18FEF100  0
     5)      1346.8  Warng  FFFFFFFF  4  00 00 00 04  BUSLIGHT
     6)      1349.2  Error      0008  4  00 19 08 08
"""
V1_2 = """\
;$FILEVERSION=1.2
;$STARTTIME=39878.6772258947
     1)      1059.900  1  Rx         0300  7  00 00 00 00 04 00 00
     2)      1283.231  2  Rx     18FEF100  2  11 22
     3)      1346.834  1  Warng  FFFFFFFF  4  00 00 00 04  BUSLIGHT
"""
V1_3 = """\
;$FILEVERSION=1.3
;$STARTTIME=40401.6447949074
     1)      1059.900 1  Rx        0300 -  7    00 00 00 00 04 00 00
     2)      1283.231 2  Rx    18FEF100 -  2    11 22
     3)      1298.945 1  Tx        0400 -  8    RTR
     4)      1323.231 1  Error     0008 -  4    00 19 08 08
     5)      1335.156 1  Warng FFFFFFFF -  4    00 00 00 08 BUSHEAVY
"""
V2_0 = """\
;$FILEVERSION=2.0
;$STARTTIME=43008.920986006946
;$COLUMNS=N,O,T,I,d,l,D
      1      1059.900 DT     0300 Rx 7  00 00 00 00 04 00 00
      2      1283.231 DT 18FEF100 Tx 2  11 22
      3      1298.945 RR     0400 Rx 8
      4      1323.201 FB     0500 Rx 12 00 01 02 03 04 05 06 07 08 09 0A 0B
      5      1334.416 ER          Rx    04 00 02 00 00
      6      1334.522 ST          Rx    00 00 00 08
      7      1374.862 EC          Rx    02 02
"""
V2_1 = """\
;$FILEVERSION=2.1
;$STARTTIME=43008.920986006946
;$COLUMNS=N,O,T,B,I,d,R,L,D
      1      1059.900 DT 1      0300 Rx -  7    00 00 00 00 04 00 00
      2      1283.231 DT 2  18FEF100 Tx -  2    11 22
      3      1298.945 RR 1      0400 Rx -  8
      4      1323.201 FB 1      0500 Rx -  9    00 01 02 03 04 05 06 07 08 09 0A 0B
      5      1323.300 FE 1      0500 Rx -  9    00 01 02 03 04 05 06 07 08 09 0A 0B
      6      1334.416 ER 1         - Rx -  5    04 00 02 00 00
      7      1334.522 ST 1         - Rx -  4    00 00 00 08
      8      1374.862 EC 1         - Rx -  2    02 02
"""


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with time_zone("UTC"):
        yield


@pytest.mark.parametrize(
    ("text", "frames", "ignored", "buses"),
    [
        (V1_0, 2, 3, ["can1", "can1"]),
        (V1_1, 3, 3, ["can1"] * 3),
        (V1_2, 2, 1, ["can1", "can2"]),
        (V1_3, 2, 3, ["can1", "can2"]),
        (V2_0, 3, 4, ["can1"] * 3),
        (V2_1, 4, 4, ["can1", "can2", "can1", "can1"]),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_each_line_of_each_version_is_a_frame_or_counted(
    text: str, frames: int, ignored: int, buses: list[str], line_end: str, tmp_path: Path
) -> None:
    log = seen_of(tmp_path, "drive.trc", text.replace("\n", line_end))
    assert (len(log.frames), log.ignored, log.refused) == (frames, ignored, 0)
    assert log.buses == buses
    assert (log.events, log.failure) == ([], "")


@pytest.mark.parametrize("text", [V1_2, V1_3, V2_1])
def test_identifiers_and_bytes_are_those_of_the_line(text: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", text)
    assert log.frames.can_id.tolist()[:2] == [0x300, 0x18FEF100 | EXTENDED]
    assert log.payloads[:2] == ["00000000040000", "1122"]


def test_error_and_remote_frames_are_counted_by_bus(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", V1_0)
    assert (log.errors, log.remotes) == ({"can1": 1}, {"can1": 1})
    assert seen_of(tmp_path, "drive.trc", V2_1).errors == {"can1": 1}


def test_fd_frames_tell_their_flags_and_length(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", V2_1)
    fd, brs, esi = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI
    assert log.frames.flags.tolist() == [0, 0, fd | brs, fd | brs | esi]
    assert log.payloads[2:] == [bytes(range(12)).hex()] * 2


@pytest.mark.parametrize(
    ("text", "first_ns"),
    [
        (V1_0, 1031760020_682_000_000 + 1_841_000_000),  # date -u -d '2002-09-11 16:00:20' +%s
        (V1_1, 1236356112_317_300_000 + 1_059_900_000),  # date -u -d '2009-03-06 16:15:12' +%s
        (V1_1.replace("58947\n", "58947;\n"), 1236356112_317_300_000 + 1_059_900_000),
        (V1_1.replace("39878.", "39878,").replace("1059.9", "1059,9"), 1236356112_317_300_000 + 1_059_900_000),
    ],
)
@pytest.mark.parametrize(("zone", "east_s"), [("UTC", 0), ("Asia/Shanghai", 28_800)])
def test_times_are_since_the_logs_start_which_is_local_time(
    text: str, first_ns: int, zone: str, east_s: int, tmp_path: Path
) -> None:
    with time_zone(zone):
        assert seen_of(tmp_path, "drive.trc", text).times_ns[0] == first_ns - east_s * 1_000_000_000


def test_a_log_of_python_can_starts_in_utc(tmp_path: Path) -> None:
    text = V2_1.replace(";$COLUMNS", ";   Generated by python-can TRCWriter\n;$COLUMNS").replace(
        "43008.920986006946", "45929.5416666666667"
    )
    with time_zone("Asia/Shanghai"):
        assert seen_of(tmp_path, "drive.trc", text).times_ns[0] == 1759150800_000_000_000 + 1_059_900_000


def test_a_log_without_a_start_says_so(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", V1_0.replace("Start time", "Begin"))
    assert (log.times_ns[0], log.events) == (1_841_000_000, ["log_date_missing"])
    log = seen_of(tmp_path, "drive.trc", V1_1.replace("39878.6772258947", "yesterday").replace("Start time", "Begin"))
    assert "$STARTTIME=yesterday" in log.said[0]["reason"]


@pytest.mark.parametrize("version", ["3.0", "1.4"])
def test_another_version_is_named_with_those_that_are_read(version: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", V2_1.replace("2.1\n", f"{version}\n"))
    assert log.failure.endswith(
        f"line 4: TRC logs of version {version} are not read; read are 1.0, 1.1, 1.2, 1.3, 2.0, 2.1"
    )


@pytest.mark.parametrize(
    "bad",
    [
        "     1)      1841      0001  8  00 00 00 00",
        "     1)      1841      00G1  1  00",
        "     1)      1841      0001  1  0Z",
        "     1)      1841      0801  1  00",
        "     1)      1841      0001  x  00",
        "     1)      184l      0001  1  00",
        "     1)      1841",
        "rubbish",
    ],
)
def test_a_damaged_line_costs_itself(bad: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.trc", V1_0 + bad + "\n" + "     9)      1851  18FEF100  2  11 22\n")
    assert (len(log.frames), log.ignored, log.refused) == (3, 3, 1)
    assert [(line["event"], line["line"]) for line in log.said] == [("log_line_refused", 13)]
