# SPDX-License-Identifier: Apache-2.0
"""Parquet in folders: whole or not at all, by vehicle and day, each row once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import dataset, parquet

from agent.batch.catalog import Catalog
from agent.errors import ConfigError
from agent.model import EXTENDED, MessageDefinition, SignalDefinition
from agent.receiver import wide
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.receiver.wide import file_name
from agent.receiver.writers import Arrangement
from tests.support.samples import MS, SECOND, START, batch, modes, steer, store

if TYPE_CHECKING:
    from pathlib import Path

    from agent.receiver.export import ExportSummary

DAY = 86_400 * SECOND
BOTH = Arrangement(wide=True, partition=True)


def exported(tmp_path: Path, arrangement: Arrangement, vehicle: str | None = None) -> ExportSummary:
    return export(Inventory([tmp_path / "in"]), "parquet", tmp_path / "out", arrangement=arrangement, vehicle=vehicle)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_message_is_a_table_with_a_column_a_signal(tmp_path: Path) -> None:
    frames = [steer(START, 3, 90, 1), modes(START + MS, 2, (7).to_bytes(4, "little")), steer(START + 2 * MS, 4, 90)]
    store(tmp_path / "in", 0, batch(0, [*frames, (START, 0, 0x7FF, b"\x01\x02")], keep_unknown=True))

    assert exported(tmp_path, Arrangement(wide=True)).frames == 4

    assert files(tmp_path / "out") == ["can0.STEER.parquet", "can0.unknown.parquet", "can1.MODES.parquet"]
    table: Any = parquet.read_table(tmp_path / "out" / "can0.STEER.parquet")
    rows = [{key: value for key, value in row.items() if key != "time"} for row in table.to_pylist()]
    assert rows == [
        {"id": 260, "extended": False, "ANGLE": -1.5, "TORQUE": -10.0, "STATE": 1.0},
        {"id": 260, "extended": False, "ANGLE": -2.0, "TORQUE": -10.0, "STATE": 0.0},
    ]
    assert table.schema.field("ANGLE").metadata == {b"unit": b"deg"}
    assert json.loads(table.schema.field("STATE").metadata[b"values"]) == {"0": "Off", "1": 'On "line"'}
    (mode,) = parquet.read_table(tmp_path / "out" / "can1.MODES.parquet").to_pylist()
    assert (mode["KIND"], mode["SPEED"], mode["COUNT"]) == (2.0, None, 7.0)
    (raw,) = parquet.read_table(tmp_path / "out" / "can0.unknown.parquet").to_pylist()
    assert (raw["id"], raw["data"]) == (0x7FF, b"\x01\x02")


@pytest.mark.parametrize("arrangement", [Arrangement(), Arrangement(wide=True)])
def test_an_id_of_11_bits_is_not_the_same_of_29(tmp_path: Path, arrangement: Arrangement) -> None:
    frames = [(START, 0, 0x123, b"\x01"), (START + MS, 0, 0x123 | EXTENDED, b"\x02")]
    store(tmp_path / "in", 0, batch(0, frames, keep_unknown=True))

    exported(tmp_path, arrangement)

    file = "out/can0.unknown.parquet" if arrangement.wide else "out"
    rows = parquet.read_table(tmp_path / file).to_pylist()
    assert [(row["id"], row["extended"], row["data"]) for row in rows] == [
        (0x123, False, b"\x01"),
        (0x123, True, b"\x02"),
    ]


def test_days_and_vehicles_are_partitions(tmp_path: Path) -> None:
    frames = [steer(START + day * DAY + n * MS, n) for day in range(2) for n in range(3)]
    store(tmp_path / "in", 0, batch(0, frames, vehicle="a"), vehicle="a")
    store(tmp_path / "in", 0, batch(0, frames[:2], vehicle="b/ü"), vehicle="b")

    summary = exported(tmp_path, Arrangement(partition=True))

    assert (summary.vehicle, summary.frames, summary.batches) == ("a, b/ü", 8, 2)
    assert files(tmp_path / "out") == [
        "vehicle=a/day=2023-11-14/part-0.parquet",
        "vehicle=a/day=2023-11-15/part-0.parquet",
        "vehicle=b%2F%C3%BC/day=2023-11-14/part-0.parquet",
    ]
    table = dataset.dataset(tmp_path / "out", partitioning="hive").to_table()
    counts = {vehicle: table["vehicle"].to_pylist().count(vehicle) for vehicle in ("a", "b/ü")}
    assert counts == {"a": 18, "b/ü": 6}


def test_one_vehicle_of_several_is_chosen(tmp_path: Path) -> None:
    for vehicle in ("a", "b"):
        store(tmp_path / "in", 0, batch(0, [steer(START, 1)], vehicle=vehicle), vehicle=vehicle)
    with pytest.raises(ConfigError, match="choose one with --vehicle a, b"):
        exported(tmp_path, Arrangement(wide=True))
    assert exported(tmp_path, BOTH, "b").vehicle == "b"
    assert files(tmp_path / "out") == ["can0.STEER/vehicle=b/day=2023-11-14/part-0.parquet"]


def test_few_open_files_and_little_memory_lose_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "VALUES", 1)
    monkeypatch.setattr(wide, "FILES_MAX", 1)
    for number in range(3):
        at = START + number * SECOND
        store(tmp_path / "in", number, batch(number, [steer(at, number), modes(at + MS, 1)]))
    inventory = Inventory([tmp_path / "in"])
    (tmp_path / "out").mkdir()
    writer = wide.folder_writer(tmp_path / "out", "car-1", wide=True, partition=False)
    for batch_id in sorted(inventory.batches):
        writer.write(inventory.load(batch_id))
    writer.close()

    assert {"can0.STEER.parquet", "can0.STEER+1.parquet", "can0.STEER+2.parquet"} < set(files(tmp_path / "out"))
    rows = [
        row for path in sorted((tmp_path / "out").glob("can0.STEER*")) for row in parquet.read_table(path).to_pylist()
    ]
    assert sorted(row["ANGLE"] for row in rows) == [-1.0, -0.5, 0.0]


def test_nothing_stands_there_where_it_ended_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "in", 0, batch(0, [steer(START, 1)]))

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(wide.ByDay, "write", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        exported(tmp_path, BOTH)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_wrong_combinations_are_refused_before_any_work(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    store(tmp_path / "in", 0, batch(0, [steer(START, 1)]))
    inventory = Inventory([tmp_path / "in"])
    cases = [
        ("jsonl", None, Arrangement(wide=True), "--layout wide is for parquet"),
        ("mf4", tmp_path / "x", Arrangement(partition=True), "--partition is for parquet"),
        ("parquet", None, BOTH, "name a folder with --out DIR"),
        ("parquet", full, BOTH, "accepted: a folder that is new or empty"),
        ("parquet", full / "x", BOTH, "accepted: a folder that is new or empty"),
        ("parquet", tmp_path / "no" / "x", BOTH, "there is no folder"),
    ]
    for name, out, arrangement, said in cases:
        with pytest.raises(ConfigError, match=said):
            export(inventory, name, out, arrangement=arrangement)


def test_names_are_safe_and_stay_different() -> None:
    texts = ["can0.STEER", "..", ".", "a/b", "a%2Fb", "ü", "a b", "con"]
    names = [file_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert not [name for name in names if "/" in name or name.startswith(".")]


def test_a_signal_called_like_a_column_is_still_there() -> None:
    assert wide._unused("time", "_", {"time", "id"}) == "time_2"
    assert wide._unused("time", "_", {"time", "time_2"}) == "time_3"


@pytest.mark.parametrize("arrangement", [Arrangement(wide=True), BOTH])
def test_messages_with_names_of_300_characters_are_tables_of_their_own(
    tmp_path: Path, arrangement: Arrangement
) -> None:
    names = ["N" * 299 + "a", "N" * 299 + "b", "\u00e9" * 300, "/" * 66 + "a", "/" * 66 + "b"]
    messages = tuple(
        MessageDefinition("can0", number, name, 1, (SignalDefinition(name, 0, 8),)) for number, name in enumerate(names)
    )
    catalog = Catalog(("can0",), messages)
    frames = [(START + number * MS, 0, number, bytes((number,))) for number in range(len(names))]
    store(tmp_path / "in", 0, batch(0, frames, catalog=catalog), definitions=catalog)

    assert exported(tmp_path, arrangement).frames == len(names)

    written = [parquet.read_table(path) for path in (tmp_path / "out").rglob("*.parquet")]
    found = {table.schema.metadata[b"message"].decode(): table.to_pylist() for table in written}
    assert {name: rows[0][name] for name, rows in found.items()} == {name: n for n, name in enumerate(names)}
