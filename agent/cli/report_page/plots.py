# SPDX-License-Identifier: Apache-2.0
"""The plots of a report: an element each with its trace in attributes, drawn by `page.js` when it comes into view.

What does not change is no plot, but a line of text. Limits: all traces together aim at `TRACES_BYTES`: where there are
more signals, columns are joined, down to `COLUMNS_MIN`, and what is then still too much is text, too.
"""

from __future__ import annotations

import json
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from agent.cli.report_page.writing import moment, number, text
from agent.model import EXTENDED, EXTENDED_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.cli.report_page.axis import Axis
    from agent.cli.report_page.survey import MessageSummary, Survey
    from agent.cli.report_page.trace import Trace

TRACES_BYTES = 1_800_000
COLUMNS_MIN = 100
SILENT_PERIODS = 3
"""A line is interrupted where a message did not come for so many of its periods."""
RATE_S = 1.0
"""Frames are counted over at least this long: shorter than a message's period, a rate would be a comb."""
_TICKS = 6
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)


def signals(survey: Survey) -> Iterator[str]:
    """What all plots have in common, and the messages' plots, bus by bus."""
    changing = [trace for each in survey.messages for trace in each.traces.values() if trace.least < trace.most]
    fold, drawn = _folded(changing, survey.axis.columns)
    yield f'<div id="signals" data-axis="{escape(json.dumps(_common(survey, fold)))}">'
    for each in survey.messages:
        yield from _message(each, drawn, fold, survey.axis)
    yield "</div>"


def _folded(changing: Sequence[Trace], columns: int) -> tuple[int, dict[int, str]]:
    """How many columns become one, and the drawn traces by their identity."""
    fold = 1
    while True:
        drawn = {id(trace): trace.drawn(fold) for trace in changing}
        if sum(map(len, drawn.values())) <= TRACES_BYTES or columns // (2 * fold) < COLUMNS_MIN:
            break
        fold *= 2
    left = TRACES_BYTES
    for key, written in tuple(drawn.items()):
        left -= len(written)
        if left < 0:
            del drawn[key]
    return fold, drawn


def _message(each: MessageSummary, drawn: dict[int, str], fold: int, axis: Axis) -> Iterator[str]:
    if not each.traces:
        return
    named = title(each)
    yield f'<section class="message" data-name="{text(each.bus)}.{text(named)}">'
    yield f"<h3>{text(named)} <small>{text(each.bus)} {identifier(each.can_id)}, {each.frames:,} frames</small></h3>"
    plotted = [trace for _, trace in sorted(each.traces.items()) if id(trace) in drawn]
    join = max(2, math.ceil(SILENT_PERIODS * each.period_ns / axis.column_ns / fold) + 1)
    if plotted:
        yield '<div class="plots">'
        for trace in plotted:
            yield _figure(trace, drawn[id(trace)], join)
        yield "</div>"
    others = [trace for _, trace in sorted(each.traces.items()) if id(trace) not in drawn]
    if others:
        yield '<ul class="constants">'
        for trace in others:
            yield f"<li {_counted(trace)}>{text(trace.signal.name)} <b>{_constant(trace)}</b></li>"
        yield "</ul>"
    yield "</section>"


def _figure(trace: Trace, drawn: str, join: int) -> str:
    signal, names = trace.signal, trace.names()
    unit = f" <small>{text(signal.unit)}</small>" if signal.unit else ""
    ends = f"{_valued(trace, trace.least)} to {_valued(trace, trace.most)}"
    levels = "\n".join(text(name) for _, name in names)
    return (
        f'<figure {_counted(trace)} data-unit="{text(signal.unit)}" data-join="{join}"'
        + (f' data-names="{levels}"' if names else "")
        + f' data-trace="{drawn}">'
        f"<figcaption>{text(signal.name)}{unit}<output></output></figcaption>"
        f'<div class="plot" role="img" aria-label="{text(signal.name)}, {ends} {text(signal.unit)}"></div>'
        f'<p class="note">{ends}, {trace.samples:,} samples</p></figure>'
    )


def _counted(trace: Trace) -> str:
    """The attributes by which the page knows a signal."""
    return (
        f'data-signal="{text(trace.signal.name)}" data-samples="{trace.samples}" '
        f'data-least="{trace.least!r}" data-most="{trace.most!r}"'
    )


def _constant(trace: Trace) -> str:
    if trace.least > trace.most:
        return "no finite value"
    value = _valued(trace, trace.least)
    if trace.least < trace.most:
        value += f" to {_valued(trace, trace.most)}"
    return f"{value} {text(trace.signal.unit)}".strip()


def _valued(trace: Trace, value: float) -> str:
    name = dict(trace.names()).get(value)
    return number(value) if name is None else f"{number(value)} “{text(name)}”"


def title(each: MessageSummary) -> str:
    """A message's name, also of one that has none."""
    return each.message.name if each.message else "unknown"


def identifier(can_id: int) -> str:
    """An arbitration id word in hexadecimal digits, as many as its identifier has bits for."""
    return f"0x{can_id & EXTENDED_MASK:0{8 if can_id & EXTENDED else 3}X}"


def traffic(survey: Survey) -> Iterator[str]:
    """Frames a second by bus over the time, with gaps and events."""
    for bus, counts in sorted(survey.traffic.items()):
        rate = _rates(counts, survey.axis)
        most = float(rate.max())
        levels = np.rint(rate / (most or 1.0) * 1000).astype(int).tolist()
        yield (
            f'<figure class="traffic" data-most="{most!r}" data-levels="{",".join(map(str, levels))}">'
            f"<figcaption>{text(bus)} <small>frames/s</small><output></output></figcaption>"
            f'<div class="plot" role="img" aria-label="{text(bus)}: up to {most:,.0f} frames a second"></div></figure>'
        )


def _rates(counts: NDArray[np.int64], axis: Axis) -> NDArray[np.float64]:
    """float64 (columns,): frames a second, of each drive by itself: one that is short is no reason to blur others."""
    rates = np.zeros(axis.columns)
    for drive in axis.drives:
        column_s = drive.column_ns / 1e9
        together = min(math.ceil(RATE_S / column_s), drive.columns)
        starts = np.arange(0, drive.columns, together)
        seconds = np.diff(starts, append=drive.columns) * column_s
        if drive.columns * column_s < RATE_S:
            seconds = np.array([RATE_S])
        own = slice(drive.first, drive.first + drive.columns)
        rates[own] = np.repeat(np.add.reduceat(counts[own], starts) / seconds, together)[: drive.columns]
    return rates


def _common(survey: Survey, fold: int) -> dict[str, object]:
    """Columns, ticks, drives, gaps and events, all in columns."""
    axis = survey.axis
    return {
        "columns": axis.columns,
        "fold": fold,
        "drives": [[each.first, each.columns, each.begin_ns / 1e6, each.column_ns / 1e6] for each in axis.drives],
        "ticks": list(_ticks(axis)),
        "gaps": sorted({bounds for gap in survey.gaps if (bounds := axis.bounds(gap.begin_ns, gap.end_ns))}),
        "events": sorted(set(axis.columns_of(np.array([each.time_ns for each in survey.events], np.int64)).tolist())),
    }


def _ticks(axis: Axis) -> Iterator[tuple[int, str]]:
    """Columns and times of day; at least one for each drive."""
    for drive in axis.drives:
        span_s = (drive.end_ns - drive.begin_ns) / 1e9
        room = max(1, round(_TICKS * drive.columns / axis.columns))
        step = next(
            (step for step in _STEPS_S if span_s / step <= room), _STEPS_S[-1] * math.ceil(span_s / _STEPS_S[-1])
        )
        first = -(-drive.begin_ns // (step * 10**9)) * step
        times = [time * 10**9 for time in range(first, drive.end_ns // 10**9 + 1, step)] or [drive.begin_ns]
        for time_ns in times:
            yield int(axis.columns_of(np.array([time_ns]))[0]), moment(time_ns, date=False)
