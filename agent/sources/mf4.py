# SPDX-License-Identifier: Apache-2.0
"""MF4 logs: recorded bus traffic in MDF 4 (ASAM's bus logging), read with asammdf.

Promise: each record of a group ``CAN_DataFrame`` is a data frame or is refused, whatever other groups the file has;
error and remote frames, and the records of all other groups, are counted. Of the channels of a frame only identifier
and bytes have to be there: where IDE is missing, bit 31 of the identifier says that it has 29 bits. BusChannel n is
bus n. Frames of all groups come in the order of their times. A begin that is marked as local time is local time.

Limits: the log is held as a whole, some 90 bytes a frame; `links` is walked before asammdf sees the file, because a
chain of blocks that leads back into itself makes it read for ever.

Failure: what is no MDF 4 is an UnreadableError that says what it is; so is what asammdf cannot read. A group that it
cannot read is refused.
"""

from __future__ import annotations

import heapq
import re
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.model import EXTENDED_MASK, STANDARD_MASK
from agent.sources.canlib import mdf_library
from agent.sources.logitems import EVENT, FD_BYTES, Item, Kind, LogFound, Other, Row, UnreadableError, fd_flags, id_word
from agent.sources.mf4_blocks import check_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_KINDS = {"CAN_ErrorFrame": Kind.ERROR, "CAN_RemoteFrame": Kind.REMOTE}
_DATA = "CAN_DataFrame"
_LOCAL_TIME = 1
_EXTENDED_BIT = 31
_CHUNK = 2000
_COARSE_S = 1 << 23
_SECONDS_MAX = 4_000_000_000


class Mf4Log:
    """One pass over an MF4 log."""

    def __init__(self, path: Path, found: LogFound) -> None:
        self._found = found
        check_blocks(path)
        try:
            self._mdf: Any = mdf_library().MDF(path)
        except Exception as error:  # whatever its parsing runs into
            raise UnreadableError("damaged, or of a kind that asammdf does not read", "the file's blocks") from error
        self._tell_begin()

    def close(self) -> None:
        """Let go of the file."""
        self._mdf.close()

    def items(self) -> Iterator[list[Item]]:
        """Those without a frame first, then the frames in the order of their times."""
        parts: list[_Frames] = []
        for number, group in enumerate(self._mdf.groups):
            names = [str(channel.name) for channel in group.channels]
            count = int(group.channel_group.cycles_nr)
            try:
                if _DATA in names or f"{_DATA}.ID" in names:
                    parts.append(_Frames(_Columns(self._mdf, number, names), number))
                else:
                    yield from self._others(number, names, count)
            except Exception:  # noqa: BLE001 - whatever its parsing runs into
                self._found.refuse(f"group {number}", "a group that asammdf does not read")
        rows = heapq.merge(*(part.rows(self._begin_ns, self._found) for part in parts), key=itemgetter(0))
        while chunk := list(islice(rows, _CHUNK)):
            yield list(chunk)

    def _others(self, number: int, names: list[str], count: int) -> Iterator[list[Item]]:
        kind = next((kind for name, kind in _KINDS.items() if any(each.startswith(name) for each in names)), None)
        if kind is None:
            for begin in range(0, count, _CHUNK):
                yield [EVENT] * min(_CHUNK, count - begin)
            return
        columns = _Columns(self._mdf, number, names)
        channels = columns.get("BusChannel")
        told = channels.tolist() if channels is not None else [columns.source_channel()] * count
        for begin in range(0, len(told), _CHUNK):
            yield [Other(kind, channel) for channel in told[begin : begin + _CHUNK]]

    def _tell_begin(self) -> None:
        header = self._mdf.header
        begin_ns = int(header.abs_time)
        if header.time_flags & _LOCAL_TIME:
            seconds, fraction_ns = divmod(begin_ns, 1_000_000_000)
            try:
                moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001 - local time
                begin_ns = round(moment.timestamp()) * 1_000_000_000 + fraction_ns
            except (ValueError, OverflowError):
                begin_ns = 0
        if header.abs_time:
            self._found.date.tell(begin_ns, "")
        self._begin_ns = begin_ns


class _Columns:
    """The channels of a group, by their names behind the frame's."""

    def __init__(self, mdf: Any, number: int, names: list[str]) -> None:
        self._mdf, self._number, self._names = mdf, number, names

    def signal(self, name: str) -> Any:
        """With its times; KeyError where there is none."""
        for index, each in enumerate(self._names):
            if each.rpartition(".")[2] == name:
                return self._mdf.get(group=self._number, index=index, raw=True, ignore_invalidation_bits=True)
        raise KeyError(name)

    def get(self, name: str) -> NDArray[np.int64] | None:
        """Its numbers; None where there is none, or where it is text."""
        try:
            samples = np.asarray(self.signal(name).samples)
        except KeyError:
            return None
        return samples.astype(np.int64) if samples.dtype.kind in "iub" and samples.ndim == 1 else None

    def source_channel(self) -> str | int | None:
        """What the group's source calls the bus: the number at the end of its name."""
        source = self._mdf.groups[self._number].channel_group.acq_source
        told = re.search(r"(\d{1,3})$", str(source.name or source.path or "")) if source is not None else None
        return int(told[1]) if told else None


class _Frames:
    """The data frames of a group as columns."""

    def __init__(self, columns: _Columns, number: int) -> None:
        self._number = number
        told = columns.signal("ID")
        self.seconds = np.asarray(told.timestamps, np.float64)
        ids = np.asarray(told.samples).astype(np.int64)
        self.can_id = ids & EXTENDED_MASK
        flagged = columns.get("IDE")
        extended = (ids >> _EXTENDED_BIT) & 1 if flagged is None else flagged
        self.extended = (extended != 0) | (self.can_id > STANDARD_MASK)
        self.data = _bytes(np.asarray(columns.signal("DataBytes").samples))
        zeros = np.zeros(len(ids), np.int64)
        self.fd, self.brs, self.esi = (_or(columns.get(name), zeros) for name in ("EDL", "BRS", "ESI"))
        self.length = _or(columns.get("DataLength"), self._by_code(columns.get("DLC")))
        channel = columns.get("BusChannel")
        self.channel = channel.tolist() if channel is not None else [columns.source_channel()] * len(ids)

    def rows(self, begin_ns: int, found: LogFound) -> Iterator[Row]:
        """One by one; what is no frame is refused."""
        for begin in range(0, len(self.can_id), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            columns = (
                _times(self.seconds[part], begin_ns),
                self.can_id[part],
                self.extended[part],
                self.length[part],
                self.fd[part],
                self.brs[part],
                self.esi[part],
            )
            data = self.data[part].tobytes()
            width = self.data.shape[1]
            fields = zip(*(column.tolist() for column in columns), self.channel[part], strict=True)
            for row, (time_ns, can_id, extended, length, fd, brs, esi, channel) in enumerate(fields):
                fd = fd or length > 8  # noqa: PLW2901
                if not 0 <= length <= min(width, FD_BYTES[-1] if fd else 8):
                    found.refuse(f"group {self._number}, record {begin + row}", f"{length} bytes of payload")
                    continue
                flags = fd_flags(brs=bool(brs), esi=bool(esi)) if fd else 0
                at = row * width
                yield time_ns, channel, id_word(can_id, extended=extended), flags, data[at : at + length]

    def _by_code(self, dlc: NDArray[np.int64] | None) -> NDArray[np.int64]:
        if dlc is None:
            return np.full(len(self.can_id), self.data.shape[1], np.int64)
        sizes = np.array(FD_BYTES)[np.clip(dlc, 0, len(FD_BYTES) - 1)]
        return np.where(self.fd != 0, sizes, np.minimum(dlc, 8))


def _times(seconds: NDArray[np.float64], begin_ns: int) -> NDArray[np.int64]:
    """Since the epoch; far from the log's beginning, floating-point seconds are good for microseconds."""
    if not np.isfinite(seconds).all() or np.abs(seconds).max(initial=0) > _SECONDS_MAX:
        raise UnreadableError("times that are none", "a group's times")
    coarse = np.abs(seconds) >= _COARSE_S
    fine_ns = begin_ns + np.round(seconds * 1e9).astype(np.int64)
    return np.where(coarse, (fine_ns + 500) // 1000 * 1000, fine_ns)


def _or(column: NDArray[np.int64] | None, default: NDArray[np.int64]) -> NDArray[np.int64]:
    return default if column is None else column


def _bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """A row of bytes each, in whatever shape asammdf has them."""
    if samples.ndim == 2 and samples.dtype == np.uint8:
        return samples
    return np.ascontiguousarray(samples).view(np.uint8).reshape(len(samples), -1)
