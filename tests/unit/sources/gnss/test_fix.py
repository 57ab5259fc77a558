# SPDX-License-Identifier: Apache-2.0
"""Reports become frames that the DBC file describes: each of an epoch once, none of them repeated without a fix."""

from __future__ import annotations

from typing import Any

import cantools
import pytest

from agent.config import gnss_dbc
from agent.sources.gnss.fix import Epochs, Frame, Report

FULL = Report(
    kind="TPV",
    epoch_ms=1000,
    quality=4,
    mode=3,
    latitude_e7=-337_000_001,
    longitude_e7=1_799_999_999,
    altitude_cm=-4_012,
    speed_centi=12_345,
    course_centi=35_999,
    satellites=17,
    hdop_centi=85,
    utc_ms=1_795_413_600_250,
)
LOST = Report(kind="GGA", epoch_ms=2000, quality=0, latitude_e7=481_173_000, longitude_e7=115_166_667, satellites=2)


@pytest.fixture(scope="module")
def database() -> Any:
    return cantools.database.load_file(gnss_dbc(), strict=True)


def values(database: Any, frames: list[Frame]) -> dict[str, float]:
    found: dict[str, float] = {}
    for frame in frames:
        message = database.get_message_by_frame_id(frame.can_id)
        decoded = message.decode(frame.data, decode_choices=False)
        assert message.length == len(frame.data)
        assert all(signal.minimum <= decoded[signal.name] <= signal.maximum for signal in message.signals)
        found |= decoded
    return found


def names(database: Any, frames: list[Frame]) -> list[str]:
    return [database.get_message_by_frame_id(frame.can_id).name.removeprefix("GNSS_") for frame in frames]


def test_the_dbc_file_says_what_is_in_the_frames(database: Any) -> None:
    frames = Epochs().frames(FULL)
    assert len(frames) == len(database.messages)
    assert values(database, frames) == pytest.approx(
        {
            "Latitude": -33.7000001,
            "Longitude": 179.9999999,
            "Altitude": -40.12,
            "Speed": 123.45,
            "Course": 359.99,
            "Quality": 4,
            "Mode": 3,
            "Satellites": 17,
            "Hdop": 0.85,
            "UnixTime": 1_795_413_600.25,
        },
        rel=1e-12,
    )


def test_what_several_sentences_of_an_epoch_repeat_is_told_once(database: Any) -> None:
    epochs = Epochs()
    told = [
        names(database, epochs.frames(report))
        for report in (
            Report(kind="RMC", epoch_ms=1000, quality=1, speed_centi=5, utc_ms=1, latitude_e7=1, longitude_e7=2),
            Report(kind="VTG", speed_centi=5, course_centi=6),
            Report(kind="GGA", epoch_ms=1000, quality=1, satellites=5, altitude_cm=7, latitude_e7=1, longitude_e7=2),
            Report(kind="GSA", repeats=True, mode=3, hdop_centi=90),
            Report(kind="GSA", repeats=True, mode=3, hdop_centi=90),
            Report(kind="RMC", epoch_ms=2000, quality=1, speed_centi=5, utc_ms=2, latitude_e7=1, longitude_e7=2),
            Report(kind="VTG", speed_centi=5, course_centi=6),
        )
    ]
    assert told == [
        ["FIX", "POSITION", "SPEED", "TIME"],
        ["COURSE"],
        ["SATELLITES", "ALTITUDE"],
        ["MODE", "DOP"],
        [],
        ["FIX", "POSITION", "SPEED", "TIME"],
        ["COURSE"],
    ]


def test_a_receiver_that_does_not_know_the_time_has_epochs_too(database: Any) -> None:
    epochs = Epochs()
    assert [names(database, epochs.frames(Report(kind="RMC", quality=0))) for _ in range(3)] == [["FIX"]] * 3


def test_a_lost_fix_is_told_and_nothing_is_repeated(database: Any) -> None:
    epochs = Epochs()
    fixed = []
    for report in (FULL, LOST):
        told = names(database, epochs.frames(report))
        fixed.append(epochs.fixed)
    assert fixed == [True, False]
    assert told == ["FIX", "SATELLITES"]
    assert epochs.frames(Report(kind="VTG", speed_centi=5, course_centi=6)) == []
    assert epochs.frames(Report(kind="ZDA", epoch_ms=3000, utc_ms=3000)) == []
    assert names(database, epochs.frames(Report(kind="GSA", repeats=True, mode=1, hdop_centi=9999))) == ["MODE"]
    assert "POSITION" in names(database, epochs.frames(FULL))


@pytest.mark.parametrize(
    "report",
    [
        Report(kind="GGA", speed_centi=70_000, epoch_ms=2000),
        Report(kind="GGA", speed_centi=-1, epoch_ms=2000),
        Report(kind="GGA", altitude_cm=99_999_999, epoch_ms=2000),
        Report(kind="GGA", satellites=256, epoch_ms=2000),
        Report(kind="GGA", utc_ms=-1, epoch_ms=2000),
    ],
)
def test_what_does_not_fit_is_not_told(report: Report) -> None:
    epochs = Epochs()
    epochs.frames(FULL)
    assert epochs.frames(report) == []
