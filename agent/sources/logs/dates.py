# SPDX-License-Identifier: Apache-2.0
"""The dates of recorded logs, as Vector's and PEAK's tools and their imitators write them.

    Wed Sep 30 03:06:13.191 pm 2017     twelve hours; CANalyzer also writes 13:14:48.626 pm
    Mit Mär 11 13:14:48.626 2020        in the language of the machine that recorded it, in any encoding
    2021-12-06T09:21:13+00:00           ISO 8601, the only one that may tell its zone
    29.09.2025 13:00:00.000.0           PEAK
    45929.5416666667                    PEAK: days since 1899-12-30
    2025, 9, 1, 29, 13, 0, 0, 0         Windows' SYSTEMTIME

Promise: a date without a zone is local time, of the zone of whoever reads it (`TZ` tells another). What is not
certainly a date is none: None, for the caller to tell.

Limits: month names of English, German, French, Italian, Spanish, Portuguese, Dutch, the Nordic languages, Polish,
Chinese, Japanese and Korean. 04/05/2020 is two dates, and so none. A date within the hour that clocks are set back is
the earlier one. Of a fraction of one or two digits behind Vector's date: these are milliseconds, as python-can writes
them without leading zeros; Vector's tools write three digits.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from fractions import Fraction

_TIME = re.compile(r"(?<!\d)(\d{1,2}):(\d\d):(\d\d)(?:[.,:](\d+))?(?:\.\d)?(?!\d)")
_YEAR = re.compile(r"(?<![\d:.,])(\d{4})(?![\d:])")
_DAY = re.compile(r"(?<![\d:.,])(\d{1,2})(?![\d:])")
_NUMBERED_MONTH = re.compile(r"(?<!\d)(\d{1,2})\s*[月월]")
_DOTTED = re.compile(r"^\W*(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_YEAR_FIRST = re.compile(r"^\W*(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
_SLASHED = re.compile(r"^\W*(\d{1,2})/(\d{1,2})/(\d{4})\b")
_WORD = re.compile(r"[^\W\d_]+")
_AFTERNOON = re.compile(r"(?i)\bp\.?\s?m\b|下午|午後|午后|오후")
_MORNING = re.compile(r"(?i)\ba\.?\s?m\b|上午|午前|오전")
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan janv ene gen sty stycznia january januar janvier enero gennaio januari",
            "feb fev fevr febr fvr lut february februar fevrier febrero febbraio februari",
            "mar mars mrz maer mr mrt march marz marzo maart",
            "apr avr abr kwi april avril abril aprile",
            "may mai mag mei maj maio mayo maggio",
            "jun juin giu cze june juni junio giugno",
            "jul juil lug lip july juli julio juillet luglio",
            "aug aout ago aot sie august agosto augustus",
            "sep sept set wrz september septembre septiembre settembre",
            "oct okt ott out paz october oktober octobre octubre ottobre",
            "nov lis november novembre noviembre",
            "dec dez dic des dc gru december dezember decembre diciembre dicembre",
        ),
        1,
    )
    for name in names.split()
}
_OLE_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - local time
_NS = 1_000_000_000
_DOUBLE_SLACK_NS = Fraction(640)
"""What is lost where such days are floating-point numbers, as python-can writes them to the last digit."""


def vector_date(text: str) -> int | None:
    """A date of an ASC log, in nanoseconds since the epoch; None where it is none."""
    text = text.strip()
    try:
        if re.match(r"\d{4}-\d\d-\d\dT?[ \d]", text) and not (_AFTERNOON.search(text) or _MORNING.search(text)):
            return _since_epoch(datetime.fromisoformat(text))
        return _written(text, fraction_of_python_can=True)
    except (ValueError, OverflowError, OSError):
        return None


def peak_start(text: str) -> int | None:
    """A start time of a comment in a TRC log, see `vector_date`."""
    text = text.strip()
    try:
        if re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?[+Z-]", text):  # python-can's, with its zone
            return _since_epoch(datetime.fromisoformat(text))
        return _written(text, fraction_of_python_can=False)
    except (ValueError, OverflowError, OSError):
        return None


def ole_days(text: str, *, utc: bool) -> int | None:
    """Days since 1899-12-30; of the moments that the digits allow the roundest: they are some microseconds apart."""
    text = text.strip().rstrip(";").strip().replace(",", ".")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,30})?", text):
        return None
    digits = len(text.partition(".")[2])
    exact_ns = Fraction(text) * 86_400 * _NS
    slack_ns = max(Fraction(86_400 * _NS, 2 * 10**digits), _DOUBLE_SLACK_NS)
    for unit_ns in (1_000_000, 100_000, 1_000, 1):
        rounded_ns = round(exact_ns / unit_ns) * unit_ns
        if abs(rounded_ns - exact_ns) <= slack_ns:
            break
    seconds, fraction_ns = divmod(rounded_ns, _NS)
    try:
        moment = _OLE_EPOCH + timedelta(seconds=seconds)
        return _since_epoch(moment.replace(tzinfo=UTC) if utc else moment) + fraction_ns
    except (ValueError, OverflowError, OSError):
        return None


def system_time(fields: tuple[int, ...], *, utc: bool) -> int | None:
    """Year, month, day of the week, day, hour, minute, second, millisecond."""
    year, month, _, day, hour, minute, second, milliseconds = fields
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC if utc else None)
        return _since_epoch(moment) + milliseconds * 1_000_000
    except (ValueError, OverflowError, OSError):
        return None


def _since_epoch(moment: datetime) -> int:
    whole = moment.replace(microsecond=0)
    return round(whole.timestamp()) * _NS + moment.microsecond * 1000


def _written(text: str, *, fraction_of_python_can: bool) -> int | None:
    """Date and time in whatever order and language; ValueError where a number is out of range."""
    clock = _TIME.search(text)
    if clock is None:
        return None
    hour, minute, second = (int(part) for part in clock.group(1, 2, 3))
    rest = f"{text[: clock.start()]} {text[clock.end() :]}"
    if _AFTERNOON.search(rest) and hour < 12:
        hour += 12
    elif _MORNING.search(rest) and hour == 12:
        hour = 0
    day = _calendar_day(text[: clock.start()], text[clock.end() :])
    if day is None:
        return None
    moment = datetime(*day, hour, minute, second)  # noqa: DTZ001 - local time
    return _since_epoch(moment) + _fraction_ns(clock[4] or "", of_python_can=fraction_of_python_can)


def _fraction_ns(digits: str, *, of_python_can: bool) -> int:
    if of_python_can and digits and len(digits) < 3:
        return int(digits) * 1_000_000
    return int(digits[:9].ljust(9, "0")) if digits else 0


def _calendar_day(before: str, behind: str) -> tuple[int, int, int] | None:
    """Year, month and day of what stands around the time."""
    rest = f"{before} {behind}"
    if found := _YEAR_FIRST.search(rest.strip()):
        return int(found[1]), int(found[2]), int(found[3])
    if found := _DOTTED.search(rest.strip()):
        return int(found[3]), int(found[2]), int(found[1])
    if found := _SLASHED.search(rest.strip()):
        return _unambiguous(int(found[1]), int(found[2]), int(found[3]))
    year, month = _YEAR.search(rest), _month(before)
    if found := _NUMBERED_MONTH.search(before):
        before = before[: found.start()] + " " + before[found.end() :]
    day = _DAY.search(before)
    if year is None or month is None or day is None:
        return None
    return int(year[1]), month, int(day[1])


def _unambiguous(one: int, other: int, year: int) -> tuple[int, int, int] | None:
    """Day and month, in whichever order only one is possible."""
    if one == other or (one <= 12 < other):
        return year, one, other
    return (year, other, one) if other <= 12 < one else None


def _month(before: str) -> int | None:
    """The month in front of a time: a number with its sign, else the last word, for the day of the week comes first."""
    if found := _NUMBERED_MONTH.search(before):
        return int(found[1])
    letters = unicodedata.normalize("NFKD", before.casefold())
    words = _WORD.findall("".join(letter for letter in letters if letter.isascii()))
    return _MONTHS.get(words[-1]) if words else None
