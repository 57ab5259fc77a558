# SPDX-License-Identifier: Apache-2.0
"""The last scenario of a unit: what all of them came to, and the package taken off again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.headunit.box.headunit import STATE

if TYPE_CHECKING:
    from tests.headunit.box.scenario import Scenario
    from tests.headunit.box.service import Service

pytestmark = pytest.mark.timeout(900)


def test_over_all_scenarios_nothing_was_lost_that_is_not_named(scenario: Scenario) -> None:
    account, cloud, car = scenario.account, scenario.unit.cloud, scenario.unit.car
    scenario.settle()
    cloud.stop_receiver()
    cloud.start_receiver()
    end = car.told()
    sent, arrived = car.sent(0, end), account.arrived(0, end)
    kinds = [gap["kind"] for gap in cloud.summary["gaps"]]
    print(
        f"all scenarios: {account.samples(sent)} samples in, {account.samples(arrived)} received in "
        f"{len(account.arrivals)} batches, {len(kinds)} gaps named, {account.unaccounted(0, end)} frames not named; "
        f"{cloud.summary['duplicates_dropped']} duplicates dropped"
    )
    assert account.failures() == []
    assert account.unaccounted(0, end) == 0
    assert sorted(kinds) == sorted(gap.kind for gap in account.gaps())


def test_removed_it_keeps_configuration_and_spool_and_purged_it_leaves_nothing(service: Service) -> None:
    unit = service.unit
    service.start()
    listed = unit.run("dpkg --listfiles canferry").split()
    own = [path for path in listed if "canferry" in path and not path.startswith(("/opt/canferry/", STATE))]
    assert "/opt/canferry" in own
    unit.run("dpkg --remove canferry")
    assert unit.run(f"ls /etc/canferry/agent.toml {STATE}/normal")
    unit.run("dpkg --purge canferry")
    left = unit.run(
        f"ls -d {' '.join(own)} /etc/canferry 2>/dev/null || true; find {STATE} -mindepth 1 -not -name lost+found; "
        "getent passwd canferry || true"
    ).split()
    assert left == []
