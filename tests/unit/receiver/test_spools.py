# SPDX-License-Identifier: Apache-2.0
"""A spool's records are exported while the spool is open, and reading changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.model import SealedBatch
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.spool.store import Spool, SpoolOptions
from tests.support.samples import CATALOG, START, batch, catalog, steer

if TYPE_CHECKING:
    from pathlib import Path


def test_records_of_an_open_spool_are_exported_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "normal"
    catalogs = tmp_path / "catalogs"
    catalogs.mkdir()
    (catalogs / f"{CATALOG.hash}.catalog.zst").write_bytes(catalog())
    spool = Spool.open(folder, SpoolOptions(64 << 20, segment_bytes=1 << 20))
    for number in range(3):
        payload = batch(spool.next_sequence, [steer(START + number, 2 * number)], stream=spool.stream)
        spool.append(SealedBatch(payload, catalog=CATALOG.hash, begin_ns=START, end_ns=START, frames=1))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    summary = export(Inventory([tmp_path / "spool"]), "jsonl", tmp_path / "out.jsonl")

    assert (summary.frames, summary.batches, summary.problems) == (3, 3, ())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    spool.close()


def test_only_what_waits_is_exported_unless_the_rest_is_asked_for(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    for number in (0, 1, 3):
        spool.acknowledge(number)
    spool.set_aside(2, "refused")
    spool.flush()  # a minute later

    waiting = export(Inventory([tmp_path]), "jsonl", tmp_path / "waiting.jsonl")
    everything = export(Inventory([tmp_path], acknowledged=True), "jsonl", tmp_path / "everything.jsonl")

    assert (waiting.frames, waiting.left_out) == (1, 4)
    assert (everything.frames, everything.left_out) == (5, 0)
    spool.acknowledge(4)
    spool.close()
    with pytest.raises(AgentError, match="nothing waits; --acknowledged exports the 5"):
        export(Inventory([tmp_path]), "jsonl", tmp_path / "out.jsonl")


def test_without_a_readable_state_everything_is_taken_to_wait(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    spool.acknowledge(0)
    spool.close()
    (tmp_path / "spool/normal/state").write_bytes(b"noise")
    assert export(Inventory([tmp_path]), "jsonl", tmp_path / "out.jsonl").frames == 3
    (tmp_path / "spool/normal/state").unlink()
    assert export(Inventory([tmp_path]), "jsonl", tmp_path / "out.jsonl").frames == 3


def filled(folder: Path, batches: int) -> Spool:
    (folder / "catalogs").mkdir()
    (folder / "catalogs" / f"{CATALOG.hash}.catalog.zst").write_bytes(catalog())
    spool = Spool.open(folder / "spool/normal", SpoolOptions(64 << 20, segment_bytes=1 << 20))
    for number in range(batches):
        payload = batch(number, [steer(START + number, 2 * number)], stream=spool.stream)
        spool.append(SealedBatch(payload, catalog=CATALOG.hash, begin_ns=START, end_ns=START, frames=1))
    return spool


def test_a_damaged_record_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs" / f"{CATALOG.hash}.catalog.zst").write_bytes(catalog())
    spool = Spool.open(tmp_path / "spool", SpoolOptions(64 << 20, segment_bytes=1 << 20))
    for number in range(3):
        payload = batch(number, [steer(START + number, 2 * number)], stream=spool.stream)
        spool.append(SealedBatch(payload, catalog=CATALOG.hash, begin_ns=START, end_ns=START, frames=1))
    spool.close()
    (segment,) = (tmp_path / "spool").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[4096 + 200] ^= 1
    segment.write_bytes(data)

    summary = export(Inventory([tmp_path]), "jsonl", tmp_path / "out.jsonl")

    assert (summary.frames, [gap.first_sequence for gap in summary.gaps]) == (2, [1])
    assert "damaged" in summary.problems[0].reason
