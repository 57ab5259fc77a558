# SPDX-License-Identifier: Apache-2.0
"""Live signals as curves on a terminal, one above the other, over the last seconds. Pure: messages in, text out.

    car.ENGINE_SPEED.ENGINE_RPM  1850.25 rpm                 min 812.5  max 3104.75
      3500 ┤      ⢀⡠⠤⠒⠉⠉⠢⡀
           │   ⡠⠊           ⠑⢄⣀
       500 ┤⠤⠊                  ⠈⠑⠢⠤⠤⠤⠤⠔⠒⠒⠉
           -60 s               -30 s            now

Numbers are joined by lines, whole numbers (states, flags, counters) by steps. A curve is broken where nothing has come
for `table.STALE_S`. The scale fits what is seen. A value is the latest at an update; values between two updates are
not there. Values that are no numbers (NaN, raw payloads) are left out.

A character is a grid of dots:

    BRAILLE   2 by 4 dots, U+2800 and up
    BLOCKS    1 by 2, for terminals whose font has no braille (the console of Linux)
    ASCII     1 by 1, for encodings that have neither

Limits: `SIGNALS_MAX` signals, of each at most `POINTS_MAX` points. A point holds the least, the greatest and the last
of the values that are too close together to be drawn apart. A clock that is set back starts the curve anew.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.config.patterns import SignalPatterns
from agent.live.status_screen import duration
from agent.live.table import CLEAR_LINE, CLEAR_REST, HOME, STALE_S, value_text
from agent.system.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.live.signals import LiveMessage, Sample

SIGNALS_MAX = 64
POINTS_MAX = 1024
AHEAD_NS = 10**9
ROWS_MIN = 3
"""Of a curve: fewer show nothing."""
NAME_MIN = 16
"""Characters of a name that have to have room before its least and greatest value do."""
_EXPONENTS = (-300, 300)
"""Of ten; beyond them a scale is not made round."""
_CURVE, _BOLD, _FAINT, _PLAIN = "\x1b[36m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Dots:
    """How a character is made of dots: the bit of each, by row and column; the character of all bits together, and
    of what stands at the left edge of a curve."""

    bits: tuple[tuple[int, ...], ...]
    characters: str
    edge: str = "┤"

    @property
    def wide(self) -> int:
        """Dots beside one another in a character."""
        return len(self.bits[0])

    @property
    def high(self) -> int:
        """Dots above one another in a character."""
        return len(self.bits)


BRAILLE = Dots(((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)), " " + "".join(map(chr, range(0x2801, 0x2900))))
BLOCKS = Dots(((1,), (2,)), " ▀▄█")
ASCII = Dots(((1,),), " *", "|")


def dots_for(encoding: str, terminal: str) -> Dots:
    """The finest that a terminal of this name shows in this encoding."""
    for dots in (BRAILLE, BLOCKS):
        if dots is BRAILLE and terminal == "linux":
            continue
        try:
            (dots.characters + dots.edge).encode(encoding)
        except UnicodeEncodeError:
            continue
        return dots
    return ASCII


class Canvas:
    """A grid of so many characters, empty at first; `width` and `height` are in dots."""

    def __init__(self, columns: int, rows: int, dots: Dots = BRAILLE) -> None:
        self.width, self.height = columns * dots.wide, rows * dots.high
        self._dots = dots
        self._cells = [[0] * columns for _ in range(rows)]

    def vertical(self, x: int, first: int, last: int) -> None:
        """The dots of a column from one row to another, both included."""
        if not 0 <= x < self.width:
            return
        column, left = divmod(x, self._dots.wide)
        for y in range(max(0, min(first, last)), min(self.height - 1, max(first, last)) + 1):
            row, top = divmod(y, self._dots.high)
            self._cells[row][column] |= self._dots.bits[top][left]

    def line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Straight from one dot to another, from the left to the right, without holes."""
        (x0, y0), (x1, y1) = start, end
        before = y0
        for x in range(x0, x1 + 1):
            y = y1 if x == x1 else y0 + round((y1 - y0) * (x - x0) / (x1 - x0))
            self.vertical(x, before + (y > before) - (y < before), y)
            before = y

    def step(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """As the first dot, until the second is there at once."""
        (x0, y0), (x1, y1) = start, end
        for x in range(x0, x1):
            self.vertical(x, y0, y0)
        self.vertical(x1, y0, y1)

    def lines(self) -> list[str]:
        """The characters, row by row."""
        return ["".join(self._dots.characters[bits] for bits in row) for row in self._cells]


@dataclass(slots=True)
class Point:
    """What came within a short time: when the last did, and the values."""

    time_ns: int
    low: float
    high: float
    last: float


class SignalHistory:
    """The values of one signal in the last `span_ns`."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns, self._point_ns = span_ns, max(1, span_ns // POINTS_MAX)
        self._points: deque[Point] = deque()
        self.is_whole = True

    def __len__(self) -> int:
        return len(self._points)

    def add(self, time_ns: int, value: float) -> None:
        """The next value; one that is no number is passed over."""
        if not math.isfinite(value):
            return
        points = self._points
        self.is_whole = self.is_whole and isinstance(value, int)
        if points and time_ns < points[-1].time_ns:
            points.clear()
        if points and time_ns // self._point_ns == points[-1].time_ns // self._point_ns:
            now = points[-1]
            now.time_ns, now.low, now.high, now.last = time_ns, min(now.low, value), max(now.high, value), value
        else:
            points.append(Point(time_ns, value, value, value))
        while points[0].time_ns < time_ns - self._span_ns or len(points) > POINTS_MAX:
            points.popleft()

    def within(self, begin_ns: int, end_ns: int) -> list[Point]:
        """The points of a time; an adapter's clock may be `AHEAD_NS` before the unit's."""
        return [point for point in self._points if begin_ns <= point.time_ns <= end_ns + AHEAD_NS]


@dataclass(slots=True)
class _Curve:
    """A signal, its latest sample and its history; `order` among the curves."""

    order: tuple[int, str, int, str]
    name: str
    sample: Sample
    time_ns: int
    history: SignalHistory


class Plot:
    """The curves of all signals that come, on one screen; in the order of the patterns that mean them, then by id."""

    def __init__(self, span_s: float, dots: Dots = BRAILLE, patterns: Sequence[str] = ("*",)) -> None:
        self._span_ns = round(span_s * 1e9)
        self._dots = dots
        self._patterns = [SignalPatterns((pattern,)) for pattern in patterns]
        self._curves: dict[tuple[str, int, str], _Curve] = {}

    def draw(self, messages: Iterable[LiveMessage], now_ns: int, skipped: int, width: int, height: int) -> str:
        """The screen after an update, as text that draws over the one before."""
        self._add(messages)
        curves = sorted(self._curves.values(), key=lambda curve: curve.order)
        room = max(1 + ROWS_MIN, height - 3)
        shown_curves = curves[: max(1, room // (1 + ROWS_MIN))]
        lines = list(self._panels(shown_curves, now_ns, width, room)) if curves else []
        foot = _footer(len(curves), len(curves) - len(shown_curves), skipped)
        return HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in [*lines, foot[:width]]) + CLEAR_REST

    def _add(self, messages: Iterable[LiveMessage]) -> None:
        for message in messages:
            for sample in message.samples:
                key = message.bus, message.can_id, sample.signal
                if isinstance(sample.value, str) or (key not in self._curves and len(self._curves) >= SIGNALS_MAX):
                    continue
                if key not in self._curves:
                    parts = message.bus, message.message, sample.signal
                    order = next((n for n, each in enumerate(self._patterns) if each.match(*parts)), 0), *key
                    self._curves[key] = _Curve(
                        order, ".".join(map(printable, parts)), sample, message.time_ns, SignalHistory(self._span_ns)
                    )
                curve = self._curves[key]
                curve.sample, curve.time_ns = sample, message.time_ns
                curve.history.add(message.time_ns, sample.value)

    def _panels(self, curves: list[_Curve], now_ns: int, width: int, room: int) -> Iterator[str]:
        """The curves, and the axis of time below them."""
        begin_ns = now_ns - self._span_ns
        points = [curve.history.within(begin_ns, now_ns) for curve in curves]
        scales = [_scale(each) for each in points]
        labels = [(_number(high), _number(low)) for low, high in scales]
        margin = max(len(label) for pair in labels for label in pair)
        columns, rows = max(8, width - margin - 2), room // len(curves) - 1
        for curve, seen, scale, label in zip(curves, points, scales, labels, strict=True):
            yield _head(curve, seen, now_ns, width)
            canvas = Canvas(columns, rows, self._dots)
            _draw_curve(canvas, seen, scale, begin_ns, self._span_ns, stepped=curve.history.is_whole)
            sides = [label[0], *[""] * (rows - 2), label[1]]
            for side, line in zip(sides, canvas.lines(), strict=True):
                yield f"{side.rjust(margin)} {self._dots.edge}{_CURVE}{line.rstrip()}{_PLAIN}"
        yield _FAINT + " " * (margin + 2) + _axis(self._span_ns / 1e9, columns) + _PLAIN


def _head(curve: _Curve, seen: list[Point], now_ns: int, width: int) -> str:
    """Name, value, and what it was at the least and at the most."""
    age_s = max(0.0, (now_ns - curve.time_ns) / 1e9)
    value = value_text(curve.sample)
    age = f" ({duration(age_s)} ago)" if age_s >= STALE_S else ""
    least, most = (min(p.low for p in seen), max(p.high for p in seen)) if seen else (math.nan, math.nan)
    span = f"min {_number(least)}  max {_number(most)}" if seen else ""
    beside = len(value) + len(age)
    if width - beside - len(span) - 4 < min(NAME_MIN, len(curve.name)):
        span = ""
    room = max(NAME_MIN, width - beside - len(span) - 4)
    name = curve.name if len(curve.name) <= room else "…" + curve.name[1 - room :]
    gap = max(2, width - len(name) - beside - len(span) - 2) if span else 0
    return f"{name}  {_FAINT if age else _BOLD}{value}{age}{_PLAIN}{' ' * gap}{span}"


def _draw_curve(
    canvas: Canvas, seen: list[Point], scale: tuple[float, float], begin_ns: int, span_ns: int, *, stepped: bool
) -> None:
    """Draw the points, joined where they are not too far apart."""
    low, high = scale

    def y(value: float) -> int:
        return round((canvas.height - 1) * ((high / 2 - value / 2) / (high / 2 - low / 2)))

    join = canvas.step if stepped else canvas.line
    before: Point | None = None
    for point in seen:
        x = min(canvas.width - 1, (point.time_ns - begin_ns) * canvas.width // span_ns)
        canvas.vertical(x, y(point.low), y(point.high))
        if before is not None and point.time_ns - before.time_ns < STALE_S * 1e9:
            join((min(x, (before.time_ns - begin_ns) * canvas.width // span_ns), y(before.last)), (x, y(point.last)))
        before = point


def _scale(seen: list[Point]) -> tuple[float, float]:
    """The lower and the upper end: round numbers around what is seen, apart from one another."""
    low = min((point.low for point in seen), default=0.0)
    high = max((point.high for point in seen), default=1.0)
    if low == high:
        beside = 1 if float(low).is_integer() and abs(low) < 10 else abs(low) / 10
        return low - beside, high + beside
    rough = high / 4 - low / 4
    exponent = math.floor(math.log10(rough)) if rough else 0
    if not _EXPONENTS[0] <= exponent <= _EXPONENTS[1]:
        return low, high
    ten = 10.0**exponent
    step = next((times * ten for times in (1, 2, 5) if times * ten >= rough), 10 * ten)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _axis(span_s: float, columns: int) -> str:
    """Times from the left, half of them, and now."""
    marks = {0: f"-{span_s:g} s", columns // 2: f"-{span_s / 2:g} s"}
    line = ""
    for column, mark in marks.items():
        line = line.ljust(column) + mark
    return line.ljust(columns - len("now")) + "now" if len(line) + len(" now") <= columns else line[:columns]


def _footer(curves: int, left_out: int, skipped: int) -> str:
    if not curves:
        return "nothing to plot yet: no number of these signals has come; canferry explain SIGNAL tells why"
    more = f", {left_out} more: choose fewer, or a higher terminal" if left_out else ""
    missed = f", {skipped} updates skipped" if skipped else ""
    return f"{curves} signal{'s' if curves > 1 else ''}{more}{missed}; the latest at each update"


def _number(value: float) -> str:
    return f"{value:.6g}"
