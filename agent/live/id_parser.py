# SPDX-License-Identifier: Apache-2.0
"""What somebody may mean who writes 0x123, 291, 18FEF100x, ENGINE_SPEED or car.ENGINE_SPEED.RPM. Pure.

0x123, 123h      hexadecimal; up to 7FF an 11-bit identifier, beyond a 29-bit one
291              decimal, likewise
18FEF100x        hexadecimal and 29-bit, as Vector's tools write it; so are eight digits, as candump does: 00000123
7E0              hexadecimal, where it cannot be decimal and no message or signal bears the name
NAME             a message or a signal, also as message.signal, bus.message or bus.message.signal; upper and lower
                 case are not distinguished
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

_HEX_MARKED = re.compile(r"0[xX]([0-9A-Fa-f]{1,8})|([0-9A-Fa-f]{1,8})[hH]")
_EXTENDED = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,8})[xX]|(?:0[xX])?([0-9A-Fa-f]{8})")
_BARE_HEX = re.compile(r"[0-9A-Fa-f]{1,8}")


@dataclass(frozen=True, slots=True)
class ParsedId:
    """An arbitration id word that a text may stand for, and how it was read."""

    can_id: int
    how: str


def parse_ids(text: str) -> list[ParsedId]:
    """The ids that a text may stand for, the likeliest first; none where it can only be a name."""
    found: list[ParsedId] = []
    if match := _EXTENDED.fullmatch(text):
        found += _word(int(match[1] or match[2], 16), "hexadecimal, 29 bit", extended=True)
    if match := _HEX_MARKED.fullmatch(text):
        found += _word(int(match[1] or match[2], 16), "hexadecimal")
    if text.isdecimal() and text.isascii() and len(text) <= 10:
        found += _word(int(text), "decimal")
    if _BARE_HEX.fullmatch(text):
        found += _word(int(text, 16), "hexadecimal")
    return list({reading.can_id: reading for reading in reversed(found)}.values())[::-1]


def _word(number: int, how: str, *, extended: bool = False) -> list[ParsedId]:
    if number > EXTENDED_MASK:
        return []
    return [ParsedId(number | EXTENDED if extended or number > STANDARD_MASK else number, how)]


def other_kind(can_id: int) -> int | None:
    """The id of the same number in the other kind of frame; None where 11 bits do not hold it."""
    if can_id & EXTENDED:
        number = can_id & EXTENDED_MASK
        return number if number <= STANDARD_MASK else None
    return can_id | EXTENDED


def shown_id(can_id: int) -> str:
    """An id as it is written here: 0x123, or 0x18FEF100x for 29 bits."""
    return f"0x{can_id & EXTENDED_MASK:08X}x" if can_id & EXTENDED else f"0x{can_id:03X}"
