# SPDX-License-Identifier: Apache-2.0
"""Sentences of real receivers, and what is none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.gnss.fix import Report
from agent.sources.gnss.nmea import SentenceError, checksum, parse


def sentence(body: str) -> bytes:
    return f"${body}*{checksum(body.encode()):02X}\r\n".encode()


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (
            "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W",
            Report(
                kind="RMC",
                epoch_ms=45_319_000,
                quality=1,
                latitude_e7=481_173_000,
                longitude_e7=115_166_667,
                speed_centi=4148,
                course_centi=8440,
                utc_ms=764_426_119_000,
            ),
        ),
        (
            "GNRMC,235959.60,A,3751.6500000,S,12229.1000000,W,0.004,,311226,,,R,V",
            Report(
                kind="RMC",
                epoch_ms=86_399_600,
                quality=4,
                latitude_e7=-378_608_333,
                longitude_e7=-1_224_850_000,
                speed_centi=1,
                utc_ms=1_798_761_599_600,
            ),
        ),
        ("GPRMC,,V,,,,,,,,,,N", Report(kind="RMC", quality=0)),
        (
            "GNGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,",
            Report(
                kind="GGA",
                epoch_ms=34_045_000,
                quality=1,
                latitude_e7=472_852_332,
                longitude_e7=85_652_650,
                satellites=8,
                hdop_centi=101,
                altitude_cm=49_960,
            ),
        ),
        ("GPGGA,,,,,,0,00,99.99,,,,,,", Report(kind="GGA", quality=0, satellites=0, hdop_centi=9999)),
        (
            "GPGSA,A,3,23,29,07,08,09,18,26,28,,,,,1.94,1.18,1.54",
            Report(kind="GSA", repeats=True, mode=3, hdop_centi=118),
        ),
        ("GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1", Report(kind="GSA", repeats=True, mode=1, hdop_centi=9999)),
        ("GPVTG,77.52,T,,M,0.004,N,0.008,K,A", Report(kind="VTG", course_centi=7752, speed_centi=1)),
        ("GPVTG,360.0,T,,M,10.0,N,,K,A", Report(kind="VTG", course_centi=0, speed_centi=1852)),
        ("GPVTG,,,,,,,,,N", Report(kind="VTG")),
        ("GPZDA,082710.00,16,09,2002,00,00", Report(kind="ZDA", epoch_ms=30_430_000, utc_ms=1_032_164_830_000)),
        ("GPZDA,082710.00,,,,00,00", Report(kind="ZDA", epoch_ms=30_430_000)),
    ],
)
def test_a_sentence_says_what_it_says(body: str, report: Report) -> None:
    assert parse(sentence(body)) == report
    assert parse(sentence(body).strip().replace(b"*", b"*", 1)) == report


@pytest.mark.parametrize("body", ["GPGSV,3,1,11,03,03,111,00,04,15,270,00", "PUBX,00,1", "GPTXT,01,01,02,u-blox"])
def test_another_sentence_is_none_of_our_business(body: str) -> None:
    assert parse(sentence(body)) is None


def test_a_sentence_that_was_cut_off_by_another_is_left_out() -> None:
    assert parse(b"\xff\x00$GPGGA,0927" + sentence("GPVTG,,,,,,,,,N")) == Report(kind="VTG")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello", "no sentence"),
        (b"$GPVTG,,,,,,,,,N", "no sentence"),
        (b"$GPVTG,,,,,,,,,N*00", "checksum"),
        (sentence("GPVTG,1"), "too few fields"),
        (sentence("GPRMC,240000,A,4807.038,N,01131.000,E,1,1,230394"), "time"),
        (sentence("GPRMC,120000,A,4860.000,N,01131.000,E,1,1,230394"), "angle"),
        (sentence("GPRMC,120000,A,9000.001,N,01131.000,E,1,1,230394"), "angle"),
        (sentence("GPRMC,120000,A,4807.038,E,01131.000,E,1,1,230394"), "hemisphere"),
        (sentence("GPRMC,120000,A,4807.038,N,01131.000,E,nan,1,230394"), "number"),
        (sentence("GPRMC,120000,A,4807.038,N,01131.000,E,1_0,1,230394"), "number"),
        (sentence("GPRMC,120000,A,4807.038,N,01131.000,E,1,361,230394"), "course"),
        (sentence("GPRMC,120000,A,4807.038,N,01131.000,E,1,1,310294"), "date"),
        (sentence("GPGGA,120000,4807.038,N,01131.000,E,9,08,1,1,M,1,M,,"), "number"),
    ],
)
def test_what_is_no_sound_sentence_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(SentenceError, match=reason):
        parse(line)


def test_one_flipped_bit_is_found() -> None:
    sound = sentence("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W").strip()
    for place in range(8 * sound.rindex(b"*")):
        broken = bytearray(sound)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(SentenceError):
            parse(bytes(broken))


@given(st.binary(max_size=120))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    with contextlib.suppress(SentenceError):
        parse(noise)


FIELDS = st.lists(st.sampled_from(["", "A", "N", "E", "1", "3", "-1", "4807.038", "123519", "230394", "9" * 12, "x"]))


@given(st.sampled_from(["RMC", "GGA", "GSA", "VTG", "ZDA"]), FIELDS)
def test_whatever_has_a_good_checksum_is_a_report_or_refused(kind: str, fields: list[str]) -> None:
    with contextlib.suppress(SentenceError):
        report = parse(sentence(f"GP{kind},{','.join(fields)}"))
        assert report is not None
        assert report.kind == kind
