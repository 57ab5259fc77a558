# SPDX-License-Identifier: Apache-2.0
"""A car that does not exist: what its sensors and control units would say, second by second.

Promise: `DemoCar.second` gives the frames of any second since the start, the same ones for the same seed,
encoded as ``dbc/demo_car.dbc`` says, with counters, checksums, multiplexed pages, jittered cycles and frames
that wait for each other on the bus. About 1,000 frames a second, all of a second computed at once. Limits:
classic frames of up to 8 bytes, one level of multiplexing; that is what its DBC file has. Failure: a signal
of the DBC file that nothing here computes is sent as zero.

The drive repeats: stand, accelerate, cruise, brake, stand; each time to another speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agent.model import EXTENDED, FrameBlock
from agent.sources.canlib import python_can
from agent.sources.demo_drive import SIGNALS, Drive

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 1_000_000_000
FRAME_NS = 230_000
"""A frame of eight bytes occupies a bus of 500 kbit/s for about this long; none begins before."""
_JITTER = 0.03
_CRC_POLYNOMIAL = 0x1D  # SAE J1850, as AUTOSAR E2E profile 1 uses it

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Signal:
    """How one signal is put into the 64 bits of a frame; ``shift`` counts from the word's lowest bit."""

    name: str
    shift: int
    length: int
    little_endian: bool
    signed: bool
    is_float: bool
    scale: float
    offset: float
    pages: tuple[int, ...]

    def encode(self, physical: Floats) -> Words:
        """The signal's bits in place; values out of range are sent as the nearest end of it."""
        if self.is_float:
            bits = physical.astype(np.float32).view(np.uint32).astype(np.uint64)
        else:
            low = -(1 << self.length - 1) if self.signed else 0
            high = low + (1 << self.length) - 1
            raw = np.clip(np.rint((physical - self.offset) / self.scale), low, high)
            bits = raw.astype(np.int64).view(np.uint64) & np.uint64((1 << self.length) - 1)
        return bits << np.uint64(self.shift)


@dataclass(frozen=True, slots=True)
class _Message:
    """One message of the car: when it is sent and how it is encoded."""

    name: str
    can_id: int
    length: int
    period_ns: int
    phase_ns: int
    signals: tuple[_Signal, ...]
    page: _Signal | None
    pages: int
    checksum: int | None

    def numbers(self, second: int) -> range:
        """Numbers of the frames that are due in a second: those of phase + number * period in it."""
        begin = -((self.phase_ns - second * SECOND_NS) // self.period_ns)
        end = -((self.phase_ns - (second + 1) * SECOND_NS) // self.period_ns)
        return range(max(begin, 0), max(end, 0))


class DemoCar:
    """The car of ``dbc/demo_car.dbc``; pure: what it says depends on its seed and the second alone."""

    def __init__(self, dbc: Path, seed: int = 1) -> None:
        self._seed = seed
        self._messages = _messages(dbc.read_text("cp1252"))

    def frames_before(self, second: int) -> int:
        """How many frames all seconds before this one have, without making them."""
        return sum(message.numbers(second).start for message in self._messages)

    def second(self, second: int) -> FrameBlock:
        """The frames of one second, times in nanoseconds since the car was switched on, in order, bus 0."""
        rng = np.random.default_rng((self._seed, second))
        due = [message.numbers(second) for message in self._messages]
        numbers = [np.arange(each.start, each.stop) for each in due]
        times = np.concatenate(
            [
                message.phase_ns + message.period_ns * (number + _JITTER * rng.triangular(-1, 0, 1, len(number)))
                for message, number in zip(self._messages, numbers, strict=True)
            ]
        )
        drive = Drive.at(np.maximum(times, 0) / SECOND_NS, rng)
        data = np.empty((len(times), 8), np.uint8)
        ids = np.empty(len(times), np.uint32)
        lengths = np.empty(len(times), np.uint8)
        row = 0
        for message, number in zip(self._messages, numbers, strict=True):
            rows = slice(row, row + len(number))
            data[rows] = _encode(message, number, SIGNALS[message.name](drive.rows(rows)))
            ids[rows], lengths[rows] = message.can_id, message.length
            row = rows.stop
        order = np.argsort(times, kind="stable")
        zeros = np.zeros(len(times), np.uint8)
        return FrameBlock(_queued(times[order]), zeros, ids[order], lengths[order], zeros, data[order])


def _queued(times: Floats) -> NDArray[np.int64]:
    """Times at which frames that were due in this order get the bus: each waits for the one before."""
    waiting = np.arange(len(times)) * FRAME_NS
    return np.maximum.accumulate(times.astype(np.int64) - waiting) + waiting


def _encode(message: _Message, number: NDArray[np.int64], physical: dict[str, Floats]) -> Bytes:
    """Payloads, (n, 8), of the frames of one message."""
    physical["COUNTER"] = number.astype(np.float64)
    intel = np.zeros(len(number), "<u8")
    motorola = np.zeros(len(number), ">u8")
    page = number % message.pages
    if message.page is not None:
        physical[message.page.name] = page.astype(np.float64)
    for signal in message.signals:
        if signal.name not in physical:
            continue
        values = physical[signal.name]
        if signal.name == "COUNTER":
            values = values % (1 << signal.length)
        word = signal.encode(values)
        if signal.pages:
            word[~np.isin(page, signal.pages)] = 0
        if signal.little_endian:
            intel |= word
        else:
            motorola |= word
    data = intel.view(np.uint8).reshape(-1, 8) | motorola.view(np.uint8).reshape(-1, 8)
    if message.checksum is not None:
        data[:, message.checksum] = _crc8(data, message)
    return data


def _crc8(data: Bytes, message: _Message) -> Bytes:
    crc = np.full(len(data), 0xFF, np.uint8)
    for byte in range(message.length):
        if byte != message.checksum:
            crc = _CRC_TABLE.take(crc ^ data[:, byte])
    return _CRC_TABLE.take(crc ^ np.uint8(message.can_id & 0xFF)) ^ np.uint8(0xFF)


def _crc_table() -> Bytes:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc << 1) ^ (crc >> 7) * (0x100 | _CRC_POLYNOMIAL)
        table.append(crc)
    return np.array(table, np.uint8)


_CRC_TABLE = _crc_table()


@lru_cache(maxsize=1)
def _messages(dbc: str) -> tuple[_Message, ...]:
    """Those of a DBC file's text; kept, since a reload opens the car anew."""
    python_can()  # before cantools imports it with all that it can do
    import cantools

    try:
        database: Any = cantools.database.load_string(dbc, database_format="dbc")
    except cantools.database.errors.Error as error:
        raise ValueError(str(error)) from error
    strangers = {message.name for message in database.messages} ^ SIGNALS.keys()
    if strangers:
        raise ValueError(f"it lacks, or has too much: {', '.join(sorted(strangers))}")
    messages = sorted(database.messages, key=lambda message: (message.cycle_time, message.frame_id))
    return tuple(_message(message, place / len(messages)) for place, message in enumerate(messages))


def _message(message: Any, phase: float) -> _Message:
    signals = tuple(_signal(signal) for signal in message.signals)
    pages = [signal for signal in message.signals if signal.is_multiplexer]
    checksums = [signal.start // 8 for signal in message.signals if signal.name == "CHECKSUM"]
    period_ns = message.cycle_time * 1_000_000
    return _Message(
        name=message.name,
        can_id=message.frame_id | (EXTENDED if message.is_extended_frame else 0),
        length=message.length,
        period_ns=period_ns,
        phase_ns=int(period_ns * phase),
        signals=signals,
        page=_signal(pages[0]) if pages else None,
        pages=1 + max((page for signal in signals for page in signal.pages), default=0),
        checksum=checksums[0] if checksums else None,
    )


def _signal(signal: Any) -> _Signal:
    little_endian = signal.byte_order == "little_endian"
    first = signal.start // 8 * 8 + 7 - signal.start % 8  # Motorola: from the word's highest bit
    return _Signal(
        name=signal.name,
        shift=signal.start if little_endian else 64 - first - signal.length,
        length=signal.length,
        little_endian=little_endian,
        signed=signal.is_signed,
        is_float=signal.is_float,
        scale=float(signal.scale),
        offset=float(signal.offset),
        pages=tuple(signal.multiplexer_ids or ()),
    )
