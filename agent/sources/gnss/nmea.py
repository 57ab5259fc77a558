# SPDX-License-Identifier: Apache-2.0
"""NMEA 0183 sentences of a satellite receiver: pure.

    $GPRMC,123519.00,A,4807.03800,N,01131.00000,E,22.40,84.40,230394,,,A*5C
     ││└─ kind                                                           └─ exclusive or of all between $ and *
     └┴── talker: GP, GN, GL, GA, …

Promise: `parse` gives a sentence's content only where its checksum holds and every field that is looked at is of its
form; whatever else comes in raises `SentenceError`, and nothing but that. Read are RMC, GGA, GSA, VTG and ZDA, of any
talker; other sentences are no error and say nothing here.

Limits: `SENTENCE_BYTES_MAX`, which is more than the standard's 82, since receivers that resolve centimetres exceed it.
What stands before a line's last ``$`` is a sentence that was cut off, and is left out.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from agent.sources.gnss.fix import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SENTENCE_BYTES_MAX = 128

_SENTENCE = re.compile(rb"\$([A-Z][A-Z0-9]{2,9}),([\x20-\x7e]*)\*([0-9A-Fa-f]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9]|60)(?:\.([0-9]{1,9}))?")
_DATE = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})")
_ANGLE = re.compile(r"([0-9]{2,3})([0-5][0-9](?:\.[0-9]{1,10})?)")
_NUMBER = re.compile(r"-?[0-9]{1,8}(?:\.[0-9]{1,10})?|-?\.[0-9]{1,10}")
_QUALITIES = {"N": 0, "A": 1, "D": 2, "P": 3, "R": 4, "F": 5, "E": 6, "M": 7, "S": 8}
"""The positioning mode of NMEA 2.3 and later as GGA's quality."""
KMH_OF_KNOT = 1.852
_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CENTURY_SINCE = 80
"""Two digits of a year: from this on they are of the 20th century; GPS is from 1980."""


class SentenceError(ValueError):
    """The line is no sentence, or not a sound one."""


def parse(line: bytes) -> Report | None:
    """What a line says; None where it is a sentence of a kind that is not looked at. Raises SentenceError."""
    begin = line.rfind(b"$")
    match = _SENTENCE.fullmatch(line.rstrip()[begin:]) if begin >= 0 else None
    if match is None:
        raise SentenceError("no sentence")
    name, body, told = match.groups()
    if checksum(name + b"," + body) != int(told, 16):
        raise SentenceError("checksum")
    reader = _READERS.get(name[2:].decode()) if not name.startswith(b"P") else None  # P: a maker's own
    if reader is None:
        return None
    fields = body.decode().split(",")
    try:
        return reader(fields)
    except IndexError as error:
        raise SentenceError("too few fields") from error


def checksum(content: bytes) -> int:
    """Of what stands between ``$`` and ``*``."""
    total = 0
    for byte in content:
        total ^= byte
    return total


def _rmc(fields: Sequence[str]) -> Report:
    """Recommended minimum: time, status, position, speed in knots, course, date, variation, mode."""
    time_ms = _time_ms(fields[0])
    mode = fields[11] if len(fields) > 11 else ""
    quality = _QUALITIES.get(mode, 1) if fields[1] == "A" else 0
    latitude, longitude = _position(fields[2:6])
    return Report(
        kind="RMC",
        epoch_ms=time_ms,
        quality=quality,
        latitude_e7=latitude,
        longitude_e7=longitude,
        speed_centi=_scaled(fields[6], 100 * KMH_OF_KNOT),
        course_centi=_course(fields[7]),
        utc_ms=_utc_ms(time_ms, _date(fields[8])),
    )


def _gga(fields: Sequence[str]) -> Report:
    """Fix data: time, position, quality, satellites, HDOP, altitude."""
    quality = _whole(fields[5], 8)
    latitude, longitude = _position(fields[1:5])
    return Report(
        kind="GGA",
        epoch_ms=_time_ms(fields[0]),
        quality=quality or 0,
        latitude_e7=latitude,
        longitude_e7=longitude,
        satellites=_whole(fields[6], 999),
        hdop_centi=_scaled(fields[7], 100),
        altitude_cm=_scaled(fields[8], 100),
    )


def _gsa(fields: Sequence[str]) -> Report:
    """Mode, the satellites in use, PDOP, HDOP, VDOP; one sentence a constellation."""
    mode = _whole(fields[1], 3)
    return Report(kind="GSA", repeats=True, mode=mode or 1, hdop_centi=_scaled(fields[15], 100))


def _vtg(fields: Sequence[str]) -> Report:
    """Course and speed: true, T, magnetic, M, knots, N, km/h, K, mode."""
    if len(fields) > 8 and fields[8] == "N":
        return Report(kind="VTG")
    knots, kmh = _scaled(fields[4], 100 * KMH_OF_KNOT), _scaled(fields[6], 100)
    return Report(kind="VTG", course_centi=_course(fields[0]), speed_centi=knots if kmh is None else kmh)


def _zda(fields: Sequence[str]) -> Report:
    """Time and date: time, day, month, year of four digits, zone."""
    time_ms = _time_ms(fields[0])
    day, month, year = _whole(fields[1], 31), _whole(fields[2], 12), _whole(fields[3], 9999)
    known = day is not None and month is not None and year is not None
    return Report(kind="ZDA", epoch_ms=time_ms, utc_ms=_utc_ms(time_ms, (year, month, day) if known else None))  # type: ignore[arg-type]


_READERS: dict[str, Callable[[Sequence[str]], Report]] = {
    "RMC": _rmc,
    "GGA": _gga,
    "GSA": _gsa,
    "VTG": _vtg,
    "ZDA": _zda,
}


def _time_ms(text: str) -> int | None:
    """hhmmss.sss as milliseconds of the day; a leap second is the next one."""
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise SentenceError("time")
    hour, minute, second, fraction = match.groups()
    return (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1000 + int((fraction or "0").ljust(3, "0")[:3])


def _date(text: str) -> tuple[int, int, int] | None:
    """ddmmyy as year, month, day."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise SentenceError("date")
    day, month, year = map(int, match.groups())
    return (1900 if year >= _CENTURY_SINCE else 2000) + year, month, day


def _utc_ms(time_ms: int | None, day: tuple[int, int, int] | None) -> int | None:
    if time_ms is None or day is None:
        return None
    try:
        ordinal = date(*day).toordinal()
    except ValueError as error:
        raise SentenceError("date") from error
    return (ordinal - _EPOCH_DAY) * _DAY_MS + time_ms


def _position(fields: Sequence[str]) -> tuple[int | None, int | None]:
    """Latitude, N or S, longitude, E or W, in 1e-7 degrees."""
    if len(fields) < 4:
        raise SentenceError("too few fields")
    latitude, south, longitude, west = fields
    if not latitude or not longitude:
        return None, None
    if south not in ("N", "S") or west not in ("E", "W"):
        raise SentenceError("hemisphere")
    north, east = _angle_e7(latitude, 90), _angle_e7(longitude, 180)
    return -north if south == "S" else north, -east if west == "W" else east


def _angle_e7(text: str, degrees_max: int) -> int:
    """dddmm.mmmm in 1e-7 degrees."""
    match = _ANGLE.fullmatch(text)
    if match is None:
        raise SentenceError("angle")
    angle = round((int(match[1]) + float(match[2]) / 60) * 1e7)
    if angle > degrees_max * 10**7:
        raise SentenceError("angle")
    return angle


def _course(text: str) -> int | None:
    degrees = _scaled(text, 100)
    if degrees is not None and not 0 <= degrees <= 36_000:
        raise SentenceError("course")
    return None if degrees is None else degrees % 36_000


def _scaled(text: str, factor: float) -> int | None:
    """A decimal number times the factor, rounded."""
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise SentenceError("number")
    return round(float(text) * factor)


def _whole(text: str, most: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 4) or int(text) > most:
        raise SentenceError("number")
    return int(text)
