# SPDX-License-Identifier: Apache-2.0
"""A payload bit by bit, and which signal each belongs to. Pure.

    byte   0        1        2
    bits   00000100 11111110 11111111
    signal aaaaaaaa bbbbbbbb bbbbbbbb

Eight bytes take 78 columns: with an indent of two they fit a terminal of 80.

Bits are numbered as the DBC numbers them: bit n lies in byte n // 8, and n % 8 = 0 is its least significant. An Intel
signal begins at its least significant bit and goes up; a Motorola one begins at its most significant, goes down within
its byte and on at the top of the next.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.model import SignalDefinition

LETTERS = string.ascii_letters + string.digits
NOBODY = "."
SHARED = "#"
BYTES_A_LINE = 8
_COLOURS = (36, 33, 32, 35, 34, 31)


def positions(signal: SignalDefinition) -> list[int]:
    """The signal's bits as the DBC numbers them, from where it begins."""
    if signal.little_endian:
        return list(range(signal.start, signal.start + signal.length))
    found = [signal.start]
    while len(found) < signal.length:
        last = found[-1]
        found.append(last + 15 if last % 8 == 0 else last - 1)
    return found


def letters(signals: Sequence[SignalDefinition]) -> list[str]:
    """A letter for each signal; they come again where there are more signals than letters."""
    return [LETTERS[number % len(LETTERS)] for number in range(len(signals))]


def owners(signals: Mapping[str, SignalDefinition], length: int) -> str:
    """For each bit of so many bytes, as they are drawn, the letter of its signal."""
    drawn = [NOBODY] * (8 * length)
    for letter, signal in signals.items():
        for position in positions(signal):
            place = position // 8 * 8 + 7 - position % 8
            if place < len(drawn):
                drawn[place] = letter if drawn[place] == NOBODY else SHARED
    return "".join(drawn)


def drawing(payload: bytes, signals: Mapping[str, SignalDefinition], *, coloured: bool) -> Iterator[str]:
    """Lines, eight bytes in each three; `signals` by letter, those that the frame carries."""
    owned = owners(signals, len(payload))
    bits = "".join(f"{byte:08b}" for byte in payload)
    for begin in range(0, len(payload), BYTES_A_LINE):
        places = range(begin, min(begin + BYTES_A_LINE, len(payload)))
        yield "byte   " + " ".join(f"{place:<8}" for place in places).rstrip()
        yield "bits   " + " ".join(_painted(bits, owned, place, coloured=coloured) for place in places)
        yield "signal " + " ".join(_painted(owned, owned, place, coloured=coloured) for place in places)


def _painted(text: str, owned: str, place: int, *, coloured: bool) -> str:
    one = slice(8 * place, 8 * place + 8)
    if not coloured:
        return text[one]
    return "".join(paint(character, owner) for character, owner in zip(text[one], owned[one], strict=True))


def paint(text: str, letter: str) -> str:
    """A text in the colour of a signal's letter."""
    if letter not in LETTERS:
        return text
    return f"\x1b[{_COLOURS[LETTERS.index(letter) % len(_COLOURS)]}m{text}\x1b[0m"
