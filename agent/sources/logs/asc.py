# SPDX-License-Identifier: Apache-2.0
"""ASC logs: Vector's CANalyzer, CANoe and CANape, BUSMASTER, python-can, and who writes like them.

    date Wed Sep 30 03:06:13.191 pm 2017                                 see dates.py
    base hex  timestamps absolute                                       or dec; or relative: since the line before
    Begin Triggerblock Wed Sep 30 03:06:13.191 pm 2017                  its date counts before the header's
       0.000000 Start of measurement                                    an event, as all that is not shown here
       0.100000 1  123             Rx   d 8 10 27 01 00 00 00 00 00     x behind an identifier: 29 bits
       0.110000 1  EngineData      Rx   d 2 10 27  Length = 0 BitCount = 0 ID = 291
       0.120000 2  18FEF100x       Tx   r 8
       0.130000 1  ErrorFrame
       0.140000 CANFD   1 Rx   123  Name  1 0 9 12 11 22 …  112000 230 3000 0 0 0 0 0    BRS ESI DLC length, … flags
      -5.000000 1  123             Rx   d 1 00                          before the trigger

Promise: each line with a time is a data frame, is counted, or is refused, wherever in the file it stands. Channel n
is bus n. A log may begin without any header.

Limits: the times of a block count from the header's date where that, and not the block's own, fits them: some
recorders go on counting from the measurement's start. BUSMASTER's absolute times are of the day: where its header
does not say what times are, or they begin at the time of day of the date, they count from midnight. Identifiers
beyond 0x7FF have 29 bits, with x or without. J1939, LIN, FlexRay and Ethernet are events.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from agent.model import STANDARD_MASK
from agent.sources.logs.dates import vector_date
from agent.sources.logs.items import EVENT, FD_BYTES, Kind, Other, classic, decimal, fd_flags, id_word

if TYPE_CHECKING:
    from agent.sources.logs.items import Item, LogDate

_KNOWN = re.compile(
    r"(?i)//|#|;|\*|date\b|base\b|begin\b|end\b|(no )?internal events|version\b|previous log|measurement\b|timestamps\b"
)
_NUMERIC_ID = re.compile(r"\bID = (\d+)(x?)")
_TYPES = frozenset("dDrR")
_BITS = frozenset("01")
_EDL, _REMOTE = 0x1000, 0x10
"""Bits of the flags of a CANFD line."""
_S = 1_000_000_000
_DAY_NS = 86_400 * _S


class AscLog:
    """Line by line; what the header says counts for the lines below it."""

    def __init__(self, date: LogDate) -> None:
        self._date = date
        self._base = 16
        self._relative = False
        self._times_told = False
        self._header_ns: int | None = None
        self._block_ns: int | None = None
        self._settled = False
        self._now_ns = 0
        self._begun = False

    def item(self, line: str) -> Item:
        """What a line is; raises one of `BAD_ITEM` where it is none that anybody writes."""
        fields = line.split()
        if not fields:
            return None
        first = fields[0]
        if not (first[0].isdigit() or first[0] in "-+."):
            self._heading(line.strip(), fields)
            return None
        time_ns = self._time(first)
        kind = fields[1]
        if kind.isdigit():
            return self._classic(time_ns, int(kind), fields, line)
        if kind.upper() == "CANFD":
            return self._fd(time_ns, fields)
        return EVENT

    def _time(self, written: str) -> int:
        offset_ns = round(decimal(written) * 1e9)
        self._begun = True
        if self._relative:
            self._now_ns += offset_ns
            offset_ns = self._now_ns
        if not self._settled:
            self._settle(offset_ns)
        return self._date.begin_ns + offset_ns

    def _classic(self, time_ns: int, channel: int, fields: list[str], line: str) -> Item:
        """A line of a channel: a frame, or what the channel tells of itself."""
        if len(fields) < 5 or fields[4] not in _TYPES:
            if fields[2][:10].lower() == "errorframe":
                return Other(Kind.ERROR, channel)
            if len(fields) > 4 and fields[3] in {"Rx", "Tx"}:
                raise ValueError("neither a data nor a remote frame")
            return EVENT
        direction = fields[3].lower()
        if direction == "txrq":  # asked for, not yet on the bus
            return EVENT
        if direction not in {"rx", "tx"}:
            raise ValueError("no direction")
        word = self._identifier(fields[2], line)
        if fields[4] in {"r", "R"}:
            return Other(Kind.REMOTE, channel)
        dlc = _number(fields[5], 16)
        if dlc >= len(FD_BYTES):
            raise ValueError("no data length code")
        return time_ns, channel, word, 0, classic(self._bytes(fields[6 : 6 + min(dlc, 8)]), dlc)

    def _fd(self, time_ns: int, fields: list[str]) -> Item:
        channel, direction = int(fields[2]), fields[3].lower()
        if fields[4].lower() == "errorframe":
            return Other(Kind.ERROR, channel)
        if direction == "txrq":
            return EVENT
        if direction not in {"rx", "tx"}:
            raise ValueError("no direction")
        word = self._identifier(fields[4], "")
        at = 5 if fields[5] in _BITS and fields[6] in _BITS else 6  # behind the name, if there is one
        brs, esi = fields[at] == "1", fields[at + 1] == "1"
        dlc, length = _number(fields[at + 2], 16), int(fields[at + 3])
        end = at + 4 + length
        flags = int(fields[end + 2], 16) if len(fields) > end + 2 else _EDL
        if flags & _REMOTE or (not length and dlc):
            return Other(Kind.REMOTE, channel)
        payload = self._bytes(fields[at + 4 : end])
        if len(payload) != length or length > FD_BYTES[-1]:
            raise ValueError("not as many bytes as it says")
        fd = bool(flags & _EDL) or brs or esi or length > 8
        return time_ns, channel, word, fd_flags(brs=brs, esi=esi) if fd else 0, payload

    def _identifier(self, written: str, line: str) -> int:
        """An identifier in the log's base; where a name stands in its place, the number at the line's end."""
        named = _NUMERIC_ID.search(line) if " ID = " in line else None
        base, digits = (10, named[1] + named[2]) if named else (self._base, written)
        extended = digits[-1] in "xX"
        number = _number(digits[:-1] if extended else digits, base)
        return id_word(number, extended=extended or number > STANDARD_MASK)

    def _bytes(self, written: list[str]) -> bytes:
        joined = "".join(written)
        if self._base == 16 and len(joined) == 2 * len(written):
            return bytes.fromhex(joined)
        return bytes([_number(byte, self._base) for byte in written])

    def _heading(self, line: str, fields: list[str]) -> None:
        """A line without a time: of the header, or of no matter; in the midst of frames it has lost its time."""
        word = fields[0].lower()
        if word == "date":
            self._header_ns = vector_date(line[4:])
            self._date.tell(self._header_ns, line[4:])
            self._settled = False
        elif word == "base":
            words = [field.lower() for field in fields]
            self._base = 10 if "dec" in words else 16
            self._relative = "relative" in words
            self._times_told = "timestamps" in words
        elif word == "begin" and len(fields) > 2:
            self._begin_block(line.split(None, 2)[2])
        elif self._begun and not _KNOWN.match(line):
            raise ValueError("no time")

    def _begin_block(self, written: str) -> None:
        block_ns = vector_date(written)
        self._date.tell(block_ns, written)
        if block_ns is not None and block_ns != self._block_ns:
            self._block_ns, self._settled, self._now_ns = block_ns, False, 0

    def _settle(self, offset_ns: int) -> None:
        """What times count from, by the first of a block."""
        self._settled = True
        begin_ns = self._header_ns if self._block_ns is None else self._block_ns
        if begin_ns is None:
            return
        if not self._relative:
            if self._block_ns is not None and self._header_ns is not None:
                later_ns = self._block_ns - self._header_ns
                if later_ns >= 2 * _S and abs(offset_ns - later_ns) <= _S:
                    begin_ns = self._header_ns
            midnight_ns = _midnight(begin_ns)
            since_ns = offset_ns - (begin_ns - midnight_ns)
            if begin_ns - midnight_ns > 60 * _S and -_S <= since_ns <= (60 * _S if self._times_told else _DAY_NS):
                begin_ns = midnight_ns
        self._date.begin_ns = begin_ns


def _midnight(time_ns: int) -> int:
    """The beginning of that day, by the local clock."""
    moment = datetime.fromtimestamp(time_ns // _S)  # noqa: DTZ006 - local time
    return round(moment.replace(hour=0, minute=0, second=0).timestamp()) * _S


def _number(written: str, base: int) -> int:
    """As `int`, which takes signs and underlines for digits too."""
    if not written.isalnum():
        raise ValueError("no number")
    return int(written, base)
