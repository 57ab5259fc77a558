# SPDX-License-Identifier: Apache-2.0
"""MF4 logs: recorded bus traffic in MDF 4 (ASAM's bus logging).

Promise: each record of a group ``CAN_DataFrame`` is a data frame or is refused, whatever other groups the file has;
error and remote frames, and the records of all other groups, are counted. Of the channels of a frame only time,
identifier and bytes have to be there: where IDE is missing, bit 31 of the identifier says that it has 29 bits.
BusChannel n is bus n; where it is missing, the number at the end of the source's name is. Frames come in the order of
their times. A beginning that is marked as local time is local time.

Limits: the log is held as a whole, some 100 bytes a frame. It is read here and not with asammdf, which a damaged file
sends into a segmentation fault, or round in circles.

Failure: what is no MDF 4 is an UnreadableError that says what it is. A group that is damaged is refused, the others
are read.
"""

from __future__ import annotations

import heapq
import mmap
import re
import struct
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from agent.model import EXTENDED_MASK, STANDARD_MASK
from agent.sources.logs.items import (
    EVENT,
    FD_BYTES,
    Item,
    Kind,
    LogFound,
    Other,
    Row,
    UnreadableError,
    fd_flags,
    id_word,
)
from agent.sources.logs.mf4_blocks import MdfBlocks
from agent.sources.logs.mf4_records import Group, column, groups, payloads, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.sources.logs.items import Channel

_KINDS = {"CAN_ErrorFrame": Kind.ERROR, "CAN_RemoteFrame": Kind.REMOTE}
_DATA = "CAN_DataFrame"
_HD = struct.Struct("<QhhB")
_HEADER_ADDRESS = 64
_LOCAL_TIME = 1
_EXTENDED_BIT = np.uint64(31)
_CHUNK = 2000
_COARSE_S = 1 << 23
_SECONDS_MAX = 4_000_000_000


class Mf4Log:
    """One pass over an MF4 log."""

    def __init__(self, path: Path, found: LogFound) -> None:
        self._found = found
        self._resources = ExitStack()
        try:
            self._blocks = self._opened(path)
            self._header = self._blocks.at(_HEADER_ADDRESS, b"##HD")
            self._begin_ns = self._told_begin()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._resources.close()

    def _opened(self, path: Path) -> MdfBlocks:
        file = self._resources.enter_context(path.open("rb"))
        if not file.peek(1):
            raise UnreadableError("no MDF log: it is empty", "byte 0", at_end=True)
        return MdfBlocks(self._resources.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

    def items(self) -> Iterator[list[Item]]:
        """Those without a frame first, then the frames in the order of their times."""
        parts: list[_Frames] = []
        failure: UnreadableError | None = None
        try:
            for found in groups(self._blocks, self._header.link(0)):
                for group in found:
                    if not group.variable:
                        yield from self._of_group(group, found, parts)
        except UnreadableError as error:
            failure = error
        rows = heapq.merge(*(part.rows(self._begin_ns, self._found) for part in parts), key=itemgetter(0))
        while chunk := list(islice(rows, _CHUNK)):
            yield list(chunk)
        if failure is not None:
            raise failure
        if self._blocks.torn:
            raise UnreadableError("the file ends too early", "its last records", at_end=True)

    def _of_group(self, group: Group, others: list[Group], parts: list[_Frames]) -> Iterator[list[Item]]:
        """Its items; data frames are left in `parts`."""
        names = [field.name for field in group.fields]
        try:
            if _DATA in names or f"{_DATA}.ID" in names:
                parts.append(_Frames(self._blocks, group, others))
                return
            kind = next((kind for name, kind in _KINDS.items() if any(each.startswith(name) for each in names)), None)
            channels = _channels(self._blocks, group) if kind is not None else []
        except UnreadableError as error:
            self._found.refuse(error.place, str(error))
            return
        for begin in range(0, len(group), _CHUNK):
            count = min(_CHUNK, len(group) - begin)
            if kind is None:
                yield [EVENT] * count
            else:
                yield [Other(kind, channel) for channel in channels[begin : begin + count]]

    def _told_begin(self) -> int:
        begin_ns, _, _, flags = self._blocks.fields(self._header, _HD)
        if begin_ns and flags & _LOCAL_TIME:
            whole, fraction_ns = divmod(begin_ns, 1_000_000_000)
            try:
                moment = datetime(1970, 1, 1) + timedelta(seconds=whole)  # noqa: DTZ001 - local time
                begin_ns = round(moment.timestamp()) * 1_000_000_000 + fraction_ns
            except (ValueError, OverflowError, OSError):
                begin_ns = 0
        if begin_ns:
            self._found.date.tell(begin_ns, "")
        return begin_ns


class _Frames:
    """The data frames of a group as columns."""

    def __init__(self, blocks: MdfBlocks, group: Group, others: list[Group]) -> None:
        self._number = group.number
        self._seconds = seconds(blocks, group)
        ids = _integers(group, "ID")
        content = group.named("DataBytes")
        if ids is None or content is None:
            raise UnreadableError("frames without identifiers or bytes", f"group {group.number}")
        self._can_id = ids & np.uint64(EXTENDED_MASK)
        flagged = _integers(group, "IDE")
        extended = (ids >> _EXTENDED_BIT) & np.uint64(1) if flagged is None else flagged
        self._extended = (extended != 0) | (self._can_id > STANDARD_MASK)
        self._data, self._width, self._room = payloads(blocks, group, content, others)
        zeros = np.zeros(len(ids), np.uint64)
        self._fd, self._brs, self._esi = (_or(_integers(group, name), zeros) for name in ("EDL", "BRS", "ESI"))
        self._length = _or(_integers(group, "DataLength"), self._by_code(_integers(group, "DLC")))
        self._channel = _channels(blocks, group)

    def rows(self, begin_ns: int, found: LogFound) -> Iterator[Row]:
        """One by one; what is no frame is refused."""
        place = 0
        for begin in range(0, len(self._can_id), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            columns = (
                _times(self._seconds[part], begin_ns),
                self._can_id[part],
                self._extended[part],
                self._length[part],
                self._room[part],
                self._fd[part],
                self._brs[part],
                self._esi[part],
            )
            fields = zip(*(each.tolist() for each in columns), self._channel[part], strict=True)
            for row, (time_ns, can_id, extended, length, room, fd, brs, esi, channel) in enumerate(fields, begin):
                payload = self._data[place : place + min(length, room)]
                place += self._width or room
                fd = fd or length > 8  # noqa: PLW2901
                if time_ns is None or length > room or length > FD_BYTES[-1]:
                    found.refuse(f"group {self._number}, record {row}", f"no time, or {length} bytes of {room}")
                    continue
                flags = fd_flags(brs=bool(brs), esi=bool(esi)) if fd else 0
                yield time_ns, channel, id_word(can_id, extended=extended), flags, payload

    def _by_code(self, dlc: NDArray[np.uint64] | None) -> NDArray[np.uint64]:
        """How long payloads are, by data length code where there is one."""
        if dlc is None:
            return self._room.astype(np.uint64)
        sizes = np.array(FD_BYTES, np.uint64)[np.minimum(dlc, np.uint64(len(FD_BYTES) - 1))]
        return np.where(self._fd != 0, sizes, np.minimum(dlc, np.uint64(8)))


def _integers(group: Group, name: str) -> NDArray[np.uint64] | None:
    """A channel's whole numbers; None where there is none, or it is text."""
    field = group.named(name)
    if field is None or field.type > 3:
        return None
    return column(group, field).astype(np.uint64)


def _or(numbers: NDArray[np.uint64] | None, default: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return default if numbers is None else numbers


def _channels(blocks: MdfBlocks, group: Group) -> list[Channel]:
    """Each record's bus."""
    told = _integers(group, "BusChannel")
    if told is not None:
        return list(told.tolist())
    try:
        source = blocks.at(group.source, b"##SI")
        names = [blocks.text(link) for link in source.links[:2]]
    except UnreadableError:
        names = []
    number = next((found[1] for name in names if (found := re.search(r"(\d{1,3})$", name))), None)
    return [int(number) if number else None] * len(group)


def _times(offsets_s: NDArray[np.float64], begin_ns: int) -> NDArray[np.object_]:
    """Since the epoch, None for what is no time; far from the log's beginning they are good for microseconds."""
    usable = np.isfinite(offsets_s) & (np.abs(offsets_s) < _SECONDS_MAX)
    offsets_s = np.where(usable, offsets_s, 0)
    times_ns = [begin_ns + offset for offset in np.round(offsets_s * 1e9).astype(np.int64).tolist()]
    coarse = (np.abs(offsets_s) >= _COARSE_S).tolist()
    told = [
        None if not good else (time_ns + 500) // 1000 * 1000 if rough else time_ns
        for time_ns, rough, good in zip(times_ns, coarse, usable.tolist(), strict=True)
    ]
    return np.array(told, np.object_)
