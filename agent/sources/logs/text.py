# SPDX-License-Identifier: Apache-2.0
"""The text of a recorded log as lines, in whatever encoding it was written.

Promise: a byte order mark counts; without one, UTF-16 is told by its zero bytes, UTF-8 by being it, and anything else
is read as Windows' western code page, which gives every byte a letter. Lines end with LF, CR LF or CR.

Limits: one piece of text is held, and a line of `LINE_MAX` characters; the encoding is told by the first 64 KiB.

Failure: a longer line is an UnreadableError. Bytes that are none of the encoding are replaced, not refused: where they
stand in a comment they are of no matter.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import TYPE_CHECKING, BinaryIO

from agent.sources.logs.items import BAD_ITEM, EVENT, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.sources.logs.items import Item

PIECE_BYTES = 1 << 16
LINE_MAX = 1 << 16
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LOOK_BYTES = 512
_FIELDS = re.compile(r"[\s,;]+")


class LogText:
    """Lines of a text, in pieces; `rest` is what came behind the last line end, `line` the number of the next line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.line = 1
        self.rest = ""

    def pieces(self) -> Iterator[list[str]]:
        """The whole lines, without their ends."""
        piece = self._stream.read(PIECE_BYTES)
        encoding, mark = text_encoding(piece)
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
        piece = piece[mark:]
        while True:
            ended = not piece
            lines = (self.rest + newlines.decode(piece, final=ended)).split("\n")
            self.rest = lines.pop()
            yield lines
            self.line += len(lines)
            if len(self.rest) > LINE_MAX:
                raise UnreadableError(f"no line end within {LINE_MAX} characters: hardly a log", f"line {self.line}")
            if ended:
                return
            piece = self._stream.read(PIECE_BYTES)


def text_encoding(beginning: bytes) -> tuple[str, int]:
    """What a text that begins so is encoded in, and how many bytes its mark has."""
    for mark, name in _MARKS:
        if beginning.startswith(mark):
            return name, len(mark)
    look = beginning[:_LOOK_BYTES]
    for zeros, name in ((look[1::2], "utf-16-le"), (look[::2], "utf-16-be")):
        if len(zeros) > 1 and zeros.count(0) > len(zeros) * 0.9:
            return name, 0
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return "cp1252", 0
    return "utf-8", 0


def text_items(
    text: LogText, item_of: Callable[[str], Item], refuse: Callable[[str, str], None]
) -> Iterator[list[Item]]:
    """The items of all lines, piece by piece; a line that is damaged is refused, a last one that is not whole is torn.

    item_of   what a line is; raises `BAD_ITEM` where it is damaged, UnreadableError where reading on makes no sense
    """
    for lines in text.pieces():
        items: list[Item] = []
        try:
            for number, line in enumerate(lines, text.line):
                try:
                    item = item_of(line)
                except BAD_ITEM:
                    refuse(f"line {number}", line)
                else:
                    if item is not None:
                        items.append(item)
        except UnreadableError as error:
            yield items
            raise UnreadableError(str(error), f"line {number}") from error
        yield items
    if text.rest.strip():
        yield [_last(text, item_of)]


def _last(text: LogText, item_of: Callable[[str], Item]) -> Item:
    """A line without its end: a frame that lacks nothing, or no item; else it was cut off.

    Of events nobody can tell whether they are whole; a byte has two digits.
    """
    place = f"line {text.line}"
    try:
        item = item_of(text.rest)
    except BAD_ITEM:
        item = EVENT
    except UnreadableError as error:
        raise UnreadableError(str(error), place) from error
    whole = isinstance(item, tuple) and len(_FIELDS.split(text.rest.strip())[-1]) != 1
    if item is not None and not whole:
        raise UnreadableError("the last line is not whole", place, at_end=True)
    return item
