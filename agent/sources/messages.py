# SPDX-License-Identifier: Apache-2.0
"""python-can's messages as columns, for the sources that have nothing better, and back.

Promise: what python-can says of a frame is what the `FrameBlock` says, both ways. Identifiers keep their kind by
`EXTENDED`; error and remote frames are counted by bus, not kept.

Limits: a Python object per frame, 1 to 2 µs each. python-can's times are floating-point seconds, which at
today's dates are 0.24 µs apart: they are rounded to the microsecond there and to the nanosecond in the first
97 days of 1970, where logs of relative time live.

Failure: a message that no CAN bus carries (identifier or time out of range, more than 64 bytes) is
a ValueError or an OverflowError.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK, FrameBlock, FrameFlag
from agent.sources.canlib import python_can

if TYPE_CHECKING:
    from collections.abc import Iterator

    import can

_COARSE_S = 1 << 23
"""Beyond, a double's neighbours are a nanosecond or more apart."""


class BlockBuilder:
    """Takes messages one by one, gives them as one block."""

    def __init__(self) -> None:
        self.error_frames: Counter[int] = Counter()
        self.remote_frames: Counter[int] = Counter()
        self._clear()

    def __len__(self) -> int:
        return len(self._time_ns)

    def add(self, message: can.Message, bus: int) -> bool:
        """Take a message of the bus with this index; False where it is only counted."""
        if message.is_error_frame:
            self.error_frames[bus] += 1
            return False
        if message.is_remote_frame:
            self.remote_frames[bus] += 1
            return False
        payload = bytes(message.data)
        word = id_word(message)
        if len(payload) > 64:
            raise ValueError(f"{len(payload)} bytes of payload; a frame has at most 64")
        flags = 0
        if message.is_fd or len(payload) > 8:
            flags = FrameFlag.FD | FrameFlag.BRS * message.bitrate_switch
            flags |= FrameFlag.ESI * message.error_state_indicator
        self.append(nanoseconds(message.timestamp), bus, word, flags, payload)
        return True

    def append(self, time_ns: int, bus: int, word: int, flags: int, payload: bytes) -> None:
        """Take a data frame."""
        self._time_ns.append(time_ns)
        self._bus.append(bus)
        self._can_id.append(word)
        self._flags.append(flags)
        self._payloads.append(payload)

    def take(self) -> FrameBlock:
        """What has been added since the last call."""
        lengths = [len(payload) for payload in self._payloads]
        width = 8 if max(lengths, default=0) <= 8 else 64
        padded = b"".join([payload.ljust(width, b"\0") for payload in self._payloads])
        block = FrameBlock(
            np.array(self._time_ns, np.int64),
            np.array(self._bus, np.uint8),
            np.array(self._can_id, np.uint32),
            np.array(lengths, np.uint8),
            np.array(self._flags, np.uint8),
            np.frombuffer(bytearray(padded), np.uint8).reshape(-1, width),
        )
        self._clear()
        return block

    def _clear(self) -> None:
        self._time_ns: list[int] = []
        self._bus: list[int] = []
        self._can_id: list[int] = []
        self._flags: list[int] = []
        self._payloads: list[bytes] = []


def can_messages(block: FrameBlock) -> Iterator[can.Message]:
    """The frames of a block, in order."""
    message = python_can().Message
    rows = zip(block.time_ns.tolist(), block.can_id.tolist(), block.length.tolist(), block.flags.tolist(), strict=True)
    for (time_ns, word, length, flags), data in zip(rows, block.data, strict=True):
        yield message(
            timestamp=time_ns / 1e9,
            arbitration_id=word & EXTENDED_MASK,
            is_extended_id=bool(word & EXTENDED),
            data=data[:length].tobytes(),
            is_fd=bool(flags & FrameFlag.FD),
            bitrate_switch=bool(flags & FrameFlag.BRS),
            error_state_indicator=bool(flags & FrameFlag.ESI),
        )


def id_word(message: can.Message) -> int:
    """The arbitration id word; ValueError where the identifier is out of range."""
    can_id = message.arbitration_id
    extended = message.is_extended_id
    if not 0 <= can_id <= (EXTENDED_MASK if extended else STANDARD_MASK):
        raise ValueError(f"identifier 0x{can_id:X} does not fit in {29 if extended else 11} bits")
    return can_id | EXTENDED if extended else can_id


def nanoseconds(seconds: float) -> int:
    """A time of python-can, without the noise that its floating point has at today's dates."""
    time_ns = round(seconds * 1e6) * 1000 if abs(seconds) >= _COARSE_S else round(seconds * 1e9)
    if abs(time_ns) >= 1 << 63:
        raise ValueError(f"{seconds} seconds are further away than nanoseconds reach")
    return time_ns


def channel_name(channel: object) -> str:
    """What a log's or a driver's channel is called as a bus: as it is, can<n> for number n, can0 for none."""
    if channel is None or channel == "":
        return "can0"
    if isinstance(channel, int) or (isinstance(channel, str) and channel.isdigit()):
        return f"can{int(channel)}"
    return str(channel)
