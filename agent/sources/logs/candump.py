# SPDX-License-Identifier: Apache-2.0
"""candump logs (``candump -L``, ``candump -l``) by the thousand lines instead of the line.

Promise: what python-can's reader makes of a log is what comes out, at a tenth of the time: lines of the
usual shape are parsed all at once by numpy, every other line is given to python-can's reader by itself. Three
deliberate differences. An identifier with CAN_ERR_FLAG is an error frame, as candump means it; python-can
takes most of them for data frames. A classic frame of more than 8 bytes is none. Times are exact to the
nanosecond, where python-can's float has lost that.

Limits: a line has at most `LINE_MAX_BYTES`; the columns of one piece of text take about twenty times its
size.

Failure: a line that is no frame (half a byte at its end, an identifier out of range) costs itself: it is left
out and named in `Parsed.refused`. A last line without its line end, which candump always writes, was torn off
where more of its frame could have come: `is_torn`. More than `LINE_MAX_BYTES` without a line end is a
LogFileError.

    (1436509052.249713) can0 1A0#1122334455667788      11 bits: three digits
    (1436509052.249713) can0 18FEF100#11223344 R       29 bits: eight; newer candumps tell the direction
    (1436509052.249713) can0 123##51122                FD: one digit of flags (1 BRS, 2 ESI, 4 FD)
    (1436509052.249713) can0 123#R8                    remote frame
    (1436509052.249713) can0 20000080#0000000000000000 error frame
    (1436509052.249713) can0 123#1122334455667788_F    -8: the data length code as sent, where it is above 8
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import LogFileError
from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK, FrameBlock, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.messages import BlockBuilder, channel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    import can
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]
    Mask = NDArray[np.bool_]

PIECE_BYTES = 1 << 18
LINE_MAX_BYTES = 1 << 16

_ERROR = 0x2000_0000  # CAN_ERR_FLAG, linux/can.h
_SECONDS_DIGITS = 10
_SECONDS_MAX = 9_223_372_036  # nanoseconds are 64 bits wide
_FRACTION_DIGITS = 9
_CHANNEL_BYTES = 16  # IFNAMSIZ, linux/if.h
_RAW_DLC = re.compile(rb"(#(?:[0-9A-Fa-f]{16}|R8))_[9A-Fa-f](?=[ \r\n])")  # of more than eight bytes: it has eight
_LONGEST = re.compile(rb"(?i)#([0-9a-f]{16}(?:_[9a-f])?|#.[0-9a-f]{128}|.*[\sr].*)$")  # nothing of the frame can follow
_NO_DIGIT = 0xFF
_HEX = np.full(256, _NO_DIGIT, np.uint8)
for _digit in range(16):
    _HEX[[ord(f"{_digit:x}"), ord(f"{_digit:X}")]] = _digit


@dataclass(frozen=True, slots=True)
class Parsed:
    """One piece of text.

    block     its data frames, `bus` by the function given; frames of buses that it does not know are left out
    errors, remotes   by bus index: how many error and remote frames
    ignored   frames of channels that the function did not know
    refused   (line number, text) of the lines that are no frames
    """

    block: FrameBlock
    errors: dict[int, int]
    remotes: dict[int, int]
    ignored: int
    refused: list[tuple[int, str]]


class _Lines:
    """A piece of text with the borders of its lines, and of the fields in those of the usual shape."""

    def __init__(self, text: NDArray[np.uint8]) -> None:
        self.text = text
        line_ends = np.flatnonzero(text == ord("\n"))
        self.start = np.concatenate([[0], line_ends[:-1] + 1])
        self.end = line_ends - (text[line_ends - 1] == ord("\r"))
        self.end = np.maximum(self.end, self.start)
        self.field_end = self._without_direction()
        spaces, space_count = self._first("  ", 2)
        (dot,), dots = self._first(".", 1)
        (hash_at, second_hash), hashes = self._first("##", 2)
        self.space, self.second_space = spaces
        self.dot = dot
        self.hash = hash_at
        self.fd = (hashes == 2) & (second_hash == hash_at + 1)
        self.payload = hash_at + np.where(self.fd, 3, 1)
        self.regular = (space_count == 2) & (dots == 1) & ((hashes == 1) | self.fd)
        self.regular &= (self.start + 1 < dot) & (dot < self.space) & (self.second_space < hash_at)
        self.regular &= (self.payload <= self.field_end) & (self.space + 1 < self.second_space)
        self.regular &= (self.at(self.start) == ord("(")) & (self.at(self.space - 1) == ord(")"))

    def at(self, position: Rows) -> NDArray[np.uint8]:
        """The bytes at these positions; what they are is of no matter where they lie outside."""
        return self.text.take(position, mode="clip")

    def _without_direction(self) -> Rows:
        """Where the frame ends on each line, a direction (" R", " T") left out."""
        last = self.at(self.end - 1) & 0xDF  # upper case
        directed = (self.end - self.start > 2) & (self.at(self.end - 2) == ord(" "))
        directed &= (last == ord("R")) | (last == ord("T"))
        end: Rows = self.end - 2 * directed
        return end

    def _first(self, characters: str, wanted: int) -> tuple[list[Rows], Rows]:
        """Where a character is on each line, the first `wanted` times, and how often."""
        where = np.flatnonzero(self.text == ord(characters[0]))
        each, over = divmod(len(where), len(self.start))
        if each and not over:  # as often on every line, if each line's are on it
            table = where.reshape(-1, each)
            if (table[:, 0] >= self.start).all() and (table[:, -1] < self.end).all():
                counts = (table < self.field_end[:, None]).sum(axis=1)
                return [table[:, min(nth, each - 1)] for nth in range(wanted)], counts
        first = np.searchsorted(where, self.start)
        count = np.searchsorted(where, self.field_end) - first
        if not len(where):
            where = np.zeros(1, np.intp)
        return [where.take(first + nth, mode="clip") for nth in range(wanted)], count


def pieces(stream: BinaryIO, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The text in pieces of whole lines; a last line without line end is a piece of its own."""
    rest = b""
    while read := stream.read(piece_bytes):
        whole, end, rest_of_read = read.rpartition(b"\n")
        if end:
            yield rest + whole + end
            rest = rest_of_read
        else:
            rest += read
        if len(rest) > LINE_MAX_BYTES:
            raise LogFileError(f"no line end within {LINE_MAX_BYTES} bytes: not a candump log")
    if rest:
        yield rest


def is_torn(line: bytes) -> bool:
    """Whether a frame without its line end may have lost more than that: a payload that could be longer."""
    return line.lstrip().startswith(b"(") and not _LONGEST.search(line)


def parse(text: bytes, bus_of: Callable[[str], int | None], first_line: int = 1) -> Parsed:
    """The frames of a piece of whole lines; `bus_of` gives a channel's bus index, None: not wanted."""
    if b"_" in text:
        text = _RAW_DLC.sub(rb"\1", text)
    lines = _Lines(np.frombuffer(text, np.uint8))
    regular = lines.regular.copy()
    time_ns = _times(lines, regular)
    can_id = _identifiers(lines, regular)
    flags = _flags(lines, regular)
    length, data = _payloads(lines, regular)
    bus = np.full(len(regular), -1, np.int16)
    _buses(lines, regular, bus, bus_of)

    known = regular & (bus >= 0)
    error = known & ((can_id & np.uint32(_ERROR)) != 0)
    rows = np.flatnonzero(known & ~error)
    can_id &= np.uint32(EXTENDED | EXTENDED_MASK)
    block = FrameBlock(time_ns[rows], bus[rows].astype(np.uint8), can_id[rows], length[rows], flags[rows], data[rows])
    parsed = Parsed(block, _counts(bus[error]), {}, int((regular & ~known).sum()), [])
    irregular = np.flatnonzero(~regular & (lines.end > lines.start))
    return _with_irregular(parsed, lines, rows, irregular, bus_of, first_line) if len(irregular) else parsed


def _times(lines: _Lines, regular: Mask) -> NDArray[np.int64]:
    """Seconds and fraction as whole nanoseconds, digit by digit."""
    seconds = _number(lines, regular, lines.start + 1, lines.dot, _SECONDS_DIGITS)
    regular &= seconds < _SECONDS_MAX
    fraction_end = lines.space - 1
    fraction = _number(lines, regular, lines.dot + 1, fraction_end, _FRACTION_DIGITS)
    digits = np.clip(fraction_end - lines.dot - 1, 0, _FRACTION_DIGITS)
    fraction *= 10 ** (_FRACTION_DIGITS - digits)
    return seconds * 1_000_000_000 + fraction


def _number(lines: _Lines, regular: Mask, begin: Rows, end: Rows, digits_max: int) -> NDArray[np.int64]:
    digits = end - begin
    regular &= (digits >= 1) & (digits <= digits_max)
    value = np.zeros(len(begin), np.int64)
    for place in range(digits_max, 0, -1):
        digit = lines.at(end - place) - np.uint8(ord("0"))
        used = digits >= place
        regular &= ~used | (digit <= 9)
        value *= 10
        value += digit * used
    return value


def _identifiers(lines: _Lines, regular: Mask) -> NDArray[np.uint32]:
    """Identifier words, CAN_ERR_FLAG still in them; more than three digits make an extended one."""
    digits = lines.hash - lines.second_space - 1
    regular &= (digits >= 1) & (digits <= 8)
    value = np.zeros(len(digits), np.uint32)
    for place in range(8, 0, -1):
        digit = _HEX[lines.at(lines.hash - place)]
        used = digits >= place
        regular &= ~used | (digit != _NO_DIGIT)
        value <<= np.uint32(4)
        value |= digit * used
    extended = digits > 3
    regular &= extended | (value <= STANDARD_MASK)
    value &= np.uint32(EXTENDED_MASK | _ERROR)
    return value | (extended * np.uint32(EXTENDED))


def _flags(lines: _Lines, regular: Mask) -> NDArray[np.uint8]:
    digit = lines.at(lines.payload - 1) - np.uint8(ord("0"))
    regular &= ~lines.fd | (digit <= 9)
    bits = (digit & np.uint8(FrameFlag.BRS | FrameFlag.ESI)) | np.uint8(FrameFlag.FD)
    return np.where(lines.fd, bits, np.uint8(0))


def _payloads(lines: _Lines, regular: Mask) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    digits = lines.field_end - lines.payload
    regular &= (digits % 2 == 0) & (digits <= np.where(lines.fd, 128, 16))
    digits = np.where(regular, digits, 0)
    widest = int(digits.max(initial=0))
    nibbles = np.zeros((len(digits), 16 if widest <= 16 else 128), np.uint8)
    for place in range(widest):
        used = digits > place
        digit = _HEX[lines.at(lines.payload + place)]
        regular &= ~used | (digit != _NO_DIGIT)
        nibbles[:, place] = digit * used
    data = (nibbles[:, ::2] << np.uint8(4)) | nibbles[:, 1::2]
    return (digits // 2).astype(np.uint8), data


def _buses(lines: _Lines, regular: Mask, bus: NDArray[np.int16], bus_of: Callable[[str], int | None]) -> None:
    """Fill in each line's bus: one comparison of all names for each channel that there is."""
    begin = lines.space + 1
    size = lines.second_space - begin
    regular &= size <= _CHANNEL_BYTES
    names = np.zeros((len(size), _CHANNEL_BYTES), np.uint8)
    for place in range(int(size[regular].max(initial=0))):
        names[:, place] = lines.at(begin + place) * (size > place)
    words = names.view(np.uint64)
    left = np.flatnonzero(regular)
    while len(left):
        row = left[0]
        same = (words[left] == words[row]).all(axis=1)
        index = bus_of(channel_name(bytes(names[row, : size[row]]).decode(errors="replace")))
        if index is not None:
            bus[left[same]] = index
        left = left[~same]


def _with_irregular(
    parsed: Parsed,
    lines: _Lines,
    rows: Rows,
    irregular: Rows,
    bus_of: Callable[[str], int | None],
    first_line: int,
) -> Parsed:
    """Add what python-can makes of the other lines, each frame in its line's place."""
    builder = BlockBuilder()
    taken: list[int] = []
    ignored = 0
    refused = list(parsed.refused)
    for row in irregular.tolist():
        line = bytes(lines.text[lines.start[row] : lines.end[row]]).decode(errors="replace")
        try:
            for message in _messages(line):
                index = bus_of(channel_name(message.channel))
                if index is None:
                    ignored += 1
                elif builder.add(message, index):
                    taken.append(row)
        except (ValueError, IndexError, OverflowError):  # all that splitting and converting text raises
            refused.append((first_line + row, line))
    order = np.argsort(np.concatenate([rows, np.array(taken, np.intp)]), kind="stable")
    both = FrameBlock.concatenate([parsed.block, builder.take()])
    errors = _sum(parsed.errors, builder.error_frames)
    return Parsed(_picked(both, order), errors, dict(builder.remote_frames), parsed.ignored + ignored, refused)


def _messages(line: str) -> Iterator[can.Message]:
    """What python-can's reader makes of a line: a message, or nothing where the line is blank."""
    for message in python_can().CanutilsLogReader(io.StringIO(line)):
        if not message.is_remote_frame and len(message.data) != message.dlc:
            raise ValueError("the payload ends with half a byte")
        if len(message.data) > 8 and not message.is_fd:
            raise ValueError("a classic frame has at most 8 bytes")
        yield message


def _picked(block: FrameBlock, rows: Rows) -> FrameBlock:
    return FrameBlock(
        block.time_ns[rows],
        block.bus[rows],
        block.can_id[rows],
        block.length[rows],
        block.flags[rows],
        block.data[rows],
    )


def _counts(bus: NDArray[np.int16]) -> dict[int, int]:
    index, count = np.unique(bus, return_counts=True)
    return dict(zip(index.tolist(), count.tolist(), strict=True))


def _sum(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
