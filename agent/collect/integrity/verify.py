# SPDX-License-Identifier: Apache-2.0
"""Message counters and checksums, verified a block at a time.

A frame whose checksum is not what its payload makes it, or whose counter is beyond its last value, is *wrong*. Between
frames that are not, the counter says how many are *missing*; wrong ones in between count as received. One with the
counter of the one before, with none in between, is *repeated*: its sender hangs, or it was sent anew.

Promise: the same frames are judged and counted the same, however they come in blocks.
Limits: a counter says nothing of whole turns: of sixteen frames lost, none may be missing. Frames that do not carry the
signals, short ones and multiplexed ones, are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.integrity.checksums import Checksums
from agent.collect.rebased_time import NEVER
from agent.model import EXTENDED_MASK, Event, EventKind, split_group_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.integrity.protection import MessageProtection
    from agent.collect.signal_index import SignalIndex, Staying

_NONE = -1


REPORTED_EVERY_NS = 60_000_000_000
"""What goes on being amiss is reported at once, and then so often."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something amiss with one message in one block.

    time_ns   of the first frame that shows it, its own time
    subject   bus.message · can_id: its arbitration id word
    frames    how many are wrong, missing or repeated
    """

    kind: EventKind
    time_ns: int
    subject: str
    can_id: int
    frames: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a block's frames are worth.

    wrong     bool (R,), rows that are wrong; None where none is
    dropped   bool (R,), those whose checksum is wrong and that are not to be kept for it; None where all are
    """

    wrong: NDArray[np.bool_] | None = None
    dropped: NDArray[np.bool_] | None = None
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class IntegrityCounters:
    """Of one message: its frames, and what was found of them; the numbers only grow."""

    frames: int = 0
    wrong: int = 0
    missing: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """The values of one signal of some messages, end to end; those of a message in the order received.

    stream_key    int64 (c,), of each column · begin int64 (c+1,), the c-th has values begin[c]…begin[c+1]
    column  int64 (n,), of each value · row int64 (n,), in the block · raw uint64 (n,)
    """

    stream_key: NDArray[np.int64]
    begin: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    raw: NDArray[np.uint64]


class Findings:
    """What is reported: each kind of each message at once, and then once a while how many more there were."""

    def __init__(self) -> None:
        self._reported: dict[tuple[EventKind, str], int] = {}
        self._more: dict[tuple[EventKind, str], Finding] = {}

    def report(self, findings: Iterable[Finding], now: int) -> list[Event]:
        """Events to report now, of these findings and of those that were held back. `now`: rebased time."""
        for finding in findings:
            key = finding.kind, finding.subject
            held = self._more.get(key)
            self._more[key] = finding if held is None else replace(held, frames=held.frames + finding.frames)
        due = [key for key in self._more if now - self._reported.get(key, NEVER) >= REPORTED_EVERY_NS]
        self._reported |= dict.fromkeys(due, now)
        return [_event(self._more.pop(key)) for key in due]

    def set_clock(self, step_ns: int) -> None:
        """The wall clock was set forward by so much: so are the times of what is held back."""
        self._more = {key: replace(each, time_ns=each.time_ns + step_ns) for key, each in self._more.items()}

    def flush(self) -> list[Event]:
        """What was held back."""
        events = [_event(finding) for finding in self._more.values()]
        self._more.clear()
        return events


def _event(finding: Finding) -> Event:
    frames = f"{finding.frames} frame{'' if finding.frames == 1 else 's'}"
    return Event(finding.kind, finding.time_ns, finding.subject, finding.can_id, frames)


class Integrity:
    """Verifies the messages that have a protection, by their index in the plan's messages."""

    def __init__(self, signal_index: SignalIndex, protections: Mapping[int, MessageProtection]) -> None:
        self._signal_index = signal_index
        self._protections = list(protections.values())
        self._number = {message: number for number, message in enumerate(protections)}
        self._checksums = Checksums(self._protections)
        self._modulus = np.array([protection.counter_max + 1 for protection in self._protections], np.int64)
        self._drops = np.array([protection.config.drop for protection in self._protections], np.bool_)
        self._subjects: list[str] = []
        self._protection = np.empty(0, np.int64)
        self._counter = np.empty(0, np.int64)
        self._checksum = np.empty(0, np.int64)
        self._last = np.empty(0, np.int64)
        self._wrong_since = np.empty(0, np.int64)
        self._frames = np.empty(0, np.int64)
        self._counts = dict.fromkeys(EventKind, np.empty(0, np.int64))
        self._left: dict[str, IntegrityCounters] = {}  # of stream keys that are not there any more
        signal_index.on_change(self._grow, self._shrink)

    def _grow(self, stream_keys: range) -> None:
        number = [self._number.get(int(self._signal_index.message[stream_key]), _NONE) for stream_key in stream_keys]
        first = self._signal_index.first[stream_keys.start : stream_keys.stop].tolist()
        own = [self._protections[each] if each >= 0 else None for each in number]
        counter = [at + g.counter if g and g.counter >= 0 else _NONE for at, g in zip(first, own, strict=True)]
        checksum = [at + g.checksum if g and g.checksum >= 0 else _NONE for at, g in zip(first, own, strict=True)]
        self._subjects += [
            f"{self._signal_index.bus_name(stream_key)}.{self._signal_index.message_name(stream_key)}"
            for stream_key in stream_keys
        ]
        self._protection = np.concatenate([self._protection, np.array(number, np.int64)])
        self._counter = np.concatenate([self._counter, np.array(counter, np.int64)])
        self._checksum = np.concatenate([self._checksum, np.array(checksum, np.int64)])
        self._last = np.concatenate([self._last, np.full(len(stream_keys), _NONE, np.int64)])
        none = np.zeros(len(stream_keys), np.int64)
        self._wrong_since = np.concatenate([self._wrong_since, none])
        self._frames = np.concatenate([self._frames, none])
        self._counts = {kind: np.concatenate([counts, none]) for kind, counts in self._counts.items()}

    def _shrink(self, staying: Staying) -> None:
        leaving = (staying.stream_key_of < 0) & (self._frames > 0)
        self._left = self._counted(leaving.nonzero()[0].tolist(), self._left)
        stream_keys = staying.stream_keys
        self._subjects = [self._subjects[stream_key] for stream_key in stream_keys.tolist()]
        self._protection, self._last, self._wrong_since, self._frames = (
            each.take(stream_keys) for each in (self._protection, self._last, self._wrong_since, self._frames)
        )
        self._counter, self._checksum = (
            np.where(each < 0, _NONE, staying.slot_of.take(each)).take(stream_keys)
            for each in (self._counter, self._checksum)
        )
        self._counts = {kind: counts.take(stream_keys) for kind, counts in self._counts.items()}

    def counters(self) -> dict[str, IntegrityCounters]:
        """By bus.message, of each that has been verified."""
        return self._counted(self._frames.nonzero()[0].tolist(), self._left)

    def _counted(
        self, stream_keys: Sequence[int], before: Mapping[str, IntegrityCounters]
    ) -> dict[str, IntegrityCounters]:
        """What was counted of some stream keys, added to what was before."""
        found = {subject: replace(counters) for subject, counters in before.items()}
        for stream_key in stream_keys:
            counters = found.setdefault(self._subjects[stream_key], IntegrityCounters())
            counters.frames += int(self._frames[stream_key])
            counters.wrong += int(self._counts[EventKind.WRONG][stream_key])
            counters.missing += int(self._counts[EventKind.MISSING][stream_key])
            counters.repeated += int(self._counts[EventKind.REPEATED][stream_key])
        return found

    def verify(self, view: BlockView) -> Verdict:
        """What the frames of the next block are worth."""
        groups = (self._protection.take(view.stream_key) >= 0).nonzero()[0]
        if not len(groups):
            return Verdict()
        protected, rows = view.stream_key.take(groups), np.diff(view.block.row_start).take(groups)
        counted, checked = (_read(view, signal.take(protected)) for signal in (self._counter, self._checksum))
        wrong, damaged = self._wrong(view, counted, checked)
        missing, repeated = self._follow(counted, ~wrong[counted.row])
        wrong_rows = wrong.nonzero()[0]
        findings = [
            *self._find(view, wrong_rows, np.ones_like(wrong_rows), EventKind.WRONG),
            *self._find(view, counted.row, missing, EventKind.MISSING),
            *self._find(view, counted.row, repeated, EventKind.REPEATED),
        ]
        self._frames[protected] += rows
        if not len(wrong_rows):
            return Verdict(findings=findings)
        dropped = damaged
        dropped[wrong_rows] &= self._drops.take(self._protection.take(view.row_stream_key.take(wrong_rows)))
        return Verdict(wrong, dropped if dropped.any() else None, findings)

    def _wrong(self, view: BlockView, counted: _Read, checked: _Read) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool (R,), twice: whether counter or checksum of each row cannot be; whether its checksum cannot."""
        block, frames = view.block, view.frames
        counter, wrong, damaged = np.zeros(len(block), np.int64), *np.zeros((2, len(block)), np.bool_)
        if len(counted.row):
            counter[counted.row] = counted.raw
            wrong[counted.row] = counter[counted.row] >= self._of(self._modulus, counted)
        if len(checked.row):
            at = view.arrival.take(checked.row)
            expected = self._checksums.expected(
                self._protection.take(checked.stream_key).take(checked.column),
                frames.data[at],
                frames.length[at],
                frames.can_id[at] & np.uint32(EXTENDED_MASK),
                counter.take(checked.row),
            )
            damaged[checked.row] = expected != checked.raw
        return wrong | damaged, damaged

    def _of(self, table: NDArray[np.int64], read: _Read) -> NDArray[np.int64]:
        """The entry of each value's protection."""
        return table.take(self._protection.take(read.stream_key)).take(read.column)

    def _follow(self, counted: _Read, good: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many frames are missing before each that was counted, and whether it is a repeated one (0 or 1)."""
        missing, repeated = np.zeros(len(good), np.int64), np.zeros(len(good), np.int64)
        if not len(good):
            return missing, repeated
        sizes = np.diff(counted.begin)
        at = good.nonzero()[0]
        column, raw = counted.column.take(at), counted.raw.take(at).astype(np.int64)
        place = at - counted.begin.take(column)
        stream_key = counted.stream_key.take(column)
        is_first, is_last = np.ones(len(at), np.bool_), np.ones(len(at), np.bool_)
        is_first[1:] = is_last[:-1] = column[1:] != column[:-1]
        before, between = np.empty_like(raw), np.empty_like(raw)
        before[1:], between[1:] = raw[:-1], np.diff(place) - 1
        before[is_first] = self._last[stream_key[is_first]]
        between[is_first] = place[is_first] + self._wrong_since[stream_key[is_first]]
        passed = (raw - before) % self._of(self._modulus, counted).take(at)
        known = before >= 0
        missing[at] = np.where(known, np.maximum(passed - 1 - between, 0), 0)
        repeated[at] = known & (passed == 0) & (between == 0)
        self._wrong_since[counted.stream_key] += sizes
        self._wrong_since[stream_key[is_last]] = sizes.take(column[is_last]) - 1 - place[is_last]
        self._last[stream_key[is_last]] = raw[is_last]
        return missing, repeated

    def _find(
        self, view: BlockView, row: NDArray[np.int64], frames: NDArray[np.int64], kind: EventKind
    ) -> list[Finding]:
        """What is found of a kind, by message."""
        found: list[Finding] = []
        if not frames.any():
            return found
        row, frames = row[frames > 0], frames[frames > 0]
        stream_keys = view.row_stream_key.take(row)
        for stream_key in np.unique(stream_keys).tolist():
            own = stream_keys == stream_key
            total, first = int(frames[own].sum()), int(row[own].min())
            self._counts[kind][stream_key] += total
            _, _, can_id = split_group_key(int(self._signal_index.key[stream_key]))
            found.append(Finding(kind, int(view.block.time_ns[first]), self._subjects[stream_key], can_id, total))
        return found


def _read(view: BlockView, slots: NDArray[np.int64]) -> _Read:
    columns = view.place.take(slots[slots >= 0])
    gathered = view.gather(columns[columns >= 0])
    return _Read(
        view.stream_key.take(view.block.column_group.take(gathered.columns)),
        gathered.begin,
        np.arange(len(gathered.columns)).repeat(gathered.counts),
        view.rows_of(gathered),
        view.block.values.take(gathered.place),
    )
