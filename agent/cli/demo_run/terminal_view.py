# SPDX-License-Identifier: Apache-2.0
"""The demo on a terminal: events stay above, the status is drawn anew below them.

Promise: the terminal is left as it was, also after an exception. Limits: it needs 60 columns or more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.cli.demo_run.view import LinkPhase

if TYPE_CHECKING:
    from typing import Self

    from rich.console import Console

    from agent.cli.demo_run.view import DemoStatus

WIDTH_MAX = 88
_BAR_CELLS_MAX = 34
_BESIDE_BAR_CELLS = 46
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLES = {
    LinkPhase.UP: "bold green",
    LinkPhase.CUT: "bold red",
    LinkPhase.CONNECTING: "bold yellow",
    LinkPhase.CLOSED: "dim",
}


class TerminalView:
    """Draws on a terminal when it is called; it has no thread of its own."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def report(self, elapsed_s: float, text: str) -> None:
        """A line above."""
        self._console.print(Text.assemble((f"{elapsed_s:6.1f} s  ", "dim"), text))

    def update(self, snapshot: DemoStatus) -> None:
        """The panel below."""
        self._live.update(render(snapshot, self._console.width), refresh=True)


def render(snapshot: DemoStatus, width: int) -> Panel:
    """A moment, drawn."""
    cells = max(4, min(_BAR_CELLS_MAX, width - _BESIDE_BAR_CELLS))
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True, min_width=len("agent log"))
    rows.add_column(no_wrap=True, overflow="ellipsis")
    rows.add_row("drive", _drive(snapshot, cells))
    rows.add_row("car", f"{snapshot.frames_per_s:,.0f} frames/s, {snapshot.frames:,} so far")
    rows.add_row("link", _link(snapshot))
    rows.add_row("backlog", _backlog(snapshot, cells))
    rows.add_row("sent", f"{snapshot.acknowledged_batches} batches, {_kilobytes(snapshot.acknowledged_bytes)}")
    rows.add_row("received", _received(snapshot))
    rows.add_row("", "")
    rows.add_row("agent log", Text(snapshot.log_line or "…", style="dim", no_wrap=True, overflow="ellipsis"))
    return Panel(Group(_chain(snapshot.link), Text(), rows), width=min(width, WIDTH_MAX), border_style="dim")


def _chain(link: LinkPhase) -> Text:
    """The chain of stations, with the link as it is."""
    line = {LinkPhase.UP: "━━━━━━▶", LinkPhase.CUT: "━━╸ ╺━▶", LinkPhase.CONNECTING: "╌╌╌╌╌╌▶"}.get(link, "──────▶")
    return Text.assemble(
        ("car", "bold"),
        " ──▶ ",
        ("agent", "bold"),
        " ",
        (line, _STYLES[link]),
        " ",
        ("broker", "bold"),
        " ──▶ ",
        ("cloud", "bold"),
    )


def _drive(snapshot: DemoStatus, cells: int) -> Text:
    seconds = snapshot.scenario.seconds
    bar = _bar(snapshot.elapsed_s / seconds, cells)
    return Text.assemble((bar, "cyan"), f" {min(snapshot.elapsed_s, seconds):4.1f} of {seconds:g} s")


def _link(snapshot: DemoStatus) -> Text:
    text = Text(snapshot.link.value, style=_STYLES[snapshot.link])
    if snapshot.link is LinkPhase.CUT:
        text.append(f" for {snapshot.phase_s:.1f} of {snapshot.scenario.outage_s:g} s", style="red")
    return text


def _backlog(snapshot: DemoStatus, cells: int) -> Text:
    """Full is what the outage is expected to make, or has made."""
    full = max(snapshot.scenario.backlog_expected_bytes, snapshot.backlog_bytes_max)
    style = "red" if snapshot.link is LinkPhase.CUT else "yellow"
    size = _kilobytes(snapshot.backlog_bytes)
    where = f"{size} on disk, {snapshot.backlog_batches} batches" if snapshot.backlog_batches else "none"
    return Text.assemble((_bar(snapshot.backlog_bytes / full, cells), style), f" {where}")


def _received(snapshot: DemoStatus) -> str:
    text = f"{snapshot.received_batches} batches, {snapshot.received_samples:,} samples"
    if snapshot.duplicates:
        text += f", {snapshot.duplicates} dropped as duplicate"
    if snapshot.received_batches:
        text += f", latency {snapshot.latency_s:.2f} s"
    return text


def _bar(share: float, cells: int) -> str:
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    whole, rest = divmod(eighths, 8)
    bar = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return bar.ljust(cells, "░" if share <= 0 else " ")


def _kilobytes(size: int) -> str:
    return f"{size / 1000:.1f} kB"
