# SPDX-License-Identifier: Apache-2.0
"""What has been received, remembered on disk beside the batches, so that these may be moved away.

    <vehicle>/<stream>/received.log    a line a batch, or a run of them: first last begin_ns end_ns
    <vehicle>/gaps.jsonl               a line a gap record, as the vehicle told it

Promise: `add` returns when the line is durable. Lines are appended and folded into runs when the file is opened; a
line that a power cut tore is left out, and the batch file that was stored before it is found instead.
Limits: a stream without holes is one line after the next start; `RECORDS_MAX` gap records a vehicle.
Failure: what the disk refuses is an `OSError`; the caller must not acknowledge then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.durable import append_durably, is_there, write_durably
from agent.model import Gap
from agent.receiver.gaps import RECORDS_MAX
from agent.receiver.spans import Span, Spans

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RECEIVED = "received.log"
GAPS = "gaps.jsonl"
_FOLD_LINES = 1000


class StreamLedger:
    """The batches of one stream that have been received."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECEIVED
        text = self._path.read_text("ascii", "replace") if is_there(self._path) else ""
        self.spans = Spans(span for span in map(_span, text.split("\n")[:-1]) if span)
        self._lines = text.count("\n")
        if text != self._folded():
            self._fold()

    def add(self, span: Span) -> None:
        """Remember a batch."""
        append_durably(self._path, _line(span).encode())
        self.spans.add(span)
        self._lines += 1
        if self._lines > len(self.spans) + _FOLD_LINES:
            self._fold()

    def _fold(self) -> None:
        write_durably(self._path, self._folded().encode())
        self._lines = len(self.spans)

    def _folded(self) -> str:
        return "".join(map(_line, self.spans))


class GapLedger:
    """The gap records that one vehicle has told, each once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / GAPS
        lines = self._path.read_bytes().split(b"\n") if is_there(self._path) else [b""]
        self.records = dict.fromkeys(gap for gap in map(_gap, lines[:-1]) if gap)
        self._lines = len(lines) - 1
        if self._lines > RECORDS_MAX or lines[-1]:
            self._fold()

    def add(self, gaps: Iterable[Gap]) -> None:
        """Remember records; those that are known already are not written again."""
        fresh = [gap for gap in dict.fromkeys(gaps) if gap not in self.records]
        if not fresh:
            return
        append_durably(self._path, b"".join(map(_gap_line, fresh)))
        self.records.update(dict.fromkeys(fresh))
        self._lines += len(fresh)
        if self._lines > 2 * RECORDS_MAX:
            self._fold()

    def _fold(self) -> None:
        self.records = dict.fromkeys(list(self.records)[-RECORDS_MAX:])
        write_durably(self._path, b"".join(map(_gap_line, self.records)))
        self._lines = len(self.records)


def _line(span: Span) -> str:
    return f"{span.first} {span.last} {span.begin_ns} {span.end_ns}\n"


def _span(line: str) -> Span | None:
    try:
        first, last, begin_ns, end_ns = map(int, line.split(" "))
    except ValueError:
        return None
    return Span(first, last, begin_ns, end_ns) if 0 <= first <= last else None


def _gap_line(gap: Gap) -> bytes:
    return msgspec.json.encode(gap) + b"\n"


def _gap(line: bytes) -> Gap | None:
    try:
        return msgspec.json.decode(line, type=Gap)
    except msgspec.DecodeError:
        return None
