# SPDX-License-Identifier: Apache-2.0
"""The spool and its journal against a model, with power cuts at any write, losing any of what was not synced."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.model import Gap, GapKind, SealedBatch
from agent.spool.journal import Journal
from agent.spool.retention import SEGMENT_BYTES, layout
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk, PowerCutError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(120)
LIMIT = 640 * 1024
JOURNAL_BYTES = layout(LIMIT, SEGMENT_BYTES).journal_bytes
HOME = Path("/spool")


class SpoolMachine(RuleBasedStateMachine):
    """`sealed`: payloads whose `append` returned; `journaled`: those of the open batch in the journal."""

    @initialize()
    def begin(self) -> None:
        self.disk = MemoryDisk()
        self.now = 0.0
        self.sealed: dict[int, bytes] = {}
        self.acknowledged: set[int] = set()
        self.journaled: list[bytes] = []
        self.attempted: dict[int, bytes] = {}
        self.told: dict[int, tuple[Gap, ...]] = {}
        self.known: list[Gap] = []
        self.lost_frames = 0
        self.telling: tuple[Gap, ...] = ()
        self.count = 0
        self.open()
        self.stream = self.spool.stream

    def open(self) -> None:
        self.spool = Spool.open(HOME, SpoolOptions(LIMIT), disk=self.disk, clock=lambda: self.now)
        self.journal = Journal.open(HOME / "journal", JOURNAL_BYTES, disk=self.disk)
        recovery = self.journal.recover(self.spool.unsealed_sequence)
        assert recovery.lost == 0
        self.recovered = list(recovery.payloads)
        self.journal.start()

    @rule(size=st.integers(0, 25_000), gaps=st.booleans())
    def seal(self, size: int, gaps: bool) -> None:
        self.append(size, gaps)

    def append(self, size: int, gaps: bool) -> None:
        sequence = self.spool.next_sequence
        self.count += 1
        payload = self.count.to_bytes(4, "little") + random.Random(self.count).randbytes(size)
        told = self.spool.pending_gaps() if gaps else ()
        assert sequence not in self.sealed, "a number was used again"
        self.attempted[sequence], self.telling = payload, told
        record = self.spool.append(
            SealedBatch(payload, catalog="c" * 32, begin_ns=sequence + 1, end_ns=sequence + 2, frames=1, gaps=told)
        )
        assert record is not None
        self.sealed[sequence] = payload
        self.told[sequence] = told
        self.journal.recycle()
        self.journaled = []

    @rule(size=st.integers(0, 9_000))
    def write_journal(self, size: int) -> None:
        self.count += 1
        payload = self.count.to_bytes(4, "little") + bytes(size)
        if self.journal.append(self.spool.next_sequence, payload):
            self.journaled.append(payload)

    @precondition(lambda self: self.sealed)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.sealed)))
        self.acknowledge_one(sequence)

    def acknowledge_one(self, sequence: int) -> None:
        if sequence not in self.acknowledged and self.spool.read(sequence) is not None:
            self.acknowledged.add(sequence)
            self.known.extend(self.told[sequence])
            self.spool.acknowledge(sequence)

    def acknowledge_all(self) -> None:
        for sequence in sorted(self.sealed):
            self.acknowledge_one(sequence)

    @rule()
    def report_a_drop(self) -> None:
        self.lost_frames += 1
        self.spool.add_gap(Gap(GapKind.DROPPED, frames=1))

    @precondition(lambda self: self.sealed)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.sealed)))
        self.spool.set_aside(sequence, "too large")

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.journal.close()
        self.open()
        assert self.recovered == self.journaled

    @rule()
    def kill(self) -> None:
        self.disk.kill()
        self.open()
        assert self.recovered == self.journaled

    @rule(
        steps=st.integers(0, 12),
        seed=st.integers(0, 2**32),
        act=st.sampled_from(["seal", "acknowledge", "gap", "journal"]),
    )
    def power_cut(self, steps: int, seed: int, act: str) -> None:
        self.disk.cut_after = steps
        before = self.spool.next_sequence
        acts: dict[str, Callable[[], None]] = {
            "seal": lambda: self.append(seed % 20_000, seed % 2 == 0),
            "acknowledge": self.acknowledge_all,
            "gap": self.report_a_drop,
            "journal": lambda: self.write_journal(seed % 9_000),
        }
        lost_frames, journaled = self.lost_frames, list(self.journaled)
        try:
            for _ in range(12):
                lost_frames, journaled = self.lost_frames, list(self.journaled)
                acts[act]()
        except PowerCutError:
            self.lost_frames = lost_frames
        before = max([before, *(each + 1 for each in self.sealed)])
        chance = random.Random(seed)
        self.disk.crash(chance)
        if chance.random() < 0.5:  # and again, while it starts
            self.disk.cut_after = chance.randint(0, 12)
            try:
                self.open()
            except PowerCutError:
                self.disk.crash(chance)
                self.open()
            else:
                self.disk.crash(chance)
                self.open()
        else:
            self.open()
        assert self.spool.next_sequence >= before
        attempted = self.attempted.get(before)
        found = self.spool.read(before)
        if found is not None:
            assert found.payload == attempted
            self.sealed[before] = found.payload
            self.told[before] = self.telling
            self.journaled = []
            assert self.recovered == [], "the journal tells what the spool holds"
        else:
            assert self.recovered[: len(journaled)] == journaled
            self.journaled = list(self.recovered)

    @invariant()
    def everything_is_there_or_reported(self) -> None:
        gaps = [*self.known, *(entry.gap for entry in self.spool._index.ledger.entries)]
        for sequence, payload in self.sealed.items():
            record = self.spool.read(sequence)
            if record is not None:
                assert record.payload == payload
                assert record.stream == self.stream
            elif sequence not in self.acknowledged:
                assert any(
                    gap.first_sequence <= sequence <= gap.last_sequence and gap.stream == self.stream for gap in gaps
                ), f"{sequence} is missing without a word"

    @invariant()
    def no_gap_is_forgotten(self) -> None:
        gaps = [*self.known, *(entry.gap for entry in self.spool._index.ledger.entries)]
        assert sum(gap.frames for gap in gaps if gap.kind == GapKind.DROPPED) >= self.lost_frames
        assert not any(gap.kind == GapKind.CORRUPT for gap in gaps)

    @invariant()
    def the_limit_holds(self) -> None:
        assert self.disk.used() <= LIMIT

    @invariant()
    def records_come_in_order(self) -> None:
        sequences = [record.sequence for record in self.spool.oldest(limit=10_000)]
        assert sequences == sorted(set(sequences))
        assert len(sequences) == self.spool.status().records


SpoolMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpoolAgainstItsModel = SpoolMachine.TestCase
