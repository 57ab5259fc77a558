# SPDX-License-Identifier: Apache-2.0
"""Dots on a grid of characters: a curve on a plain terminal. Pure.

    BRAILLE   2 by 4 dots a character, U+2800 and up
    BLOCKS    1 by 2, for terminals whose font has no braille (the console of Linux)
    ASCII     1 by 1, for encodings that have neither

Dots are counted from the left and from the top; what lies outside of the grid is not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dots:
    """How a character is made of dots: the bit of each, by row and column; the character of all bits together, and
    of what stands at the left edge of a curve."""

    bits: tuple[tuple[int, ...], ...]
    characters: str
    edge: str = "┤"

    @property
    def wide(self) -> int:
        """Dots beside one another in a character."""
        return len(self.bits[0])

    @property
    def high(self) -> int:
        """Dots above one another in a character."""
        return len(self.bits)


BRAILLE = Dots(((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)), " " + "".join(map(chr, range(0x2801, 0x2900))))
BLOCKS = Dots(((1,), (2,)), " ▀▄█")
ASCII = Dots(((1,),), " *", "|")


def dots_for(encoding: str, terminal: str) -> Dots:
    """The finest that a terminal of this name shows in this encoding."""
    for dots in (BRAILLE, BLOCKS):
        if dots is BRAILLE and terminal == "linux":
            continue
        try:
            (dots.characters + dots.edge).encode(encoding)
        except UnicodeEncodeError:
            continue
        return dots
    return ASCII


class Canvas:
    """A grid of so many characters, empty at first; `width` and `height` are in dots."""

    def __init__(self, columns: int, rows: int, dots: Dots = BRAILLE) -> None:
        self.width, self.height = columns * dots.wide, rows * dots.high
        self._dots = dots
        self._cells = [[0] * columns for _ in range(rows)]

    def vertical(self, x: int, first: int, last: int) -> None:
        """The dots of a column from one row to another, both included."""
        if not 0 <= x < self.width:
            return
        column, left = divmod(x, self._dots.wide)
        for y in range(max(0, min(first, last)), min(self.height - 1, max(first, last)) + 1):
            row, top = divmod(y, self._dots.high)
            self._cells[row][column] |= self._dots.bits[top][left]

    def line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Straight from one dot to another, from the left to the right, without holes."""
        (x0, y0), (x1, y1) = start, end
        before = y0
        for x in range(x0, x1 + 1):
            y = y1 if x == x1 else y0 + round((y1 - y0) * (x - x0) / (x1 - x0))
            self.vertical(x, before + (y > before) - (y < before), y)
            before = y

    def step(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """As the first dot, until the second is there at once."""
        (x0, y0), (x1, y1) = start, end
        for x in range(x0, x1):
            self.vertical(x, y0, y0)
        self.vertical(x1, y0, y1)

    def lines(self) -> list[str]:
        """The characters, row by row."""
        return ["".join(self._dots.characters[bits] for bits in row) for row in self._cells]
