# SPDX-License-Identifier: Apache-2.0
"""Acknowledged is erased where that is asked for: no byte of a batch is found in any file, and what waits is whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.config import load_config
from agent.config.priorities import Priority
from agent.errors import ConfigError
from agent.model import GapKind, SealedBatch
from agent.pipeline.storage import Storage
from agent.spool.journal import Journal
from agent.spool.store import Spool, SpoolOptions
from tests.support.memory_disk import MemoryDisk, PowerCutError
from tests.support.mosquitto import running
from tests.support.processes import ROOT, SIMULATED, Agent, Receiver

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT = 64 << 10
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "can0"
interface = "simulator"
[mqtt]
broker = "mqtt://localhost"
[spool]
path = "spool"
limit = "4MiB"
segment = "256KiB"
min_free = "0B"
erase = "{erase}"
"""


def payload(number: int) -> bytes:
    return b"<batch %d>" % number + random.Random(number).randbytes(9_000)


def put(spool: Spool, number: int) -> None:
    assert spool.append(SealedBatch(payload(number), catalog="", begin_ns=1, end_ns=2, frames=1)) is not None


def found(folder: Path, numbers: range) -> set[int]:
    """The batches of which any stretch of 64 bytes lies in a file."""
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        number
        for number in numbers
        if any(payload(number)[begin : begin + 64] in content for begin in range(0, 9_000, 256))
    }


def opened(folder: Path, *, erase: bool = True) -> Spool:
    return Spool.open(folder / "normal", SpoolOptions(2 << 20, segment_bytes=SEGMENT, ack_delay_s=0.0, erase=erase))


def test_what_is_acknowledged_is_found_no_more_and_what_waits_is_whole(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(30):
        put(spool, number)
    gone = {*range(7), 9, *range(12, 20), 29}
    for number in gone:
        spool.acknowledge(number)
    assert found(tmp_path, range(30)) == set(range(30)) - gone
    spool.set_aside(8, "refused")
    (tmp_path / "normal/refused").rename(tmp_path.with_name(f"{tmp_path.name}-refused"))
    spool.expire(3, 0)
    assert found(tmp_path, range(30)) == set()
    spool._files.close()
    again = opened(tmp_path)
    assert again.oldest() == []
    assert again.next_sequence == 30
    assert {gap.kind for gap in again.pending_gaps()} == {GapKind.EVICTED, GapKind.REFUSED}
    again.close()


def test_by_default_it_stays_until_its_place_is_written_again(tmp_path: Path) -> None:
    spool = opened(tmp_path, erase=False)
    put(spool, 0)
    written = spool.status().bytes_written
    spool.acknowledge(0)
    spool.close()
    assert found(tmp_path, range(1)) == {0}
    assert spool._disk.bytes_written - written < SEGMENT, "an acknowledgement costs a state, no more"


def test_what_processes_without_the_setting_have_left_is_erased_at_the_start(tmp_path: Path) -> None:
    spool = opened(tmp_path, erase=False)
    for number in range(60):  # segments are used again and again
        put(spool, number)
        spool.acknowledge(number)
    put(spool, 60)
    spool.close()
    assert found(tmp_path, range(60))
    spool = opened(tmp_path)
    assert found(tmp_path, range(61)) == {60}
    assert [record.payload for record in spool.oldest(limit=9)] == [payload(60)]
    spool.close()


def test_what_cannot_be_overwritten_is_told_and_tried_again(tmp_path: Path) -> None:
    disk = MemoryDisk()
    spool = Spool.open(tmp_path, SpoolOptions(2 << 20, segment_bytes=SEGMENT, ack_delay_s=0.0, erase=True), disk=disk)
    put(spool, 0)
    disk.fail = lambda operation, path: OSError(5, "I/O error") if operation == "write" and "segment" in path else None
    with capture_logs() as logs:
        spool.acknowledge(0)
    assert [line["event"] for line in logs] == ["erase_failed"]
    disk.fail = lambda operation, path: None
    put(spool, 1)
    spool.acknowledge(1)
    assert not any(payload(number)[:64] in bytes(inode.cached) for number in (0, 1) for inode in disk.inodes.values())


@pytest.mark.timeout(120)
def test_a_power_cut_while_it_erases_loses_and_invents_nothing(tmp_path: Path) -> None:
    for steps in range(14):
        for seed in range(6):
            disk = MemoryDisk()

            def begin(disk: MemoryDisk = disk) -> tuple[Spool, Journal]:
                spool = Spool.open(tmp_path, SpoolOptions(1 << 20, segment_bytes=SEGMENT, erase=True), disk=disk)
                return spool, Journal.open(tmp_path / "journal", SEGMENT, disk=disk, erase=True)

            spool, journal = begin()
            journal.recover(spool.unsealed_sequence)
            for number in range(8):
                journal.append(spool.next_sequence, b"part")
                put(spool, number)
                if number < 7:
                    journal.recycle()
            disk.cut_after = steps
            try:
                journal.recycle()
                for number in range(0, 8, 2):
                    spool.acknowledge(number)
                spool.flush()
            except PowerCutError:
                pass
            disk.crash(random.Random(seed))
            spool, journal = begin()
            waiting = {record.sequence: record.payload for record in spool.oldest(limit=99)}
            assert set(waiting) >= {1, 3, 5, 7}
            assert all(payload(number) == content for number, content in waiting.items())
            assert spool.pending_gaps() == ()
            assert journal.recover(spool.unsealed_sequence).payloads == ()


def test_the_journal_of_a_sealed_batch_is_erased_and_that_of_the_open_one_kept(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", 256 << 10, erase=True)
    for number in range(4):
        journal.append(0, payload(number))
    journal.recycle()
    assert found(tmp_path, range(4)) == set()
    journal.append(1, payload(4))
    journal.replace(1, [payload(5), payload(6)])
    journal.erase()
    assert found(tmp_path, range(9)) == {5, 6}, "what it is replaced by counts"
    journal._disk.close(journal._file)
    assert Journal.open(tmp_path / "journal", 256 << 10).recover(1).payloads == (payload(5), payload(6))


def left_behind(folder: Path, erase: str = "never") -> Path:
    """A spool of an agent that was killed: batches 0 to 5 sent, 6 refused, 7 and 8 waiting, 9 open."""
    file = folder / "agent.toml"
    file.write_text(CONFIG.format(erase=erase))
    storage = Storage.open(load_config(file))
    store = storage.stores[Priority.NORMAL]
    store.journal.recover(0)
    for number in range(9):
        store.append_entry(payload(number))
        put(store.spool, number)
        store.journal.recycle()
    for number in range(6):
        store.spool.acknowledge(number)
    store.spool.set_aside(6, "refused")
    store.append_entry(payload(9))
    storage.close(clean=False)
    return file


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "agent", "erase", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_erases_what_is_sent_and_keeps_what_is_not(tmp_path: Path) -> None:
    file = left_behind(tmp_path)
    assert found(tmp_path, range(10)) == set(range(10))
    done = command("--config", file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told.pop("overwritten_bytes") > 7 * 9_000
    assert told == {"waiting": 2, "open_batches": 1, "set_aside": 0}
    assert found(tmp_path, range(10)) == {7, 8, 9}
    assert "0 bytes overwritten; what stays: 2 batches wait" in command("--config", file).stdout
    storage = Storage.open(load_config(file))
    store = storage.stores[Priority.NORMAL]
    assert [record.payload for record in store.spool.oldest(limit=99)] == [payload(7), payload(8)]
    assert store.journal.recover(store.spool.unsealed_sequence).payloads == (payload(9),)
    storage.close(clean=False)


def test_the_command_erases_everything_and_tells_what_is_missing(tmp_path: Path) -> None:
    file = left_behind(tmp_path)
    shutil.copytree(tmp_path / "spool/normal", tmp_path / "spool/set-aside-1/normal")
    done = command("--config", file, "--everything")
    assert "nothing stays" in done.stdout
    assert found(tmp_path, range(10)) == set()
    assert not (tmp_path / "spool/set-aside-1").exists()
    storage = Storage.open(load_config(file))
    gaps = {
        (gap.kind, gap.first_sequence, gap.last_sequence)
        for gap in storage.stores[Priority.NORMAL].spool.pending_gaps()
    }
    assert gaps == {(GapKind.REFUSED, 6, 6), (GapKind.EVICTED, 7, 8), (GapKind.INTERRUPTED, -1, -1)}
    storage.close(clean=False)


def test_the_command_refuses_while_an_agent_runs_and_where_there_is_no_spool(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG.format(erase="never"))
    done = command("--config", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no spool; accepted: the spool.path of an agent that has run" in done.stderr
    storage = Storage.open(load_config(file))
    done = command("--config", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "another process has this spool open: stop it first" in done.stderr
    storage.close(clean=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_command_leaves_no_files_that_the_agents_user_cannot_write(tmp_path: Path) -> None:
    from agent.pipeline.erase import erase

    file = left_behind(tmp_path)
    os.chown(tmp_path / "spool", 65_533, 65_533)
    with pytest.raises(ConfigError, match="belongs to #65533; accepted: sudo -u #65533 canferry erase"):
        erase(load_config(file))


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_an_agent_that_erases_leaves_nothing_of_a_drive_that_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, Receiver(tmp_path).running(broker) as receiver:
        config = SIMULATED.replace("BROKER", broker.url()).replace("[spool]", '[spool]\nerase = "acknowledged"')
        agent = Agent(tmp_path, config)
        await agent.start()
        await receiver.has(lambda arrived: len(arrived) >= 6)
        assert await agent.stop() == 0
        spooled = agent.lines()[-1]["spooled"]
        await agent.close()
    assert spooled == 0
    left = b"".join(path.read_bytes() for path in (tmp_path / "spool/normal").glob("*.segment"))
    assert not any(left)
    assert not any((tmp_path / "spool/journal").read_bytes()[4096:])
    assert receiver.summary["gaps"] == []
