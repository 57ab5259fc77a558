# SPDX-License-Identifier: Apache-2.0
"""A spool that is put back, copied or flashed with an image: no stream and number ever name two batches."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.model import BatchId, Gap, GapKind, SealedBatch
from agent.receiver.gaps import EARLIER, MISSING, GapAccount
from agent.spool.continuity import LINES_MAX, Continuity, Left
from agent.spool.index import STREAMS_MAX
from agent.spool.store import Spool, SpoolOptions

if TYPE_CHECKING:
    from pathlib import Path

VEHICLE = "car-1"


@dataclass
class Unit:
    """A car's disk and memory, and what its cloud has received: each number's content, and the records of gaps."""

    folder: Path
    boot: int = 1
    count: int = 0
    cloud: dict[tuple[str, int], bytes] = field(default_factory=dict)
    told: list[Gap] = field(default_factory=list)

    @property
    def spool_folder(self) -> Path:
        return self.folder / "disk" / "normal"

    @property
    def copy(self) -> Path:
        return self.folder / "copy"

    def open(self) -> Spool:
        memory = self.folder / f"memory-{self.boot}"
        memory.mkdir(parents=True, exist_ok=True)
        continuity = Continuity(memory / "line", f"boot-{self.boot}")
        return Spool.open(
            self.spool_folder, SpoolOptions(8 << 20, segment_bytes=64 << 10, vehicle=VEHICLE), continuity=continuity
        )

    def seal(self, spool: Spool, batches: int = 1, *, send: bool = True) -> None:
        """Batches that no other is like, sent at once or not."""
        for _ in range(batches):
            self.count += 1
            gaps = spool.pending_gaps()
            record = spool.append(
                SealedBatch(
                    b"%s %d" % (bytes(self.folder), self.count), catalog="", begin_ns=1, end_ns=2, frames=1, gaps=gaps
                )
            )
            assert record is not None
            self.told += gaps
            if send:
                self.send(spool)

    def send(self, spool: Spool) -> None:
        """All that waits; the same number never has another content."""
        for record in spool.oldest(limit=10_000):
            known = self.cloud.setdefault((record.stream, record.number), record.payload)
            assert known == record.payload, f"{record.stream}/{record.number} names two batches"
            spool.acknowledge(record.sequence)

    def run(self, batches: int = 5, *, send: bool = True) -> str:
        """A process from its start to its end; its stream."""
        spool = self.open()
        stream = spool.stream
        self.seal(spool, batches, send=send)
        spool.close()
        return stream

    def keep_copy(self) -> None:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.spool_folder, self.copy)

    def put_back(self, how: str) -> None:
        if how == "in place":  # the same inodes
            for path in self.spool_folder.iterdir():
                if not (self.copy / path.name).exists():
                    path.unlink()
            shutil.copytree(self.copy, self.spool_folder, dirs_exist_ok=True)
        else:
            shutil.rmtree(self.spool_folder)
            shutil.copytree(self.copy, self.spool_folder)

    def missing(self) -> list[tuple[str, str, int, int]]:
        """What the receiver names."""
        account = GapAccount()
        for stream, number in self.cloud:
            account.receive(BatchId(VEHICLE, stream, number), 1, 2, ())
        account.add_records(VEHICLE, self.told)
        named = [gap for gap in account.report() if gap.first_sequence >= 0]
        return [(gap.kind, gap.stream, gap.first_sequence, gap.last_sequence) for gap in named]


@pytest.mark.parametrize("how", ["in place", "anew"])
@pytest.mark.parametrize("boots", [0, 1])
def test_a_spool_that_is_put_back_gives_no_number_out_again(tmp_path: Path, how: str, boots: int) -> None:
    car = Unit(tmp_path)
    first = car.run()
    car.keep_copy()
    car.run(7)
    car.put_back(how)
    car.boot += boots
    assert car.run(9) != first
    assert len(car.cloud) == 5 + 7 + 9
    assert car.missing() == []


def test_what_waits_in_a_copy_is_sent_under_its_own_name(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    first = car.run(3, send=False)
    car.keep_copy()
    car.run(2)
    car.put_back("anew")
    spool = car.open()
    assert [(record.stream, record.number) for record in spool.oldest(limit=9)] == [(first, n) for n in range(3)]
    car.seal(spool, 2)
    assert dict(sorted(car.cloud)) == {first: 4, spool.stream: 1}
    spool.close()


def test_a_copy_taken_before_anything_was_sealed_is_another_stream_too(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    car.open().close()
    car.keep_copy()
    car.run()
    car.boot += 1
    car.put_back("anew")
    car.run()
    assert len(car.cloud) == 10
    assert {number for _, number in car.cloud} == set(range(5)), "each stream counts from 0"


def test_two_cars_of_one_image_never_share_a_stream(tmp_path: Path) -> None:
    image = Unit(tmp_path / "factory")
    image.run(3, send=False)
    image.keep_copy()
    cars = [Unit(tmp_path / name) for name in ("one", "other")]
    cloud: dict[tuple[str, int], bytes] = {}
    for car in cars:
        shutil.copytree(image.copy, car.spool_folder)
        car.cloud = cloud
        car.run(4)
    assert len(cloud) == 3 + 2 * 4


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_a_stream_goes_on_in_the_boot_that_left_it(tmp_path: Path, ended: str) -> None:
    car = Unit(tmp_path)
    streams = set()
    for _ in range(4):
        spool = car.open()
        streams.add(spool.stream)
        car.seal(spool, 3)
        if ended == "killed":
            spool._files.close()  # nothing is saved
        else:
            spool.close()
    assert len(streams) == 1
    assert sorted(number for _, number in car.cloud) == list(range(12))
    assert car.told == []


def test_a_process_killed_before_it_recorded_its_number_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    car = Unit(tmp_path)
    spool = car.open()
    stream = spool.stream
    monkeypatch.setattr(Continuity, "record", lambda *_: None)
    car.seal(spool)
    monkeypatch.undo()
    spool._files.close()
    assert car.run() == stream


def test_a_boot_begins_another_stream_and_tells_where_the_one_before_ended(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    first = car.run(6)
    car.boot += 1
    with capture_logs() as logs:
        second = car.run(2)
    assert logs == [], "a boot is nothing to warn of"
    assert first != second
    (gap,) = car.told
    assert (gap.kind, gap.stream, gap.first_sequence, gap.last_sequence) == (GapKind.ENDED, first, 0, 5)
    assert car.missing() == []
    for number in (4, 5):  # the broker acknowledged them, and lost them
        del car.cloud[first, number]
    assert car.missing() == [(MISSING, first, 4, 5)]
    for number in range(4):
        del car.cloud[first, number]
    assert car.missing() == [(EARLIER, first, 0, 5)]


def test_a_boot_that_sealed_nothing_leaves_no_stream(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    car.run(1)
    for _ in range(3):
        car.boot += 1
        car.open().close()
    car.boot += 1
    spool = car.open()
    assert len(spool._index.streams) == 1
    assert len(spool.pending_gaps()) == 1
    spool.close()


def test_a_spool_deleted_while_the_agent_was_stopped_is_told(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    first = car.run(3)
    car.run(4, send=False)
    shutil.rmtree(car.spool_folder)
    with capture_logs() as logs:
        car.run(1)
    assert [(line["event"], line["batches"]) for line in logs] == [("spool_replaced", 7)]
    assert [gap.kind for gap in car.told] == [GapKind.ENDED, GapKind.INTERRUPTED], "nobody knows what was open"
    assert car.missing() == [(MISSING, first, 3, 6)]


def test_without_a_place_in_memory_each_start_begins_a_stream(tmp_path: Path) -> None:
    streams = set()
    for _ in range(3):
        spool = Spool.open(tmp_path / "normal", SpoolOptions(1 << 20), continuity=Continuity(None, "boot"))
        streams.add(spool.stream)
        spool.close()
    assert len(streams) == 3


def test_more_waiting_streams_than_there_is_room_for_lose_nothing(tmp_path: Path) -> None:
    car = Unit(tmp_path)
    with capture_logs() as logs:
        for _ in range(STREAMS_MAX + 3):
            car.run(1, send=False)
            car.boot += 1
    assert [line["event"] for line in logs] == ["stream_kept"] * 3
    spool = car.open()
    car.send(spool)
    assert len(car.cloud) == STREAMS_MAX + 3
    assert car.missing() == []
    spool.close()


def test_somebody_elses_line_in_a_shared_folder_is_no_proof(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("boot s 0 ")
    (tmp_path / "line").symlink_to(target)
    with capture_logs() as logs:
        continuity = Continuity(tmp_path / "line", "boot")
    assert continuity.left is None
    assert [line["event"] for line in logs] == ["continuity_not_kept"]
    continuity.record("s", 1)
    assert target.read_text() == "boot s 0 "


def test_a_line_that_cannot_be_written_is_no_proof_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    continuity = Continuity(tmp_path / "line", "boot")
    continuity.record("s", 1)

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.pwrite", refuse)
    with capture_logs() as logs:
        continuity.record("s", 2)
    assert [line["event"] for line in logs] == ["continuity_not_kept"]
    assert Continuity(tmp_path / "line", "boot").left is None


def test_lines_of_spools_that_are_gone_do_not_gather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    (tmp_path / "agent.sock").touch()
    for number in range(LINES_MAX + 9):
        continuity = Continuity.of(tmp_path / f"{number}/normal", "boot")
        continuity.record("s", number)
        continuity.close()
        if number == 0:
            (line,) = tmp_path.glob("canferry-*")
            os.utime(line, ns=(0, 0))
    assert len(list(tmp_path.glob("canferry-normal-*"))) <= LINES_MAX + 1
    assert Continuity.of(tmp_path / f"{number}/normal", "boot").left == Left("s", LINES_MAX + 8)
    assert Continuity.of(tmp_path / "0/normal", "boot").left is None
    assert (tmp_path / "agent.sock").exists()
