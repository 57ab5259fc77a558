# SPDX-License-Identifier: Apache-2.0
"""A broker that is gone for an hour of driving, and a link that loses and delays: all arrives, live batches first."""

from __future__ import annotations

from operator import ge
from typing import TYPE_CHECKING

import pytest

from tests.headunit.box.scenario import RATE_HZ
from tests.headunit.box.service import configuration

if TYPE_CHECKING:
    from tests.headunit.box.scenario import Scenario

pytestmark = pytest.mark.timeout(1800)

HOUR = 360, 4950
"""Batches and KiB: batches of 10 s, and what a Ford Mustang makes of an hour with 1,245 frames/s, 1.13 bytes each."""
NOISE_HZ = 2000.0
DRIVE_S_MAX = 900.0
"""A slow machine sends fewer."""
BAD_LINK = "netem delay 800ms loss 30%"


def test_an_hour_without_the_broker_is_kept_and_drained_behind_the_live_batches(scenario: Scenario) -> None:
    unit, account, cloud = scenario.unit, scenario.account, scenario.unit.cloud
    scenario.service.configure(configuration(interval="100ms"))
    scenario.service.reload()
    unit.log.said("agent_reloaded", since=scenario.since)
    cloud.stop_broker()
    begin = unit.car.told()
    unit.car.noise_rate(NOISE_HZ)
    spooled = scenario.service.spooled
    scenario.until(lambda: all(map(ge, spooled(), HOUR)), "an hour's batches", every_s=2.0, patience_s=DRIVE_S_MAX)
    unit.car.rate(RATE_HZ)
    back = unit.car.told()
    batches, size_kib = scenario.service.spooled()
    cloud.start_broker()
    scenario.until(lambda: len(account.missing(begin, back)) == 0, "the backlog")
    arrivals = [arrival for arrival in account.arrivals if len(arrival.counts) and arrival.counts[-1] >= begin]
    live = [place for place, arrival in enumerate(arrivals) if arrival.counts[0] >= back]
    backlog = [place for place, arrival in enumerate(arrivals) if arrival.counts[0] < back]
    scenario.figures["backlog"] = f"{batches} batches, {size_kib} KiB"
    scenario.figures["of it after the first live batch"] = sum(place > live[0] for place in backlog)
    scenario.figures["drained in"] = f"{arrivals[backlog[-1]].at_s - arrivals[0].at_s:.1f} s"
    scenario.service.configure(configuration())
    scenario.service.reload()
    scenario.settle()
    assert live[0] < backlog[-1]
    assert scenario.new_gaps() == []


def test_over_a_link_that_loses_and_delays_everything_arrives_once(scenario: Scenario) -> None:
    unit = scenario.unit
    since = len(unit.log)
    unit.run(f"tc qdisc add dev eth0 root {BAD_LINK}")
    try:
        scenario.drive()
        scenario.settle()
    finally:
        unit.run("tc qdisc del dev eth0 root")
    scenario.figures["connections"] = len(unit.log.events("link_up", since=since))
    assert scenario.new_gaps() == []
