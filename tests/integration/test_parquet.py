# SPDX-License-Identifier: Apache-2.0
"""A Parquet table holds every value of every frame, in time order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyarrow import parquet

from agent.receiver import parquet as module
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from tests.support.samples import MS, START, batch, modes, steer, store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_every_value_is_a_row_with_its_raw_bits_unit_and_text(tmp_path: Path) -> None:
    frames = [steer(START + 123 * MS, 3, 90, 1), modes(START + 124 * MS, 2, (7).to_bytes(4, "little"))]
    store(tmp_path, 0, batch(0, frames))

    summary = export(Inventory([tmp_path]), "parquet", tmp_path / "out.parquet")

    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    time = datetime.fromtimestamp(1_700_000_000, UTC).replace(microsecond=123_000)
    names = [(row["bus"], row["id"], row["message"], row["signal"]) for row in rows]
    assert summary.frames == 2
    assert names == [
        ("can0", 260, "STEER", "ANGLE"),
        ("can0", 260, "STEER", "TORQUE"),
        ("can0", 260, "STEER", "STATE"),
        ("can1", 0x18FEF100, "MODES", "KIND"),
        ("can1", 0x18FEF100, "MODES", "COUNT"),
    ]
    assert [(row["value"], row["raw"], row["unit"], row["text"]) for row in rows] == [
        (-1.5, 3, "deg", None),
        (-10.0, 90, "N,m", None),
        (1.0, 1, "", 'On "line"'),
        (2.0, 2, "", None),
        (7.0, 7, "", None),
    ]
    assert rows[0]["time"] == time
    assert {row["data"] for row in rows} == {None}


def test_row_groups_follow_each_other_in_time_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 1)
    for number in range(4):
        store(tmp_path, number, batch(number, [steer(START + n * MS, n) for n in range(number, 400, 4)]))
    inventory = Inventory([tmp_path])

    export(inventory, "parquet", tmp_path / "out.parquet")

    table = parquet.read_table(tmp_path / "out.parquet")
    raw = [row["raw"] for row in table.to_pylist() if row["signal"] == "ANGLE"]
    assert raw == list(range(400))
