# SPDX-License-Identifier: Apache-2.0
"""The installed service in the hands of systemd: it starts, is killed, hangs, is starved, reloaded and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.headunit.box.headunit import SOCKET_FOLDER, STATE
from tests.headunit.box.service import CONFIG, UNIT, configuration

if TYPE_CHECKING:
    from tests.headunit.box.scenario import Scenario
    from tests.headunit.box.service import Service

pytestmark = pytest.mark.timeout(900)

EXPOSURE_MAX = 1.5
TOO_LITTLE_MEMORY = "20M"
RIGHTS = """
pid=$(systemctl show --property=MainPID --value canferry.service)
grep -E '^(Uid|Gid|Cap...|NoNewPrivs|Seccomp):' /proc/$pid/status
"""
CREDENTIAL = """
import os
from pathlib import Path
path = Path("/run/credentials/canferry.service/canferry.password")
print(path.read_text().strip(), oct(path.stat().st_mode & 0o077), os.access(path, os.W_OK))
"""
WAKE_UPS_MAX_S = 5
PARKED_S = 20
WAKE_UPS = """
pid=$(systemctl show --property=MainPID --value canferry.service)
cat /proc/uptime /proc/$pid/task/*/status | awk 'NR == 1 {print $1} /^voluntary/ {n += $2} END {print n}'
"""
WRITABLE = """
import os
for line in open("/proc/self/mounts"):
    path = line.split()[1]
    if os.access(path, os.W_OK) and os.path.isdir(path):
        print(path)
"""


def test_it_boots_and_is_ready(service: Service) -> None:
    service.start()
    shown = service.show("ActiveState", "SubState", "StatusText", "Type")
    print(f"ready after {service.ready_after_s():.1f} s: {shown['StatusText']}")
    assert (shown["Type"], shown["ActiveState"], shown["SubState"]) == ("notify", "active", "running")
    assert shown["StatusText"].startswith("powertrain up, chassis up; ")


def test_its_lines_are_found_by_their_fields(service: Service) -> None:
    service.start()
    told = service.unit.run("journalctl --no-pager --output=cat --unit=canferry BUS=chassis")
    assert "bus_up" in told
    assert "bus=powertrain" not in told
    assert "agent_started" in service.unit.run("journalctl --no-pager --output=cat CODE=agent_started")


def test_what_is_asked_of_it_is_logged_without_a_restart(service: Service) -> None:
    service.start()
    unit, since = service.unit, len(service.unit.log)
    assert ", logs debug" in unit.run("canferry status --log-level debug || test $? = 1")
    unit.log.said("log_level_changed", since=since, now="debug", before="info")
    service.kill("USR1")
    unit.log.said("log_level_changed", since=since, now="info", before="debug")


def test_it_has_no_rights_but_to_its_own_state(service: Service) -> None:
    service.start()
    unit = service.unit
    exposure = unit.run(f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    rights = dict(line.split(":\t", 1) for line in unit.run(RIGHTS).splitlines())
    writable = set(service.run_inside(WRITABLE).split())
    print(exposure, rights, writable, sep="\n")
    assert float(exposure.split(": ")[1].split()[0]) <= EXPOSURE_MAX
    assert "0" not in rights["Uid"].split() + rights["Gid"].split()
    assert {rights[each] for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (rights["NoNewPrivs"], rights["Seccomp"]) == ("1", "2")
    assert writable == {STATE, SOCKET_FOLDER}


def test_a_credential_of_the_service_manager_is_its_own_to_read(service: Service) -> None:
    unit = service.unit
    unit.run("umask 077; mkdir -p /etc/credstore; echo sesame >/etc/credstore/canferry.password")
    try:
        service.stop()
        service.start()
        read, others, writable = service.run_inside(CREDENTIAL).split()
        assert (read, others, writable) == ("sesame", "0o0", "False")
    finally:
        unit.run("rm /etc/credstore/canferry.password")
        service.stop()


def test_a_parked_car_wakes_it_up_a_few_times_a_second_at_most(scenario: Scenario) -> None:
    scenario.settle()
    begin_s, before = map(float, scenario.unit.run(WAKE_UPS).split())
    scenario.unit.run(f"sleep {PARKED_S}")
    end_s, after = map(float, scenario.unit.run(WAKE_UPS).split())
    wake_ups_s = (after - before) / (end_s - begin_s)
    print(f"parked: {wake_ups_s:.1f} wake-ups a second over {end_s - begin_s:.0f} s")
    assert wake_ups_s < WAKE_UPS_MAX_S


def test_killed_it_is_restarted_and_nothing_sealed_is_lost(scenario: Scenario) -> None:
    service = scenario.service
    for _ in range(3):
        since = len(scenario.unit.log)
        service.kill("KILL")
        service.again(since)
        scenario.drive()
    scenario.figures["ready after"] = f"{service.ready_after_s():.1f} s"
    scenario.settle()


def test_a_disk_that_hangs_is_found_by_the_watchdog_and_costs_no_sealed_batch(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    unit.run(f"fsfreeze --freeze {STATE}")
    try:
        bark = unit.log.told("Watchdog timeout", since=scenario.since)
    finally:
        unit.run(f"fsfreeze --unfreeze {STATE}")
    service.again(bark.number)
    scenario.drive()
    scenario.figures["ready after"] = f"{service.ready_after_s():.1f} s"
    scenario.settle()


def test_a_process_that_stands_still_is_found_by_the_watchdog(scenario: Scenario) -> None:
    service = scenario.service
    service.kill("STOP")
    bark = scenario.unit.log.told("Watchdog timeout", since=scenario.since)
    service.again(bark.number)
    scenario.drive()
    scenario.settle()


def test_starved_of_memory_it_is_killed_and_restarted_and_nothing_sealed_is_lost(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    limit = service.show("MemoryMax")["MemoryMax"]
    scenario.figures["memory"] = f"{service.memory_peak_bytes() >> 20} MiB at most of {int(limit) >> 20} MiB"
    assert service.memory_peak_bytes() < int(limit)
    unit.run(f"systemctl set-property --runtime {UNIT} MemoryMax={TOO_LITTLE_MEMORY}")
    unit.log.told("killed by the OOM killer", since=scenario.since)
    unit.run(f"systemctl set-property --runtime {UNIT} MemoryMax={limit}")
    unit.run(f"systemctl is-active --quiet {UNIT} || systemctl start {UNIT}")
    scenario.drive()
    scenario.settle()


def test_reload_takes_a_good_configuration_refuses_a_bad_one_loses_nothing(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    service.configure(configuration(interval="2s"))
    service.reload()
    unit.log.said("agent_reloaded", since=scenario.since)
    unit.run(f"sed -i 's/^interval = .*/interval = \"soon\"/' {CONFIG}")
    service.reload()
    refused = unit.log.said("reload_refused", since=scenario.since)
    assert f"{CONFIG}: batch.interval" in refused["reason"]
    scenario.drive()
    service.configure(configuration())
    service.reload()
    scenario.drive()
    scenario.settle()
    assert scenario.new_gaps() == []


def test_stopped_and_started_in_good_order_it_leaves_no_gap_but_the_pause(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    unit.car.rate(0)
    unit.car.told()
    service.stop()
    stopped = unit.log.said("agent_stopped", since=scenario.since)
    assert stopped["spooled"] == 0
    assert service.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    service.start()
    scenario.drive()
    scenario.settle()
    assert not unit.log.events("interruption_found", since=scenario.since)
    assert scenario.new_gaps() == []
