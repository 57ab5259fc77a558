# SPDX-License-Identifier: Apache-2.0
"""python-can's readers of recorded logs: ASC, BLF, TRC, CSV, MF4.

Promise: `messages` gives what the reader of the format gives, with times in seconds since the epoch where the log
tells them. An ASC log counts from a date in its header, which bears no zone: it is local time, of the zone of
whoever reads it (`TZ` tells another). Where python-can cannot read the date, or there is none, as in the
oldest TRC logs, times are since the log's beginning.

Limits: text is read as UTF-8, what is not is replaced. An MF4 log that is compressed is unpacked into a
temporary file first, its library needs one.

Failure: python-can's readers raise whatever their parsing runs into (ValueError, IndexError, struct.error,
…), and cannot go on after it. It becomes an UnreadableError that says where, and whether nothing comes
behind. So does an end that they pass over: a last line without line end and with less than a frame, a BLF log
that is shorter than it says, or than its last object. A line with fewer bytes than its length says is refused.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

from agent.errors import LogFileError
from agent.sources.canlib import mf4_reader, python_can
from agent.sources.logstream import COMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import can

    from agent.sources.logstream import LogStream

_ASC_DATE = re.compile(r"(?im)^[ \t]*(?:date|begin[ \t]+triggerblock)[ \t]+(.+)\n")
_NOT_WHOLE = "the last line is not whole"
_BLF_HEADER_BYTES = 144
_BLF_END_BYTES = 16 + 3
"""At the end BLFReader asks for one more header, and before it for padding which may not be there."""


class UnreadableError(Exception):
    """The reader failed: `place` says where, `at_end` whether it was the last of the log."""

    def __init__(self, reason: str, place: str, at_end: bool) -> None:
        super().__init__(reason)
        self.place = place
        self.at_end = at_end


class _CountedText(io.TextIOWrapper):
    """Text that knows how many lines of it have been read, and the last of them."""

    line = 0
    last = "\n"

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """One line; iterating comes here too."""
        text = io.TextIOWrapper.readline(self, size)  # super() costs more
        if text:
            self.line += 1
            self.last = text
        return text

    @property
    def ended(self) -> bool:
        """Whether the last of them had its line end."""
        return self.last.endswith("\n")

    def has_whole(self, message: can.Message) -> bool:
        """Whether the last line has as many bytes as it says, the last of them with both its digits."""
        size = len(message.data)
        if message.is_remote_frame or message.is_error_frame:
            return True
        if size < message.dlc and (message.is_fd or size != 8):  # classic frames of a DLC above 8 have 8 bytes
            return False
        return self.ended or len(self.last.split()[-1]) > 1


class _WatchedBytes:
    """What BLFReader reads from: knows how much there was, and how much there was not."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = self.missing = 0

    def read(self, size: int = -1, /) -> bytes:
        """As a file does."""
        piece = self._stream.read(size)
        self.size += len(piece)
        self.missing += max(0, size - len(piece))
        return piece

    def close(self) -> None:
        """The log is closed by whoever opened it."""


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
        if text and not text.startswith(";") and self._file.ended:  # the header's last line; torn ones
            self._refuse(self._file.line, text)
        return False


def messages(
    kind: str, path: Path, stream: io.BufferedReader[LogStream], refuse: Callable[[int, str], None]
) -> Iterator[can.Message]:
    """The log's messages; `kind` is one of logstream's formats, `stream` the decompressed log.

    refuse   is told line number and text of each line that the reader skips
    """
    count = 0
    with ExitStack() as resources:
        file = _for_reader(kind, path, stream, resources)
        try:
            reader = _reader(kind)(file, **_options(kind, stream))
            resources.callback(reader.stop)
            if kind == ".trc":
                _watch_skipped(file, refuse, resources)
            for message in reader if not isinstance(file, _CountedText) else _whole(reader, file, refuse):
                count += 1
                yield message
            if isinstance(file, _WatchedBytes):
                _expect_end(reader, file, count)
        except (LogFileError, UnreadableError):
            raise
        except Exception as error:
            raise _unreadable(error, file, count) from error


def _unreadable(error: Exception, file: Any, count: int) -> UnreadableError:
    place = f"line {file.line}" if isinstance(file, _CountedText) else f"after frame {count}"
    if isinstance(file, _CountedText) and not file.ended:
        return UnreadableError(_NOT_WHOLE, place, at_end=True)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UnreadableError(reason, place, _at_end(file))


def _whole(reader: Any, file: _CountedText, refuse: Callable[[int, str], None]) -> Iterator[can.Message]:
    """The messages of a text whose lines have all that they say; others are refused, a last one is torn."""
    line = 0
    for message in reader:
        if (len(message.data) == message.dlc and file.last[-1] == "\n") or file.has_whole(message):
            line = file.line
            yield message
        elif file.ended:
            refuse(file.line, file.last)
    if not file.ended and file.line != line and file.last.lstrip()[:1].isdigit():  # all lines of frames begin so
        raise UnreadableError(_NOT_WHOLE, f"line {file.line}", at_end=True)


def _expect_end(reader: Any, file: _WatchedBytes, count: int) -> None:
    """UnreadableError where a BLF log that was read to its end lacks some; its header may not have been completed."""
    if file.missing > _BLF_END_BYTES or file.size < int(reader.file_size):
        raise UnreadableError("the file ends too early", f"after frame {count}", at_end=True)


def _watch_skipped(file: _CountedText, refuse: Callable[[int, str], None], resources: ExitStack) -> None:
    reader_log = logging.getLogger("can.io.trc")
    skipped = _SkippedLines(file, refuse)
    reader_log.addFilter(skipped)
    resources.callback(reader_log.removeFilter, skipped)


def _for_reader(kind: str, path: Path, stream: io.BufferedReader[LogStream], resources: ExitStack) -> Any:
    """What python-can's reader of this format is to be given."""
    if kind == ".blf":
        header = stream.peek(_BLF_HEADER_BYTES)
        short = len(header) < _BLF_HEADER_BYTES
        if short or not header.startswith(b"LOGG"):
            raise UnreadableError("no BLF log: it does not begin with a header of one", "byte 0", at_end=short)
        return _WatchedBytes(stream)
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


def _options(kind: str, stream: io.BufferedReader[LogStream]) -> dict[str, Any]:
    """What the reader is told beside the file: of an ASC log, whether its date counts, see `_dates`."""
    return {"relative_timestamp": not _dates(stream.peek().decode(errors="replace"))} if kind == ".asc" else {}


def _dates(beginning: str) -> bool:
    """Whether an ASC log begins with a date, and with none in a language that python-can does not know."""
    dates = _ASC_DATE.findall(beginning)
    try:
        for date in dates:
            deque(python_can().ASCReader(io.StringIO(f"date {date}"), relative_timestamp=False), maxlen=0)
    except ValueError:
        return False
    return bool(dates)


def _at_end(file: Any) -> bool:
    """True where nothing is left behind what could not be read."""
    return not isinstance(file, str) and not file.read(1)
