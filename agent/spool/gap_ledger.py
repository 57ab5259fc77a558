# SPDX-License-Identifier: Apache-2.0
"""The gap ledger: what is missing and has not yet been told to the cloud. Pure; `state.py` makes it last.

A gap is *pending* until a batch carries it, *carried* until that batch is acknowledged, and then forgotten.
If the carrying batch itself is evicted, found corrupt or set aside, its gaps are pending again.

Limit: `GAPS_MAX` gaps. Above it the two oldest of one kind become one: times and sequences span both, frames
add up. A merged gap may span batches which did arrive; the receiver, who has those, is not misled. None is
ever dropped. A gap that was merged after being carried is told twice rather than not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.model import Gap, GapKind

if TYPE_CHECKING:
    from collections.abc import Iterable

GAPS_MAX = 64
DETAIL_BYTES_MAX = 160
STREAM_BYTES_MAX = 64
PENDING = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """A gap and the sequence of the batch that carries it, `PENDING` where none does."""

    gap: Gap
    carrier: int = PENDING


class GapLedger:
    """Gaps in the order they were recorded, oldest first."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = list(entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that is not yet acknowledged, oldest first."""
        return tuple(self._entries)

    def pending(self) -> tuple[Gap, ...]:
        """Gaps which no batch carries."""
        return tuple(entry.gap for entry in self._entries if entry.carrier == PENDING)

    def add(self, gap: Gap) -> None:
        """Record a gap; one that continues a pending one extends that."""
        gap = replace(
            gap,
            detail=_shortened(gap.detail, DETAIL_BYTES_MAX),
            stream=_shortened(gap.stream, STREAM_BYTES_MAX),
        )
        for place in range(len(self._entries) - 1, -1, -1):
            entry = self._entries[place]
            if entry.carrier == PENDING and (_adjacent(entry.gap, gap) or _lasts(entry.gap, gap)):
                self._entries[place] = Entry(_merged(entry.gap, gap))
                return
        self._entries.append(Entry(gap))
        while len(self._entries) > GAPS_MAX:
            self._merge_oldest()

    def carry(self, gaps: Iterable[Gap], sequence: int) -> None:
        """The batch tells these gaps. One that has changed since then stays pending and is told again."""
        for gap in gaps:
            entry = Entry(gap)
            if entry in self._entries:
                self._entries[self._entries.index(entry)] = Entry(gap, sequence)

    def acknowledged(self, sequence: int) -> None:
        """The cloud has the batch, so it knows the gaps that it carried."""
        self._entries = [entry for entry in self._entries if entry.carrier != sequence]

    def returned(self, sequence: int) -> None:
        """The batch will never arrive: its gaps are pending again."""
        self._entries = [Entry(entry.gap) if entry.carrier == sequence else entry for entry in self._entries]

    def _merge_oldest(self) -> None:
        for pending_only, same_stream in ((True, True), (False, True), (False, False)):
            seen: dict[tuple[str, str], int] = {}
            for place, entry in enumerate(self._entries):
                if pending_only and entry.carrier != PENDING:
                    continue
                first = seen.setdefault((entry.gap.kind, entry.gap.stream if same_stream else ""), place)
                if first != place:
                    self._entries[first] = Entry(_merged(self._entries[first].gap, entry.gap))
                    del self._entries[place]
                    return


def _adjacent(one: Gap, other: Gap) -> bool:
    return (
        one.kind == other.kind == GapKind.EVICTED
        and one.stream == other.stream
        and one.detail == other.detail
        and one.last_sequence >= 0
        and one.last_sequence + 1 == other.first_sequence
    )


def _lasts(one: Gap, other: Gap) -> bool:
    """The same interruption: a start that was to end it was interrupted before it had stored anything."""
    return (
        one.kind == other.kind == GapKind.INTERRUPTED
        and bool(one.begin_ns)
        and replace(one, end_ns=other.end_ns) == other
    )


def _merged(one: Gap, other: Gap) -> Gap:
    details = [one.detail] if one.detail == other.detail else [one.detail, other.detail]
    named = [gap for gap in (one, other) if gap.first_sequence >= 0]
    if one.stream != other.stream:
        named = [one]
        details.append(f"{other.stream} {other.first_sequence} to {other.last_sequence}")
    return Gap(
        kind=one.kind,
        begin_ns=min((gap.begin_ns for gap in (one, other) if gap.begin_ns), default=0),
        end_ns=max(one.end_ns, other.end_ns),
        frames=-1 if min(one.frames, other.frames) < 0 else one.frames + other.frames,
        stream=one.stream,
        first_sequence=min((gap.first_sequence for gap in named), default=-1),
        last_sequence=max((gap.last_sequence for gap in named), default=-1),
        detail=_shortened("; ".join(filter(None, details)), DETAIL_BYTES_MAX),
    )


def _shortened(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
