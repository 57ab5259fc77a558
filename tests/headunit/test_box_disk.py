# SPDX-License-Identifier: Apache-2.0
"""A disk that others fill: the agent goes on, evicts the oldest batches, and says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.headunit.box.headunit import STATE
from tests.headunit.box.service import configuration

if TYPE_CHECKING:
    from tests.headunit.box.scenario import Scenario

pytestmark = pytest.mark.timeout(900)

FILL = f"""
free=$(df --output=avail --block-size=1K {STATE} | tail -1)
fallocate --length $((free + 0))KiB {STATE}/filler 2>/dev/null || true
while dd if=/dev/zero of={STATE}/filler bs=64K count=16 oflag=append conv=notrunc status=none 2>/dev/null; do :; done
df --output=avail --block-size=1 {STATE} | tail -1
"""
NOISE_HZ = 3000.0


def test_a_disk_full_and_full_again_costs_the_oldest_batches_and_names_each(scenario: Scenario) -> None:
    unit, service, log = scenario.unit, scenario.service, scenario.unit.log
    service.configure(configuration(segment="256KiB"))
    service.reload()
    log.said("agent_reloaded", since=scenario.since)
    try:
        for _ in range(2):
            fill_until_evicted(scenario)
    finally:
        unit.run(f"ip link set eth0 up; rm -f {STATE}/filler")
    scenario.drive()
    service.configure(configuration())
    service.reload()
    scenario.drive()
    scenario.settle()
    evicted = [gap for gap in scenario.new_gaps() if gap.kind == "evicted"]
    assert evicted
    assert not [gap for gap in scenario.new_gaps() if gap.kind != "evicted"]


def fill_until_evicted(scenario: Scenario) -> None:
    """No link and no room; it drives on, and then has a link again and still no room."""
    unit, since = scenario.unit, len(scenario.unit.log)
    unit.run("ip link set eth0 down")
    scenario.figures["bytes free"] = int(unit.run(FILL))
    unit.car.noise_rate(NOISE_HZ)
    unit.log.said("batches_evicted", since=since)
    unit.car.rate(0)
    unit.run("ip link set eth0 up")
    scenario.drive()
    unit.run(f"rm {STATE}/filler")
    scenario.drive()
