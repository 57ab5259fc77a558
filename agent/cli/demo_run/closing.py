# SPDX-License-Identifier: Apache-2.0
"""The demo's last words: a table for somebody who sees canferry for the first time, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from agent.cli.demo_run.outcome import Outcome

WIDTH_MAX = 88
_GAPS_SHOWN = 5
NEXT = "Next, a drive of your own: canferry replay drive.log --dbc car.dbc --out batches"


def print_closing(console: Console, outcome: Outcome, gaps: Sequence[str], warnings: Sequence[str]) -> None:
    """Table, verdict, advice; what went wrong where something did."""
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows(outcome):
        table.add_row(name, Text(text))
    style = "green" if outcome.complete else "red"
    console.print(Panel(table, title=verdict(outcome), border_style=style, width=min(console.width, WIDTH_MAX)))
    if outcome.complete:
        console.print(Text(NEXT), soft_wrap=True)
        return
    for gap in gaps[:_GAPS_SHOWN]:
        console.print(Text(f"gap: {gap}"), soft_wrap=True)
    for warning in warnings:
        console.print(Text(f"agent: {warning}"), soft_wrap=True)


def verdict(outcome: Outcome) -> str:
    """In one line."""
    if outcome.complete:
        return "received = sent, 0 samples lost"
    if outcome.samples_lost > 0:
        return f"{outcome.samples_lost:,} samples are missing"
    return "received is not what was sent"


def rows(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Name and text of each row."""
    yield "sent by the car", f"{outcome.samples_sent:,} samples in {outcome.frames:,} frames, {outcome.batches} batches"
    yield "received", f"{outcome.samples_received:,} samples in {outcome.frames_received:,} frames"
    yield "lost", f"{outcome.samples_lost:,}"
    if outcome.outage_s:
        yield "link cut", f"{outcome.outage_s:.1f} s; {_return(outcome)}"
        yield "backlog", f"{outcome.backlog_bytes_max / 1000:.1f} kB at most, on disk"
    if outcome.duplicates_dropped:
        count = outcome.duplicates_dropped
        what = "batch (answer" if count == 1 else "batches (answers"
        yield "sent twice", f"{count} {what} lost in the cut), dropped on arrival"
    latency = f"{outcome.latency_s:.2f} s usually, {outcome.latency_s_max:.1f} s at most"
    yield "latency", f"{latency}, car to cloud"
    yield (
        "bytes per frame",
        f"{outcome.bytes_per_frame:.2f} in batches of 1 s (10 s, the default, takes fewer)",
    )
    yield (
        "smaller than JSON",
        f"{outcome.bytes_ratio_json:.0f} times (one JSON object a frame: {outcome.json_bytes_per_frame:.0f} bytes)",
    )
    yield "over the link", f"{outcome.link_bytes / 1000:.1f} kB all in: MQTT, signal catalog, what went twice"


def _return(outcome: Outcome) -> str:
    if outcome.reconnect_s < 0:
        return "the agent was not connected again in time"
    back = f"agent back after {outcome.reconnect_s:.1f} s"
    return back if outcome.drained_s < 0 else f"{back}, backlog gone after {outcome.drained_s:.1f} s"
