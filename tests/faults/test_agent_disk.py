# SPDX-License-Identifier: Apache-2.0
"""The whole agent on a disk that is too small, full, or damaged: it goes on, and what is missing is named."""

from __future__ import annotations

import asyncio
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.config.priorities import Priority
from agent.errors import SpoolError
from agent.receiver.batch_receiver import BatchReceiver, Verdict
from tests.faults.disks import fill, mounted
from tests.faults.whole import Received, Running, agent, cloud
from tests.support.mosquitto import running
from tests.support.proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.pipeline.packer import PackerCounters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FLOOD = """
[[bus]]
name = "flood"
interface = "replay"
channel = "flood.log"
keep_unknown = true
"""
FLOOD_FRAMES = 150_000
FLOOD_HZ = 50_000


def flood(folder: Path, frames: int = FLOOD_FRAMES) -> None:
    """A recorded log of noise: about nine bytes a frame in any batch."""
    chance = random.Random(5)
    times = (number / FLOOD_HZ for number in range(frames))
    (folder / "flood.log").write_text(
        "".join(f"({1_700_000_000 + t:.6f}) flood 123#{chance.getrandbits(64):016X}\n" for t in times)
    )


async def logged(car: Running, lines: Sequence[Mapping[str, Any]], event: str, times: int = 1) -> None:
    await car.until(lambda _: sum(line["event"] == event for line in lines) >= times)


async def all_arrived(car: Running, inbox: BatchReceiver) -> None:
    """Wait until the receiver has what was acknowledged; then stop the agent."""
    await car.end()
    async with asyncio.timeout(60):
        while inbox.counts[Verdict.BATCH] < car.link.acknowledged_batches:
            await asyncio.sleep(0.02)


def named(out: Path, inbox: BatchReceiver, counters: PackerCounters, kind: str) -> list[int]:
    """The sequences of the gaps of this kind; together with what arrived they are all that was sealed."""
    gaps = inbox.report()
    assert {gap.kind for gap in gaps} <= {kind}, gaps
    missing = [number for gap in gaps for number in range(gap.first_sequence, gap.last_sequence + 1)]
    received = Received.within(out)
    assert received.batches + len(missing) == counters.batches
    assert received.frames + sum(gap.frames for gap in gaps) == counters.frames
    return sorted(missing)


async def test_a_spool_that_is_full_evicts_the_oldest_and_the_receiver_names_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flood(tmp_path)
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        cloud(out, broker.port) as inbox,
    ):
        proxy.refuse = True
        with capture_logs() as lines:
            async with agent(tmp_path, proxy.port, limit="1MiB", grace="30s", buses=FLOOD) as car:
                await logged(car, lines, "batches_evicted", 3)
                await logged(car, lines, "log_replayed")
                await car.batches(5)
                proxy.refuse = False
                await all_arrived(car, inbox)
        missing = named(out, inbox, car.counters, "evicted")
    assert len(missing) >= 3
    assert missing == list(range(len(missing))), "the oldest go first"
    evicted = [line for line in lines if line["event"] == "batches_evicted"]
    assert sum(line["batches"] for line in evicted) == len(missing)
    assert all("hint" in line for line in evicted)
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "spool" / "normal").rglob("*")) <= 1 << 20


def flip_a_byte(folder: Path, chance: random.Random) -> None:
    """Anywhere in what was written to the segments, but for the zeros between records."""
    path = chance.choice([path for path in sorted(folder.glob("*.segment")) if any(path.read_bytes())])
    content = bytearray(path.read_bytes())
    content[chance.choice([place for place, byte in enumerate(content) if byte])] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


async def test_a_flipped_byte_costs_at_most_one_batch_which_log_and_receiver_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(11)
    async with running(tmp_path / "broker") as broker, TcpProxy("127.0.0.1", broker.port) as proxy:
        proxy.refuse = True
        async with agent(tmp_path, proxy.port, grace="0s") as car:
            await car.batches(12)
        before = car.counters
        shutil.copytree(tmp_path / "spool", tmp_path / "stored")
        proxy.refuse = False
        lost = 0
        for number in range(6):
            shutil.rmtree(tmp_path / "spool")
            shutil.copytree(tmp_path / "stored", tmp_path / "spool")
            flip_a_byte(tmp_path / "spool" / "normal", chance)
            (memory := tmp_path / f"memory{number}").mkdir()
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))  # each is the first boot after the drive
            out = tmp_path / f"out{number}"
            with capture_logs() as lines:
                async with cloud(out, broker.port) as inbox, agent(tmp_path, proxy.port) as car:
                    await car.until(lambda link: link.acknowledged_batches >= before.batches)
                    await all_arrived(car, inbox)
            both = car.counters
            both.of(Priority.NORMAL).batches += before.batches
            both.frames += before.frames
            missing = named(out, inbox, both, "corrupt")
            assert len(missing) <= 1
            assert [line["sequence"] for line in lines if line["event"] == "record_corrupt"] == missing
            lost += len(missing)
    assert lost, "every flipped byte met a place that nobody reads"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The journal takes 4 of its 7 MiB."""
    with mounted(tmp_path / "disk", 7) as folder:
        yield folder


async def test_a_disk_that_others_have_filled_evicts_the_oldest_and_the_agent_goes_on(
    tmp_path: Path, small_disk: Path
) -> None:
    out = tmp_path / "out"
    flood(tmp_path)
    async with (
        running(tmp_path / "broker") as broker,
        TcpProxy("127.0.0.1", broker.port) as proxy,
        cloud(out, broker.port) as inbox,
    ):
        proxy.refuse = True
        with capture_logs() as lines:
            async with agent(
                tmp_path, proxy.port, spool=small_disk / "spool", limit="64MiB", grace="30s", buses=FLOOD
            ) as car:
                await car.batches(2)
                fill(small_disk)
                await logged(car, lines, "batches_evicted", 3)
                await logged(car, lines, "log_replayed")
                await car.batches(3)
                proxy.refuse = False  # the disk stays full
                await all_arrived(car, inbox)
        missing = named(out, inbox, car.counters, "evicted")
    assert len(missing) >= 3
    assert missing == list(range(missing[0], missing[0] + len(missing)))


async def test_a_disk_that_is_full_at_the_start_is_one_clear_error(tmp_path: Path, small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(SpoolError, match=r"disk/spool.*No space left"):
        async with agent(tmp_path, 1883, spool=small_disk / "spool"):
            pass
