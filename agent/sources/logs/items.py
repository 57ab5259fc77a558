# SPDX-License-Identifier: Apache-2.0
"""What the items of a recorded log are, in the words that all its readers speak: data frames, and all else.

    Row      a data frame: (time_ns, channel, identifier word, flags, payload)
    Other    an item with a time that no data frame comes of: an error or remote frame, or an event
    None     no item: a comment, a header, a blank line

An item that is damaged is a ValueError (or what splitting and converting raises, see `BAD_ITEM`): it costs itself.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK, FrameFlag

if TYPE_CHECKING:
    from collections.abc import Callable

Channel = int | str | None
Row = tuple[int, Channel, int, int, bytes]
BAD_ITEM = (ValueError, IndexError, OverflowError)
CLASSIC_BYTES_MAX = 8
FD_BYTES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
"""By data length code, ISO 11898-1."""


class UnreadableError(Exception):
    """The log cannot be read any further.

    place     where that is
    at_end    it was cut off there, nothing comes behind
    lost      how many of its items are known to be lost by that
    """

    def __init__(self, reason: str, place: str, *, at_end: bool = False, lost: int = 0) -> None:
        super().__init__(reason)
        self.place = place
        self.at_end = at_end
        self.lost = lost


class Kind(enum.Enum):
    """What an item without a data frame is."""

    ERROR = "error frame"
    REMOTE = "remote frame"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Other:
    """An item that no data frame comes of; `channel` is of no matter for events."""

    kind: Kind
    channel: Channel = None


EVENT = Other(Kind.EVENT)
Item = Row | Other | None


class LogDate:
    """When a log begins; what is wrong where nobody can tell: its times are then since 1970 began.

    begin_ns   of the log, since the epoch
    missing    what there is instead of a date; "": there is one
    """

    def __init__(self, missing: str = "the log has no date") -> None:
        self.begin_ns = 0
        self.missing = missing

    def tell(self, begin_ns: int | None, text: str) -> None:
        """Take what a text said; None: it could not be read, so an earlier one stands."""
        if begin_ns is not None:
            self.begin_ns, self.missing = begin_ns, ""
        elif self.missing:
            self.missing = f"the date cannot be read: {text.strip()[:60]!r}"


@dataclass(frozen=True, slots=True)
class LogFound:
    """Where a reader tells what is no item.

    refuse   takes place and text of an item that is damaged
    date     when the log begins
    """

    refuse: Callable[[str, str], None]
    date: LogDate


def id_word(can_id: int, *, extended: bool) -> int:
    """The arbitration id word; ValueError where the identifier is out of range."""
    if not 0 <= can_id <= (EXTENDED_MASK if extended else STANDARD_MASK):
        raise ValueError(f"identifier 0x{can_id:X} does not fit in {29 if extended else 11} bits")
    return can_id | EXTENDED if extended else can_id


def decimal(written: str) -> float:
    """A number with a point, or with the comma of other languages; else ValueError."""
    if "_" in written:
        raise ValueError("no number")
    return float(written.replace(",", "."))


def hex_bytes(written: list[str], size: int) -> bytes:
    """The first so many bytes, of two digits each; else ValueError."""
    joined = "".join(written[:size])
    if len(joined) != 2 * size:
        raise ValueError("fewer bytes than it says")
    return bytes.fromhex(joined)


def fd_flags(*, brs: bool, esi: bool) -> int:
    """Those of a CAN FD frame."""
    return FrameFlag.FD | FrameFlag.BRS * brs | FrameFlag.ESI * esi


def classic(payload: bytes, dlc: int) -> bytes:
    """The payload of a classic frame: as many bytes as its data length code says, at most eight; else ValueError."""
    wanted = min(dlc, CLASSIC_BYTES_MAX)
    if len(payload) < wanted:
        raise ValueError(f"{len(payload)} bytes of payload instead of {wanted}")
    return payload[:wanted]
