# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: what is missing, what happened, and what each message costs.

Limits: `ROWS_MAX` gaps, events, corrections and problems each; how many more there are is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli.report_page.plots import identifier, title
from agent.cli.report_page.writing import SENTENCE_LENGTH_MAX, duration, milliseconds, moment, size, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.cli.report_page.survey import Survey
    from agent.receiver.gaps import NamedGap

ROWS_MAX = 500
OFF_SHARE = 0.1
"""A period that is this much from the DBC file's cycle is marked."""
DAYS = 30.4
_REASONS = {
    "dropped": "dropped: a queue was full, frames were lost before the agent could read them",
    "evicted": "evicted: the spool was full, the oldest batches went",
    "corrupt": "corrupt: a stored record was damaged",
    "refused": "refused: the broker would never have taken it",
    "interrupted": "interrupted: the agent ended without sealing, or nobody listened",
    "missing": "missing: not among these batches, and no record says why",
    "earlier": "earlier: the batches before the first one here",
}


def messages(survey: Survey, hours: float) -> Iterator[str]:
    """Rates and bytes, message by message, the most expensive first."""
    span_s = survey.axis.span_ns / 1e9
    cycles = any(each.message and each.message.cycle_ms for each in survey.messages)
    most = max((each.size_bytes for each in survey.messages), default=0.0) or 1.0
    heads = ["message", "bus", "id", "frames", "per second", "period", *(["DBC cycle", "off"] if cycles else [])]
    heads += ["longest silence", "bytes", "per frame", "a month", "of all"]
    yield "<table><thead><tr>" + "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield '<td class="bar"></td></tr></thead><tbody>'
    for each in sorted(survey.messages, key=lambda each: -each.size_bytes):
        share = each.size_bytes / survey.size_bytes if survey.size_bytes else 0.0
        cycle = each.message.cycle_ms if each.message else 0
        cells = [
            f"{each.frames:,}",
            f"{each.frames / span_s:,.2f}" if span_s else "",
            milliseconds(each.period_ns) if each.period_ns else "",
            *([f"{cycle:,} ms" if cycle else "", _off(each.period_ns / 1e6, cycle)] if cycles else []),
            milliseconds(each.silence_ns) if each.silence_ns else "",
            size(each.size_bytes),
            f"{each.size_bytes / each.frames:.2f}" if each.frames else "",
            size(month_bytes(survey, hours) * share),
            f"{share:.1%}",
        ]
        yield (
            f'<tr data-frames="{each.frames}"><th scope="row">{text(title(each))}</th><td>{text(each.bus)}</td>'
            f"<td>{identifier(each.can_id)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}"
            f'<td class="bar"><i style="width: {each.size_bytes / most:.2%}"></i></td></tr>'
        )
    yield "</tbody></table>"


def month_bytes(survey: Survey, hours: float) -> float:
    """What goes over the air in a month in which so many hours a day are driven as here."""
    span_h = survey.axis.span_ns / 3.6e12
    return survey.on_wire_bytes / span_h * hours * DAYS if span_h else 0.0


def gaps(survey: Survey) -> Iterator[str]:
    """Each gap, with its reason."""
    rows = [
        (_REASONS.get(gap.kind, gap.kind), _batches(gap), _frames(gap), *_when(gap), gap.detail) for gap in survey.gaps
    ]
    yield from _table("gaps", ("reason", "batches", "frames", "from", "to", "detail"), rows)


def events(survey: Survey) -> Iterator[str]:
    """Each event."""
    rows = [(moment(each.time_ns), each.kind, each.subject, each.detail) for each in survey.events]
    yield from _table("events", ("time (UTC)", "event", "subject", "detail"), rows)


def corrections(survey: Survey) -> Iterator[str]:
    """What was moved, for the vehicle's clock was wrong."""
    yield from _list("corrections", survey.corrections)


def problems(survey: Survey) -> Iterator[str]:
    """What could not be read."""
    yield from _list("problems", survey.problems)


def unknown(survey: Survey) -> Iterator[str]:
    """Frames that no DBC file describes, by bus and id, the most frequent first."""
    for bus in dict.fromkeys(each.bus for each in survey.unknown):
        ids = sorted((each for each in survey.unknown if each.bus == bus), key=lambda each: -each.frames)
        yield f"<h3>{text(bus)} <small>{sum(each.frames for each in ids):,} frames of {len(ids):,} ids</small></h3>"
        yield '<ul class="constants">'
        yield from (f"<li>{identifier(each.can_id)} <b>{each.frames:,}</b></li>" for each in ids[:ROWS_MAX])
        yield "</ul>"
        yield from _more("ids", ids)


def _table(noun: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f'<table class="{noun}"><thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr></thead><tbody>"
    for row in rows[:ROWS_MAX]:
        yield "<tr>" + "".join(f"<td>{text(cell, SENTENCE_LENGTH_MAX)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"
    yield from _more(noun, rows)


def _list(noun: str, items: Sequence[Any]) -> Iterator[str]:
    yield "<ul>"
    yield from (f"<li>{text(item, SENTENCE_LENGTH_MAX)}</li>" for item in items[:ROWS_MAX])
    yield "</ul>"
    yield from _more(noun, items)


def _more(noun: str, items: Sequence[Any]) -> Iterable[str]:
    return [f"<p>and {len(items) - ROWS_MAX:,} more {noun}</p>"] if len(items) > ROWS_MAX else []


def _off(period_ms: float, cycle_ms: int) -> str:
    if not cycle_ms or not period_ms:
        return ""
    share = period_ms / cycle_ms - 1
    written = f"{share:+.0%}".replace("-", "\u2212")
    return f"<strong>{written}</strong>" if abs(share) > OFF_SHARE else written


def _batches(gap: NamedGap) -> str:
    if gap.first_sequence < 0:
        return ""
    last = f" to {gap.last_sequence:,}" if gap.last_sequence > gap.first_sequence else ""
    return f"{gap.first_sequence:,}{last} of {gap.stream}"


def _frames(gap: NamedGap) -> str:
    return f"{gap.frames:,}" if gap.frames >= 0 else "unknown"


def _when(gap: NamedGap) -> tuple[str, str]:
    if gap.begin_ns and gap.end_ns:
        return moment(gap.begin_ns), f"{moment(gap.end_ns)} ({duration((gap.end_ns - gap.begin_ns) / 1e9)})"
    return moment(gap.begin_ns), moment(gap.end_ns)
