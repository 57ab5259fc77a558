# SPDX-License-Identifier: Apache-2.0
"""CSV logs: python-can's, by its documentation, and GVRET's, by what SavvyCAN writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.model import EXTENDED, FrameFlag
from tests.support.recorded_logs import seen_of

if TYPE_CHECKING:
    from pathlib import Path

PYTHON_CAN = "timestamp,arbitration_id,extended,remote,error,dlc,data\n"
ROWS = """\
1483389946.197,0x123,0,0,0,8,ECcBAAAAAAA=

1483389946.297,0xdadada,1,0,0,6,WzQyLCA5XQ==
1483389946.397,0x123,0,1,0,8,
1483389946.497,0x0,0,0,1,0,
"""
GVRET = """\
Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8
166064000,00000123,false,Rx,0,8,10,27,01,00,00,00,00,00,
166065000,18FEF100,true,Tx,1,2,20,4E,
166066000,000007DF,false,Rx,1,0,
"""


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_of_python_can_are_frames_or_counted(separator: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.csv", (PYTHON_CAN + ROWS).replace(",", separator))
    assert (len(log.frames), log.ignored, log.refused, log.events) == (2, 2, 0, [])
    assert log.times_ns == [1483389946_197_000_000, 1483389946_297_000_000]
    assert log.frames.can_id.tolist() == [0x123, 0xDADADA | EXTENDED]
    assert log.payloads == ["1027010000000000", "5b34322c2039"]
    assert (log.errors, log.remotes) == ({"can0": 1}, {"can0": 1})


def test_a_spreadsheets_decimal_comma_is_read(tmp_path: Path) -> None:
    text = "timestamp;arbitration_id;extended;remote;error;dlc;data\n1483389946,197;0x123;0;0;0;2;ESI=\n"
    assert seen_of(tmp_path, "drive.csv", text).times_ns == [1483389946_197_000_000]


def test_a_log_that_was_appended_to_needs_no_names(tmp_path: Path) -> None:
    assert len(seen_of(tmp_path, "drive.csv", ROWS).frames) == 2


def test_rows_of_gvret_are_microseconds_of_a_numbered_bus(tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.csv", GVRET)
    assert log.times_ns == [166_064_000_000, 166_065_000_000, 166_066_000_000]
    assert log.buses == ["can0", "can1", "can1"]
    assert log.frames.can_id.tolist() == [0x123, 0x18FEF100 | EXTENDED, 0x7DF]
    assert log.payloads == ["1027010000000000", "204e", ""]
    assert (log.refused, log.events) == (0, ["log_date_missing"])


def test_an_older_gvret_log_has_no_direction(tmp_path: Path) -> None:
    text = "Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n1600000000000000,0x123,0,2,2,1,A\n"
    log = seen_of(tmp_path, "drive.csv", text)
    assert (log.times_ns, log.buses, log.payloads) == ([1600000000_000_000_000], ["can2"], ["010a"])
    assert log.events == []  # by these times it has a date


def test_more_than_eight_bytes_are_an_fd_frame(tmp_path: Path) -> None:
    names = ",".join(f"D{n}" for n in range(1, 65))
    text = f"Time Stamp,ID,Extended,Dir,Bus,LEN,{names}\n1,123,false,Rx,0,12,{'0A,' * 12}\n"
    log = seen_of(tmp_path, "drive.csv", text)
    assert (log.payloads, log.frames.flags.tolist()) == (["0a" * 12], [FrameFlag.FD])


@pytest.mark.parametrize(
    "bad",
    [
        "166065000,0000012G,false,Rx,0,2,20,4E,",
        "166065000,00000123,perhaps,Rx,0,2,20,4E,",
        "166065000,00000123,false,Rx,0,8,20,4E,",
        "166O65000,00000123,false,Rx,0,2,20,4E,",
        "166065000,00000123,false,Rx,0,2,2G,4E,",
        "rubbish",
    ],
)
def test_a_damaged_row_costs_itself(bad: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.csv", GVRET + bad + "\n166067000,000007DF,false,Rx,1,0,\n")
    assert (len(log.frames), log.refused, log.failure) == (4, 1, "")


@pytest.mark.parametrize("names", ["Time,Channel,ID,Flags,DLC,Data,Counter", "a", "timestamp,id"])
@pytest.mark.parametrize("rows", ["", "1,2,3,4,5,6,7\n"])
def test_other_columns_are_refused_with_those_that_are_read(names: str, rows: str, tmp_path: Path) -> None:
    log = seen_of(tmp_path, "drive.csv", f"{names}\n{rows}")
    assert "line 1: no columns of a CSV log that is read; read are python-can's" in log.failure
    assert "GVRET's (Time Stamp,ID,Extended" in log.failure
    assert names in log.failure
