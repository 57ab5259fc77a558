# SPDX-License-Identifier: Apache-2.0
"""The power is cut at random moments, thirty times: ext4 on a disk, the agent, a broker that outlives it.

CANFERRY_POWER_CUTS says how often.

Each cut kills the whole machine, kernel and page cache with it; the next boot has the disk as it was. The agent is
started by the machine's first process instead of systemd, which has no part in what the disk holds afterwards: a boot
takes a quarter of the time, and the moments are as many. Every third cut comes while the agent starts and recovers, the
others while it listens; what it costs is measured where it had listened.
"""

from __future__ import annotations

import os
import random
import time
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.headunit.box.account import Account
from tests.headunit.box.car import database
from tests.headunit.box.cloud import Cloud
from tests.headunit.box.headunit import BareUnit
from tests.headunit.box.scenario import RATE_HZ, wait_until_even
from tests.headunit.box.service import configuration

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.headunit.machine import Machine

CUTS = int(os.environ.get("CANFERRY_POWER_CUTS", "30"))
LOG = """
[log]
format = "json"
"""
"""Its first line is a terminal, and the test reads what it says."""
JOURNAL_INTERVAL_S = 2.0
"""More than a unit has, because all of this shares one slow processor."""
TURN_S = 0.1
"""Of the car, at the longest, where nothing holds the machine up."""
LISTENS_MAX_S = 3.0
SEED = random.SystemRandom().randrange(1 << 32)

pytestmark = pytest.mark.timeout(600 + 90 * CUTS)


def test_a_power_cut_costs_no_sealed_batch_and_at_most_the_journal_interval(machine: Machine, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    config = write_configuration(tmp_path / "config")
    with Cloud(tmp_path / "cloud") as cloud:
        unit = BareUnit(machine, cloud, tmp_path / "unit")
        account = Account(unit.car, cloud.out)
        cuts: list[tuple[int, int]] = []
        troubles: dict[str, int] = {}
        try:
            for number in range(CUTS):
                drive_until_cut(unit, config, chance, starting=number % 3 == 2)
                cuts += [(listened_ns, unit.car.fed) for listened_ns in heard_since_ns(unit)]
                count(unit, troubles)
            boot(unit, config)
            unit.log.said("link_up")
            begin = int(np.argmax(unit.car.times >= cuts[0][0]))  # before its first start there was nobody to tell
            wait_until_even(unit.car, account, begin)
        finally:
            unit.cut_power()
            count(unit, troubles)
        cloud.stop_receiver()
    end = unit.car.fed
    costs = [cost_s(unit.car.times, account.arrived(0, cut), listened_ns, cut) for listened_ns, cut in cuts]
    print(
        f"seed {SEED}: {CUTS} power cuts, {len(cuts)} of them while it listened; {len(account.arrivals)} batches, "
        f"{cloud.summary['duplicates_dropped']} duplicates dropped, {len(account.gaps())} gaps; "
        f"{len(unit.car.sent(begin, end))} frames sent, {len(account.arrived(begin, end))} arrived; "
        f"cost of a cut, of {JOURNAL_INTERVAL_S:g} s: median {np.median([cost for cost, _ in costs]):.3f} s, "
        f"worst {max(costs)[0]:.3f} s (the machine stood still for {max(costs)[1]:.3f} s of it); said: {troubles}"
    )
    assert account.failures() == []
    assert account.unaccounted(begin, end) == 0
    assert {gap.kind for gap in account.gaps()} <= {"interrupted"}
    assert not {"record_corrupt", "state_unreadable", "recovery_failed"} & set(troubles)
    assert max(cost - held_up for cost, held_up in costs) <= JOURNAL_INTERVAL_S


def write_configuration(folder: Path) -> Path:
    (folder / "dbc").mkdir(parents=True)
    for bus in ("powertrain", "chassis"):
        (folder / f"dbc/{bus}.dbc").write_text(database(bus))
    (folder / "agent.toml").write_text(configuration(interval="2s") + LOG)
    return folder / "agent.toml"


def boot(unit: BareUnit, config: Path) -> None:
    """The car drives as soon as it is there, before the agent listens or after."""
    unit.boot(config)
    unit.car.go_on()
    unit.car.rate(RATE_HZ)


def drive_until_cut(unit: BareUnit, config: Path, chance: random.Random, *, starting: bool) -> None:
    """Any moment of its start, or of the seconds after it."""
    boot(unit, config)
    unit.car.told()  # the machine is up, and the agent is being started
    if not starting:
        unit.log.said("agent_started")
    time.sleep(chance.uniform(0.0, LISTENS_MAX_S))
    unit.cut_power()


def heard_since_ns(unit: BareUnit) -> list[int]:
    """When it began to listen, where it got so far."""
    stamps = [line["timestamp"] for line in unit.log.events("bus_up")]
    return [int(datetime.fromisoformat(stamp).timestamp() * 1e9) for stamp in stamps[-1:]]


def count(unit: BareUnit, troubles: dict[str, int]) -> None:
    """What it said above the level of information."""
    for entry in unit.log.entries:
        if entry.line.get("level") in ("warning", "error"):
            troubles[entry.line["event"]] = troubles.get(entry.line["event"], 0) + 1


def cost_s(times: NDArray[np.int64], arrived: NDArray[np.int64], listened_ns: int, cut: int) -> tuple[float, float]:
    """Of a cut after this many frames: how old the newest frame that arrived was, beside the newest one that was sent;
    and for how much of that time the machine, whose one processor the host lends, gave the car no turn either."""
    newest_ns = int(times[arrived].max(initial=listened_ns))
    lost_ns = np.sort(times[:cut][times[:cut] > newest_ns])
    turns_s = np.diff(lost_ns, prepend=newest_ns) / 1e9
    return float(turns_s.sum()), float((turns_s - TURN_S).clip(0).sum())
