# SPDX-License-Identifier: Apache-2.0
"""The state file."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from agent.model import Gap, GapKind
from agent.spool.gap_ledger import DETAIL_BYTES_MAX, GAPS_MAX, STREAM_BYTES_MAX, Entry
from agent.spool.index import STREAMS_MAX
from agent.spool.state import COPY_BYTES, RANGES_MAX, STATE_BYTES, State, StateFile, Stream
from tests.support.memory_disk import MemoryDisk, PowerCutError

PATH = Path("/spool/state")


def state(number: int) -> State:
    """Longer than a sector, so that it can be torn."""
    gaps = tuple(Entry(Gap(GapKind.DROPPED, number, detail="d" * 100), number) for _ in range(10))
    return State((Stream("s", 0),), number, number, number, ((number + 2, number + 3),), gaps)


def test_the_newest_state_is_found_again() -> None:
    disk = MemoryDisk()
    file = StateFile(disk, PATH)
    assert file.state is None
    for number in range(5):
        file.save(state(number))
        assert StateFile(disk, PATH).state == state(number)


def test_a_torn_save_leaves_the_state_before_it() -> None:
    found = set()
    for seed in range(40):
        disk = MemoryDisk()
        file = StateFile(disk, PATH)
        file.save(state(1))
        file.save(state(2))
        disk.cut_after = 2
        with pytest.raises(PowerCutError):
            file.save(state(3))
        disk.crash(random.Random(seed))
        found.add(StateFile(disk, PATH).state)
    assert found == {state(2), state(3)}


def test_the_largest_state_fits_its_copy() -> None:
    big = 2**63 - 1
    gap = Gap(GapKind.INTERRUPTED, big, big, big, "s" * STREAM_BYTES_MAX, big, big, "d" * DETAIL_BYTES_MAX)
    largest = State(
        (Stream("s" * 32, big, "v" * 128),) * STREAMS_MAX,
        big,
        big,
        big,
        tuple((big - 2 * n, big - 2 * n) for n in range(RANGES_MAX)),
        (Entry(gap, big),) * GAPS_MAX,
    )
    disk = MemoryDisk()
    StateFile(disk, PATH).save(largest)
    assert StateFile(disk, PATH).state == largest


def test_streams_that_were_saved_without_their_vehicle_are_found_again() -> None:
    saved = msgspec.msgpack.encode(((("s", 0), ("t", 5)), 7, 7, 2, (), ()))
    assert msgspec.msgpack.decode(saved, type=State).streams == (Stream("s", 0), Stream("t", 5))


def test_noise_is_no_state() -> None:
    for size in (1, 100, 4096, STATE_BYTES, STATE_BYTES + 5):
        disk = MemoryDisk()
        disk.write(disk.open(PATH, create=True), 0, random.Random(size).randbytes(size))
        assert StateFile(disk, PATH).state is None


def saved(times: int) -> MemoryDisk:
    disk = MemoryDisk()
    file = StateFile(disk, PATH)
    for number in range(times):
        file.save(state(number))
    return disk


def zero(disk: MemoryDisk, copy: int) -> None:
    disk.write(disk.open(PATH), copy * COPY_BYTES, bytes(COPY_BYTES))


def test_a_slot_whose_turn_has_not_come_is_not_damaged() -> None:
    assert StateFile(saved(1), PATH).damaged_copies == 0


def test_a_first_write_that_a_power_cut_took_whole_is_not_damage() -> None:
    whole = 0
    for seed in range(20):
        disk = saved(1)
        disk.cut_after = 2
        with pytest.raises(PowerCutError):
            StateFile(disk, PATH).save(state(1))
        disk.crash(random.Random(seed))
        if not any(disk.read(disk.open(PATH), 0, 2 * COPY_BYTES)):
            whole += 1
            found = StateFile(disk, PATH)
            assert (found.state, found.damaged_copies) == (state(0), 0)
    assert whole


@pytest.mark.parametrize(
    ("times", "copies"), [(1, [2]), (1, [3]), (2, [0]), (2, [2]), (2, [2, 3]), (3, [0, 1]), (3, [2]), (4, [1, 3])]
)
def test_zeros_where_a_state_was_are_damage(times: int, copies: list[int]) -> None:
    disk = saved(times)
    for copy in copies:
        zero(disk, copy)
    found = StateFile(disk, PATH)
    assert (found.state, found.damaged_copies) == (state(times - 1), len(copies))


def test_what_is_no_state_in_a_slot_whose_turn_has_not_come_is_damage() -> None:
    disk = saved(1)
    disk.write(disk.open(PATH), COPY_BYTES, b"x")
    assert StateFile(disk, PATH).damaged_copies == 1


def test_a_slot_that_cannot_be_read_is_damaged() -> None:
    disk = saved(1)
    disk.fail = lambda operation, _: OSError(5, "input/output error") if operation == "read" else None
    assert StateFile(disk, PATH).damaged_copies == 4
