# SPDX-License-Identifier: Apache-2.0
"""CSV logs: python-can's, and those of GVRET and SavvyCAN, told by the names of their columns.

    timestamp,arbitration_id,extended,remote,error,dlc,data              seconds since the epoch; bytes in base64
    1483389946.197,0xdadada,1,0,0,6,WzQyLCA5XQ==

    Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8           microseconds; older ones have no Dir
    166064000,0000021A,false,Rx,0,8,FE,36,12,FE,69,05,07,AD,

Promise: each line is a data frame, is counted, or is refused; blank ones are of no matter. Fields may be separated by
semicolons or tabs, as spreadsheets do it, with a decimal comma then.

Limits: no CSV log tells a date but python-can's, whose times are since the epoch; times of the first year after it
are the log's own. python-can's tells no bus, and no flags of CAN FD: what has more than eight bytes is FD.

Failure: other columns are an UnreadableError that says which are read.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from agent.model import STANDARD_MASK
from agent.sources.logs.items import FD_BYTES, Kind, Other, UnreadableError, decimal, fd_flags, hex_bytes, id_word
from agent.sources.messages import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sources.logs.items import Item, LogDate

_PYTHON_CAN = ["timestamp", "arbitration_id", "extended", "remote", "error", "dlc", "data"]
_GVRET = ("id", "extended", "len", "d1")
_YEAR_NS = 366 * 86_400 * 1_000_000_000
_READ = "python-can's (timestamp,arbitration_id,extended,…) and GVRET's (Time Stamp,ID,Extended,Dir,Bus,LEN,D1,…)"
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


class CsvLog:
    """Line by line, by the names in the first."""

    def __init__(self, date: LogDate) -> None:
        self._date = date
        self._separator = ","
        self._row: Callable[[list[str]], Item] | None = None
        self._at: dict[str, int] = {}
        self._dated = False

    def item(self, line: str) -> Item:
        """What a line is; raises one of `BAD_ITEM` where it is none that anybody writes."""
        if not line or line.isspace():
            return None
        if self._row is None:
            return self._header(line)
        return self._row(self._fields(line))

    def _fields(self, line: str) -> list[str]:
        return [field.strip(' "\t\r') for field in line.split(self._separator)]

    def _header(self, line: str) -> Item:
        """The names of the columns; python-can's log may lack them where it was appended to."""
        self._separator = max(",;\t", key=line.count)
        names = [name.lower() for name in self._fields(line)]
        if names[: len(_PYTHON_CAN)] == _PYTHON_CAN:
            self._row = self._python_can
        elif names[0] in {"time stamp", "timestamp"} and all(name in names for name in _GVRET):
            self._row, self._at = self._gvret, {name: index for index, name in enumerate(names)}
        elif len(names) == len(_PYTHON_CAN) and names[1].startswith("0x"):
            self._row = self._python_can
            return self._python_can(self._fields(line))
        else:
            raise UnreadableError(f"no columns of a CSV log that is read; read are {_READ}: {line.strip()[:60]!r}", "")
        return None

    def _python_can(self, fields: list[str]) -> Item:
        written, can_id, extended, remote, error, dlc, data = fields
        time_ns = self._tell(nanoseconds(decimal(written)))
        if _boolean(error):
            return Other(Kind.ERROR)
        word = id_word(int(can_id, 16), extended=_boolean(extended))
        if _boolean(remote):
            return Other(Kind.REMOTE)
        payload = base64.b64decode(data, validate=True)
        length = int(dlc)
        if not 0 <= length <= len(payload):
            raise ValueError("fewer bytes than it says")
        payload = payload[:length]
        return time_ns, None, word, _flags(payload), payload

    def _gvret(self, fields: list[str]) -> Item:
        at = self._at
        written = fields[0]
        time_ns = nanoseconds(decimal(written)) if "." in written else int(written) * 1000
        number = int(fields[at["id"]], 16)
        extended = _boolean(fields[at["extended"]]) or number > STANDARD_MASK
        length, begin = int(fields[at["len"]]), at["d1"]
        payload = hex_bytes([byte.rjust(2, "0") for byte in fields[begin : begin + length]], length)
        channel = int(fields[at["bus"]]) if "bus" in at else None
        return self._tell(time_ns), channel, id_word(number, extended=extended), _flags(payload), payload

    def _tell(self, time_ns: int) -> int:
        """The first time tells whether there is a date."""
        if not self._dated:
            self._dated = True
            if time_ns >= _YEAR_NS:
                self._date.tell(0, "")
        return time_ns


def _boolean(written: str) -> bool:
    try:
        return _BOOLEANS[written.lower()]
    except KeyError:
        raise ValueError("neither yes nor no") from None


def _flags(payload: bytes) -> int:
    if len(payload) > FD_BYTES[-1]:
        raise ValueError("more bytes than a frame has")
    return fd_flags(brs=False, esi=False) if len(payload) > 8 else 0
