# SPDX-License-Identifier: Apache-2.0
"""Recorded logs as blocks of frames: candump, ASC, BLF, TRC, CSV and MF4, also compressed.

Promise: `read_log` gives every data frame of a log, in the log's order (MF4: of time), in blocks that are bounded by
number and by the log time they span. What is no data frame is counted: `frames`, `ignored` and `refused` are all of
the log's items, every line or object with a time. Times are since the epoch where the log tells them; where it has no
date, or one that cannot be read, `log_date_missing` says so once. Dates without a zone are local time. Buses are named
by the log's channels: a name as it is, number n is ``can<n>``, none is ``can0``.

Limits: `frames_max` frames and `span_s` seconds of log time a block. An MF4 log is held as a whole; the others are
read as they are consumed. Each format has its own reader here (candump.py, candump_screen.py, asc.py, trc.py,
csv.py, blf.py, mf4.py), which moves on with each step; python-can's stop at one bad item, and some never end.

Failure: what cannot be opened or is of no known format is a LogFileError that names file, place and reason. A torn
end (power cut, full disk) costs what it tore, the frame it cut short among it: those before are delivered, the log
says `log_file_torn`. A damaged item in the middle costs itself, is counted in `refused` and logged for the first time.
Where the next one cannot be found any more, it is a LogFileError after the frames before it.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
import structlog

from agent.errors import LogFileError
from agent.model import SourceCounters
from agent.sources.logs import candump, candump_screen
from agent.sources.logs.asc import AscLog
from agent.sources.logs.blf import BlfLog
from agent.sources.logs.csv import CsvLog
from agent.sources.logs.cutting import Cutter
from agent.sources.logs.items import Channel, Item, Kind, LogDate, LogFound, UnreadableError
from agent.sources.logs.logstream import COMPRESSIONS, log_format, open_log
from agent.sources.logs.mf4 import Mf4Log
from agent.sources.logs.text import LogText, text_items
from agent.sources.logs.trc import TrcLog
from agent.sources.messages import BlockBuilder, channel_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.model import FrameBlock

log = structlog.get_logger()

BUSES_MAX = 255
FRAMES_MAX = 40_000
TIME_NS_MAX = 1 << 63


def read_log(
    path: Path,
    *,
    buses: Mapping[str, int] | None = None,
    frames_max: int = FRAMES_MAX,
    span_s: float = 1.0,
    piece_bytes: int = candump.PIECE_BYTES,
    quiet: bool = False,
) -> LogReader:
    """The log's data frames as an iterator of blocks; LogFileError where it cannot be opened.

    buses         channel name → bus index: other channels are not wanted. None: every channel gets an index in
                  order of appearance, which the reader's `buses` then tells
    piece_bytes   how much text of a candump log is parsed at once
    quiet         nothing is logged: for who looks at a log that is read again, where it is told
    """
    return LogReader(path, buses, frames_max, span_s, piece_bytes, quiet)


def log_channels(path: Path) -> dict[str, int]:
    """By channel name, in order of appearance: how many data frames the log has of it.

    Reads all of it, or up to where it is damaged; LogFileError where no frame comes before that.
    """
    reader = read_log(path, quiet=True)
    frames = np.zeros(BUSES_MAX + 1, np.int64)
    read = False
    try:
        for block in reader:
            frames += np.bincount(block.bus, minlength=len(frames))
            read = True
    except LogFileError:
        if not read:
            raise
    return {name: int(frames[index]) for name, index in reader.buses.items()}


class LogReader:
    """One pass over a log, see `read_log`.

    buses     channel name → bus index
    refused   lines and objects that are damaged
    ignored   frames of channels that are not wanted, error and remote frames, events of the log
    torn      the log ended in the middle of something
    """

    def __init__(
        self,
        path: Path,
        buses: Mapping[str, int] | None,
        frames_max: int,
        span_s: float,
        piece_bytes: int,
        quiet: bool,
    ) -> None:
        self.path = Path(path)
        self.buses = dict(buses or {})
        self.refused = 0
        self.ignored = 0
        self.torn = False
        self._first_refused = "", ""
        self._refusal_told = False
        self._discovering = buses is None
        self._frames_max = frames_max
        self._span_ns = round(span_s * 1e9)
        self._piece_bytes = piece_bytes
        self._quiet = quiet
        self._read = 0
        self._frames = 0
        self._errors: Counter[int] = Counter()
        self._remotes: Counter[int] = Counter()
        self._date = LogDate()
        self._date_told = False
        self._channels: dict[Channel, int | None] = {}
        self._resources = ExitStack()
        try:
            blocks = self._open()
        except BaseException:
            self.close()
            raise
        self._blocks = self._cut(blocks)

    def __iter__(self) -> Iterator[FrameBlock]:
        return self

    def __next__(self) -> FrameBlock:
        try:
            block = next(self._blocks)
        except BaseException:  # the end among them
            self.close()
            raise
        self._frames += len(block)
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; reading to the end does it too."""
        self._resources.close()

    def counters(self) -> SourceCounters:
        """What has been delivered so far; error and remote frames by channel name."""
        names = {index: name for name, index in self.buses.items()}
        return SourceCounters(
            self._frames,
            0,
            {names[bus]: count for bus, count in self._errors.items()},
            {names[bus]: count for bus, count in self._remotes.items()},
        )

    def _open(self) -> Iterator[FrameBlock]:
        try:
            self._stream = self._resources.enter_context(open_log(self.path))
        except OSError as error:
            raise self._error(error.strerror or error) from error
        self._buffered = self._resources.enter_context(io.BufferedReader(self._stream, 1 << 16))
        try:
            kind = log_format(self.path, self._buffered.peek(64))
        except ValueError as error:
            raise self._error(error) from error
        if kind == ".log":
            return self._of_candump(self._buffered)
        return self._of_items(kind)

    def _error(self, reason: object) -> LogFileError:
        return LogFileError(f"{self.path}: {reason}")

    def _bus_of(self, channel: str) -> int | None:
        index = self.buses.get(channel)
        if index is None and self._discovering:
            index = len(self.buses)
            if index >= BUSES_MAX:
                raise self._error(f"more than {BUSES_MAX} channels: hardly a log of CAN buses")
            self.buses[channel] = index
        return index

    def _cut(self, blocks: Iterator[FrameBlock]) -> Iterator[FrameBlock]:
        """The same frames in blocks of the promised size; an error comes after the frames before it."""
        cutter = Cutter(self._frames_max, self._span_ns)
        failure: LogFileError | None = None
        try:
            for block in blocks:
                yield from cutter.cut(block)
        except LogFileError as error:
            failure = error
        if len(held := cutter.rest()):
            yield held
        if failure is not None:
            raise failure

    def _of_candump(self, stream: BinaryIO) -> Iterator[FrameBlock]:
        line = 1
        for text in self._pieces(stream):
            if not text.endswith(b"\n"):
                if candump.is_torn(text):
                    self._note_torn(f"line {line}", "the last line is not whole")
                    break
                text += b"\n"  # noqa: PLW2901
            parsed = candump.parse(text, self._bus_of, line)
            line += text.count(b"\n")
            self._errors.update(parsed.errors)
            self._remotes.update(parsed.remotes)
            self.ignored += parsed.ignored + sum(parsed.errors.values()) + sum(parsed.remotes.values())
            self._read += len(parsed.block)
            for number, refused in parsed.refused:
                self._refuse(f"line {number}", refused)
            self._expect_frames()
            if len(parsed.block):
                self._tell_date()
            yield parsed.block
        self._note_end(f"line {line}")

    def _pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        try:
            yield from candump_screen.as_log(candump.pieces(stream, self._piece_bytes), self._date)
        except LogFileError as error:
            raise self._error(error) from error

    def _refuse(self, place: str, text: str) -> None:
        """An item that is no frame: counted, the first one kept."""
        if not self.refused:
            self._first_refused = place, text.strip()[:100]
        self.refused += 1

    def _expect_frames(self) -> None:
        """Log the first line that was refused; before any frame was read, it is a LogFileError: no such log at all."""
        if not self.refused or self._refusal_told:
            return
        place, text = self._first_refused
        if not self._read and not self.ignored:
            raise self._error(f"{place}: not a frame: {text!r}")
        if not self._quiet:
            line = place.removeprefix("line ")
            where: dict[str, object] = {"line": int(line)} if line.isdigit() else {"place": place}
            log.warning("log_line_refused", path=str(self.path), **where, reason=f"not a frame: {text!r}")
        self._refusal_told = True

    def _note_end(self, place: str) -> None:
        """What the stream said of its own end, and whether anything came before it."""
        if self._stream.damage is not None:
            raise self._error(f"after {place}: cannot be decompressed: {self._stream.damage}")
        if self._stream.torn:
            self._note_torn(place, "")
        if not (self._read or self.ignored or self.torn or self._quiet):
            hint = "a recording of nothing, or of another format than its name says"
            log.warning("log_empty", path=str(self.path), hint=hint)

    def _note_torn(self, place: str, reason: object) -> None:
        """Once, by its first cause; what cannot be decompressed is told as that."""
        if self.torn or self._stream.damage is not None:
            return
        self.torn = True
        if self._stream.torn:
            reason = "the compressed file ends too early"
        if not self._quiet:
            path, why = str(self.path), str(reason)
            log.warning("log_file_torn", path=path, place=place, reason=why, frames_before=self._read)

    def _of_items(self, kind: str) -> Iterator[FrameBlock]:
        """A format whose reader gives items, see items.py."""
        builder = BlockBuilder()
        failure: UnreadableError | None = None
        try:
            for items in self._items(kind):
                for item in items:
                    self._take(item, builder)
                if len(builder):
                    self._tell_date()
                    yield builder.take()
        except UnreadableError as error:
            failure = error
        self._expect_frames()
        if failure is not None:
            self.refused += failure.lost
            self._survive(failure)
        self._note_end(f"frame {self._read}")

    def _items(self, kind: str) -> Iterator[list[Item]]:
        found = LogFound(self._refuse, self._date)
        if kind == ".blf":
            yield from BlfLog(self._buffered, found).items()
        elif kind == ".mf4":
            yield from self._items_of_mf4(found)
        else:
            readers: dict[str, type[AscLog | TrcLog | CsvLog]] = {".asc": AscLog, ".trc": TrcLog, ".csv": CsvLog}
            reader = readers[kind](self._date)
            yield from text_items(LogText(self._buffered), reader.item, self._refuse)

    def _items_of_mf4(self, found: LogFound) -> Iterator[list[Item]]:
        """It is read here and there in the file: one that is compressed is unpacked into a temporary one."""
        path = self.path
        if path.suffix.lower() in COMPRESSIONS:
            copy = self._resources.enter_context(tempfile.NamedTemporaryFile(suffix=".mf4"))  # noqa: SIM115
            shutil.copyfileobj(self._buffered, copy)
            copy.flush()
            path = Path(copy.name)
        opened = Mf4Log(path, found)
        self._resources.callback(opened.close)
        yield from opened.items()

    def _take(self, item: Item, builder: BlockBuilder) -> None:
        """A frame is added, anything else counted."""
        if isinstance(item, tuple):
            time_ns, channel, word, flags, payload = item
            bus = self._bus_of_channel(channel)
            if bus is None:
                self.ignored += 1
            elif abs(time_ns) >= TIME_NS_MAX:
                self._refuse(
                    f"frame {self._read + len(builder) + 1}", "its time is further away than nanoseconds reach"
                )
            else:
                builder.append(time_ns, bus, word, flags, payload)
                self._read += 1
        elif item is not None:
            self.ignored += 1
            if item.kind is not Kind.EVENT and (bus := self._bus_of_channel(item.channel)) is not None:
                (self._errors if item.kind is Kind.ERROR else self._remotes)[bus] += 1

    def _bus_of_channel(self, channel: Channel) -> int | None:
        try:
            return self._channels[channel]
        except KeyError:
            bus = self._channels[channel] = self._bus_of(channel_name(channel))
            return bus

    def _tell_date(self) -> None:
        """Once, before the first frames: that nobody can tell when the log was recorded."""
        if self._date_told:
            return
        self._date_told = True
        if self._date.missing and not self._quiet:
            hint = "its times count from 1970-01-01; nothing else is wrong with it"
            log.warning("log_date_missing", path=str(self.path), reason=self._date.missing, hint=hint)

    def _survive(self, error: UnreadableError) -> None:
        """A log that was cut off, frames before it, has a torn end; `_note_end` knows what decompressing says."""
        compressed = self._stream.torn or self._stream.damage is not None
        if error.at_end and (self._read or compressed):
            self._note_torn(error.place, error)
        elif not compressed:
            raise self._error(f"{error.place}: {error}") from error
        elif self._stream.damage is None:
            self._note_torn(error.place, error)
