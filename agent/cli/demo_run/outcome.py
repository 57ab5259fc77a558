# SPDX-License-Identifier: Apache-2.0
"""The result of the demo: what was sent, as the agent counted it, against what was received; and how it is printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

WIDTH_MAX = 88
_GAPS_SHOWN = 5
NEXT = "Next, a drive of your own: canferry replay drive.log --dbc car.dbc --out batches"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's result; the names are those of ``--json``.

    seconds              length of the drive
    frames               data frames that the agent took from the bus
    samples_sent         values of signals in them, as counted by the agent
    samples_received     the same as counted by the receiver, decoded from what it stored
    duplicates_dropped   batches that came once more
    gaps                 what the receiver knows to be missing
    outage_s             how long the link was gone
    backlog_bytes_max    the most that was sealed and not acknowledged
    batches, batch_bytes   sealed, each counted once
    json_bytes           what the received frames are as one JSON object each, see `cloud`
    link_bytes           all that went up the link: MQTT, catalog, what was sent twice
    latency_s            from the newest sample of a batch to its arrival: median and largest
    reconnect_s, drained_s   from the end of the outage until the link was up, and until nothing waited; -1: never
    """

    seconds: float
    frames: int
    frames_received: int
    samples_sent: int
    samples_received: int
    duplicates_dropped: int
    gaps: int
    outage_s: float
    backlog_bytes_max: int
    batches: int
    batches_received: int
    batch_bytes: int
    json_bytes: int
    received_bytes: int
    link_bytes: int
    latency_s: float
    latency_s_max: float
    reconnect_s: float
    drained_s: float

    @property
    def samples_lost(self) -> int:
        """Sent and not received."""
        return self.samples_sent - self.samples_received

    @property
    def bytes_per_frame(self) -> float:
        """Of the batches, as they were sealed."""
        return self.batch_bytes / self.frames if self.frames else 0.0

    @property
    def json_bytes_per_frame(self) -> float:
        """Of one JSON object for each frame."""
        return self.json_bytes / self.frames_received if self.frames_received else 0.0

    @property
    def bytes_ratio_json(self) -> float:
        """JSON's bytes to the batches', for what was received."""
        return self.json_bytes / self.received_bytes if self.received_bytes else 0.0

    @property
    def complete(self) -> bool:
        """Everything that was sent has arrived, once, and there was something."""
        same = (self.samples_sent, self.frames) == (self.samples_received, self.frames_received)
        return same and self.samples_sent > 0 and not self.gaps

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return rounded | {
            "samples_lost": self.samples_lost,
            "bytes_per_frame": round(self.bytes_per_frame, 3),
            "json_bytes_per_frame": round(self.json_bytes_per_frame, 1),
            "bytes_ratio_json": round(self.bytes_ratio_json, 1),
        }


def print_result(console: Console, outcome: Outcome, gaps: Sequence[str], warnings: Sequence[str]) -> None:
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
