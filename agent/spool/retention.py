# SPDX-License-Identifier: Apache-2.0
"""What to keep when there is not room for everything. Pure: sizes come in, decisions go out.

The rule: the oldest goes first, by whole segments, and only when the byte limit or the file system leaves no
other way. Segments are made small against the limit, so that little goes at a time, and not so small that
there are many.

The spools of a unit share one limit: their segment files together stay within the layout. A spool that needs room gets
the spare segments of the others first, then the oldest segment of the spool of the lowest priority that has any, be it
its own; never one of a spool of a higher priority than itself.

Limits: one thread; the spools lie on one file system.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.errors import SpoolError
from agent.spool.disk import PAGE
from agent.spool.journal import JOURNAL_BYTES
from agent.spool.state import STATE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable


SEGMENT_BYTES = 4 << 20
SEGMENTS_MIN = 8
SEGMENTS_MAX = 256
SEGMENT_BYTES_MIN = 2 * PAGE
FEW_SEGMENT_BYTES_MAX = 64 << 20
"""Larger ones are not made just so that there are fewer: each is written whole before it is used."""
JOURNALS_SHARE = 8
JOURNAL_BYTES_MIN = 48 << 10
QUARANTINE_SHARE = 64
QUARANTINE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """How one spool is kept.

    limit_bytes      of all its files, or of all files of those that share a limit
    segment_bytes, min_free_bytes   of a segment, and what is left free on the disk; where no limit is shared
    priority         the lowest gives way first
    ack_delay_s      acknowledgements last after so long
    name             the stream's names begin with it; "": with the directory's
    vehicle          what is appended is of it
    erase            what is acknowledged, evicted or set aside is overwritten as soon as that lasts; so is, at the
                     start, what earlier processes have left of it: for that all segments are read
    """

    limit_bytes: int
    segment_bytes: int = SEGMENT_BYTES
    min_free_bytes: int = 0
    priority: int = 0
    ack_delay_s: float = 60.0
    name: str = ""
    vehicle: str = ""
    erase: bool = False


class Step(enum.Enum):
    """How to come by an empty segment."""

    RECYCLE = "recycle"  # there is one
    CREATE = "create"  # there is room for one more
    EVICT = "evict"  # the oldest has to go
    GIVE_UP = "give up"  # nothing is left that could go


@dataclass(frozen=True, slots=True)
class Layout:
    """How the byte limit is shared out; the parts add up to no more than the limit.

    segment_bytes    of one file · segments_bytes: of all files of all spools · quarantine_bytes: of a folder of a spool
    journal_bytes    of the journal of a spool
    """

    segment_bytes: int
    segments_bytes: int
    quarantine_bytes: int
    journal_bytes: int


def layout(limit_bytes: int, segment_bytes: int, spools: int = 1) -> Layout:
    """Share out the limit: state, journal and two folders of set-aside records for each spool, and at least
    `SEGMENTS_MIN` segments for all of them."""
    quarantine_bytes = min(QUARANTINE_BYTES_MAX, limit_bytes // QUARANTINE_SHARE) // spools // PAGE * PAGE
    journal_bytes = min(JOURNAL_BYTES, limit_bytes // JOURNALS_SHARE // spools // PAGE * PAGE)
    journal_bytes = max(JOURNAL_BYTES_MIN, journal_bytes)
    available = limit_bytes - spools * (STATE_BYTES + journal_bytes + 2 * quarantine_bytes)
    few = min(available // SEGMENTS_MAX, FEW_SEGMENT_BYTES_MAX)
    wanted = max(segment_bytes, few, SEGMENT_BYTES_MIN)
    size = min(wanted, available // SEGMENTS_MIN) // PAGE * PAGE
    if size < SEGMENT_BYTES_MIN:
        raise SpoolError(f"a spool limit of {limit_bytes} bytes is too small: give at least 1 MiB")
    return Layout(size, available // size * size, quarantine_bytes, journal_bytes)


def next_step(
    room: Layout, *, spare: bool, used_bytes: int, evictable: bool, free_bytes: int, min_free_bytes: int
) -> Step:
    """How to come by an empty segment; `used_bytes` are in segments, `free_bytes` on the file system."""
    if spare:
        return Step.RECYCLE
    within_limit = used_bytes + room.segment_bytes <= room.segments_bytes
    if within_limit and free_bytes - room.segment_bytes >= min_free_bytes:
        return Step.CREATE
    return Step.EVICT if evictable else Step.GIVE_UP


def excess(sizes: Iterable[tuple[int, int]], limit_bytes: int) -> tuple[int, ...]:
    """Of (segment number, bytes), which have to go so that the rest fits the limit: the oldest."""
    ordered = sorted(sizes)
    over = sum(size for _, size in ordered) - limit_bytes
    gone = []
    for number, size in ordered:
        if over <= 0:
            break
        gone.append(number)
        over -= size
    return tuple(gone)


class LimitedSpool(Protocol):
    """A spool's segments."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Number and bytes of each segment that is not a spare."""

    @property
    def has_spare(self) -> bool:
        """Whether an empty segment waits to be used again."""

    @property
    def used_bytes(self) -> int:
        """Bytes in segment files, spares included."""

    def evict_oldest(self) -> None:
        """Give up the records of the oldest segment, which becomes a spare or goes."""

    def discard_spares(self) -> bool:
        """Delete empty segments; whether there were any."""


class SharedLimit:
    """Made once for all spools under one limit."""

    def __init__(self, layout: Layout, min_free_bytes: int = 0) -> None:
        self.layout = layout
        self.min_free_bytes = min_free_bytes
        self._spools: list[tuple[int, LimitedSpool]] = []

    def register(self, spool: LimitedSpool, priority: int) -> None:
        """Register a spool; that of the lowest priority is evicted from first."""
        self._spools.append((priority, spool))
        self._spools.sort(key=lambda entry: entry[0])

    @property
    def used_bytes(self) -> int:
        """Bytes in all segment files."""
        return sum(spool.used_bytes for _, spool in self._spools)

    def can_evict(self, asking: LimitedSpool) -> bool:
        """Whether anything could go for this spool."""
        return any(other.has_spare for other in self._others(asking)) or self._victim(asking) is not None

    def evict_one(self, asking: LimitedSpool) -> None:
        """Let go of what there is to evict: spares of others, else one segment."""
        if any([other.discard_spares() for other in self._others(asking)]):  # noqa: C419 - all of them
            return
        victim = self._victim(asking)
        assert victim is not None
        victim.evict_oldest()
        if victim is not asking:
            victim.discard_spares()

    def trim(self) -> None:
        """Evict what exceeds the limit, which may be smaller than when the segments were made."""
        for _, spool in self._spools:
            over = self.used_bytes - self.layout.segments_bytes
            kept = sum(size for _, size in spool.sizes) - over
            gone = excess(spool.sizes, max(0, kept)) if over > 0 else ()
            for _ in gone:
                spool.evict_oldest()
            if gone:
                spool.discard_spares()

    def _others(self, asking: LimitedSpool) -> list[LimitedSpool]:
        return [spool for _, spool in self._spools if spool is not asking]

    def _victim(self, asking: LimitedSpool) -> LimitedSpool | None:
        for _, spool in self._spools:
            if spool.sizes:
                return spool
            if spool is asking:
                break
        return None
