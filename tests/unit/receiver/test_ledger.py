# SPDX-License-Identifier: Apache-2.0
"""What was received is remembered, whatever happens to the ledger, and nothing passes for received that was not."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SpoolError
from agent.model import Gap, GapKind
from agent.receiver.batch_receiver import Arrival, BatchReceiver, Verdict
from agent.receiver.gaps import RECORDS_MAX, SequenceRange
from agent.receiver.ledger import LEDGER, Ledger
from agent.receiver.rebuilding import open_ledger
from tests.support.samples import START, batch, steer

DAMAGED = f"{LEDGER}.damaged"


def numbered(number: int, *, angle: int = 1, gaps: tuple[Gap, ...] = (), stream: str = "normal-1") -> bytes:
    return batch(number, [steer(START + number, angle)], gaps=gaps, stream=stream)


def received(out: Path) -> BatchReceiver:
    """A folder with forty batches of two streams, a gap told, half of the files moved away."""
    receiver, gap = BatchReceiver(out), Gap(GapKind.DROPPED, 1, 2, 3, detail="can0")
    payloads = [numbered(number, gaps=(gap,), stream=stream) for number in range(20) for stream in ("a", "b")]
    receiver.accept_some([Arrival(payload, "car-1") for payload in payloads])
    for number in range(10):
        for stream in ("a", "b"):
            (out / f"car-1/{stream}/{number:012d}.batch.zst").unlink()
    return receiver


def verdicts(receiver: BatchReceiver, *payloads: bytes) -> list[str]:
    return [each.verdict.value for each in receiver.accept_some([Arrival(payload) for payload in payloads])]


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(12)), left_out=st.sets(st.integers(0, 11)))
def test_runs_and_digests_say_what_was_entered_in_any_order(order: list[int], left_out: set[int]) -> None:
    ledger = Ledger(Path(":memory:"))
    with ledger.group():
        ledger.make()
        stream = ledger.stream("car-1", "a")
        for number in order:
            if number not in left_out:
                ledger.add(stream, SequenceRange(number, number, number, number))
                ledger.set_digest(stream, number, bytes([number + 1]) * 32)
    here = [number for number in range(12) if number not in left_out]
    assert [number for number in range(13) if ledger.digest(stream, number) is not None] == here
    assert all(ledger.digest(stream, number) == bytes([number + 1]) * 6 for number in here)
    runs = list(ledger.ranges(stream))
    assert [number for run in runs for number in range(run.first, run.last + 1)] == here
    assert all(later.first > run.last + 1 for run, later in pairwise(runs))
    assert all((run.begin_ns, run.end_ns) == (run.first, run.last) for run in runs)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
def test_a_ledger_that_is_lost_or_no_database_is_rebuilt_from_the_files(tmp_path: Path, content: bytes) -> None:
    received(tmp_path)._ledger.close()
    (tmp_path / LEDGER).write_bytes(content)

    receiver = BatchReceiver(tmp_path)

    assert [(gap.kind, gap.stream, gap.first_sequence, gap.last_sequence) for gap in receiver.report()] == [
        ("dropped", "", -1, -1),
        ("earlier", "a", 0, 9),
        ("earlier", "b", 0, 9),
    ]
    assert (tmp_path / DAMAGED).exists() == bool(content)


def test_damaged_ledger_run_costs_itself_and_no_moved_batch_of_other_streams(tmp_path: Path) -> None:
    received(tmp_path)._ledger.close()
    with sqlite3.connect(tmp_path / LEDGER) as database:
        database.execute("UPDATE runs SET last = 99 WHERE stream = 1")
    database.close()

    receiver = BatchReceiver(tmp_path)

    assert [(gap.stream, gap.last_sequence) for gap in receiver.report()] == [("", -1), ("a", 9)]
    gap = Gap(GapKind.DROPPED, 1, 2, 3, detail="can0")
    assert verdicts(receiver, numbered(0, gaps=(gap,), stream="b"), numbered(50, stream="a")) == ["duplicate", "batch"]


def test_a_ledger_that_is_damaged_while_it_is_used_is_rebuilt_and_the_batch_stored(tmp_path: Path) -> None:
    receiver = received(tmp_path)
    with sqlite3.connect(tmp_path / LEDGER) as database:
        database.execute("UPDATE runs SET begin_ns = 1")
    database.close()

    assert verdicts(receiver, numbered(20, stream="a"), numbered(20, stream="a")) == ["batch", "duplicate"]
    assert (tmp_path / DAMAGED).exists()


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    received(tmp_path)._ledger.close()
    with sqlite3.connect(tmp_path / LEDGER) as database:
        database.execute("PRAGMA user_version = 9")
        database.execute(f"PRAGMA application_id = {0x63660000 + 9}")
    database.close()

    with pytest.raises(SpoolError, match="version 9"):
        BatchReceiver(tmp_path)


def test_what_earlier_versions_wrote_down_is_taken_over(tmp_path: Path) -> None:
    """As they wrote it: a line a run of batches, a line a gap record; torn and foreign lines were left out."""
    stream = tmp_path / "car%201" / "a"
    stream.mkdir(parents=True)
    lines = f"0 2 {START} {START + 5}\n4 4 {START} {START}\n9 1 0 0\na b c d\n5\n3 3 0"
    (stream / "received.log").write_text(lines)
    ends = '"stream":"","first_sequence":-1,"last_sequence":-1,"detail":"x"'
    told = f'{{"kind":"dropped","begin_ns":1,"end_ns":2,"frames":3,{ends}}}'
    (tmp_path / "car%201" / "gaps.jsonl").write_text(f"{told}\n" * 2 + "{")
    payloads = [batch(number, [steer(START, number)], vehicle="car 1", stream="a") for number in (4, 6, 7)]
    (stream / "000000000004.batch.zst").write_bytes(payloads[0])
    (stream / "000000000006.batch.zst").write_bytes(payloads[1])

    receiver = BatchReceiver(tmp_path)

    assert [(gap.kind, gap.first_sequence, gap.last_sequence, gap.detail) for gap in receiver.report()] == [
        ("dropped", -1, -1, "x"),
        ("missing", 3, 3, ""),
        ("missing", 5, 5, ""),
    ]
    assert verdicts(receiver, *payloads) == ["duplicate", "duplicate", "batch"]


def test_gap_records_of_a_vehicle_have_a_limit_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with ledger.group():
        ledger.add_gaps("car-2", [Gap("dropped", 5)])
        for begin in range(0, RECORDS_MAX + 2000, 1000):
            ledger.add_gaps("car-1", [Gap("dropped", number) for number in range(begin, begin + 1000)])
    told = [gap.begin_ns for vehicle, gap in ledger.gaps() if vehicle == "car-1"]
    assert told == list(range(2000, RECORDS_MAX + 2000))
    assert sum(vehicle == "car-2" for vehicle, _ in ledger.gaps()) == 1


def test_another_content_under_one_id_is_stored_beside_the_first_once_and_told(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    first, other, third = (numbered(7, angle=angle) for angle in (1, 2, 3))

    assert verdicts(receiver, first, other, first, other) == ["batch", "reused", "duplicate", "duplicate"]
    for path in tmp_path.rglob("*.batch.zst"):
        path.unlink()
    assert verdicts(BatchReceiver(tmp_path), first, other, third) == ["duplicate", "duplicate", "reused"]
    assert [path.read_bytes() for path in tmp_path.rglob("*.batch.zst")] == [third]


def test_two_contents_of_one_id_that_arrive_together_are_both_stored(tmp_path: Path) -> None:
    payloads = [numbered(7, angle=angle) for angle in (1, 2, 1, 2)]

    accepted = BatchReceiver(tmp_path).accept_some([Arrival(payload, "car-1") for payload in payloads])

    assert [each.verdict for each in accepted] == [Verdict.BATCH, Verdict.REUSED, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.batch.zst")) == sorted(payloads[:2])


def test_a_file_that_is_not_what_its_name_says_is_taken_for_none(tmp_path: Path) -> None:
    folder = tmp_path / "car-1" / "normal-1"
    folder.mkdir(parents=True)
    (folder / "000000000003.batch.zst").write_bytes(numbered(3)[:-5])
    (folder / "000000000004.batch.zst").write_bytes(numbered(5))

    assert verdicts(BatchReceiver(tmp_path), numbered(3), numbered(4), numbered(5)) == ["batch", "batch", "batch"]
    assert (folder / "000000000003.batch.zst").read_bytes() == numbered(3)


@pytest.mark.parametrize("text", [b"last INTEGER", b"NULL, first", b"car-1", b"dropped"])
@pytest.mark.parametrize("bit", [0x80, 0x10])
def test_flipped_bit_of_a_text_in_the_ledger_is_damage_and_stops_no_receiver(
    tmp_path: Path, text: bytes, bit: int
) -> None:
    received(tmp_path)._ledger.close()
    content = (tmp_path / LEDGER).read_bytes()
    place = content.index(text) + 2
    (tmp_path / LEDGER).write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])

    receiver = BatchReceiver(tmp_path)

    gap = Gap(GapKind.DROPPED, 1, 2, 3, detail="can0")
    known = [numbered(number, gaps=(gap,), stream="a") for number in range(10, 20)]
    assert verdicts(receiver, *known, numbered(20, stream="a")) == ["duplicate"] * 10 + ["batch"]
    assert (tmp_path / DAMAGED).exists()


@pytest.mark.parametrize("digests", ["a text", 10**15])
def test_digests_of_another_type_are_as_none(tmp_path: Path, digests: object) -> None:
    received(tmp_path)._ledger.close()
    with sqlite3.connect(tmp_path / LEDGER) as database:
        database.execute("UPDATE digests SET digests = ?", (digests,))
    database.close()

    assert verdicts(BatchReceiver(tmp_path), numbered(21, stream="a")) == ["batch"]
