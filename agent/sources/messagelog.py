# SPDX-License-Identifier: Apache-2.0
"""python-can's readers of recorded logs: ASC, BLF, TRC, CSV, MF4.

Promise: `messages` gives what the reader of the format gives with its own defaults, so times are what
python-can says: seconds since the epoch for BLF and MF4, since the log's beginning for an ASC log of relative
times.

Limits: text is read as UTF-8, what is not is replaced. An MF4 log that is compressed is unpacked into a
temporary file first, its library needs one.

Failure: python-can's readers raise whatever their parsing runs into (ValueError, IndexError, struct.error,
…), and cannot go on after it. It becomes an UnreadableError that says where, and whether nothing comes
behind.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

from agent.errors import LogFileError
from agent.sources.canlib import mf4_reader, python_can
from agent.sources.logstream import COMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import can


class UnreadableError(Exception):
    """The reader failed: `place` says where, `at_end` whether it was the last of the log."""

    def __init__(self, cause: Exception, place: str, at_end: bool) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)
        self.place = place
        self.at_end = at_end


class _CountedText(io.TextIOWrapper):
    """Text that knows how many lines of it have been read."""

    line = 0

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """One line; iterating comes here too."""
        self.line += 1
        return super().readline(size)


class _SkippedLines(logging.Filter):
    """Stands in python-can's log where the TRC reader tells of lines that it skips."""

    def __init__(self, file: _CountedText, refuse: Callable[[int, str], None]) -> None:
        super().__init__()
        self._file = file
        self._refuse = refuse

    def filter(self, record: logging.LogRecord) -> bool:
        """Take warnings, let everything else through."""
        if record.levelno < logging.WARNING:
            return True
        text = str(record.args[0]) if isinstance(record.args, tuple) and record.args else record.getMessage()
        if text and not text.startswith(";"):  # a log of nothing but its header
            self._refuse(self._file.line, text)
        return False


def messages(kind: str, path: Path, stream: BinaryIO, refuse: Callable[[int, str], None]) -> Iterator[can.Message]:
    """The log's messages; `kind` is one of logstream's formats, `stream` the decompressed log.

    refuse   is told line number and text of each line that the reader skips
    """
    count = 0
    with ExitStack() as resources:
        file = _for_reader(kind, path, stream, resources)
        try:
            reader = _reader(kind)(file)
            resources.callback(reader.stop)
            if kind == ".trc":
                _watch_skipped(file, refuse, resources)
            for message in reader:
                count += 1
                yield message
        except LogFileError:
            raise
        except Exception as error:
            place = f"line {file.line}" if isinstance(file, _CountedText) else f"after frame {count}"
            raise UnreadableError(error, place, _at_end(file)) from error


def _watch_skipped(file: _CountedText, refuse: Callable[[int, str], None], resources: ExitStack) -> None:
    reader_log = logging.getLogger("can.io.trc")
    skipped = _SkippedLines(file, refuse)
    reader_log.addFilter(skipped)
    resources.callback(reader_log.removeFilter, skipped)


def _for_reader(kind: str, path: Path, stream: BinaryIO, resources: ExitStack) -> Any:
    """What python-can's reader of this format is to be given."""
    if kind == ".blf":
        return stream
    if kind != ".mf4":
        return _CountedText(stream, encoding="utf-8", errors="replace")
    if path.suffix.lower() not in COMPRESSIONS:
        return str(path)
    copy = resources.enter_context(tempfile.NamedTemporaryFile(suffix=".mf4"))  # noqa: SIM115
    shutil.copyfileobj(stream, copy)
    copy.flush()
    return copy.name


def _reader(kind: str) -> Any:
    if kind == ".mf4":
        return mf4_reader()
    can = python_can()
    return {".asc": can.ASCReader, ".blf": can.BLFReader, ".csv": can.CSVReader, ".trc": can.TRCReader}[kind]


def _at_end(file: Any) -> bool:
    """True where nothing is left behind what could not be read."""
    return not isinstance(file, str) and (file.closed or not file.read(1))
