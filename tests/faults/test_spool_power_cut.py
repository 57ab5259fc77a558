# SPDX-License-Identifier: Apache-2.0
"""A day in the spool's life, cut off before each single operation on the disk, with different losses."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.model import Gap, GapKind, SealedBatch
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk, PowerCutError

pytestmark = pytest.mark.timeout(180)
HOME = Path("/spool")
LIMIT = 640 * 1024
ROUNDS = 40


@dataclass
class Diary:
    """What the outside world may rely on: written only after the spool returned."""

    sealed: dict[int, bytes] = field(default_factory=dict)
    acknowledged: set[int] = field(default_factory=set)
    journaled: list[bytes] = field(default_factory=list)
    carried: dict[int, tuple[Gap, ...]] = field(default_factory=dict)
    known: list[Gap] = field(default_factory=list)
    dropped_frames: int = 0


def opened(disk: MemoryDisk) -> tuple[Spool, Journal, tuple[bytes, ...]]:
    spool = Spool.open(HOME, SpoolOptions(LIMIT, ack_delay_s=3), disk=disk, clock=lambda: float(len(disk.trace)))
    journal = Journal.open(HOME / "journal", 32 * 1024, disk=disk)
    recovery = journal.recover(spool.unsealed_sequence)
    assert recovery.lost == 0
    return spool, journal, recovery.payloads


def live_a_day(disk: MemoryDisk, diary: Diary, rounds: int) -> None:
    spool, journal, _ = opened(disk)
    for turn in range(rounds):
        part = b"%d" % turn + bytes(turn * 100 % 5000)
        if journal.append(spool.next_sequence, part):
            diary.journaled.append(part)
        if turn % 7 == 3:
            spool.add_gap(Gap(GapKind.DROPPED, frames=1))
            diary.dropped_frames += 1
        gaps = spool.pending_gaps() if turn % 3 == 0 else ()
        sequence = spool.next_sequence
        payload = random.Random(sequence).randbytes(turn * 7919 % 30_000)
        diary.carried[sequence] = gaps
        assert spool.append(SealedBatch(payload, catalog="", begin_ns=1, end_ns=2, frames=1, gaps=gaps)) is not None
        assert sequence not in diary.sealed
        diary.sealed[sequence] = payload
        journal.recycle()
        diary.journaled = []
        if turn % 4 == 1 and turn < rounds // 2:  # then the link is away and the spool overflows
            for done in (sequence, sequence - 2, sequence - 1):
                if spool.read(done) is not None:
                    diary.acknowledged.add(done)
                    diary.known.extend(diary.carried[done])
                    spool.acknowledge(done)
        if turn % 11 == 5 and spool.read(sequence - 1) is not None:
            spool.set_aside(sequence - 1, "too large")
    spool.close()
    journal.close(clean=True)


def check(disk: MemoryDisk, diary: Diary) -> None:
    spool, _, recovered = opened(disk)
    gaps = [*diary.known, *(entry.gap for entry in spool._index.ledger.entries)]
    for entry in spool._index.ledger.entries:
        assert entry.carrier == -1 or spool.read(entry.carrier) is not None, "carried by nothing"
    newest = max(diary.sealed, default=-1)
    assert spool.next_sequence > newest
    for sequence, payload in diary.sealed.items():
        record = spool.read(sequence)
        if record is not None:
            assert record.payload == payload
        elif sequence not in diary.acknowledged:
            assert any(gap.first_sequence <= sequence <= gap.last_sequence for gap in gaps), sequence
    assert not [gap for gap in gaps if gap.kind == GapKind.CORRUPT]
    assert sum(gap.frames for gap in gaps if gap.kind == GapKind.DROPPED) >= diary.dropped_frames
    if spool.read(newest + 1) is None:
        assert list(recovered[: len(diary.journaled)]) == diary.journaled
    else:
        assert recovered == ()
    for record in spool.oldest(limit=1000):
        assert record.sequence in diary.sealed or record.sequence == newest + 1
    assert disk.used() <= LIMIT + 32 * 1024


def test_the_day_recycles_evicts_and_deletes() -> None:
    disk = MemoryDisk()
    live_a_day(disk, Diary(), ROUNDS)
    assert {"rename", "remove", "sync", "write", "sync_directory"} <= set(disk.trace)


def steps_of_the_day() -> int:
    disk = MemoryDisk()
    live_a_day(disk, Diary(), ROUNDS)
    return len(disk.trace)


@pytest.mark.parametrize("loss", range(6))
def test_a_power_cut_before_any_operation_loses_nothing_that_was_promised(loss: int) -> None:
    for cut in range(loss % 3, steps_of_the_day(), 3):  # two losses at each step
        disk, diary = MemoryDisk(), Diary()
        disk.cut_after = cut
        with pytest.raises(PowerCutError):
            live_a_day(disk, diary, ROUNDS)
        chance = random.Random(cut * 10 + loss)
        disk.crash(chance)
        disk.cut_after = loss * 3  # and again while it starts
        try:
            opened(disk)
        except PowerCutError:
            disk.crash(chance)
        else:
            disk.kill()
        check(disk, diary)
