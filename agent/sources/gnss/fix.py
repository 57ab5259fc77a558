# SPDX-License-Identifier: Apache-2.0
"""What a satellite receiver reports, and the frames that carry it: pure.

A `Report` is one sentence or one JSON object, as far as it says anything. `Epochs` makes frames of reports, as
``dbc/gnss.dbc`` describes them, little endian:

    id  message          bytes  signals
    1   GNSS_POSITION    8      Latitude, Longitude: signed, 1e-7 degrees
    2   GNSS_ALTITUDE    4      Altitude: signed, 0.01 m above mean sea level
    3   GNSS_SPEED       2      Speed: 0.01 km/h over ground
    4   GNSS_COURSE      2      Course: 0.01 degrees, true
    5   GNSS_FIX         1      Quality: 0 without a fix, else what kind of fix
    6   GNSS_MODE        1      Mode: 1 without a fix, 2: 2D, 3: 3D
    7   GNSS_SATELLITES  1      Satellites used
    8   GNSS_DOP         2      Hdop: 0.01
    9   GNSS_TIME        6      UnixTime: ms

Promise: a frame says only what the receiver has said just now, and of an epoch (a moment that it computed a position
for) each message comes once, though several sentences repeat it. Without a fix there is neither position, altitude,
speed, course nor time, even where the receiver repeats the last ones: only `GNSS_FIX` with quality 0, and the mode.

Limits: a value that does not fit its signal is not told.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ALTITUDE_CM_MAX = 10_000_000
SPEED_MAX = 0xFFFF
SATELLITES_MAX = 0xFF
DOP_MAX = 9_900
"""99.00: receivers say 99.99 for one that they do not know."""
MEASURED_MAX = 5
"""The last of the qualities that satellites give."""
UTC_MS_MAX = (1 << 48) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one sentence says; None for what it does not say.

    kind            such as "RMC"; one that comes again belongs to another epoch, unless `repeats`
    repeats         several of one kind may belong to an epoch
    epoch_ms        of the day, UTC
    quality         0: no fix; 1 autonomous, 2 differential, 3 precise, 4 RTK fixed, 5 RTK float, 6 dead reckoning,
                    7 entered by hand, 8 simulated: NMEA 0183, GGA
    mode            1: no fix, 2: 2D, 3: 3D
    latitude_e7, longitude_e7   1e-7 degrees, WGS 84, north and east positive
    altitude_cm     above mean sea level
    speed_centi     0.01 km/h
    course_centi    0.01 degrees, 0…35999
    hdop_centi      0.01
    utc_ms          since 1970-01-01
    """

    kind: str
    repeats: bool = False
    epoch_ms: int | None = None
    quality: int | None = None
    mode: int | None = None
    latitude_e7: int | None = None
    longitude_e7: int | None = None
    altitude_cm: int | None = None
    speed_centi: int | None = None
    course_centi: int | None = None
    satellites: int | None = None
    hdop_centi: int | None = None
    utc_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of ``dbc/gnss.dbc``."""

    can_id: int
    data: bytes


POSITION, ALTITUDE, SPEED, COURSE, FIX, MODE, SATELLITES, DOP, TIME = range(1, 10)


class Epochs:
    """Makes frames of reports.

    quality   the fix that the receiver has, as far as it has said: as in `Report`
    """

    def __init__(self) -> None:
        self.quality = 0
        self._epoch_ms: int | None = None
        self._kinds: set[str] = set()
        self._told: set[int] = set()

    @property
    def fixed(self) -> bool:
        """Whether the receiver has a fix."""
        return self.quality > 0

    @property
    def measured(self) -> bool:
        """Whether it has it of satellites: neither reckoned, nor entered, nor simulated."""
        return 0 < self.quality <= MEASURED_MAX

    def frames(self, report: Report) -> list[Frame]:
        """The frames of what the report says and none of its epoch has said."""
        self._turn(report)
        if report.quality is not None:
            self.quality = report.quality
        elif report.mode == 1:
            self.quality = 0
        frames = [*_quality(report), *(_fixed(report) if self.fixed else ())]
        new = [frame for frame in frames if frame.can_id not in self._told]
        self._told |= {frame.can_id for frame in new}
        return new

    def _turn(self, report: Report) -> None:
        """Begin another epoch where the report belongs to one."""
        other_time = report.epoch_ms is not None and report.epoch_ms != self._epoch_ms
        again = report.kind in self._kinds and not report.repeats
        if other_time or again:
            self._epoch_ms = report.epoch_ms
            self._kinds.clear()
            self._told.clear()
        self._kinds.add(report.kind)


def _quality(report: Report) -> list[Frame]:
    """What is told with a fix or without."""
    frames = []
    if report.quality is not None:
        frames.append(Frame(FIX, struct.pack("<B", report.quality)))
    if report.mode is not None:
        frames.append(Frame(MODE, struct.pack("<B", report.mode)))
    if report.satellites is not None and report.satellites <= SATELLITES_MAX:
        frames.append(Frame(SATELLITES, struct.pack("<B", report.satellites)))
    if report.hdop_centi is not None and 0 < report.hdop_centi < DOP_MAX:
        frames.append(Frame(DOP, struct.pack("<H", report.hdop_centi)))
    return frames


def _fixed(report: Report) -> list[Frame]:
    """What is told with a fix only."""
    frames = []
    if report.latitude_e7 is not None and report.longitude_e7 is not None:
        frames.append(Frame(POSITION, struct.pack("<ii", report.latitude_e7, report.longitude_e7)))
    if report.altitude_cm is not None and abs(report.altitude_cm) <= ALTITUDE_CM_MAX:
        frames.append(Frame(ALTITUDE, struct.pack("<i", report.altitude_cm)))
    if report.speed_centi is not None and 0 <= report.speed_centi <= SPEED_MAX:
        frames.append(Frame(SPEED, struct.pack("<H", report.speed_centi)))
    if report.course_centi is not None:
        frames.append(Frame(COURSE, struct.pack("<H", report.course_centi)))
    if report.utc_ms is not None and 0 <= report.utc_ms <= UTC_MS_MAX:
        frames.append(Frame(TIME, report.utc_ms.to_bytes(6, "little")))
    return frames
