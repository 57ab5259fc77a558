# SPDX-License-Identifier: Apache-2.0
"""One drive in every format: two buses, 11 and 29 bits, classic and FD, an error frame, a remote frame.

What each format cannot say is left out of what is expected of it, see `Format`.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.model import EXTENDED, FrameFlag
from agent.sources.canlib import python_can
from tests.support.blf_files import blf, blf_object

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGIN_NS = 1_759_122_001_250_000_000
_WEEKDAYS = ("Mon", "Die", "Mit", "Don", "Fre", "Sam", "Son")
_FD, _BRS, _ESI = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI


@dataclass(frozen=True)
class Moment:
    """An item of the drive."""

    offset_ms: int
    bus: int
    can_id: int = 0
    payload: bytes = b""
    extended: bool = False
    flags: int = 0
    kind: str = "data"

    @property
    def time_ns(self) -> int:
        """Since the epoch."""
        return BEGIN_NS + self.offset_ms * 1_000_000

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.time_ns / 1e9

    @property
    def word(self) -> int:
        """The identifier word."""
        return self.can_id | EXTENDED if self.extended else self.can_id

    @property
    def fd(self) -> bool:
        """Whether it is of CAN FD."""
        return bool(self.flags & _FD)


DRIVE = (
    Moment(0, 1, 0x123, bytes(range(8))),
    Moment(10, 2, 0x18FEF1FE, bytes(range(8, 16)), extended=True),
    Moment(20, 1, 0x7FF),
    Moment(30, 1, 0x124, bytes(range(12)), flags=_FD | _BRS),
    Moment(40, 2, 0x7E8, bytes(range(64)), extended=True, flags=_FD | _ESI),
    Moment(50, 1, kind="error"),
    Moment(60, 2, 0x125, kind="remote"),
    Moment(70, 1, 0x123, b"\x11\x22\x33"),
)


@dataclass(frozen=True)
class Format:
    """A format, and what of the drive it can say.

    write     the drive into a file
    kinds     of items that it has
    fd        how FD frames are: as they are, by their length alone, or not at all
    bus       the only bus, where it tells none
    events    the log's own, beside the drive's items
    """

    suffix: str
    write: Callable[[Path, list[Moment]], None]
    kinds: tuple[str, ...] = ("data", "error", "remote")
    fd: str = "whole"
    bus: str = ""
    events: int = 0

    @property
    def moments(self) -> list[Moment]:
        """Those that it can say."""
        return [moment for moment in DRIVE if moment.kind in self.kinds and (self.fd != "none" or not moment.fd)]


def local(time_ns: int) -> datetime:
    """By the clock on the wall."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).astimezone()


def _message(moment: Moment, channel: Any) -> Any:
    return python_can().Message(
        timestamp=moment.seconds,
        arbitration_id=moment.can_id,
        is_extended_id=moment.extended,
        data=moment.payload,
        dlc=8 if moment.kind == "remote" else None,
        is_fd=moment.fd,
        bitrate_switch=bool(moment.flags & _BRS),
        error_state_indicator=bool(moment.flags & _ESI),
        is_error_frame=moment.kind == "error",
        is_remote_frame=moment.kind == "remote",
        channel=channel,
        is_rx=True,
    )


def _python_can(first_channel: int | None) -> Callable[[Path, list[Moment]], None]:
    """By python-can's writer, which counts from here; None: by name."""

    def write(path: Path, moments: list[Moment]) -> None:
        library = python_can()
        if path.suffix == ".mf4":
            writer = importlib.reload(importlib.import_module("can.io.mf4")).MF4Writer(str(path))
        else:
            writer = library.Logger(str(path))
        with writer:
            for moment in moments:
                channel = f"can{moment.bus}" if first_channel is None else moment.bus - 1 + first_channel
                writer.on_message_received(_message(moment, channel))

    return write


def _text(line_of: Callable[[Moment], str], header: Callable[[], str] = str) -> Callable[[Path, list[Moment]], None]:
    def write(path: Path, moments: list[Moment]) -> None:
        path.write_text(header() + "".join(f"{line_of(moment)}\n" for moment in moments))

    return write


def _spaced(payload: bytes) -> str:
    return payload.hex(" ").upper()


def _screen(moment: Moment) -> str:
    start = f" ({moment.time_ns / 1e9:.6f})  can{moment.bus}"
    flags = f"  RX {'B' if moment.flags & _BRS else '-'} {'E' if moment.flags & _ESI else '-'}"
    if moment.kind == "error":
        return f"{start}{flags}  20000080   [8]  00 00 00 00 00 00 00 00   ERRORFRAME"
    written = f"{moment.can_id:08X}" if moment.extended else f"{moment.can_id:03X}"
    length = f"[{len(moment.payload):02d}]" if moment.fd else f" [{len(moment.payload)}]"
    if moment.kind == "remote":
        return f"{start}{flags}  {written}   [8]  remote request"
    return f"{start}{flags}  {written}  {length}  {_spaced(moment.payload)}"


def _asc_header() -> str:
    begin = local(BEGIN_NS)
    date = f"{_WEEKDAYS[begin.weekday()]} {begin:%b %d %H:%M:%S}.250 {begin:%Y}"
    return f"date {date}\nbase hex  timestamps absolute\nno internal events logged\nBegin Triggerblock {date}\n"


def _asc(moment: Moment) -> str:
    start, size = f"{moment.offset_ms / 1000:11.6f}", len(moment.payload)
    written = f"{moment.can_id:X}x" if moment.extended else f"{moment.can_id:X}"
    if moment.kind == "error":
        return f"{start} {moment.bus}  ErrorFrame"
    if moment.kind == "remote":
        return f"{start} {moment.bus}  {written:<15} Rx   r 8"
    if moment.fd:
        brs, esi = int(bool(moment.flags & _BRS)), int(bool(moment.flags & _ESI))
        flags = 0x1000 | brs << 13 | esi << 14
        dlc = {12: 9, 64: 15}[size]
        data = f"{dlc:x} {size:2} {_spaced(moment.payload)}"
        return f"{start} CANFD {moment.bus:3} Rx {written:>10}  {'':>32} {brs} {esi} {data} 0 0 {flags:8X} 0 0 0 0 0"
    return f"{start} {moment.bus}  {written:<15} Rx   d {size} {_spaced(moment.payload)}"


def _trc_header() -> str:
    begin = local(BEGIN_NS)
    days = (begin.replace(tzinfo=None) - datetime(1899, 12, 30)).total_seconds() + 0.25  # noqa: DTZ001
    return f";$FILEVERSION=2.1\n;$STARTTIME={days / 86400:.10f}\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n"


def _trc(moment: Moment) -> str:
    written = f"{moment.can_id:08X}" if moment.extended else f"{moment.can_id:04X}"
    start = f"      1 {moment.offset_ms:13.3f}"
    size = len(moment.payload)
    if moment.kind == "error":
        return f"{start} ER {moment.bus}         - Rx -  5    04 00 02 00 00"
    if moment.kind == "remote":
        return f"{start} RR {moment.bus}      {written} Rx -  8"
    kind = {0: "DT", _FD | _BRS: "FB", _FD | _ESI: "BI"}[moment.flags]
    code = {12: 9, 64: 15}.get(size, size)
    return f"{start} {kind} {moment.bus}      {written} Rx -  {code}    {_spaced(moment.payload)}"


def _gvret_header() -> str:
    return f"Time Stamp,ID,Extended,Dir,Bus,LEN,{','.join(f'D{number}' for number in range(1, 65))}\n"


def _gvret(moment: Moment) -> str:
    data = "".join(f"{byte:02X}," for byte in moment.payload)
    extended = str(moment.extended).lower()
    return f"{moment.time_ns // 1000},{moment.can_id:08X},{extended},Rx,{moment.bus},{len(moment.payload)},{data}"


def _vector_blf(path: Path, moments: list[Moment]) -> None:
    begin = local(BEGIN_NS)
    start = (begin.year, begin.month, begin.isoweekday() % 7, begin.day, begin.hour, begin.minute, begin.second, 250)
    path.write_bytes(blf([_blf(moment) for moment in moments], start=start))


def _blf(moment: Moment) -> bytes:
    word = moment.can_id | (0x8000_0000 if moment.extended else 0)
    size, time = len(moment.payload), moment.offset_ms / 1000
    if moment.kind == "error":
        return blf_object(73, struct.pack("<HHLBBBxLLH2x8s", moment.bus, 0, 0, 0, 0, 0, 0, 0, 0, b""), time)
    if moment.fd:
        flags = 0x1000 | bool(moment.flags & _BRS) << 13 | bool(moment.flags & _ESI) << 14
        code = {12: 9, 64: 15}[size]
        head = struct.pack("<BBBBLLLLLLLHBBL", moment.bus, code, size, 0, word, 0, flags, 0, 0, 0, 0, 0, 0, 0, 0)
        return blf_object(101, head + moment.payload, time)
    remote = 0x80 if moment.kind == "remote" else 0
    content = struct.pack("<HBBL8sLBBH", moment.bus, remote, 8 if remote else size, word, moment.payload, 0, 0, 0, 0)
    return blf_object(86, content, time)


FORMATS = {
    "candump -L": Format(".log", _python_can(None)),
    "candump -t a -x": Format(".log", _text(_screen)),
    "ASC of python-can": Format(".asc", _python_can(0), events=1),
    "ASC of CANoe": Format(".asc", _text(_asc, _asc_header)),
    "BLF of python-can": Format(".blf", _python_can(0)),
    "BLF of CANoe": Format(".blf", _vector_blf),
    "TRC of python-can": Format(".trc", _python_can(0), kinds=("data",), fd="none"),
    "TRC of PEAK": Format(".trc", _text(_trc, _trc_header)),
    "CSV of python-can": Format(".csv", _python_can(0), fd="length", bus="can0"),
    "CSV of GVRET": Format(".csv", _text(_gvret, _gvret_header), kinds=("data",), fd="length"),
    "MF4 of python-can": Format(".mf4", _python_can(1)),
}
