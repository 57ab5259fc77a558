# SPDX-License-Identifier: Apache-2.0
"""Frames to stored batches: when a batch ends, what it tells, and that nothing is lost or told twice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.batch.catalog import Catalog
from agent.batch.codec import Batch, decode_batch
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import FrameBlock, Gap, GapKind, MessageDefinition, SignalDefinition
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from agent.system.clock import LogClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import SealedBatch

S = 1_000_000_000
T0_NS = 1_700_000_000 * S
NOISE = MessageDefinition("can0", 0x100, "NOISE", 8, (SignalDefinition("A", 0, 32), SignalDefinition("B", 32, 32)))
CATALOG = Catalog(("can0",), (NOISE,))


class StoppedClock(LogClock):
    def wall_ns(self) -> int:
        return T0_NS

    def monotonic_ns(self) -> int:
        return 5 * S

    def boot_id(self) -> str:
        return "00112233-4455-6677-8899-aabbccddeeff"

    def wall_trusted(self) -> bool:
        return True


@dataclass
class ListStore:
    stream: str = "normal-1"
    next_sequence: int = 0
    has_journal: bool = True
    room: int = 1000
    batches: list[SealedBatch] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def append_entry(self, entry: bytes) -> bool:
        if len(self.entries) >= self.room:
            return False
        self.entries.append(entry)
        return True

    def add_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def pending_gaps(self) -> tuple[Gap, ...]:
        return tuple(self.gaps)

    def append(self, batches: Sequence[SealedBatch]) -> None:
        self.batches += batches
        self.next_sequence += len(batches)
        self.entries.clear()
        self.gaps.clear()


def packer(store: ListStore, *, interval_s: float = 10, payload_bytes: int = 48 << 10) -> Packer:
    settings = StreamSettings("car-1", 1_000_000, 3, SealLimits(int(interval_s * S), payload_bytes))
    stream = Stream(CATALOG, store, settings, StoppedClock())
    return Packer(Decoder(Plan(CATALOG.buses, CATALOG.messages)), {Priority.NORMAL: stream})


def frames(begin_s: float, rows: int, *, every_s: float = 0.01, seed: int = 0) -> FrameBlock:
    random = np.random.default_rng(seed)
    return FrameBlock(
        T0_NS + ((begin_s + np.arange(rows) * every_s) * S).astype(np.int64),
        np.zeros(rows, np.uint8),
        np.full(rows, 0x100, np.uint32),
        np.full(rows, 8, np.uint8),
        np.zeros(rows, np.uint8),
        random.integers(0, 256, (rows, 8), np.uint8),
    )


def stored(store: ListStore) -> list[Batch]:
    return [decode_batch(batch.payload, CATALOG) for batch in store.batches]


def rows(batches: Sequence[Batch]) -> int:
    return sum(len(group.time_ns) for batch in batches for group in batch.groups)


def test_a_batch_ends_before_it_would_span_more_than_its_interval() -> None:
    store = ListStore()
    packing = packer(store)
    for second in range(25):
        packing.process(frames(second, 100))
    packing.seal()
    spans = [(batch.sealed_ns - batch.opened_ns) / S for batch in stored(store)]
    assert [batch.id.sequence for batch in stored(store)] == [0, 1, 2]
    assert spans == pytest.approx([9.99, 9.99, 4.99])
    assert rows(stored(store)) == 2500


def test_what_made_room_for_the_last_batch_is_told_before_the_silence() -> None:
    evicted = Gap(GapKind.EVICTED, stream="normal-1", first_sequence=0, last_sequence=0, detail="the spool was full")

    @dataclass
    class FullStore(ListStore):
        def append(self, batches: Sequence[SealedBatch]) -> None:
            super().append(batches)
            self.gaps += [evicted] if len(self.batches) == 1 else []

    store = FullStore()
    packing = packer(store)
    packing.process(frames(0, 100))
    packing.seal()
    assert [(batch.frames, batch.gaps) for batch in stored(store)] == [(100, ()), (0, (evicted,))]
    packing.seal()
    assert len(store.batches) == 2


def test_a_batch_that_grows_large_is_sealed_early_and_never_exceeds_its_payload() -> None:
    store = ListStore()
    packing = packer(store, payload_bytes=8 << 10)
    for second in range(12):
        packing.process(frames(second, 700, every_s=0.001, seed=second))
    packing.seal()
    assert rows(stored(store)) == 12 * 700
    assert max(len(batch.payload) for batch in store.batches) <= 8 << 10
    assert len(store.batches) < 12 * 700 * 9 / (8 << 10) * 2
    assert [batch.id.sequence for batch in stored(store)] == list(range(len(store.batches)))


def test_one_large_block_is_stored_as_several_batches() -> None:
    store = ListStore()
    packing = packer(store, payload_bytes=4 << 10)
    packing.process(frames(0, 5000, every_s=0.0001))
    packing.seal()
    assert rows(stored(store)) == 5000
    assert max(len(batch.payload) for batch in store.batches) <= 4 << 10


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_clock_that_is_set_ends_the_batch(step_s: int) -> None:
    store = ListStore()
    packing = packer(store)
    packing.process(frames(0, 100))
    packing.process(frames(1 + step_s, 100))
    packing.seal()
    assert [len(group.time_ns) for batch in stored(store) for group in batch.groups] == [100, 100]


def test_every_block_is_noted_until_its_batch_is_stored() -> None:
    store = ListStore()
    packing = packer(store)
    for second in range(3):
        packing.process(frames(second, 10))
    assert rows([decode_batch(entry, CATALOG) for entry in store.entries]) == 30
    assert {decode_batch(entry).id.sequence for entry in store.entries} == {0}
    packing.seal()
    assert store.entries == []


def test_a_full_journal_seals_the_batch() -> None:
    store = ListStore(room=2)
    packing = packer(store)
    for second in range(3):
        packing.process(frames(second, 10))
    assert rows(stored(store)) == 30
    assert not packing.has_open_batch


def test_a_gap_is_told_by_the_next_batch_and_by_no_other() -> None:
    store = ListStore()
    packing = packer(store)
    packing.report_gap(Gap(GapKind.DROPPED, 1, 2, 17))
    for second in (0, 20, 40):
        packing.process(frames(second, 10))
    packing.seal()
    assert [[gap.frames for gap in batch.gaps] for batch in stored(store)] == [[17], [], []]
    assert packing.counters.gaps == 1


def test_nothing_is_sealed_where_nothing_came() -> None:
    store = ListStore()
    packing = packer(store)
    packing.process(FrameBlock.empty())
    packing.seal()
    assert store.batches == []


def test_unknown_and_partial_frames_are_counted_in_the_batch_and_beside_it() -> None:
    store = ListStore()
    packing = packer(store)
    block = frames(0, 10)
    block.can_id[:3] = 0x55
    block.length[5:7] = 3
    packing.process(block)
    packing.seal()
    (batch,) = stored(store)
    assert [(count.can_id, count.frames) for count in batch.unknown] == [(0x55, 3)]
    assert sum(batch.partial.values()) == 2
    assert batch.frames == 10
    counters = packing.counters
    assert (counters.frames, counters.frames_decoded, counters.frames_unknown, counters.decode_errors) == (10, 7, 3, 2)


def test_ten_thousand_unknown_ids_do_not_outgrow_the_batch() -> None:
    store = ListStore()
    packing = packer(store)
    block = frames(0, 10_000, every_s=0.0001)
    packing.process(replace(block, can_id=np.arange(10_000, dtype=np.uint32) | np.uint32(0x8000_0000)))
    packing.seal()
    batches = stored(store)
    assert sum(count.frames for batch in batches for count in batch.unknown) == 10_000
    assert max(len(batch.unknown) for batch in batches) <= 257


def test_noted_parts_become_the_batch_that_was_open() -> None:
    before, after = ListStore(), ListStore(next_sequence=7)
    dying = packer(before)
    for second in range(3):
        dying.process(frames(second, 50, seed=second))
    reborn = packer(after)
    reborn.report_gap(Gap(GapKind.INTERRUPTED, 1, 2))
    reborn.recover(Priority.NORMAL, [decode_batch(entry, CATALOG) for entry in before.entries], CATALOG)
    (recovered,) = stored(after)
    dying.seal()
    (whole,) = stored(before)
    assert recovered.id.sequence == 7
    assert [gap.kind for gap in recovered.gaps] == [GapKind.INTERRUPTED]
    assert (recovered.frames, recovered.opened_ns, recovered.sealed_ns) == (
        whole.frames,
        whole.opened_ns,
        whole.sealed_ns,
    )
    for one, other in zip(recovered.groups, whole.groups, strict=True):
        assert one.time_ns.tolist() == other.time_ns.tolist()
        assert {n: c.tolist() for n, c in one.columns.items()} == {n: c.tolist() for n, c in other.columns.items()}
