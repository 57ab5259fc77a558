# SPDX-License-Identifier: Apache-2.0
"""What is shown while the demo runs: its status, the plain view of a line a second, and the agent's log.

`terminal_view` is the other view. The log is captured, so that it does not disturb a view; its last line and its
warnings are kept.

Limits: `LINES_MAX` warnings are kept, the oldest go first.
"""

from __future__ import annotations

import io
import json
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Self, TextIO

    from agent.cli.demo_run.scenario import Scenario

PLAIN_EVERY_S = 1.0
LINES_MAX = 20
_LEFT_OUT = ("timestamp", "level", "event", "stream", "hint")


class LinkPhase(Enum):
    """What the link is doing."""

    UP = "up"
    CUT = "CUT"
    CONNECTING = "connecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class DemoStatus:
    """One moment.

    elapsed_s          since the car started
    phase_s            since the link is as it is
    backlog_…          sealed, and not yet acknowledged by the broker
    acknowledged_…     by the broker
    received_batches   at the cloud's end, each once
    latency_s          of the batch that arrived last, from its newest sample
    log_line           the agent's last
    """

    scenario: Scenario
    elapsed_s: float = 0.0
    link: LinkPhase = LinkPhase.CONNECTING
    phase_s: float = 0.0
    frames: int = 0
    samples: int = 0
    frames_per_s: float = 0.0
    backlog_batches: int = 0
    backlog_bytes: int = 0
    backlog_bytes_max: int = 0
    acknowledged_batches: int = 0
    acknowledged_bytes: int = 0
    received_batches: int = 0
    received_samples: int = 0
    duplicates: int = 0
    latency_s: float = 0.0
    log_line: str = ""


class View(Protocol):
    """Shows events and status; a context manager that leaves the terminal as it was."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def report(self, elapsed_s: float, text: str) -> None:
        """Show an event, in a line that stays."""

    def update(self, snapshot: DemoStatus) -> None:
        """Show the status; called several times a second."""


class PlainView:
    """Lines on a stream that is no terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._due_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def report(self, elapsed_s: float, text: str) -> None:
        """At once."""
        self._print(elapsed_s, text)

    def update(self, snapshot: DemoStatus) -> None:
        """Once a second."""
        if snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + PLAIN_EVERY_S
            self._print(snapshot.elapsed_s, "  " + status_line(snapshot))

    def _print(self, elapsed_s: float, text: str) -> None:
        print(f"{elapsed_s:6.1f} s  {text}", file=self._out, flush=True)


def status_line(snapshot: DemoStatus) -> str:
    """All of a moment in one line."""
    return (
        f"link {snapshot.link.value:<4} {snapshot.frames_per_s:6,.0f} frames/s   "
        f"backlog {snapshot.backlog_bytes / 1000:5.1f} kB in {snapshot.backlog_batches}   "
        f"sent {snapshot.acknowledged_batches}   received {snapshot.received_batches}   "
        f"latency {snapshot.latency_s:.2f} s"
    )


class LogCapture(io.StringIO):
    """A stream for `agent.system.log`, in its JSON format."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.warnings: deque[str] = deque(maxlen=LINES_MAX)

    def write(self, text: str) -> int:
        """Keep the last line, and warnings."""
        for line in text.splitlines():
            try:
                event = json.loads(line)
                line_text, level = _log_text(event), event["level"]
            except (ValueError, KeyError, TypeError):
                continue
            self.last = line_text
            if level not in ("debug", "info"):
                self.warnings.append(line_text)
        return len(text)


def _log_text(event: dict[str, object]) -> str:
    """Name first, then what about it."""
    fields = [f"{name}={value}" for name, value in event.items() if name not in _LEFT_OUT]
    return " ".join((str(event["event"]), *fields))
