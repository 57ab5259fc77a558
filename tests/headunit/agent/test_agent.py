# SPDX-License-Identifier: Apache-2.0
"""The whole agent on real CAN interfaces: what is on the buses arrives, and what does not is told.

Counted frames on two buses, `canferry run`, a real broker, `canferry receive`. Each test says what it measured.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from tests.headunit.agent.drive import JOURNAL_INTERVAL_S, driving, sent
from tests.headunit.agent.traffic import KINDS, kind
from tests.support.feeder import value
from tests.support.processes import holes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.headunit.agent.drive import Drive

RESOLUTION_NS = 1_000_000
TURN_NS = 50_000_000
"""Of the feeder, at the longest, where nothing holds the machine up."""
KILLS = 3
SEED = random.SystemRandom().randrange(1 << 32)


async def test_frames_of_both_buses_arrive_as_they_were_sent_with_the_kernels_times(tmp_path: Path) -> None:
    async with driving(tmp_path) as drive:
        await drive.start()
        await drive.feed()
        await asyncio.sleep(4)
        await drive.end_feeding()
        await drive.stop()
        lines = await drive.exported()
    times = drive.fed()
    counts = [line["signals"]["COUNT"] for line in lines]
    stamps_ns = np.array([round(line.pop("t") * 1000) for line in lines]) * RESOLUTION_NS
    off_ns = np.abs(stamps_ns - times[counts])
    print(
        f"{len(times)} frames of {len(KINDS)} messages in {np.ptp(times) / 1e9:.1f} s, {len(lines)} arrived; "
        f"farthest from the kernel's time {off_ns.max() / 1e6:.3f} ms"
    )
    assert sorted(counts) == list(range(len(times)))
    assert lines == [kind(count).line(count) for count in counts]
    assert (np.diff(stamps_ns) >= 0).all()
    assert off_ns.max() < RESOLUTION_NS
    assert not drive.receiver.summary["gaps"]


async def test_a_kill_costs_no_sealed_batch_and_at_most_the_journal_interval(tmp_path: Path) -> None:
    async with driving(tmp_path) as drive:
        await drive.feed()
        kills = await kill_often(drive, random.Random(SEED))
        await drive.start()
        await asyncio.sleep(0.5)
        stopping_ns = time.time_ns()
        await drive.stop()
        await drive.end_feeding()
        batches = drive.receiver.batches()
    times = drive.fed()
    counts, values = arrived(drive)
    listened = (times[counts].min() <= times) & (times < stopping_ns)
    missing = np.setdiff1d(np.flatnonzero(listened), counts)
    costs_s = [cost_s(times, counts, *kill) for kill in kills]
    duplicates = drive.receiver.summary["duplicates_dropped"]
    print(
        f"seed {SEED}: {len(kills)} kills, {sum(listened_ns > 0 for listened_ns, _ in kills)} of them while it "
        f"listened; {len(batches)} batches, {duplicates} duplicates dropped, {len(drive.gaps('interrupted'))} gaps; "
        f"{len(counts)} frames arrived, {len(missing)} did not; "
        f"cost of a kill, of {JOURNAL_INTERVAL_S:g} s: median {np.median([cost for cost, _ in costs_s]):.3f} s, "
        f"worst {max(costs_s)[0]:.3f} s (the machine stood still for {max(costs_s)[1]:.3f} s of it)"
    )
    assert len({batch.id.stream for batch in batches}) == 1
    assert not holes([batch.id.sequence for batch in batches]), "a sealed batch is missing"
    assert len(np.unique(counts)) == len(counts), "a sample arrived twice"
    assert (values == [value(int(number)) for number in counts]).all()
    assert not len(drive.untold("interrupted", missing)), "samples are missing outside of the gaps"
    assert max(cost - held_up for cost, held_up in costs_s) <= JOURNAL_INTERVAL_S


async def test_an_interface_that_comes_and_goes_costs_only_itself(tmp_path: Path) -> None:
    events: list[str] = []
    phases: list[tuple[int, int]] = []
    async with driving(tmp_path, interfaces=["powertrain"]) as drive:
        chassis = drive.buses["chassis"]
        await drive.start()
        await drive.feed()
        for change, event in (
            (None, "bus_missing"),
            (chassis.create, "bus_up"),
            (chassis.down, "bus_down"),
            (chassis.up, "bus_up"),
            (chassis.delete, "bus_missing"),
            (chassis.create, "bus_up"),
        ):
            if change is not None:
                change()
            events.append(event)
            await drive.noticed("chassis", events)
            begin_ns = time.time_ns()
            await drive.feed_on(100)
            phases.append((begin_ns, time.time_ns()))
        await drive.end_feeding()
        await drive.stop()
        assert drive.interface_events("powertrain") == ["bus_up"]
        assert drive.interface_events("chassis") == events
    times = drive.fed()
    counts, _ = arrived(drive)
    chassis_counts, powertrain_counts = counts[of_chassis(counts)], counts[~of_chassis(counts)]
    by_phase = [
        tuple(
            np.count_nonzero((begin_ns <= times[one]) & (times[one] < end_ns))
            for one in (chassis_counts, powertrain_counts)
        )
        for begin_ns, end_ns in phases
    ]
    print(
        f"{len(times)} frames, {len(sent(times))} of them while their interface was up, {len(counts)} arrived; "
        f"chassis and powertrain while missing, created, down, up, deleted, created: {by_phase}"
    )
    assert len(powertrain_counts) == np.count_nonzero(~of_chassis(np.arange(len(times)))), "the other bus lost a frame"
    assert counts.tolist() == sent(times).tolist(), "what was on the bus has arrived, once, and no more"
    assert [chassis > 0 for chassis, _ in by_phase] == [event == "bus_up" for event in events]
    assert all(powertrain for _, powertrain in by_phase)
    assert not drive.receiver.summary["gaps"]


async def test_frames_that_find_no_room_are_told_to_the_frame(tmp_path: Path) -> None:
    async with driving(tmp_path, receive_buffer="64KiB") as drive:
        await drive.start()
        await drive.feed()
        await asyncio.sleep(1)
        process = drive.agent.process
        assert process is not None
        for falls_silent in (False, True):
            process.send_signal(signal.SIGSTOP)
            await drive.feed_on(600)
            if falls_silent:
                await drive.end_feeding()
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(1)
        await drive.stop()
    times = drive.fed()
    counts, _ = arrived(drive)
    gaps = drive.gaps("dropped")
    dropped = sum(gap["frames"] for gap in gaps)
    print(f"{len(times)} frames sent = {len(counts)} arrived + {dropped} in {len(gaps)} gaps")
    missing = np.setdiff1d(np.arange(len(times)), counts)
    assert dropped > 0
    assert len(np.unique(counts)) == len(counts)
    assert len(times) == len(counts) + dropped
    assert not len(drive.untold("dropped", missing)), "samples are missing outside of the gaps"
    assert len(gaps) == len(drive.receiver.summary["gaps"])


def arrived(drive: Drive) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts and values of all frames that the receiver has, by count."""
    groups = [group for batch in drive.receiver.batches() for group in batch.groups]
    counts = np.concatenate([group.columns[0] for group in groups]).astype(np.int64)
    values = np.concatenate([group.columns[1] for group in groups]).astype(np.int64)
    order = np.argsort(counts, kind="stable")
    return counts[order], values[order]


def of_chassis(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each frame is the chassis bus'."""
    return np.array([one.bus == "chassis" for one in KINDS])[counts % len(KINDS)]


async def kill_often(drive: Drive, chance: random.Random) -> list[tuple[int, int]]:
    """Three of four times when it listens, else at any moment of its start; since when it listened (ns, 0: it did
    not) and when it was killed."""
    kills = []
    for number in range(KILLS):
        await drive.agent.start()
        if number == 0 or chance.random() < 0.75:
            await drive.agent.said("bus_up")
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        killed_ns = await drive.agent.kill()
        up = [line["timestamp"] for line in drive.agent.lines() if line["event"] == "bus_up"]
        kills.append((int(datetime.fromisoformat(up[0]).timestamp() * 1e9) if up else 0, killed_ns))
    return kills


def cost_s(
    times: NDArray[np.int64], counts: NDArray[np.int64], listened_ns: int, killed_ns: int
) -> tuple[float, float]:
    """Of a kill: how old the newest frame that arrived was, beside the newest one that was sent; and for how much of
    that time the machine, whose one processor the host lends, gave the feeder no turn either."""
    if not listened_ns:
        return 0.0, 0.0
    arrived_ns = times[counts]
    newest_ns = int(arrived_ns[arrived_ns <= killed_ns].max(initial=listened_ns))
    lost_ns = np.sort(times[(newest_ns < times) & (times <= killed_ns)])
    turns_ns = np.diff(lost_ns, prepend=newest_ns)
    return float(turns_ns.sum() / 1e9), float((turns_ns - TURN_NS).clip(0).sum() / 1e9)
