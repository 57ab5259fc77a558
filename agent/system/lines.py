# SPDX-License-Identifier: Apache-2.0
"""Lines out of a stream of bytes that may be noise: pure, bounded.

Promise: whatever comes in, in whatever pieces, each line of at most `line_bytes_max` bytes comes out once and whole,
without its end. Limits: a longer one is given up, with all of it up to the next end of a line, and counted.
"""

from __future__ import annotations


class LineSplitter:
    """Cuts at line feeds; a carriage return before one belongs to the line's end, empty lines are left out.

    overlong   lines that were given up
    """

    def __init__(self, line_bytes_max: int) -> None:
        self.overlong = 0
        self._line_bytes_max = line_bytes_max
        self._begun = b""
        self._giving_up = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, in order."""
        *ended, begun = data.split(b"\n")
        lines = []
        for piece in ended:
            line = self._joined(piece)
            if line is not None and (line := line.rstrip(b"\r")):
                lines.append(line)
            self._begun, self._giving_up = b"", False
        self._begun = self._joined(begun) or b""
        return lines

    def reset(self) -> None:
        """What comes next has nothing to do with what came before."""
        self._begun, self._giving_up = b"", False

    def _joined(self, piece: bytes) -> bytes | None:
        """The line so far; None where it is too long."""
        if self._giving_up:
            return None
        if len(self._begun) + len(piece) > self._line_bytes_max + 1:  # and a carriage return
            self._giving_up = True
            self.overlong += 1
            return None
        return self._begun + piece
