# SPDX-License-Identifier: Apache-2.0
"""What is seen while the demo runs: what there is to show, and the plain way of showing it, a line a second.

`live.py` is the other way, for terminals.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Self, TextIO

    from agent.cli.demo_run.scenario import Scenario

PLAIN_EVERY_S = 1.0


class LinkView(Enum):
    """The link as the driver would see it."""

    UP = "up"
    CUT = "CUT"
    CONNECTING = "connecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment.

    elapsed_s          since the car started
    phase_s            since the link is as it is
    backlog_…          sealed, and not yet acknowledged by the broker
    acknowledged_…     by the broker
    received_batches   at the cloud's end, each once
    latency_s          of the batch that arrived last, from its newest sample
    said               the agent's last log line
    """

    scenario: Scenario
    elapsed_s: float = 0.0
    link: LinkView = LinkView.CONNECTING
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
    said: str = ""


class Show(Protocol):
    """Something to look at; a context manager that leaves the terminal as it was."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def tell(self, elapsed_s: float, text: str) -> None:
        """Something has happened that is worth a line that stays."""

    def update(self, snapshot: Snapshot) -> None:
        """This is how it looks now; called several times a second."""


class PlainShow:
    """Lines on a stream that is no terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._due_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def tell(self, elapsed_s: float, text: str) -> None:
        """At once."""
        self._print(elapsed_s, text)

    def update(self, snapshot: Snapshot) -> None:
        """Once a second."""
        if snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + PLAIN_EVERY_S
            self._print(snapshot.elapsed_s, "  " + status_line(snapshot))

    def _print(self, elapsed_s: float, text: str) -> None:
        print(f"{elapsed_s:6.1f} s  {text}", file=self._out, flush=True)


def status_line(snapshot: Snapshot) -> str:
    """All of a moment in one line."""
    return (
        f"link {snapshot.link.value:<4} {snapshot.frames_per_s:6,.0f} frames/s   "
        f"backlog {snapshot.backlog_bytes / 1000:5.1f} kB in {snapshot.backlog_batches}   "
        f"sent {snapshot.acknowledged_batches}   received {snapshot.received_batches}   "
        f"latency {snapshot.latency_s:.2f} s"
    )
