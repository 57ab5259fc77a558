# SPDX-License-Identifier: Apache-2.0
"""Batch files come out as one line a frame: in time order, each once, numbers as the DBC says."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import AgentError, ConfigError
from agent.model import EXTENDED, Event, EventKind, Gap, GapKind
from agent.receiver.export import ExportSummary, export
from agent.receiver.inventory import Inventory
from tests.support.hostile_batches import CATALOG as WIDE
from tests.support.hostile_batches import packed, shaped
from tests.support.samples import CATALOG, MS, SECOND, START, batch, modes, steer, store

if TYPE_CHECKING:
    from pathlib import Path


def exported(tmp_path: Path, *paths: Path, name: str = "jsonl", **options: Any) -> tuple[ExportSummary, list[Any]]:
    out = tmp_path / f"out.{name}"
    summary = export(Inventory(paths or [tmp_path]), name, out, **options)
    text = out.read_text()
    return summary, [json.loads(line) for line in text.splitlines()] if name == "jsonl" else text.splitlines()


def test_a_frame_is_one_line_exactly_as_the_contract_says(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START + 123 * MS, 3, 90, 1)]))

    exported(tmp_path)

    assert (tmp_path / "out.jsonl").read_text() == (
        '{"t": 1700000000.123, "bus": "can0", "id": 260, "extended": false, "message": "STEER", '
        '"signals": {"ANGLE": -1.5, "TORQUE": -10, "STATE": 1}}\n'
    )


def test_value_tables_are_names_only_where_asked_for(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 0, 0, 1), steer(START + MS, 0, 0, 2)]))

    _, lines = exported(tmp_path, choices=True)

    assert [line["signals"]["STATE"] for line in lines] == ['On "line"', 2]


def test_a_multiplexed_frame_has_the_signals_that_it_carries_and_not_finite_is_null(tmp_path: Path) -> None:
    frames = [
        modes(START, 1, struct.pack("<f", 2.5)),
        modes(START + MS, 2, (7).to_bytes(4, "little")),
        modes(START + 2 * MS, 1, struct.pack("<f", float("nan"))),
        modes(START + 3 * MS, 3),
    ]
    store(tmp_path, 0, batch(0, frames))

    _, lines = exported(tmp_path)

    assert [line["id"] for line in lines] == [0x18FEF100] * 4
    assert [line["signals"] for line in lines] == [
        {"KIND": 1, "SPEED": 2.5},
        {"KIND": 2, "COUNT": 7},
        {"KIND": 1, "SPEED": None},
        {"KIND": 3},
    ]


def test_raw_frames_of_unknown_ids_keep_their_bytes(tmp_path: Path) -> None:
    frames = [(START, 0, 0x7FF, b"\x00\xff\x10"), (START + MS, 1, 0x123 | EXTENDED, b"")]
    store(tmp_path, 0, batch(0, frames, keep_unknown=True))

    _, lines = exported(tmp_path)

    assert lines == [
        {"t": 1700000000.0, "bus": "can0", "id": 0x7FF, "extended": False, "message": None, "data": "00ff10"},
        {"t": 1700000000.001, "bus": "can1", "id": 0x123, "extended": True, "message": None, "data": ""},
    ]


def test_an_id_of_11_bits_is_not_the_same_of_29(tmp_path: Path) -> None:
    frames = [(START, 0, 0x123, b"\x01"), (START + MS, 0, 0x123 | EXTENDED, b"\x02")]
    store(tmp_path, 0, batch(0, frames, keep_unknown=True))

    _, lines = exported(tmp_path)
    assert [(line["id"], line["extended"], line["data"]) for line in lines] == [
        (0x123, False, "01"),
        (0x123, True, "02"),
    ]
    _, rows = exported(tmp_path, name="csv")
    assert rows[1:] == ["1700000000.000,can0,291,,data,01,,false", "1700000000.001,can0,291,,data,02,,true"]


def test_frames_of_all_batches_and_streams_come_in_time_order_each_once(tmp_path: Path) -> None:
    even = [steer(START + 2 * n * MS, n) for n in range(500)]
    odd = [modes(START + (2 * n + 1) * MS, 2, n.to_bytes(4, "little")) for n in range(500)]
    for number in range(10):
        store(tmp_path, number, batch(number, even[number * 50 : number * 50 + 50]))
    store(tmp_path, 0, batch(0, odd, stream="high-1"), stream="high-1")
    (tmp_path / "again.batch.zst").write_bytes(batch(3, even[150:200]))

    summary, lines = exported(tmp_path)

    times = [line["t"] for line in lines]
    assert times == sorted(times)
    assert len(set(times)) == 1000
    assert (summary.frames, summary.batches, summary.duplicates, summary.gaps) == (1000, 11, 1, ())


def test_frames_of_one_message_keep_their_order_within_one_time_and_across_batches(tmp_path: Path) -> None:
    store(tmp_path, 1, batch(1, [steer(START, 4), steer(START, 6)]))
    store(tmp_path, 0, batch(0, [steer(START, -2), modes(START, 2), steer(START, 2)]))

    _, lines = exported(tmp_path)

    assert [line["signals"]["ANGLE"] for line in lines if line["message"] == "STEER"] == [1.0, -1.0, -2.0, -3.0]


def test_a_frame_from_before_the_clock_was_set_comes_first(tmp_path: Path) -> None:
    frames = [steer(5 * MS, 1), steer(START, 2), steer(START + MS, 3)]
    store(tmp_path, 0, batch(0, frames))
    store(tmp_path, 1, batch(1, [steer(6 * MS, 4), steer(START + 2 * MS, 5)]))

    _, lines = exported(tmp_path)

    assert [line["t"] for line in lines] == [0.005, 0.006, 1700000000.0, 1700000000.001, 1700000000.002]


def test_csv_has_one_line_a_value_with_the_unit_quoted_where_it_must(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 3, 90, 1)]))

    _, lines = exported(tmp_path, name="csv", choices=True)

    assert lines == [
        "time,bus,id,message,signal,value,unit,extended",
        "1700000000.000,can0,260,STEER,ANGLE,-1.5,deg,false",
        '1700000000.000,can0,260,STEER,TORQUE,-10,"N,m",false',
        '1700000000.000,can0,260,STEER,STATE,"On ""line""",,false',
    ]


def test_a_broken_file_costs_itself_and_is_named(tmp_path: Path) -> None:
    payload = batch(0, [steer(START, 1)])
    store(tmp_path, 0, payload)
    broken = store(tmp_path, 1, payload[:-3])

    summary, lines = exported(tmp_path)

    assert len(lines) == 1
    assert [problem.place for problem in summary.problems] == [str(broken)]


def test_a_missing_catalog_is_named_and_other_batches_are_exported(tmp_path: Path) -> None:
    store(tmp_path / "a", 0, batch(0, [steer(START, 1)]))
    (tmp_path / "a/car-1/catalogs" / f"{CATALOG.hash}.catalog.zst").unlink()

    summary, lines = exported(tmp_path, tmp_path / "a")

    assert lines == []
    assert f"{CATALOG.hash}.catalog.zst" in str(summary.problems[0])
    assert "1 batch needs it" in str(summary.problems[0])


def test_a_catalog_with_anothers_name_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, 0, batch(0, [steer(START, 1)]))
    wrong = path.parent.parent / "catalogs" / f"{CATALOG.hash}.catalog.zst"
    wrong.write_bytes(b"not a catalog")

    summary, lines = exported(tmp_path)

    assert lines == []
    assert str(wrong) in summary.problems[0].reason


def test_one_batch_file_finds_its_catalog_in_the_folder_above(tmp_path: Path) -> None:
    path = store(tmp_path, 0, batch(0, [steer(START, 1)]))

    summary, lines = exported(tmp_path, path)

    assert (len(lines), summary.problems) == (1, ())


def test_gaps_are_reported_holes_and_told_ones(tmp_path: Path) -> None:
    told = Gap(GapKind.EVICTED, START, START + SECOND, 40, "normal-1", 1, 2, "the spool was full")
    store(tmp_path, 0, batch(0, [steer(START, 1)]))
    store(tmp_path, 4, batch(4, [steer(START + SECOND, 1)], gaps=(told,)))

    summary, _ = exported(tmp_path)

    assert [(gap.kind, gap.first_sequence, gap.last_sequence) for gap in summary.gaps] == [
        ("evicted", 1, 2),
        ("missing", 3, 3),
    ]


def test_several_vehicles_need_a_choice(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 1)]))
    store(tmp_path, 0, batch(0, [steer(START, 2)], vehicle="car-2"), vehicle="car-2")

    with pytest.raises(ConfigError, match="--vehicle car-1, car-2"):
        exported(tmp_path)
    _, lines = exported(tmp_path, vehicle="car-2")

    assert [line["signals"]["ANGLE"] for line in lines] == [-1.0]


def test_nothing_to_export_and_a_missing_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no batch to export"):
        exported(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        Inventory([tmp_path / "nowhere"])


@pytest.mark.parametrize("name", ["parquet", "mf4"])
def test_a_binary_format_needs_a_file(name: str, tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 1)]))

    with pytest.raises(ConfigError, match="--out FILE"):
        export(Inventory([tmp_path]), name, None)


def test_a_file_that_cannot_be_completed_is_not_left_behind(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 1)]))
    inventory = Inventory([tmp_path])
    inventory.load = lambda batch_id: 1 / 0  # type: ignore[method-assign, assignment, return-value]

    with pytest.raises(ZeroDivisionError):
        export(inventory, "jsonl", tmp_path / "out.jsonl")

    assert not [path for path in tmp_path.iterdir() if path.is_file()]


FIRED = Event(EventKind.TRIGGERED, START + 2 * MS, "hard_braking", detail="recorded")


def test_events_have_lines_of_their_own_in_time_order(tmp_path: Path) -> None:
    silent = Event(EventKind.ABSENT, START + SECOND, "can0.STEER", 260)
    store(tmp_path, 0, batch(0, [steer(START, 3), steer(START + 4 * MS, 4)], events=(silent, FIRED)))

    summary, lines = exported(tmp_path)

    assert [line.get("event") for line in lines] == [None, "triggered", None, "absent"]
    assert lines[1] == {"t": 1700000000.002, "event": "triggered", "subject": "hard_braking", "detail": "recorded"}
    assert lines[3] == {
        "t": 1700000001.0,
        "event": "absent",
        "subject": "can0.STEER",
        "id": 260,
        "extended": False,
        "detail": "",
    }
    assert summary.events == 2


def test_a_batch_of_events_alone_is_exported_too(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [], events=(FIRED,)))
    assert [line["event"] for line in exported(tmp_path)[1]] == ["triggered"]


@pytest.mark.parametrize("name", ["csv", "parquet", "mf4"])
def test_events_have_no_place_in_other_formats(tmp_path: Path, name: str) -> None:
    if name != "csv":
        pytest.importorskip({"parquet": "pyarrow", "mf4": "asammdf"}[name])
    store(tmp_path, 0, batch(0, [steer(START, 3)], events=(FIRED,)))
    assert export(Inventory([tmp_path]), name, tmp_path / "out").frames == 1


def test_frames_of_several_streams_come_in_one_order_of_time(tmp_path: Path) -> None:
    for name, first in (("normal-1", 0), ("critical-1", 1), ("bulk-1", 2)):
        frames = [steer(START + (first + 3 * row) * MS, first) for row in range(20)]
        store(tmp_path, 0, batch(0, frames, stream=name), stream=name)

    summary, lines = exported(tmp_path)

    assert summary.frames == 60
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert [round(line["signals"]["ANGLE"] - lines[0]["signals"]["ANGLE"], 3) for line in lines[:3]] == [0, -0.5, -1]


def test_small_batch_that_would_expand_to_gigabytes_is_left_out_and_named(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 1)]))
    store(tmp_path, 1, packed(shaped(1, 4 << 20, 15, 0)), definitions=WIDE)

    summary, lines = exported(tmp_path, vehicle="car-1")

    assert (summary.frames, len(lines)) == (1, 1)
    assert [problem.reason for problem in summary.problems] == [
        "left out: it would become some 1916 MiB of text; parquet and mf4 take it"
    ]
