# SPDX-License-Identifier: Apache-2.0
"""MF4 logs as bus loggers write them: records of several groups in turn, payloads in a group of their own.

Made block by block, by ASAM MDF 4.1: asammdf reads such files and cannot write them.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from itertools import pairwise

_VARIABLE_GROUP, _CAN = 1, 2
_FRAME, _PAYLOAD, _ERROR = 1, 2, 3
START_NS = 1_700_000_000_000_000_000


@dataclass(eq=False)
class _Block:
    kind: str
    content: bytes = b""
    links: list[_Block | None] = field(default_factory=list)
    address: int = 0

    @property
    def size(self) -> int:
        return 24 + 8 * len(self.links) + len(self.content)


@dataclass(frozen=True)
class Frame:
    """A data frame, or with `error` an error frame."""

    time_ns: int
    bus: int = 1
    can_id: int = 0
    payload: bytes = b""
    extended: bool = False
    fd: bool = False
    error: bool = False


def logger_file(frames: list[Frame], *, finished: bool = True, packed: bool = False, missing: str = "") -> bytes:
    """What a logger writes.

    finished   False: as it is after a power cut, without counts and sizes
    packed     the records are deflated
    missing    a channel that it does not write
    """
    data = [frame for frame in frames if not frame.error]
    stored_bytes = sum(4 + len(frame.payload) for frame in data)
    content = _group_content(_PAYLOAD, len(data) * finished, stored_bytes * finished, flags=_VARIABLE_GROUP)
    payload_group = _Block("CG", content, [None] * 6)
    frame_group = _group(_FRAME, len(data) * finished, 23, _frame_channels(payload_group, missing))
    errors = _group(
        _ERROR, (len(frames) - len(data)) * finished, 9, [_time(), _channel("CAN_ErrorFrame.BusChannel", 8, 0, 8)]
    )
    frame_group.links[0], payload_group.links[0] = payload_group, errors
    records = _records(frames)
    if packed:
        squeezed = zlib.compress(records)
        stored = _Block("DZ", struct.pack("<2sBxLQQ", b"DT", 0, 0, len(records), len(squeezed)) + squeezed)
    else:
        stored = _Block("DT", records)
    data_group = _Block("DG", struct.pack("<B7x", 1), [None, frame_group, stored, None])
    header = _Block("HD", struct.pack("<QhhBBBBdd", START_NS, 0, 0, 0, 0, 0, 0, 0, 0), [data_group, *[None] * 5])
    return _written(header, stored, finished=finished)


def _records(frames: list[Frame]) -> bytes:
    """Each frame with its payload behind it."""
    written, place = [], 0
    for frame in frames:
        time = struct.pack("<Q", frame.time_ns)
        if frame.error:
            written.append(bytes([_ERROR]) + time + bytes([frame.bus]))
            continue
        word = frame.can_id | frame.extended << 31
        code = len(frame.payload) | frame.fd << 4
        record = struct.pack("<BLBBQ", frame.bus, word, code, len(frame.payload), place)
        written.append(bytes([_FRAME]) + time + record)
        stored = struct.pack("<L", len(frame.payload)) + frame.payload
        written.append(bytes([_PAYLOAD]) + stored)
        place += len(stored)
    return b"".join(written)


def _frame_channels(payload_group: _Block, missing: str) -> list[_Block]:
    places = {
        "BusChannel": (8, 0, 8),
        "ID": (9, 0, 32 if missing == "IDE" else 29),
        "IDE": (12, 7, 1),
        "DLC": (13, 0, 4),
        "EDL": (13, 4, 1),
        "DataLength": (14, 0, 8),
    }
    channels = [_channel(f"CAN_DataFrame.{name}", *place) for name, place in places.items() if name != missing]
    payload = _channel("CAN_DataFrame.DataBytes", 15, 0, 64, kind=1, data_type=10)
    payload.links[5] = payload_group
    return [_time(), *channels, payload]


def _time() -> _Block:
    time = _channel("Timestamp", 0, 0, 64, kind=2)
    linear = struct.pack("<BBHHHdddd", 1, 0, 0, 0, 2, 0, 0, 0.0, 1e-9)
    time.links[4] = _Block("CC", linear, [None] * 4)
    return time


def _channel(name: str, byte: int, bit: int, bits: int, *, kind: int = 0, data_type: int = 0) -> _Block:
    content = struct.pack("<BBBBLLLLBBH6d", kind, kind == 2, data_type, bit, byte, bits, 0, 0, 0, 0, 0, *[0.0] * 6)
    return _Block("CN", content, [None, None, _text(name), *[None] * 5])


def _group(ident: int, cycles: int, record_bytes: int, channels: list[_Block]) -> _Block:
    for channel, following in pairwise(channels):
        channel.links[0] = following
    source = _Block("SI", struct.pack("<BBB5x", 2, _CAN, 0), [_text("CAN1"), None, None])
    return _Block(
        "CG", _group_content(ident, cycles, record_bytes, flags=6), [None, channels[0], None, source, None, None]
    )


def _group_content(ident: int, cycles: int, record_bytes: int = 0, *, flags: int = 0) -> bytes:
    return struct.pack("<QQHHLLL", ident, cycles, flags, ord("."), 0, record_bytes, 0)


def _text(text: str) -> _Block:
    return _Block("TX", text.encode().ljust(len(text) // 8 * 8 + 8, b"\0"))


def _written(header: _Block, last: _Block, *, finished: bool) -> bytes:
    """All blocks that the header leads to; the records come last, for that is where a power cut comes."""
    blocks: list[_Block] = []
    waiting = [header]
    while waiting:
        block = waiting.pop(0)
        if block not in blocks:
            blocks.append(block)
            waiting += [link for link in block.links if link is not None]
    blocks.remove(last)
    at = 64
    for block in [*blocks, last]:
        block.address = at
        at += (block.size + 7) // 8 * 8
    marks = (b"MDF     ", 0) if finished else (b"UnFinMF ", 0b101)
    parts = [struct.pack("<8s8s8s4xH30xHH", marks[0], b"4.11    ", b"canferry", 411, marks[1], 0)]
    for block in [*blocks, last]:
        size = 24 if block is last and not finished else block.size
        links = b"".join(struct.pack("<Q", link.address if link else 0) for link in block.links)
        whole = struct.pack("<4sLQQ", f"##{block.kind}".encode(), 0, size, len(block.links)) + links + block.content
        parts.append(whole if block is last else whole.ljust((block.size + 7) // 8 * 8, b"\0"))
    return b"".join(parts)
