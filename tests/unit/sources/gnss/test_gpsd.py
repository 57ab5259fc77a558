# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.gnss.fix import Report
from agent.sources.gnss.gpsd import parse
from agent.sources.gnss.nmea import SentenceError

TPV: dict[str, Any] = {
    "class": "TPV",
    "device": "/dev/ttyUSB0",
    "mode": 3,
    "time": "2026-11-23T06:00:00.250Z",
    "lat": 48.1173,
    "lon": -11.5166667,
    "altMSL": 545.4,
    "speed": 10.0,
    "track": 84.4,
}


def test_a_position_says_what_it_says() -> None:
    assert parse(json.dumps(TPV).encode()) == Report(
        kind="TPV",
        epoch_ms=21_600_250,
        quality=1,
        mode=3,
        latitude_e7=481_173_000,
        longitude_e7=-115_166_667,
        altitude_cm=54_540,
        speed_centi=3600,
        course_centi=8440,
        utc_ms=1_795_413_600_250,
    )


def test_without_a_fix_nothing_else_is_said() -> None:
    assert parse(json.dumps(TPV | {"mode": 1}).encode()) == Report(kind="TPV", quality=0, mode=1)
    assert parse(json.dumps(TPV | {"mode": 0}).encode()) == Report(kind="TPV", quality=0, mode=1)


def test_in_two_dimensions_there_is_no_altitude() -> None:
    report = parse(json.dumps(TPV | {"mode": 2, "status": 2}).encode())
    assert report is not None
    assert (report.mode, report.quality, report.altitude_cm) == (2, 2, None)


@pytest.mark.parametrize("used", [{"uSat": 2}, {"satellites": [{"PRN": 1, "used": True}, {"used": True}, {}]}])
def test_satellites_are_those_that_are_used(used: dict[str, Any]) -> None:
    assert parse(json.dumps({"class": "SKY", "hdop": 0.9} | used).encode()) == Report(
        kind="SKY", satellites=2, hdop_centi=90
    )


def test_other_objects_say_nothing_here() -> None:
    assert parse(b'{"class":"VERSION","release":"3.22","rev":"3.22","proto_major":3,"proto_minor":14}') is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"$GPRMC",
        b"[]",
        b"[" * 9000,
        b'{"class":1}',
        b'{"class":"TPV","mode":"3"}',
        b'{"class":"TPV","mode":4}',
        b'{"class":"TPV","mode":3,"lat":91,"lon":0}',
        b'{"class":"TPV","mode":3,"lat":1e999,"lon":0}',
        b'{"class":"TPV","mode":3,"time":"yesterday"}',
        b'{"class":"TPV","mode":3,"time":"2026-11-23T06:00:00"}',
        b'{"class":"SKY","uSat":-1}',
    ],
)
def test_what_is_none_of_gpsds_is_refused(line: bytes) -> None:
    with pytest.raises(SentenceError):
        parse(line)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*TPV, "status", "hdop", "uSat", "satellites"]), VALUES))
def test_whatever_the_values_are_it_is_a_report_or_refused(values: dict[str, Any]) -> None:
    for kind in ("TPV", "SKY"):
        with contextlib.suppress(SentenceError):
            report = parse(json.dumps(values | {"class": kind}).encode())
            assert report is not None
            assert report.kind == kind
