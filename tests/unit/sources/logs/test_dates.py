# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess

import pytest

from agent.sources.logs.dates import ole_days, peak_start, system_time, vector_date
from tests.support.recorded_logs import time_zone

S = 1_000_000_000


def moment(written: str, zone: str = "UTC") -> int:
    """Seconds since the epoch, as GNU date has them."""
    command = ["date", "-d", f'TZ="{zone}" {written}', "+%s"]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Wed Sep 30 03:06:13.191 pm 2017", "2017-09-30 15:06:13"),
        ("Wed Sep 30 03:06:13.191 PM 2017", "2017-09-30 15:06:13"),
        ("Wed Sep 30 12:06:13.191 am 2017", "2017-09-30 00:06:13"),
        ("Wed Sep 30 12:06:13.191 pm 2017", "2017-09-30 12:06:13"),
        ("Wed Sep 30 15:06:13.191 2017", "2017-09-30 15:06:13"),
        ("Tue Jan 07 13:14:48.191 pm 2020", "2020-01-07 13:14:48"),  # CANalyzer, twenty-four hours and pm
        ("Die Jan 7 09:14:48.191 am 2020", "2020-01-07 09:14:48"),
        ("Mit Mär 11 13:14:48.191 2020", "2020-03-11 13:14:48"),
        ("Mit M\ufffdr 11 13:14:48.191 2020", "2020-03-11 13:14:48"),
        ("Mi Mrz 11 13:14:48.191 2020", "2020-03-11 13:14:48"),
        ("Fr Dez 11 13:14:48.191 2020", "2020-12-11 13:14:48"),
        ("mer. mars 11 13:14:48.191 2020", "2020-03-11 13:14:48"),
        ("mar. févr. 11 13:14:48.191 2020", "2020-02-11 13:14:48"),
        ("jeu. juil. 2 13:14:48.191 2020", "2020-07-02 13:14:48"),
        ("mar. juin 2 13:14:48.191 2020", "2020-06-02 13:14:48"),
        ("sam. août 1 13:14:48.191 2020", "2020-08-01 13:14:48"),
        ("mer. déc. 2 13:14:48.191 2020", "2020-12-02 13:14:48"),
        ("mar gen 07 13:14:48.191 2020", "2020-01-07 13:14:48"),
        ("mar mag 05 13:14:48.191 2020", "2020-05-05 13:14:48"),
        ("lun ott 05 13:14:48.191 2020", "2020-10-05 13:14:48"),
        ("mié ene 08 13:14:48.191 2020", "2020-01-08 13:14:48"),
        ("周三 9月 30 03:06:13.191 下午 2020", "2020-09-30 15:06:13"),
        ("2020-09-30T15:06:13.191", "2020-09-30 15:06:13"),
        ("2020-09-30 15:06:13.191", "2020-09-30 15:06:13"),
        ("30.09.2020 15:06:13.191", "2020-09-30 15:06:13"),
        ("09/30/2020 03:06:13.191 pm", "2020-09-30 15:06:13"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_a_date_is_local_time_in_whatever_language(written: str, expected: str, zone: str) -> None:
    with time_zone(zone):
        assert vector_date(written) == moment(expected, zone) * S + 191_000_000


def test_a_date_with_a_zone_is_of_that_zone() -> None:
    with time_zone("Asia/Shanghai"):
        assert vector_date("2021-12-06T09:21:13+00:00") == moment("2021-12-06 09:21:13") * S
        assert vector_date("2021-12-06T09:21:13Z") == moment("2021-12-06 09:21:13") * S


@pytest.mark.parametrize(("fraction", "milliseconds"), [("", 0), (".5", 5), (".57", 57), (".191", 191)])
def test_milliseconds_of_python_can_have_no_leading_zeros(fraction: str, milliseconds: int) -> None:
    with time_zone("UTC"):
        begin = moment("2020-01-07 09:14:48") * S
        assert vector_date(f"Tue Jan 07 09:14:48{fraction} 2020") == begin + milliseconds * 1_000_000


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Tue Jan 07 2020",
        "Tue Xyz 07 09:14:48.191 2020",
        "Tue Jan 37 09:14:48.191 2020",
        "Tue Jan 07 25:14:48.191 2020",
        "04/05/2020 09:14:48",  # in April or in May
        "13/13/2020 09:14:48",
        "2020-13-01T09:14:48",
        "2020-99-99 09:14:48 pm",
    ],
)
def test_what_is_not_certainly_a_date_is_none(written: str) -> None:
    assert vector_date(written) is None


@pytest.mark.parametrize(
    ("days", "expected_ns"),
    [
        ("45929.5416666667", moment("2025-09-29 13:00:00") * S),
        ("39878.6772258947;", moment("2009-03-06 16:15:12") * S + 317_300_000),  # PEAK's own example: 16:15:12.317.3
        ("39878,6772258947", moment("2009-03-06 16:15:12") * S + 317_300_000),
        ("44087.51851851852", moment("2020-09-13 12:26:40") * S),
        ("39878", moment("2009-03-06") * S),
    ],
)
def test_days_of_peak_are_the_roundest_moment_that_they_allow(days: str, expected_ns: int) -> None:
    with time_zone("UTC"):
        assert ole_days(days, utc=False) == expected_ns


def test_days_of_peak_are_local_time_and_of_python_can_utc() -> None:
    with time_zone("Asia/Shanghai"):
        assert ole_days("45929.5416666667", utc=False) == moment("2025-09-29 13:00:00", "Asia/Shanghai") * S
        assert ole_days("45929.5416666667", utc=True) == moment("2025-09-29 13:00:00") * S


@pytest.mark.parametrize("days", ["", "today", "1e5", "-1", "99999999"])
def test_days_that_are_no_date_are_none(days: str) -> None:
    assert ole_days(days, utc=True) is None


def test_a_start_time_in_a_comment_is_read() -> None:
    with time_zone("UTC"):
        assert peak_start("11.09.2002 16:00:20.682") == moment("2002-09-11 16:00:20") * S + 682_000_000
        assert peak_start("29.09.2025 13:00:00.000.0") == moment("2025-09-29 13:00:00") * S
        assert peak_start("2015-06-21 18:11:07.246.0") == moment("2015-06-21 18:11:07") * S + 246_000_000
        assert peak_start("2020-09-13 12:26:40+00:00") == moment("2020-09-13 12:26:40") * S
        assert peak_start("4/5/2020 12:26:40 PM") is None


def test_system_time_is_local_or_utc() -> None:
    fields = (2025, 9, 1, 29, 13, 0, 0, 250)
    with time_zone("Asia/Shanghai"):
        assert system_time(fields, utc=False) == 1759122000 * S + 250_000_000
        assert system_time(fields, utc=True) == 1759150800 * S + 250_000_000
        assert system_time((0,) * 8, utc=True) is None
