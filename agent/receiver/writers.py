# SPDX-License-Identifier: Apache-2.0
"""What takes windows of decoded frames and writes one file: the formats' common face, and the text formats.

Promise: frames come out in time order, those of one message in the order they were received.
Limits: a window's text in memory, about 300 bytes a frame.
Failure: what the output refuses, `OSError`, `BrokenPipeError` of a closed pipe among them, reaches the caller.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from agent.errors import ConfigError
from agent.receiver.lines import CSV_HEADER, csv_lines, json_lines

if TYPE_CHECKING:
    from pathlib import Path

    from agent.receiver.lines import LineMaker
    from agent.receiver.parts import Part

TEXT_FORMATS = ("jsonl", "csv")
BINARY_FORMATS = ("parquet", "mf4")
CHUNK_ROWS = 500
"""Lines joined at a time: small enough to stay in the cache."""
FORMATS = (*TEXT_FORMATS, *BINARY_FORMATS)


class Writer(Protocol):
    """Takes windows in time order, then is closed."""

    def write(self, window: list[Part]) -> None:
        """Write the rows of a window."""

    def close(self) -> None:
        """Complete the file."""


class TextWriter:
    """Lines of text, one for each row, or several."""

    def __init__(self, out: BinaryIO, make: LineMaker, header: str = "") -> None:
        self._out = out
        self._make = make
        self._out.write(header.encode())

    def write(self, window: list[Part]) -> None:
        """Write the window's rows, sorted by time."""
        times = np.concatenate([part.time_ns for part in window])
        lines = np.concatenate([self._make(part) for part in window])
        lines = lines[np.argsort(times, kind="stable")]
        for begin in range(0, len(lines), CHUNK_ROWS):
            text = "".join(lines[begin : begin + CHUNK_ROWS].tolist())
            self._out.write(text.encode("utf-8", "replace"))

    def close(self) -> None:
        """Hand on what is buffered; the output itself belongs to the caller."""
        self._out.flush()


def text_writer(name: str, out: BinaryIO, *, choices: bool = False, vehicle: str | None = None) -> TextWriter:
    """A writer of one of the `TEXT_FORMATS`; `vehicle` names it in each JSON line."""
    if name == "jsonl":
        return TextWriter(out, partial(json_lines, choices=choices, vehicle=vehicle))
    return TextWriter(out, partial(csv_lines, choices=choices), CSV_HEADER)


def binary_writer(name: str, path: Path) -> Writer:
    """A writer of one of the `BINARY_FORMATS`; `check_output` tells beforehand whether it can be had."""
    if name == "parquet":
        from agent.receiver.parquet import ParquetWriter

        return ParquetWriter(path)
    from agent.receiver.mf4 import Mf4Writer

    return Mf4Writer(path)


def check_output(name: str, out: Path | None) -> None:
    """Raise `ConfigError` where a format cannot be written there, before any work is done."""
    library = {"parquet": "pyarrow", "mf4": "asammdf"}.get(name)
    if library and find_spec(library) is None:
        raise ConfigError(f"{name} needs {library}, which is not installed: pip install 'canferry[export]'")
    if out is None and name in BINARY_FORMATS:
        raise ConfigError(f"{name} is a binary format: name a file with --out FILE")
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it")
