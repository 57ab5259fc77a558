# SPDX-License-Identifier: Apache-2.0
"""Numbers, times and names as the page writes them. Whatever comes from outside goes through `text`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from html import escape

from agent.system.printable import LIMIT, printable

_NS = 10**9
_MINUTE_S, _HOUR_S = 60, 3600
_KILO = 1000
SENTENCE_LENGTH_MAX = 1000


def text(words: object, limit: int = LIMIT) -> str:
    """A text as HTML shows it, in an element or in an attribute's quotes; a name, unless the limit is a sentence's."""
    return escape(printable(str(words), limit))


def number(value: float) -> str:
    """Six significant digits at most, thousands apart."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "\u2212")
    written = f"{value:,.6g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.6g}"
    return written.replace("-", "\u2212")


def size(count: float) -> str:
    """Bytes, in the thousands that networks are billed in, to three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < _KILO or unit == "GB":
            break
        count /= _KILO
    places = 0 if unit == "B" or count >= 100 else 1 if count >= 10 else 2
    return f"{count:,.{places}f} {unit}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as many as matter."""
    if seconds < _MINUTE_S:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    hours, rest = divmod(whole, _HOUR_S)
    if hours:
        return f"{hours:,} h {rest // _MINUTE_S} min"
    return f"{rest // _MINUTE_S} min {rest % _MINUTE_S} s"


def milliseconds(span_ns: float) -> str:
    """A distance between frames."""
    return f"{span_ns / 1e6:,.4g} ms" if span_ns < _NS else f"{span_ns / 1e9:,.4g} s"


def moment(time_ns: int, *, date: bool = True) -> str:
    """UTC, to the second; in words where it is unknown or no date."""
    if not time_ns:
        return "unknown"
    try:
        return f"{datetime.fromtimestamp(time_ns // _NS, UTC):{'%Y-%m-%d %H:%M:%S' if date else '%H:%M:%S'}}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"
