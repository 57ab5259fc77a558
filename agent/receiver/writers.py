# SPDX-License-Identifier: Apache-2.0
"""Writers of export formats: their common interface, and the text formats.

Promise: frames come out in time order; those of one message in the order they were received.
Limits: the text of one window in memory, about 300 bytes a frame.
Failure: what the output refuses reaches the caller: `OSError`, and `BrokenPipeError` of a closed pipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from agent.errors import ConfigError
from agent.receiver.lines import CSV_HEADER, csv_lines, event_line, json_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.model import Event
    from agent.receiver.lines import LineMaker
    from agent.receiver.windows import WindowPart

TEXT_FORMATS = ("jsonl", "csv")
BINARY_FORMATS = ("parquet", "mf4")
TEXT_BYTES_MAX = 256 << 20
"""A batch that would become longer as text is not written as such: a hundred bytes can say "the same" for ever."""
_LINE_BYTES, _VALUE_BYTES = 100, 25
"""About what a frame and a value take, beside their names."""
CHUNK_ROWS = 500
"""Lines joined at a time: small enough to stay in the cache."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How Parquet is laid out.

    wide        a table a message with a column a signal; otherwise one table with a row a value
    partition   files by vehicle and day
    """

    wide: bool = False
    partition: bool = False

    @property
    def in_folder(self) -> bool:
        """Whether there are several files."""
        return self.wide or self.partition


class Writer(Protocol):
    """Takes windows in time order, then is closed."""

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:
        """Write the rows of a window, and the events up to its end where the format has a place for them."""

    def close(self) -> None:
        """Complete the file."""


class TextWriter:
    """Lines of text, one for each row, or several."""

    def __init__(
        self, out: BinaryIO, make: LineMaker, header: str = "", event_line: Callable[[Event], str] | None = None
    ) -> None:
        self._out = out
        self._make = make
        self._event_line = event_line
        self._out.write(header.encode())

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:
        """Write the window's rows, and the events, sorted by time; of one time the event comes first."""
        with_line = [event for event in events if self._event_line is not None]
        times = np.concatenate([_times_of(with_line), *(part.time_ns for part in window)])
        lines = np.concatenate([_lines_of(with_line, self._event_line), *(self._make(part) for part in window)])
        lines = lines[np.argsort(times, kind="stable")]
        for begin in range(0, len(lines), CHUNK_ROWS):
            text = "".join(lines[begin : begin + CHUNK_ROWS].tolist())
            self._out.write(text.encode("utf-8", "replace"))

    def close(self) -> None:
        """Hand on what is buffered; the output itself belongs to the caller."""
        self._out.flush()


def _times_of(events: Sequence[Event]) -> NDArray[np.int64]:
    return np.array([event.time_ns for event in events], np.int64)


def _lines_of(events: Sequence[Event], event_line: Callable[[Event], str] | None) -> NDArray[np.object_]:
    return np.array([event_line(event) for event in events if event_line is not None], object)


def text_writer(name: str, out: BinaryIO, *, choices: bool = False, vehicle: str | None = None) -> TextWriter:
    """A writer of one of the `TEXT_FORMATS`; `vehicle` names it in each JSON line."""
    if name == "jsonl":
        make, line = partial(json_lines, choices=choices, vehicle=vehicle), partial(event_line, vehicle=vehicle)
        return TextWriter(out, make, event_line=line)
    return TextWriter(out, partial(csv_lines, choices=choices), CSV_HEADER)


def binary_writer(name: str, path: Path) -> Writer:
    """A writer of one of the `BINARY_FORMATS`; `check_output` tells beforehand whether it can be had."""
    if name == "parquet":
        from agent.receiver.parquet import ParquetWriter

        return ParquetWriter(path)
    from agent.receiver.mf4 import Mf4Writer

    return Mf4Writer(path)


def check_output(name: str, out: Path | None, arrangement: Arrangement | None = None) -> None:
    """Raise `ConfigError` where a format cannot be written there, before any work is done."""
    library = {"parquet": "pyarrow", "mf4": "asammdf"}.get(name)
    if library and find_spec(library) is None:
        raise ConfigError(f"{name} needs {library}, which is not installed: pip install 'canferry[export]'")
    in_folder = arrangement is not None and arrangement.in_folder
    if in_folder and name != "parquet":
        option = "--partition" if arrangement and arrangement.partition else "--layout wide"
        raise ConfigError(f"{option} is for parquet; accepted: --format parquet, not {name}")
    if out is None and name in BINARY_FORMATS:
        raise ConfigError(
            f"{name} is a binary format: name a {'folder with --out DIR' if in_folder else 'file with --out FILE'}"
        )
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out is not None and in_folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} is there already: accepted: a folder that is new or empty")
    if out is not None and out.is_dir() and not in_folder:
        raise ConfigError(f"--out {out} is a folder: name a file in it")


def text_bytes(parts: list[WindowPart]) -> int:
    """About how long frames are as text."""
    return sum(_bytes_of(part) for part in parts)


def _bytes_of(part: WindowPart) -> int:
    names, rows = _names_bytes(part), part.group
    values = sum(len(column) * names.get(signal, _VALUE_BYTES) for signal, column in rows.columns.items())
    return len(part.rows) * (_LINE_BYTES + names[-1]) + values


def _names_bytes(part: WindowPart) -> dict[int, int]:
    """Of each signal, and at -1 of the bus and the message."""
    message = part.message
    if message is None:
        return {-1: len(part.bus)}
    longest = (
        len(signal.name) + max((len(name) for _, name in signal.choices), default=0) + len(signal.unit)
        for signal in message.signals
    )
    return {-1: len(part.bus) + len(message.name)} | {n: _VALUE_BYTES + each for n, each in enumerate(longest)}
