# SPDX-License-Identifier: Apache-2.0
"""What arrives is stored once, whatever it is called and however often it comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.batch.batch_pb2 import Batch as BatchMessage
from agent.errors import BatchError, SpoolError
from agent.model import Gap, GapKind
from agent.receiver import batch_receiver as module
from agent.receiver import ledger as ledger_module
from agent.receiver.batch_receiver import PAYLOAD_MAX, Arrival, BatchReceiver, Verdict
from agent.receiver.layout import safe_name
from agent.receiver.ledger import LEDGER
from tests.support.samples import CATALOG, START, batch, catalog, steer
from tests.unit.receiver.killing import killed_at

FRAMES = [steer(START, 1)]


def files(out: Path) -> list[str]:
    paths = (str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return sorted(path for path in paths if not path.startswith("."))


def test_batches_and_catalogs_get_the_names_that_the_layout_says(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)

    verdicts = [
        receiver.accept(payload, vehicle="car-1").verdict for payload in (batch(7, FRAMES), catalog(), catalog())
    ]

    assert verdicts == [Verdict.BATCH, Verdict.CATALOG, Verdict.CATALOG]
    assert files(tmp_path) == [
        f"car-1/catalogs/{CATALOG.hash}.catalog.zst",
        "car-1/normal-1/000000000007.batch.zst",
    ]
    assert (tmp_path / "car-1/normal-1/000000000007.batch.zst").read_bytes() == batch(7, FRAMES)


def test_a_duplicate_changes_nothing(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    receiver.accept(batch(0, FRAMES))
    before = files(tmp_path)

    assert receiver.accept(batch(0, FRAMES)).verdict is Verdict.DUPLICATE
    assert files(tmp_path) == before
    assert receiver.counts[Verdict.DUPLICATE] == 1


def test_a_restart_still_knows_what_a_consumer_has_moved_away(tmp_path: Path) -> None:
    for number in (0, 1, 2, 5):
        BatchReceiver(tmp_path).accept(batch(number, FRAMES))
    for path in tmp_path.rglob("*.batch.zst"):
        path.unlink()

    verdicts = [BatchReceiver(tmp_path).accept(batch(number, FRAMES)).verdict.value for number in range(6)]

    assert verdicts == ["duplicate"] * 3 + ["batch"] * 2 + ["duplicate"]


def test_a_file_stored_just_before_the_power_went_is_known_without_the_ledger(tmp_path: Path) -> None:
    BatchReceiver(tmp_path).accept(batch(0, FRAMES))
    (tmp_path / LEDGER).unlink()

    assert BatchReceiver(tmp_path).accept(batch(0, FRAMES)).verdict is Verdict.DUPLICATE


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "step",
    [
        "FileGroup.write",
        "Ledger.add",
        "Ledger.set_digest",
        "Ledger.add_gaps",
        "open_ledger",
        "BatchReceiver._store",
        "enter",
    ],
)
def test_killed_at_any_step_it_knows_the_batch_and_its_gaps_after_the_next_start(
    tmp_path: Path, step: str, done: bool
) -> None:
    gap = Gap(GapKind.DROPPED, 1, 2, 3, detail="can0")
    payload = batch(0, FRAMES, gaps=(gap,))
    place = ledger_module if step.startswith("Ledger") else module

    killed_at(place, step, lambda: BatchReceiver(tmp_path).accept(payload), done=done)
    verdict = BatchReceiver(tmp_path).accept(payload).verdict

    assert verdict in (Verdict.BATCH, Verdict.DUPLICATE)
    assert [path.read_bytes() for path in tmp_path.rglob("*.batch.zst")] == [payload]
    assert [(each.kind, each.frames) for each in BatchReceiver(tmp_path).report()] == [("dropped", 3)]
    assert BatchReceiver(tmp_path).accept(payload).verdict is Verdict.DUPLICATE


def test_gap_records_survive_a_restart_and_are_written_once(tmp_path: Path) -> None:
    told = (Gap(GapKind.DROPPED, 1, 2, 3, detail="can0"),)
    BatchReceiver(tmp_path).accept(batch(0, FRAMES, gaps=told))
    BatchReceiver(tmp_path).accept(batch(2, FRAMES, gaps=told))

    report = BatchReceiver(tmp_path).report()

    assert [(gap.kind, gap.first_sequence, gap.frames) for gap in report] == [("dropped", -1, 3), ("missing", 1, -1)]


def test_a_gap_of_a_kind_that_only_a_newer_agent_knows_is_kept_and_reported(tmp_path: Path) -> None:
    told = (Gap("forgotten", 1, 2, 3, detail="newer"),)

    assert BatchReceiver(tmp_path).accept(batch(0, FRAMES, gaps=told)).verdict is Verdict.BATCH

    assert [(gap.kind, gap.frames, gap.detail) for gap in BatchReceiver(tmp_path).report()] == [
        ("forgotten", 3, "newer")
    ]


@pytest.mark.parametrize("name", ["../../etc", "/etc/x", "..", ".", "catalogs", "rejected", "a/b", "a\x00b", "ü"])
def test_no_name_leaves_its_folder_or_meets_another(name: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    receiver = BatchReceiver(out)

    receiver.accept(batch(0, FRAMES, vehicle=name, stream=name))
    receiver.accept(catalog(), vehicle=name)
    receiver.accept(b"rejected")

    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert len(list(out.glob("*/*/*.batch.zst"))) == 1
    assert [gap for gap in receiver.report() if gap.vehicle != name] == []


@given(*[st.sampled_from(["catalogs", "rejected"]) | st.text("./%\\\0 aAü:~\ud800", min_size=1, max_size=5)] * 2)
def test_safe_names_are_safe_and_differ(one: str, other: str) -> None:
    try:
        names = safe_name(one), safe_name(other)
    except (BatchError, UnicodeEncodeError):
        return
    for name in names:
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert name not in ("catalogs", "rejected")
    assert (names[0] == names[1]) == (one == other)


def test_a_batch_on_anothers_topic_is_rejected(tmp_path: Path) -> None:
    accepted = BatchReceiver(tmp_path).accept(batch(0, FRAMES, vehicle="car-2"), vehicle="car-1")

    assert accepted.verdict is Verdict.REJECTED
    assert "car-2" in accepted.reason
    assert files(tmp_path) == ["rejected/000000.payload"]


def test_what_is_no_batch_is_set_aside_and_counted_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REJECTED_MAX", 2)
    receiver = BatchReceiver(tmp_path)
    payload = batch(0, FRAMES)

    for junk in (b"", b"junk", payload[:-1], bytes(100_000)):
        assert receiver.accept(junk).verdict is Verdict.REJECTED

    assert receiver.counts[Verdict.REJECTED] == 4
    assert files(tmp_path) == ["rejected/000000.payload", "rejected/000001.payload"]
    assert BatchReceiver(tmp_path).accept(b"more").path is None


def test_what_was_set_aside_is_never_overwritten(tmp_path: Path) -> None:
    for junk in (b"0", b"1", b"2"):
        BatchReceiver(tmp_path).accept(junk)
    (tmp_path / "rejected/000000.payload").rename(tmp_path / "looked at")
    (tmp_path / "rejected/note.payload").write_bytes(b"a person's")

    receiver, other = BatchReceiver(tmp_path), BatchReceiver(tmp_path)
    receiver.accept(b"3")
    other.accept(b"4")

    assert [(tmp_path / f"rejected/{n:06d}.payload").read_bytes() for n in range(1, 5)] == [b"1", b"2", b"3", b"4"]


def test_a_payload_that_grows_beyond_all_bounds_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.batch.decoder.BATCH_BYTES_MAX", 1 << 20)
    monkeypatch.setattr("agent.batch.catalog.CATALOG_BYTES_MAX", 1 << 20)

    accepted = BatchReceiver(tmp_path).accept(zstandard.ZstdCompressor().compress(bytes(3 << 20)))

    assert accepted.verdict is Verdict.REJECTED
    assert accepted.reason.count("holds more than 1048576 bytes") == 2


def test_a_payload_that_is_too_long_is_rejected_and_cut_short(tmp_path: Path) -> None:
    accepted = BatchReceiver(tmp_path).accept(bytes(PAYLOAD_MAX + 1))

    assert accepted.verdict is Verdict.REJECTED
    assert accepted.path is not None
    assert accepted.path.stat().st_size < 1 << 20


def test_a_sequence_beyond_all_bounds_is_rejected(tmp_path: Path) -> None:
    payload = zstandard.ZstdDecompressor().decompressobj().decompress(batch(0, FRAMES))
    message = BatchMessage.FromString(payload)
    message.sequence = 2**63

    forged = zstandard.ZstdCompressor(write_checksum=True).compress(message.SerializeToString())

    assert BatchReceiver(tmp_path).accept(forged).verdict is Verdict.REJECTED


def test_whatever_is_stored_is_on_the_disk_before_it_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, steps = BatchReceiver(tmp_path), list[str]()
    receiver.accept(batch(9, FRAMES), vehicle="car-1")
    monkeypatch.setattr(os, "fsync", lambda number: steps.append(Path(f"/proc/self/fd/{number}").readlink().name))
    receiver._ledger._db.set_trace_callback(lambda sql: steps.append(sql) if sql == "COMMIT" else None)

    receiver.accept_some([Arrival(payload, "car-1") for payload in (batch(0, FRAMES), b"neither", batch(1, FRAMES))])

    drafts = {"000000000000.batch.zst.part", "000000000001.batch.zst.part", "000000.payload.part"}
    end = steps.index("COMMIT")
    assert steps[end:] == ["COMMIT"]
    assert set(steps[end - 5 : end - 2]) == drafts
    assert set(steps[end - 2 : end]) == {"normal-1", "rejected"}, "their names are, too"


def test_a_disk_that_refuses_raises_and_stores_nothing(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    (tmp_path / "car-1").write_text("a file where a folder should be")

    with pytest.raises(SpoolError, match="cannot store"):
        receiver.accept(batch(0, FRAMES))
    (tmp_path / "car-1").unlink()

    assert receiver.accept(batch(0, FRAMES)).verdict is Verdict.BATCH


def test_where_reading_takes_long_what_was_read_is_stored_first(tmp_path: Path) -> None:
    clock = iter(range(100))
    arrived = [Arrival(batch(number, FRAMES), "car-1") for number in range(5)]

    assert len(BatchReceiver(tmp_path, clock=lambda: next(clock) * module.READING_S / 3).accept_some(arrived)) == 3
    assert len(list(tmp_path.rglob("*.batch.zst"))) == 3


def test_a_disk_that_refuses_one_of_a_group_takes_the_first_of_it(tmp_path: Path) -> None:
    in_the_way = tmp_path / "car-1/normal-1/000000000001.batch.zst.part"
    in_the_way.mkdir(parents=True)
    receiver, arrived = BatchReceiver(tmp_path), [Arrival(batch(number, FRAMES), "car-1") for number in range(3)]
    assert [each.verdict for each in receiver.accept_some(arrived)] == [Verdict.BATCH]
    with pytest.raises(SpoolError, match="cannot store"):
        receiver.accept_some(arrived[1:2])
    in_the_way.rmdir()
    verdicts = [each.verdict for each in receiver.accept_some(arrived)]
    assert verdicts == [Verdict.DUPLICATE, Verdict.BATCH, Verdict.BATCH]


def test_rejected_payload_of_a_refused_group_is_counted_logged_and_stored_once(tmp_path: Path) -> None:
    in_the_way = tmp_path / "car-1/normal-1/000000000001.batch.zst.part"
    in_the_way.mkdir(parents=True)
    receiver = BatchReceiver(tmp_path)
    arrived = [Arrival(each, "car-1") for each in (b"neither", batch(1, FRAMES), b"nor")]

    with capture_logs() as logs:
        assert [each.verdict for each in receiver.accept_some(arrived)] == [Verdict.REJECTED]
        with pytest.raises(SpoolError, match="cannot store"):
            receiver.accept_some(arrived[1:2])
        in_the_way.rmdir()
        assert [each.verdict for each in receiver.accept_some(arrived[1:])] == [Verdict.BATCH, Verdict.REJECTED]

    assert [each["event"] for each in logs] == ["payload_rejected"] * 2
    assert receiver.counts[Verdict.REJECTED] == receiver._rejected == 2
    assert sorted(path.read_bytes() for path in (tmp_path / "rejected").iterdir()) == [b"neither", b"nor"]


def test_payload_that_was_cut_is_rejected_by_its_whole_length(tmp_path: Path) -> None:
    with capture_logs() as logs:
        accepted = BatchReceiver(tmp_path).accept_some([Arrival(batch(0, FRAMES), "car-1", omitted_bytes=34_000_000)])

    assert accepted[0].verdict is Verdict.REJECTED
    assert "at most 4194304 are accepted" in accepted[0].reason
    assert logs[0]["size_bytes"] == 34_000_000 + len(batch(0, FRAMES))
