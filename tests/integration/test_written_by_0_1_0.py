# SPDX-License-Identifier: Apache-2.0
"""What version 0.1.0 has written is read for ever: the spool of an agent that was killed, and batches and catalog.

`data/0.1.0/written.tar.xz` was made by that version's own code with the demo's car:

    spool/           of two classes: some batches acknowledged, others waiting, one of these tells a gap; the agent was
                     killed twice, the open batch is in the journal
    received/        what its receiver had stored before
    received.jsonl   what its `export` made of that
    expected.json    of each class what its own code found in the spool: waiting [stream, sequence, SHA-256], gaps told
                     by them, acknowledged (how many), open [entries in the journal, frames, rows]
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.config import load_config
from agent.model import GapKind
from agent.pipeline.storage import Storage
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from tests.support.mosquitto import running
from tests.support.processes import SIMULATED, Agent, Receiver

ARCHIVE = Path(__file__).parents[1] / "data/0.1.0/written.tar.xz"
RULES = """
limit = "4MiB"
segment = "256KiB"
[[collect]]
message = "WHEEL_SPEEDS"
priority = "critical"
every = "500ms"
[[collect]]
every = "100ms"
"""
CONFIG = SIMULATED.replace("[mqtt]", f"{RULES}[mqtt]")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def expected(written: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written / "expected.json").read_text())
    return found


def test_its_batches_are_exported_to_the_same_rows(written: Path) -> None:
    summary = export(Inventory([written / "received"]), "jsonl", written / "out.jsonl")
    assert (summary.frames, summary.problems) == (241, ())
    assert (written / "out.jsonl").read_bytes() == (written / "received.jsonl").read_bytes()


def test_what_waits_in_its_spool_is_exported_and_the_rest_when_asked_for(
    written: Path, expected: dict[str, Any]
) -> None:
    waiting = sum(map(len, expected["waiting"].values()))
    acknowledged = sum(expected["acknowledged"].values())
    summary = export(Inventory([written / "spool"]), "jsonl", written / "out.jsonl")
    assert (summary.batches, summary.left_out, summary.problems) == (waiting, acknowledged, ())
    everything = export(Inventory([written / "spool"], acknowledged=True), "jsonl", written / "all.jsonl")
    assert everything.batches == waiting + acknowledged
    rows = set((written / "all.jsonl").read_text().splitlines())
    assert set((written / "received.jsonl").read_text().splitlines()) < rows


def test_its_spool_and_its_journals_are_found_whole(written: Path, expected: dict[str, Any]) -> None:
    file = written / "agent.toml"
    file.write_text(CONFIG.replace("BROKER", "mqtt://localhost"))
    storage = Storage.open(load_config(file), "another boot")
    for name, store in ((str(priority), store) for priority, store in storage.stores.items()):
        records = store.spool.oldest(limit=999)
        found = [[each.stream, each.number, hashlib.sha256(each.payload).hexdigest()] for each in records]
        assert found == expected["waiting"][name]
        (ended,) = store.spool.pending_gaps()
        assert (ended.kind, ended.stream, ended.last_sequence) == (GapKind.ENDED, found[-1][0], found[-1][1])
        assert store.spool.stream != found[-1][0]
        assert store.spool.next_number == 0
        content = storage.catalogs.get(records[0].catalog)
        assert content is not None
        catalog = decode_catalog(content)
        gaps = [[gap.kind, gap.frames, gap.detail] for each in records for gap in decode_batch(each.payload).gaps]
        assert gaps == expected["gaps"][name]
        recovery = store.journal.recover(store.spool.unsealed_sequence)
        entries = [decode_batch(payload, catalog) for payload in recovery.payloads]
        rows = sum(len(group.time_ns) for entry in entries for group in entry.groups)
        assert [len(entries), sum(entry.frames for entry in entries), rows] == expected["open"][name]
        assert (recovery.clean, recovery.lost) == (False, 0)
    storage.close(clean=False)


@pytest.mark.timeout(240)
async def test_an_agent_delivers_its_spool_whole(written: Path, expected: dict[str, Any]) -> None:
    (written / "cloud").mkdir()
    async with running(written / "broker") as broker, Receiver(written / "cloud").running(broker) as receiver:
        agent = Agent(written, CONFIG.replace("BROKER", broker.url()))
        await agent.start()
        waiting = {(stream, number): digest for each in expected["waiting"].values() for stream, number, digest in each}
        await receiver.has(lambda arrived: set(waiting) <= arrived)
        recovered = await agent.said("batch_recovered")
        assert await agent.stop() == 0
        await agent.close()
        files = receiver.files()
    assert {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in waiting} == waiting
    entries, frames, _ = expected["open"]["normal"]
    assert (recovered["entries"], recovered["frames"]) == (entries, frames)
    kinds = {gap["kind"] for gap in receiver.summary["gaps"]}
    assert kinds == {"earlier", "interrupted"}, "what was acknowledged before this receiver, and two kills"
