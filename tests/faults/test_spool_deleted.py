# SPDX-License-Identifier: Apache-2.0
"""Somebody deletes, moves or replaces the spool's folder beneath the running agent: found, told, made anew."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.errors import SpoolError
from agent.model import SealedBatch
from agent.spool.catalogs import CatalogStore
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from agent.system.systemd_notify import LOOK_S
from tests.faults.whole import agent, arrived, cloud
from tests.support.mosquitto import free_port, running
from tests.support.processes import SIMULATED, Agent, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.model import SpooledBatch

LIMIT = 4 << 20


def opened(folder: Path) -> Spool:
    return Spool.open(folder / "normal", SpoolOptions(LIMIT, segment_bytes=64 << 10))


def put(spool: Spool, number: int) -> SpooledBatch:
    record = spool.append(SealedBatch(b"%d" % number + bytes(9_000), catalog="", begin_ns=1, end_ns=2, frames=1))
    assert record is not None
    return record


def replaced(folder: Path) -> None:
    """By another spool, which nobody has open."""
    shutil.rmtree(folder)
    Spool.open(folder, SpoolOptions(LIMIT, segment_bytes=64 << 10)).close()


def delete_at_once(folder: Path) -> None:
    """While an agent writes there: what it makes meanwhile would keep the folder from being deleted."""
    gone = folder.rename(folder.with_name("deleted"))
    shutil.rmtree(gone)


WAYS: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "emptied": lambda folder: [shutil.move(path, folder.parent) for path in folder.iterdir()],
    "moved": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "replaced": replaced,
    "one segment deleted": lambda folder: min(folder.glob("*.segment")).unlink(),
    "the state deleted": lambda folder: (folder / "state").unlink(),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_waits_goes_with_a_folder_that_is_gone(tmp_path: Path, way: str) -> None:
    spool = opened(tmp_path)
    records = [put(spool, number) for number in range(12)]
    for number in (0, 1, 4):
        spool.acknowledge(number)
    WAYS[way](tmp_path / "normal")
    with capture_logs() as logs:
        records.append(put(spool, 12))
    assert [line["event"] for line in logs] == ["spool_deleted"]
    assert spool.status().put_back_files == logs[0]["files"] > 0
    for number in (2, 3):
        spool.acknowledge(number)
    stream = spool.stream
    spool.flush()
    spool._files.close()  # kill -9
    again = opened(tmp_path)
    assert again.stream == stream
    assert again.oldest(limit=99) == records[5:]
    assert again.pending_gaps() == ()
    assert put(again, 13).sequence == 13
    again.close()


def test_what_is_gone_is_found_without_an_append(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    record = put(spool, 0)
    shutil.rmtree(tmp_path / "normal")
    spool.keep_in_place()
    with pytest.raises(SpoolError, match="another process has this spool open"):
        opened(tmp_path)
    spool._files.close()
    assert opened(tmp_path).oldest(limit=9) == [record]


def test_another_process_that_has_made_a_spool_there_keeps_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, 0)
    shutil.rmtree(tmp_path / "normal")
    other = opened(tmp_path)
    record = put(other, 1)
    with pytest.raises(SpoolError, match="another process has made a spool of its own here"):
        put(spool, 2)
    assert other.oldest(limit=9) == [record]
    assert other.status().put_back_files == 0


def test_a_journal_that_is_gone_is_written_anew_with_what_it_held(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", 64 << 10)
    journal.start()
    journal.append(0, b"before")
    (tmp_path / "journal").unlink()
    with capture_logs() as logs:
        journal.append(0, b"after")
    assert [line["event"] for line in logs] == ["journal_deleted"]
    assert Journal.open(tmp_path / "journal", 64 << 10).recover(0).payloads == (b"before", b"after")


def test_catalogs_that_are_gone_are_written_anew(tmp_path: Path) -> None:
    CatalogStore(tmp_path / "catalogs").put("earlier", b"of batches that wait")
    shelf = CatalogStore(tmp_path / "catalogs")
    shelf.put("current", b"of those to come")
    shutil.rmtree(tmp_path / "catalogs")
    shelf.keep_in_place()
    assert shelf.get("earlier") == b"of batches that wait"
    assert shelf.get("current") == b"of those to come"
    shelf.prune(["current"])
    shelf.keep_in_place()
    assert shelf.get("earlier") is None


def test_where_the_folder_cannot_be_made_anew_the_spool_ends(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, 0)
    shutil.rmtree(tmp_path / "normal")
    (tmp_path / "normal").write_text("a file")
    with pytest.raises(SpoolError, match="normal: cannot put back what was deleted"):
        put(spool, 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_an_agent_whose_folder_is_deleted_delivers_all_that_it_has_sealed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with agent(tmp_path, free_port(), grace="0s") as car:
        await car.batches(5)
        delete_at_once(tmp_path / "spool")
        await car.batches(5)
    before = car.counters
    async with running(tmp_path / "broker") as broker, cloud(out, broker.port):
        async with agent(tmp_path, broker.port) as car:
            await car.until(lambda link: link.acknowledged_batches > before.batches)
            await car.end()
        await arrived(out, before, car.counters)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_quiet_agent_notices_within_a_minute(tmp_path: Path) -> None:
    assert LOOK_S <= 60
    async with running(tmp_path / "broker") as broker, Receiver(tmp_path).running(broker):
        config = SIMULATED.replace("BROKER", broker.url()).replace('interval = "500ms"', 'interval = "1h"')
        quiet = Agent(tmp_path, config.replace('journal_interval = "100ms"', 'journal_interval = "1m"'))
        await quiet.start()
        await quiet.said("agent_started")
        delete_at_once(tmp_path / "spool")
        await quiet.said("spool_deleted", timeout_s=60)
        assert await quiet.stop() == 0
