# SPDX-License-Identifier: Apache-2.0
"""The journal on a healthy disk."""

from __future__ import annotations

from pathlib import Path

from agent.spool.journal import Journal, Recovery
from tests.support.memory_disk import MemoryDisk

PATH = Path("/spool/journal")


def opened(disk: MemoryDisk) -> Journal:
    disk.kill()
    return Journal.open(PATH, 64 * 1024, disk=disk, clock=lambda: 1000 + len(disk.trace))


def test_what_was_journaled_for_the_open_batch_is_recovered_in_order() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    parts = [bytes([number]) * number * 1000 for number in range(5)]
    assert all(journal.append(3, part) for part in parts)
    recovery = opened(disk).recover(3)
    assert recovery.payloads == tuple(parts)
    assert not recovery.clean
    assert recovery.last_written_ns > 1000


def test_a_sealed_batch_is_not_recovered_even_if_the_process_died_before_recycling() -> None:
    disk = MemoryDisk()
    opened(disk).append(3, b"three")
    assert opened(disk).recover(4).payloads == ()


def test_after_recycling_what_an_earlier_batch_left_is_not_recovered() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    for _ in range(9):
        journal.append(3, bytes(4500))
    journal.recycle()
    journal.append(4, b"four")
    assert opened(disk).recover(4).payloads == (b"four",)


def test_a_skipped_number_keeps_the_batch_alive_under_the_next() -> None:
    disk = MemoryDisk()
    opened(disk).append(3, b"a")
    journal = opened(disk)
    assert journal.recover(3).payloads == (b"a",)
    journal.append(4, b"b")
    journal = opened(disk)
    assert journal.recover(3).payloads == (b"a", b"b")
    assert opened(disk).recover(5).payloads == ()


def test_a_torn_payload_is_never_called_lost_at_a_later_start() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.append(0, b"a")
    journal.append(0, b"torn" * 2000)
    disk.damage(str(PATH), 2 * 4096 + 300)
    journal = opened(disk)
    assert journal.recover(0).payloads == (b"a",)
    journal.append(0, b"b")
    recovery = opened(disk).recover(0)
    assert recovery.payloads == (b"a", b"b")
    assert recovery.lost == 0


def test_a_full_journal_says_so_and_goes_on_after_recycling() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    count = 0
    while journal.append(0, bytes(3900)):
        count += 1
    assert count == 15 // 2  # the rest is kept for `replace`
    assert not journal.append(0, bytes(1 << 20))
    journal.recycle()
    assert journal.append(1, b"x")
    assert len(disk.inodes[str(PATH)].cached) == 64 * 1024


def test_small_payloads_may_fill_three_quarters() -> None:
    journal = opened(MemoryDisk())
    assert [journal.append(0, b"x") for _ in range(12)] == [True] * 11 + [False]


def test_what_was_appended_always_has_room_to_be_replaced() -> None:
    journal = opened(MemoryDisk())
    parts = []
    while journal.append(0, bytes(9000)):
        parts.append(bytes(9000))
    assert journal.replace(0, [b"".join(parts)])


def test_a_larger_file_is_cut_off_when_nothing_in_it_is_needed_any_more() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    parts = [bytes([number]) * 8000 for number in range(3)]
    assert all(journal.append(0, part) for part in parts)
    for _ in range(2):  # the first start is cut off before what is recovered is spooled
        disk.kill()
        journal = Journal.open(PATH, 16 * 1024, disk=disk)
        assert journal.recover(0).payloads == tuple(parts)
        assert journal.replace(0, parts), "there is as much room as in the larger file"
        assert len(disk.inodes[str(PATH)].cached) == 64 * 1024
    journal.recycle()
    journal.start()
    assert len(disk.inodes[str(PATH)].cached) == 16 * 1024
    assert journal.append(3, b"x")
    disk.kill()
    assert Journal.open(PATH, 16 * 1024, disk=disk).recover(3).payloads == (b"x",)


def test_a_clean_stop_is_told_from_a_kill() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    assert journal.recover(0) == Recovery()
    journal.start()
    journal = opened(disk)
    assert not journal.recover(0).clean
    journal.close(clean=True)
    journal = opened(disk)
    assert journal.recover(0).clean
    journal.close()
    journal = opened(disk)
    assert journal.recover(0).clean  # it never started to keep anything
    journal.append(0, b"x")
    assert not opened(disk).recover(0).clean


def test_an_append_costs_one_sync() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.start()
    before = disk.syncs
    journal.append(0, bytes(10_000))
    assert disk.syncs == before + 1


def replaced(disk: MemoryDisk) -> Journal:
    journal = opened(disk)
    for part in (b"a", b"b"):
        assert journal.append(3, part)
    assert journal.replace(3, [b"three", b"four", b"five"])
    return journal


def test_batches_that_replaced_the_parts_are_recovered_until_each_is_spooled() -> None:
    disk = MemoryDisk()
    replaced(disk)
    left = [b"three", b"four", b"five"]
    for unsealed in (3, 4, 5, 6):
        journal = opened(disk)
        recovery = journal.recover(unsealed)
        assert recovery.payloads == tuple(left)
        assert journal.is_replaced == bool(left)
        left = left[1:]


def test_a_replacement_that_was_cut_off_leaves_the_parts() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.append(3, b"a")
    journal.append(3, b"b")
    before = bytes(disk.inodes[str(PATH)].cached)
    journal.replace(3, [b"three" * 2000, b"four"])
    after = bytes(disk.inodes[str(PATH)].cached)
    written = [at for at in range(0, len(after), 512) if before[at : at + 512] != after[at : at + 512]]
    for missing in written[:-1]:  # the last one repeats the head
        content = after[:missing] + before[missing : missing + 512] + after[missing + 512 :]
        disk.inodes[str(PATH)].durable[:] = disk.inodes[str(PATH)].cached[:] = content
        journal = opened(disk)
        assert journal.recover(3).payloads == (b"a", b"b")
        assert journal.append(3, b"c")
        assert opened(disk).recover(3).payloads == (b"a", b"b", b"c")


def test_a_damaged_replacement_is_counted_once_its_first_batch_is_spooled() -> None:
    disk = MemoryDisk()
    replaced(disk)
    payload = bytes(disk.inodes[str(PATH)].cached).index(b"three")
    disk.damage(str(PATH), payload)
    assert opened(disk).recover(4).lost == 2
    assert opened(disk).recover(6).lost == 0
    assert opened(disk).recover(3).payloads == (b"a", b"b")


def test_replacements_go_on_in_turn_at_both_ends_of_the_file() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.append(3, bytes(20_000))
    for sequence in range(3, 9):
        batches = (bytes([sequence]) * 15_000, b"rest")
        assert journal.replace(sequence, batches)
        journal = opened(disk)
        assert journal.recover(sequence).payloads == batches
    journal.recycle()
    journal.append(10, b"x")
    assert opened(disk).recover(10).payloads == (b"x",)


def test_a_replacement_without_room_changes_nothing() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.append(3, b"a")
    assert not journal.replace(3, [bytes(64 * 1024)])
    assert opened(disk).recover(3).payloads == (b"a",)


def test_the_mark_tells_since_when_the_file_is_in_use() -> None:
    disk = MemoryDisk()
    opened(disk).start(since_ns=77)
    assert opened(disk).recover(0).last_written_ns == 77
