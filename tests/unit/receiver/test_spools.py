# SPDX-License-Identifier: Apache-2.0
"""A spool's records are exported while the spool is open, and reading changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.spool.store import Spool
from tests.unit.receiver.samples import CATALOG, START, batch, catalog, steer

if TYPE_CHECKING:
    from pathlib import Path


def test_records_of_an_open_spool_are_exported_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "normal"
    catalogs = tmp_path / "catalogs"
    catalogs.mkdir()
    (catalogs / f"{CATALOG.hash}.catalog.zst").write_bytes(catalog())
    spool = Spool.open(folder, limit_bytes=64 << 20, segment_bytes=1 << 20)
    for number in range(3):
        payload = batch(spool.next_sequence, [steer(START + number, 2 * number)], stream=spool.stream)
        spool.append(payload, catalog=CATALOG.hash, begin_ns=START, end_ns=START, frames=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    summary = export(Inventory([tmp_path / "spool"]), "jsonl", tmp_path / "out.jsonl")

    assert (summary.frames, summary.batches, summary.problems) == (3, 3, ())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    spool.close()


def test_a_damaged_record_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs" / f"{CATALOG.hash}.catalog.zst").write_bytes(catalog())
    spool = Spool.open(tmp_path / "spool", limit_bytes=64 << 20, segment_bytes=1 << 20)
    for number in range(3):
        payload = batch(number, [steer(START + number, 2 * number)], stream=spool.stream)
        spool.append(payload, catalog=CATALOG.hash, begin_ns=START, end_ns=START, frames=1)
    spool.close()
    (segment,) = (tmp_path / "spool").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[4096 + 200] ^= 1
    segment.write_bytes(data)

    summary = export(Inventory([tmp_path]), "jsonl", tmp_path / "out.jsonl")

    assert (summary.frames, [gap.first_sequence for gap in summary.gaps]) == (2, [1])
    assert "damaged" in summary.problems[0].reason
