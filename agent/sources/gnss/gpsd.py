# SPDX-License-Identifier: Apache-2.0
"""What gpsd says, JSON objects a line: pure. gpsd_json(5), protocol 3.

    {"class":"TPV","mode":3,"time":"2026-11-23T06:00:00.000Z","lat":48.1,"lon":11.5,"altMSL":519.3,"speed":3.2,…}
    {"class":"SKY","hdop":0.9,"uSat":9,…}

Promise: `parse` gives what a sound TPV or SKY says; another object of gpsd's says nothing here; whatever else comes in
raises `SentenceError`. `WATCH` is what gpsd wants to hear once to begin.

Limits: `LINE_BYTES_MAX`, gpsd's own for a response. Where gpsd has several receivers, all of them are heard.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from agent.sources.gnss.fix import Report
from agent.sources.gnss.nmea import SentenceError

LINE_BYTES_MAX = 10_240
WATCH = b'?WATCH={"enable":true,"json":true};\n'
PORT = 2947

_QUALITIES = {0: 1, 1: 1, 2: 2, 3: 4, 4: 5, 5: 6, 6: 6, 7: 7, 8: 8, 9: 3}
"""TPV's status as GGA's quality; unless given, it is an ordinary fix."""
_DAY_MS = 86_400_000
_CENTI_KMH_OF_M_S = 360


class _Satellite(msgspec.Struct):
    used: bool = False


class _Object(msgspec.Struct):
    """The keys of TPV and SKY that are looked at."""

    kind: str = msgspec.field(name="class")
    mode: int = 0
    status: int = 1
    time: str | None = None
    lat: float | None = None
    lon: float | None = None
    altMSL: float | None = None  # noqa: N815  gpsd's own name
    speed: float | None = None
    track: float | None = None
    hdop: float | None = None
    uSat: int | None = None  # noqa: N815
    satellites: list[_Satellite] | None = None


_DECODER = msgspec.json.Decoder(_Object)


def parse(line: bytes) -> Report | None:
    """What a line says; None where it is an object that is not looked at. Raises SentenceError."""
    try:
        told = _DECODER.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SentenceError("no object of gpsd's") from error
    if told.kind == "TPV":
        return _position(told)
    if told.kind == "SKY":
        used = told.uSat
        if used is None and told.satellites is not None:
            used = sum(satellite.used for satellite in told.satellites)
        if used is not None and used < 0:
            raise SentenceError("satellites")
        return Report(kind="SKY", satellites=used, hdop_centi=_scaled(told.hdop, 100, 1e4))
    return None


def _position(told: _Object) -> Report:
    if not 0 <= told.mode <= 3:
        raise SentenceError("mode")
    if told.mode < 2:
        return Report(kind="TPV", quality=0, mode=1)
    utc_ms = _utc_ms(told.time)
    course = _scaled(told.track, 100, 360)
    placed = told.lat is not None and told.lon is not None
    return Report(
        kind="TPV",
        epoch_ms=None if utc_ms is None else utc_ms % _DAY_MS,
        quality=_QUALITIES.get(told.status, 1),
        mode=told.mode,
        latitude_e7=_scaled(told.lat, 1e7, 90) if placed else None,
        longitude_e7=_scaled(told.lon, 1e7, 180) if placed else None,
        altitude_cm=_scaled(told.altMSL, 100, 1e6) if told.mode == 3 else None,
        speed_centi=_scaled(told.speed, _CENTI_KMH_OF_M_S, 1e4),
        course_centi=None if course is None else course % 36_000,
        utc_ms=utc_ms,
    )


def _utc_ms(text: str | None) -> int | None:
    """ISO 8601, UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.year < 1970:
            raise SentenceError("time")
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise SentenceError("time") from error


def _scaled(value: float | None, factor: float, most: float) -> int | None:
    """The value times the factor, rounded; refused where it is further from 0 than can be."""
    if value is None:
        return None
    if not abs(value) <= most:
        raise SentenceError("number")
    return round(value * factor)
