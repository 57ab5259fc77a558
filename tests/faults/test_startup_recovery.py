# SPDX-License-Identifier: Apache-2.0
"""A process that ends at any step of sealing, and at any step of taking over what an earlier one left behind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.batch.catalog import Catalog, encode_catalog
from agent.batch.codec import UnknownCount, decode_batch
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import Event, EventKind, FrameBlock, Gap, GapKind, MessageDefinition, SignalDefinition
from agent.pipeline.batch_cutter import BatchCutter
from agent.pipeline.open_batch import SealLimits, split_batch
from agent.pipeline.packer import Packer
from agent.pipeline.startup_recovery import Start, recover
from agent.pipeline.storage import ClassStore
from agent.pipeline.stream import Stream, StreamSettings
from agent.spool.catalogs import CatalogStore
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk, PowerCutError

if TYPE_CHECKING:
    from agent.batch.codec import Batch

HOME = Path("/spool")
MS = 10**6
START_NS = 1_700_000_000 * 10**9
INTERVAL_NS = 1000 * MS
FRAMES = 60
PAYLOAD_BYTES = 900
CUT_BYTES = 400
NOISE = MessageDefinition(
    "car", 0x100, "NOISE", 8, (SignalDefinition("COUNT", 0, 32), SignalDefinition("NOISE", 32, 32))
)
CATALOG = Catalog(("car",), (NOISE,))
OTHER_CATALOG = Catalog(("car", "trailer"), (NOISE,))
CONTENT = {catalog.hash: encode_catalog(catalog) for catalog in (CATALOG, OTHER_CATALOG)}
DECODER = Decoder(Plan(CATALOG.buses, CATALOG.messages))


@dataclass
class FakeClock:
    now_ns: int = START_NS

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_trusted(self) -> bool:
        return True

    def boot_id(self) -> str:
        return "00000000-0000-0000-0000-000000000001"


@dataclass
class Car:
    """Frames with a running count and noise that nothing compresses, one a millisecond.

    fed       the next count
    stored    all below were noted or sealed when `take` returned
    """

    shelf: CatalogStore
    disk: MemoryDisk = field(default_factory=lambda: MemoryDisk(256 << 20))
    clock: FakeClock = field(default_factory=FakeClock)
    random: random.Random = field(default_factory=lambda: random.Random(7))
    payload_bytes: int = PAYLOAD_BYTES
    fed: int = 0
    stores: dict[Priority, ClassStore] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)

    def start(self, catalog: Catalog = CATALOG, *, unsealed_since_ns: int = 0) -> None:
        self.clock.now_ns += 700 * MS
        self.spool = Spool.open(HOME / "normal", SpoolOptions(1 << 20, segment_bytes=64 << 10), disk=self.disk)
        journal = Journal.open(HOME / "journal", 64 << 10, disk=self.disk, clock=self.clock.wall_ns)
        limits = SealLimits(3600 * 10**9, self.payload_bytes)
        settings = StreamSettings("car-1", MS, 3, limits)
        stores: dict[Priority, ClassStore] = {Priority.NORMAL: ClassStore(self.spool, journal)}
        self.stream = Stream(catalog, stores[Priority.NORMAL], settings, self.clock)
        self.stores = stores
        self.packer = Packer(DECODER, {Priority.NORMAL: self.stream})
        listening_ns = self.clock.wall_ns()
        self.shelf.put(catalog.hash, CONTENT[catalog.hash])
        start = Start(listening_ns, INTERVAL_NS, unsealed_since_ns)
        recover(stores, Priority.NORMAL, self.shelf, self.packer, start)

    def cut(self) -> None:
        """As the broker's limit wants it."""
        cutter = BatchCutter(self.stores, self.shelf, self.packer, "car-1")
        cutter.fit(CUT_BYTES)
        while cutter.cut_next(CUT_BYTES):
            pass

    def feed(self) -> None:
        """One block; stored once this returns."""
        self.clock.now_ns += FRAMES * MS
        counts = range(self.fed, self.fed + FRAMES)
        self.fed += FRAMES
        data = np.frombuffer(
            b"".join(number.to_bytes(4, "little") + self.random.randbytes(4) for number in counts), np.uint8
        )
        times = self.clock.now_ns - np.arange(FRAMES, 0, -1, dtype=np.int64) * MS
        self.fed_ns[counts[0] : counts[-1] + 1] = times
        full = np.full(FRAMES, 8, np.uint8)
        empty = np.zeros(FRAMES, np.uint8)
        ids = np.full(FRAMES, 0x100, np.uint32)
        self.packer.process(FrameBlock(times, empty, ids, full, empty, data.reshape(FRAMES, 8)))
        self.stored.update(counts)

    def __post_init__(self) -> None:
        self.fed_ns = np.zeros(100_000, np.int64)

    def batches(self) -> list[Batch]:
        return [decode_batch(record.payload, CATALOG) for record in self.spool.oldest(-1, 10_000)]


@pytest.fixture
def shelf(tmp_path: Path) -> CatalogStore:
    return CatalogStore(tmp_path)


def numbers(batches: list[Batch]) -> list[int]:
    return sorted(int(value) for batch in batches for group in batch.groups for value in group.columns[0])


def check(car: Car) -> list[Batch]:
    """Everything stored is spooled once, what is missing lies in a gap, no gap is told twice."""
    car.packer.seal()
    batches = car.batches()
    found = numbers(batches)
    assert len(found) == len(set(found)), "a sample was spooled twice"
    assert car.stored <= set(found), "a stored sample was lost"
    assert set(found) <= set(range(car.fed))
    gaps = [gap for batch in batches for gap in batch.gaps] + list(car.spool.pending_gaps())
    assert len(gaps) == len(set(gaps)), "a gap was told twice"
    interruptions = [gap for gap in gaps if gap.kind == GapKind.INTERRUPTED]
    for number in set(range(car.fed)) - set(found):
        assert _told(int(car.fed_ns[number]), interruptions), number
    assert all(sum(len(group.time_ns) for group in batch.groups) == batch.frames for batch in batches)
    return batches


def _told(time_ns: int, gaps: list[Gap]) -> bool:
    return any(gap.begin_ns <= time_ns <= gap.end_ns for gap in gaps)


def end(car: Car, how: str) -> None:
    """The process is killed, or the power goes."""
    if how == "killed":
        car.disk.kill()
    else:
        car.disk.crash(car.random)


def feed_until_sealed(car: Car, steps: int) -> bool:
    """Cut after so many steps; False where a batch was stored before."""
    batches = car.packer.counters.batches
    while car.packer.counters.batches == batches:
        if car.packer.has_open_batch:  # the block that seals it
            car.disk.cut_after = steps
        try:
            car.feed()
        except PowerCutError:
            return True
    car.disk.cut_after = -1
    return False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["killed", "without power"])
def test_a_batch_stored_as_several_is_whole_wherever_the_process_ends(shelf: CatalogStore, how: str) -> None:
    for steps in count():
        car = Car(shelf)
        car.start()
        cut = feed_until_sealed(car, steps)
        if not cut:
            assert car.packer.counters.batches >= 4, "it was not stored as several"
        end(car, how)
        car.start()
        car.feed()
        check(car)
        if not cut:
            break
    assert steps > 5


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["killed", "without power"])
@pytest.mark.parametrize(("steps_before", "payload_bytes"), [(3, PAYLOAD_BYTES), (7, 10 * PAYLOAD_BYTES)])
def test_a_recovery_interrupted_at_any_step_is_finished_by_the_next(
    shelf: CatalogStore, steps_before: int, payload_bytes: int, how: str
) -> None:
    for steps in count():
        car = Car(shelf)
        car.start()
        feed_until_sealed(car, steps_before)
        end(car, how)
        car.payload_bytes = payload_bytes
        car.disk.cut_after = steps
        try:
            car.start()
            cut = False
        except PowerCutError:
            cut = True
        end(car, how)
        car.start()
        car.feed()
        check(car)
        if not cut:
            break
    assert steps > 10


def test_what_is_recovered_is_spooled_as_several_where_one_would_be_too_large(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.stream._bytes_per_value = 0.01  # it has been told that everything compresses
    for _ in range(8):
        car.feed()
    end(car, "killed")
    car.start()
    batches = check(car)
    assert len(batches) > 2
    assert [batch.id.sequence for batch in batches] == list(range(len(batches)))
    assert all(len(record.payload) < 2 * PAYLOAD_BYTES for record in car.spool.oldest(-1, 100))
    assert [bool(batch.gaps) for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_interruption_gap_spans_from_last_stored_frame_to_next_listening(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    last_ns = car.clock.now_ns - MS
    end(car, "killed")
    car.start()
    (gap,) = check(car)[0].gaps
    assert last_ns - 2 * MS <= gap.begin_ns <= last_ns
    assert gap.end_ns == car.clock.now_ns


def test_a_start_that_stored_nothing_does_not_tell_the_interruption_again(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    car.packer.seal()
    for _ in range(3):
        end(car, "killed")
        car.start()
    (gap,) = car.spool.pending_gaps()
    assert gap.kind == GapKind.INTERRUPTED
    assert gap.end_ns == car.clock.now_ns


def test_notes_whose_catalog_is_gone_are_a_gap(tmp_path: Path, shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    (path,) = tmp_path.glob("*.zst")
    path.unlink()
    for _ in range(2):
        end(car, "killed")
        car.start(OTHER_CATALOG)
    assert [gap.kind for gap in car.spool.pending_gaps()].count(GapKind.CORRUPT) == 1


def test_a_clock_that_was_set_back_leaves_the_begin_open(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    end(car, "killed")
    car.clock.now_ns -= 3600 * 10**9
    car.start()
    (gap,) = check(car)[0].gaps
    assert (gap.begin_ns, gap.end_ns) == (0, car.clock.now_ns)


def test_a_process_killed_before_its_first_note_is_told_from_when_it_listened(shelf: CatalogStore) -> None:
    car = Car(shelf)
    since_ns = car.clock.now_ns
    car.start(unsealed_since_ns=since_ns)
    (gap,) = car.spool.pending_gaps()
    assert (gap.kind, gap.begin_ns, gap.end_ns) == (GapKind.INTERRUPTED, since_ns, car.clock.now_ns)


def test_a_gap_begins_with_the_last_note_where_the_process_came_so_far(shelf: CatalogStore) -> None:
    car = Car(shelf)
    since_ns = car.clock.now_ns
    car.start()
    car.feed()
    noted_until_ns = int(car.fed_ns[car.fed - 1])
    end(car, "killed")
    car.start(unsealed_since_ns=since_ns)
    gaps = [gap for gap in car.spool.pending_gaps() if gap.kind == GapKind.INTERRUPTED]
    gaps += [gap for batch in car.batches() for gap in batch.gaps if gap.kind == GapKind.INTERRUPTED]
    assert [gap.begin_ns for gap in gaps] == [noted_until_ns - MS]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["killed", "without power"])
def test_batches_cut_anew_arrive_once_wherever_the_process_ends(shelf: CatalogStore, how: str) -> None:
    for steps in count():
        car = Car(shelf)
        car.start()
        while car.packer.counters.batches < 3:
            car.feed()
        large = {record.number for record in car.spool.oldest(-1, 100) if len(record.payload) > CUT_BYTES}
        car.disk.cut_after = steps
        try:
            car.cut()
            interrupted = False
        except PowerCutError:
            interrupted = True
        car.disk.cut_after = -1
        end(car, how)
        car.start()
        car.cut()
        batches = check(car)
        assert all(len(record.payload) <= CUT_BYTES for record in car.spool.oldest(-1, 1000))
        told = [gap for batch in batches for gap in batch.gaps] + list(car.spool.pending_gaps())
        missing = {
            number
            for gap in told
            if gap.kind == GapKind.CUT
            for number in range(gap.first_sequence, gap.last_sequence + 1)
        }
        assert large <= missing, "the number of a batch that was cut is told"
        assert all(gap.frames == 0 for gap in told if gap.kind == GapKind.CUT)
        if not interrupted:
            break
    assert steps > 10


@pytest.mark.timeout(120)
def test_an_interruption_while_an_old_batch_is_cut_is_not_as_old(shelf: CatalogStore) -> None:
    for steps in count():
        car = Car(shelf)
        car.start()
        while not car.packer.counters.batches:
            car.feed()
        end(car, "killed")
        car.clock.now_ns += 3600 * 10**9
        car.start()
        since_ns = car.clock.wall_ns()
        car.disk.cut_after = steps
        try:
            car.cut()
            break
        except PowerCutError:
            car.disk.cut_after = -1
        end(car, "without power")
        car.start(unsealed_since_ns=since_ns)
        gaps = [gap for batch in check(car) for gap in batch.gaps if gap.kind == GapKind.INTERRUPTED]
        assert [gap.begin_ns for gap in gaps if gap.end_ns > since_ns] == [since_ns], steps
    assert steps > 10


def test_batches_sealed_while_there_was_no_limit_are_cut_when_it_is_back(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    cutter = BatchCutter(car.stores, car.shelf, car.packer, "car-1")
    for _ in range(2):
        cutter.fit(None)
        car.feed()
        car.packer.seal()
        assert any(len(record.payload) > CUT_BYTES for record in car.spool.oldest(-1, 100))
        cutter.fit(CUT_BYTES)
        while cutter.cut_next(CUT_BYTES):
            pass
        assert all(len(record.payload) <= CUT_BYTES for record in car.spool.oldest(-1, 100))


def test_a_batch_that_cannot_be_cut_stays_as_it_is(shelf: CatalogStore, tmp_path: Path) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    car.packer.seal()
    (before,) = car.spool.oldest()
    cutter = BatchCutter(car.stores, car.shelf, car.packer, "car-1")
    assert not cutter.cut_next(60)  # a batch of one row is larger
    assert not BatchCutter(car.stores, CatalogStore(tmp_path / "other"), car.packer, "car-1").cut_next(CUT_BYTES)
    assert car.spool.oldest(-1, 10) == [before]
    assert not car.spool.pending_gaps()


def test_a_batch_is_cut_with_its_events_counts_and_frames(shelf: CatalogStore) -> None:
    car = Car(shelf)
    car.start()
    car.feed()
    car.packer.seal()
    (batch,) = car.batches()
    batch = replace(
        batch, frames=100, events=(Event(EventKind.BACK, START_NS, "car.NOISE"),), unknown=(UnknownCount(0, 5, 40),)
    )
    for pieces in (1, 2, 3, FRAMES, 2 * FRAMES):
        cut = split_batch(batch, pieces)
        assert len(cut) == min(pieces, FRAMES)
        assert numbers(cut) == numbers([batch])
        assert sum(piece.frames for piece in cut) == 100
        assert [event for piece in cut for event in piece.events] == list(batch.events)
        assert [count for piece in cut for count in piece.unknown] == list(batch.unknown)
        assert (cut[0].opened_ns, cut[-1].sealed_ns) == (batch.opened_ns, batch.sealed_ns)
