# SPDX-License-Identifier: Apache-2.0
"""The page: one file that needs nothing beside itself.

Promise: whatever a DBC file, a batch or a name holds is shown as text; the page's own policy names the one script that
may run by its hash, and lets nothing be fetched. Limits: about `plots.TRACES_BYTES` and a kilobyte for each signal.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli.report_page import plots, tables
from agent.cli.report_page.writing import duration, moment, number, size, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.cli.report_page.survey import Survey


def page(survey: Survey, source: str, hours: float) -> Iterator[str]:
    """The page in pieces; `hours` of driving a day are what a month is reckoned with."""
    style, script = (
        files("agent.cli.report_page").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    begin, end = survey.axis.drives[0].begin_ns, survey.axis.drives[-1].end_ns
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(survey.vehicle)}, {moment(begin)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#find">To the signals</a>\n'
        f"<header><h1>{text(survey.vehicle)}</h1>\n"
        f"<p>{moment(begin)} to {moment(end)} UTC"
        + (f", {len(survey.axis.drives)} drives" if len(survey.axis.drives) > 1 else "")
        + f" · {text(source)}</p>\n</header>\n<main>\n"
    )
    yield from _key_numbers(survey, hours)
    yield _contents(survey)
    yield '<section id="drive"><h2>The drive</h2>\n'
    yield from plots.traffic(survey)
    yield "</section>\n"
    yield from _accounts(survey)
    yield '<section id="messages"><h2>Messages</h2>\n' + _of_messages(survey, hours) + '<div class="wide">'
    yield from tables.messages(survey, hours)
    yield "</div></section>\n"
    if survey.unknown:
        yield '<section id="unknown"><h2>Frames that no DBC file describes</h2>\n<p>Counted, and not kept.</p>\n'
        yield from tables.unknown(survey)
        yield "</section>\n"
    yield (
        '<section id="all-signals"><h2>Signals</h2>\n<p class="find"><label for="find">Find</label> '
        '<input type="search" id="find" placeholder="a part of a message\'s or a signal\'s name" autocomplete="off"> '
        '<span id="found" role="status"></span></p>\n'
        "<noscript><p>The plots are drawn by a script in this page, and scripts are turned off.</p></noscript>\n"
    )
    yield from plots.signals(survey)
    yield (
        f"</section>\n</main>\n<footer><p>canferry {__version__}</p></footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _key_numbers(survey: Survey, hours: float) -> Iterator[str]:
    described = sum(each.frames for each in survey.messages if each.message)
    not_kept = sum(each.frames for each in survey.unknown)
    signals = sum(len(each.traces) for each in survey.messages if each.message)
    messages = sum(each.message is not None for each in survey.messages)
    span_s = survey.axis.span_ns / 1e9
    numbers = [
        ("recorded", duration(span_s), f"{survey.batches:,} batches"),
        ("frames", f"{survey.frames:,}", f"{described:,} described; {not_kept:,} of unknown ids not kept"),
        ("samples", f"{survey.samples:,}", f"{signals:,} signals of {messages:,} messages"),
        ("gaps", f"{len(survey.gaps):,}", f"{len(survey.events):,} events"),
        ("on the wire", size(survey.size_bytes), f"{survey.size_bytes / max(survey.frames, 1):.2f} bytes a frame"),
        ("over the air, a month", size(tables.month_bytes(survey, hours)), f"at {number(hours)} h a day like these"),
    ]
    yield '<dl class="figures">'
    for name, value, note in numbers:
        yield f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"
    yield "</dl>\n"


def _contents(survey: Survey) -> str:
    """Where what is, on a page that may be long."""
    signals = sum(len(each.traces) for each in survey.messages if each.message)
    places = [("drive", "The drive"), ("missing", f"What is missing ({len(survey.gaps):,})")]
    places += [("messages", f"Messages ({len(survey.messages):,})")]
    places += [("unknown", f"Unknown ids ({len(survey.unknown):,})")] if survey.unknown else []
    places += [("all-signals", f"Signals ({signals:,})")]
    return "<nav>" + "".join(f'<a href="#{place}">{name}</a>' for place, name in places) + "</nav>\n"


def _accounts(survey: Survey) -> Iterator[str]:
    """What is missing, what happened and what was moved, each where there is any."""
    yield '<section id="missing"><h2>What is missing</h2>\n'
    if survey.gaps:
        yield from tables.gaps(survey)
    else:
        yield "<p>Nothing: no gap is known, and no batch is missing.</p>"
    yield "</section>\n"
    parts = [
        ("What could not be read", survey.problems, tables.problems),
        ("Corrections of the clock", survey.corrections, tables.corrections),
        ("Events", survey.events, tables.events),
    ]
    for name, items, table in parts:
        if items:
            yield f"<section><h2>{name}</h2>\n"
            yield from table(survey)
            yield "</section>\n"


def _of_messages(survey: Survey, hours: float) -> str:
    added = survey.on_wire_bytes - survey.size_bytes
    return (
        "<p>The period is the median distance of the frames that were kept: rules that keep fewer make it longer. "
        "A batch is compressed as a whole: its bytes are shared out by how long each message's columns are by "
        f"themselves, measured in {survey.measured_batches:,} of {survey.batches:,} batches. A month is "
        f"{tables.DAYS} days of {number(hours)} h like these; with about {size(added)} that MQTT, TLS and TCP add "
        f"to these {size(survey.size_bytes)}.</p>\n"
    )
