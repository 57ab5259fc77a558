# SPDX-License-Identifier: Apache-2.0
"""TRC logs of PEAK's tools (PCAN-View, PCAN-Explorer, PCAN-Trace), versions 1.0 to 2.1, and of python-can.

    1.0       1)      1841      0001  8  00 00 00 00 00 00 00 00
    1.1       1)      1059.9  Rx         0300  7  00 00 00 00 04 00 00
    1.2       1)      1059.900  1  Rx         0300  7  00 00 00 00 04 00 00
    1.3       1)      1059.900 1  Rx        0300 -  7    00 00 00 00 04 00 00
    2.0       1      1059.900 DT      0300 Rx 7  00 00 00 00 04 00 00
    2.1       1      1059.900 DT 1      0300 Rx -  7    00 00 00 00 04 00 00      as ;$COLUMNS= says

Promise: each line that is no comment is a data frame, is counted, or is refused. Times are milliseconds since the
log's start: its ``$STARTTIME``, else the comment that tells it, which is all that version 1.0 has. Both are local
time, python-can's are UTC. Four digits of an identifier are 11 bits, eight are 29. A log without a column for the bus
is of bus 1, as PEAK's tools and python-can have it.

Limits: of old logs written in a German Windows, the decimal comma is read. A comment whose date can be read in two
ways is no date.

Failure: another version is an UnreadableError that names it, and those that are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.sources.logs.dates import ole_days, peak_start
from agent.sources.logs.items import (
    EVENT,
    FD_BYTES,
    Kind,
    Other,
    UnreadableError,
    classic,
    decimal,
    fd_flags,
    hex_bytes,
    id_word,
)

if TYPE_CHECKING:
    from agent.sources.logs.items import Channel, Item, LogDate

_COLUMNS = {
    "1.0": "NOILD",
    "1.1": "NOTILD",
    "1.2": "NOBTILD",
    "1.3": "NOBTIRLD",
    "2.0": "NOTIdlD",
    "2.1": "NOTBIdRLD",
}
_HEADER = re.compile(r"(?i);\s*\$(FILEVERSION|STARTTIME|COLUMNS)\s*=\s*(.*?)[\s;]*$")
_START_COMMENT = re.compile(r"(?i);\s*start time\s*:\s*(.+)")
_WARNING_ID = "FFFFFFFF"
_FD_TYPES = {"FD": (False, False), "FB": (True, False), "FE": (True, True), "BI": (False, True)}
"""BRS and ESI of a frame's type."""
_EVENTS = {"WARNG", "ST", "EC", "EV"}
_ERRORS = {"ERROR", "ER"}


class TrcLog:
    """Line by line; what the header says counts for the lines below it."""

    def __init__(self, date: LogDate) -> None:
        self._date = date
        self._version = "1.0"
        self._columns = ""
        self._start = self._start_comment = ""
        self._by_python_can = False
        self._at: dict[str, int] = {}

    def item(self, line: str) -> Item:
        """What a line is; raises one of `BAD_ITEM` where it is none that anybody writes."""
        fields = line.split()
        if not fields:
            return None
        if fields[0][0] == ";":
            self._comment(line.strip())
            return None
        if not self._at:
            self._settle()
        at = self._at
        if not fields[0].rstrip(")").isdigit():
            raise ValueError("no number of a message")
        time_ns = self._date.begin_ns + round(decimal(fields[at["O"]]) * 1e6)
        channel = _channel(fields[at["B"]]) if "B" in at else 1
        kind = fields[at["T"]].upper() if "T" in at else "RX"
        written, data = fields[at["I"]], fields[at["D"] :]
        if kind in _EVENTS or written == _WARNING_ID:
            return EVENT
        if kind in _ERRORS or (data and data[0] == "ERROR"):
            return Other(Kind.ERROR, channel)
        word = id_word(int(written, 16), extended=len(written) > 4)
        if kind == "RR" or (data and data[0] == "RTR"):
            return Other(Kind.REMOTE, channel)
        length = int(fields[at["L"]])
        if kind in _FD_TYPES:
            size = length if self._counts_bytes else FD_BYTES[length]
            brs, esi = _FD_TYPES[kind]
            return time_ns, channel, word, fd_flags(brs=brs, esi=esi), hex_bytes(data, size)
        if kind not in {"RX", "TX", "DT"} or length >= len(FD_BYTES):
            raise ValueError("no type of a message")
        return time_ns, channel, word, 0, classic(hex_bytes(data, min(length, 8)), length)

    def _comment(self, line: str) -> None:
        if found := _HEADER.match(line):
            name, value = found[1].upper(), found[2]
            if name == "FILEVERSION":
                self._version = value.replace(",", ".")
            elif name == "STARTTIME":
                self._start = value
            else:
                self._columns = value.replace(",", "").replace(" ", "")
        elif not self._start_comment and (found := _START_COMMENT.match(line)):
            self._start_comment = found[1]
        elif "python-can" in line:
            self._by_python_can = True

    def _settle(self) -> None:
        """The header is over: which columns there are, and what times count from."""
        columns = _COLUMNS.get(self._version)
        if columns is None:
            read = ", ".join(_COLUMNS)
            raise UnreadableError(f"TRC logs of version {self._version[:20]} are not read; read are {read}", "")
        if self._columns and self._version[0] == "2":
            columns = self._columns
        self._counts_bytes = "l" in columns
        self._at = {name: index for index, name in enumerate(columns.replace("l", "L"))}
        if not {"O", "I", "L", "D"} <= self._at.keys():
            raise UnreadableError(
                f"a TRC log without columns for time, identifier, length and data: {columns[:40]!r}", ""
            )
        if self._start:
            self._date.tell(ole_days(self._start, utc=self._by_python_can), f"$STARTTIME={self._start}")
        if self._date.missing and self._start_comment:
            self._date.tell(peak_start(self._start_comment), self._start_comment)


def _channel(written: str) -> Channel:
    return None if written == "-" else int(written)
