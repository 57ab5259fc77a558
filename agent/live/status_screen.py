# SPDX-License-Identifier: Apache-2.0
"""A snapshot and its findings on one screen. Pure: status in, lines out, with ANSI colours where wanted."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.system.printable import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.live.diagnosis import Finding
    from agent.live.snapshot import BusStatus, Snapshot

LOG_LINES_MAX = 3
FORECAST_S = 60.0
"""So long something has to have been kept before it is told how long the spool has room."""
_COLOURS = {"error": "31", "warning": "33", "note": "36", "good": "32", "faint": "2"}
_BUS_HEAD = ("bus", "state", "load", "frames/s", "frames", "known", "dropped", "in part", "errors")


def screen(snapshot: Snapshot, findings: Sequence[Finding], *, width: int = 100, coloured: bool = False) -> list[str]:
    """Lines for a terminal of this width."""
    paint = _Paint(coloured)
    return [
        *_head(snapshot, width, paint),
        "",
        *_buses(snapshot.buses, paint),
        "",
        *_spool(snapshot, width),
        "",
        *_link(snapshot, findings, width, paint),
        "",
        *_findings(findings, width, paint),
        *_log_lines(snapshot, findings, width, paint),
    ]


class _Paint:
    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._coloured else text


def _head(snapshot: Snapshot, width: int, paint: _Paint) -> Iterator[str]:
    now = datetime.fromtimestamp(snapshot.time_ns / 1e9, UTC)
    trusted = "" if snapshot.clock_trusted else ", not synchronised"
    logs = f", logs {snapshot.log_level}" if snapshot.log_level not in ("", "info") else ""
    process = f"canferry {snapshot.agent}, process {snapshot.pid}, up {duration(snapshot.up_s)}{logs}"
    clock = f"clock {now:%Y-%m-%d %H:%M:%S} UTC{trusted}"
    if len(line := f"{snapshot.vehicle}   {process}   ") + len(clock) <= width:
        yield line + paint(clock, "faint")
    else:
        yield line.rstrip()
        yield paint(clock, "faint")


def _buses(buses: Sequence[BusStatus], paint: _Paint) -> Iterator[str]:
    rows = [_BUS_HEAD, *map(_bus_cells, buses)]
    states = [("head", "faint"), *((bus.state, "good" if bus.state == "up" else "error") for bus in buses)]
    for line, (state, colour) in zip(aligned(rows, 2), states, strict=True):
        yield paint(line, colour) if state == "head" else line.replace(f" {state} ", f" {paint(state, colour)} ", 1)


def _bus_cells(bus: BusStatus) -> tuple[str, ...]:
    load = "-" if not bus.bitrate or bus.bits_s is None else f"{100 * bus.bits_s / bus.bitrate:.0f} %"
    known = "-" if not bus.frames else f"{100 * bus.known / bus.frames:.0f} %"
    rate = f"{bus.frames_s:,.0f}" if bus.frames_s >= 10 else f"{bus.frames_s:.1f}"
    counts = (f"{bus.dropped:,}", f"{bus.partial:,}", f"{bus.error_frames:,}")
    return bus.name, bus.state, load, rate, f"{bus.frames:,}", known, *counts


def _spool(snapshot: Snapshot, width: int) -> Iterator[str]:
    spool = snapshot.spool
    rows = [("spool", "batches", "size", "oldest", "samples kept", "evicted")]
    for each in spool.priorities:
        oldest = "-" if not each.oldest_ns else f"{duration(max(0, snapshot.time_ns - each.oldest_ns) / 1e9)} ago"
        evicted = f"{each.evicted + each.dropped:,}"
        rows.append((each.name, f"{each.batches:,}", size(each.size_bytes), oldest, f"{each.samples:,}", evicted))
    yield from aligned(rows, 1)
    lasts_s = spool_lasts_s(snapshot)
    lasts = "" if lasts_s is None else f", room for {duration(lasts_s)} without a link at the rate since the start"
    held = f"on disk {size(spool.disk_bytes)} of {size(spool.limit_bytes)}{lasts}"
    yield from _wrapped(f"{held}; {size(spool.free_bytes)} free on the disk ({spool.path})", width, after="  ")


def spool_lasts_s(snapshot: Snapshot) -> float | None:
    """For how long the spool has room if nothing is acknowledged and as much is kept as since the process started; None
    where that cannot be told yet."""
    spool = snapshot.spool
    sealed = sum(each.sealed_bytes for each in spool.priorities)
    if snapshot.up_s < FORECAST_S or not sealed:
        return None
    waiting = sum(each.size_bytes for each in spool.priorities)
    on_disk = max(0, spool.free_bytes - spool.min_free_bytes) + spool.disk_bytes
    return max(0, min(spool.limit_bytes, on_disk) - waiting) / (sealed / snapshot.up_s)


def _link(snapshot: Snapshot, findings: Sequence[Finding], width: int, paint: _Paint) -> Iterator[str]:
    link = snapshot.link
    state = "up" if link.connected else "no link"
    since = "" if not link.since_ns else f" since {duration(max(0, snapshot.time_ns - link.since_ns) / 1e9)}"
    done = f"{link.acknowledged:,} batches ({size(link.acknowledged_bytes)}) acknowledged"
    first, *more = _wrapped(
        f"link {link.broker}: {state}{since}; {done}, {link.in_flight} on their way", width, after="  "
    )
    yield first.replace(f": {state}", f": {paint(state, 'good' if link.connected else 'warning')}", 1)
    yield from more
    explained = any(link.last_error in finding.cause for finding in findings)
    parts = [link.last_error] if link.last_error and not explained else []
    parts += [f"tried again every {link.next_try_s:.0f} s or so"] if link.next_try_s else []
    yield from _wrapped(", ".join(parts), width, first="  ", after="    ")
    if snapshot.network:
        yield from _wrapped("; ".join(snapshot.network), width, first="  ", after="    ")


def _findings(findings: Sequence[Finding], width: int, paint: _Paint) -> Iterator[str]:
    if not findings:
        yield paint("all is well", "good")
    for finding in findings:
        head = f"{finding.level} {finding.code} ({finding.about}): "
        first, *more = _wrapped(head + finding.cause, width, after="  ")
        yield first.replace(head.rstrip(), paint(head.rstrip(), finding.level), 1)
        yield from more
        yield from _wrapped(f"→ {finding.move}", width, first="  ", after="    ")


def _log_lines(snapshot: Snapshot, findings: Sequence[Finding], width: int, paint: _Paint) -> Iterator[str]:
    """What was logged last, but for reasons that a finding has told already."""
    causes = " ".join(finding.cause for finding in findings)
    fresh = [line for line in snapshot.log_lines if not line.reason or line.reason not in causes]
    if fresh:
        yield ""
    for entry in reversed(fresh[-LOG_LINES_MAX:]):
        ago = duration(max(0, snapshot.time_ns - entry.time_ns) / 1e9)
        parts = [part for part in (entry.about, entry.reason, entry.hint and f"→ {entry.hint}") if part]
        text = textwrap.shorten(f"{ago} ago {entry.level} {entry.event} {' '.join(parts)}", 2 * width, placeholder=" …")
        yield from (paint(line, "faint") for line in _wrapped(text, width, after="    "))


def _wrapped(text: str, width: int, *, first: str = "", after: str) -> list[str]:
    """Lines of this width; words, among them paths and commands, stay whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )


def duration(seconds: float) -> str:
    """About how long, in one unit or two."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(size_bytes: int) -> str:
    """Bytes, in the largest unit that leaves a digit before the point."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
