# SPDX-License-Identifier: Apache-2.0
"""Buses that come and go, more than the unit can read, and a real car's recording played by can-utils."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cantools
import pytest

from tests.conftest import RECORDINGS
from tests.headunit.agent.traffic import BUSES
from tests.headunit.box.service import configuration

if TYPE_CHECKING:
    from tests.headunit.box.scenario import Scenario

pytestmark = pytest.mark.timeout(900)

SMALL_BUFFER = "64KiB"
LARGE_BUFFER_BYTES = 64 << 20
FLOOD_FRAMES = 20_000
RECORDED_FRAMES = 60_000
RECORDED_HZ = 4000
WRITTEN_PER_BYTE_MAX = 4.0
DATABASES = Path(__file__).parents[1] / "data" / "databases"


def test_a_bus_that_goes_down_and_up_costs_only_itself(scenario: Scenario) -> None:
    unit, log = scenario.unit, scenario.unit.log
    for _ in range(2):
        since = len(log)
        unit.run("ip link set vcan1 down")
        log.said("bus_down", since=since, bus="chassis")
        scenario.drive()
        unit.run("ip link set vcan1 up")
        log.said("bus_up", since=since, bus="chassis")
        scenario.drive()
    end = unit.car.told()
    silent = end - scenario.begin - len(unit.car.sent(scenario.begin, end))
    scenario.figures["frames of the bus that was down"] = silent
    scenario.settle()
    assert silent > 0
    assert scenario.new_gaps() == []


def test_buses_missing_at_the_start_are_waited_for(scenario: Scenario) -> None:
    unit, service, log = scenario.unit, scenario.service, scenario.unit.log
    unit.car.rate(0)
    unit.car.told()
    service.stop()
    for interface in BUSES.values():
        unit.run(f"ip link delete {interface}")
    since = len(log)
    service.start()
    for name, interface in BUSES.items():
        log.said("bus_missing", since=since, bus=name)
        unit.run(f"ip link add {interface} mtu 72 up type vcan")
        log.said("bus_up", since=since, bus=name)
    scenario.drive()
    scenario.settle()
    assert scenario.new_gaps() == []


def test_of_a_bus_flooded_with_more_than_it_can_read_every_frame_dropped_is_counted(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    service.configure(configuration(receive_buffer=SMALL_BUFFER))
    service.reload()
    unit.log.said("agent_reloaded", since=scenario.since)
    scenario.drive()
    before = unit.car.told()
    for _ in range(2):
        unit.car.burst(FLOOD_FRAMES // 2)
        unit.car.told()
    after = unit.car.fed
    service.configure(configuration())
    service.reload()
    scenario.drive()
    scenario.settle()
    dropped = sum(gap.frames for gap in scenario.new_gaps() if gap.kind == "dropped")
    read = len(scenario.account.arrived(before, after))
    print(f"{after - before} frames flooded = {read} read + {dropped} dropped and told")
    assert dropped >= read, "twice what it can read"


def test_the_hardened_service_reads_databases_of_every_kind(scenario: Scenario) -> None:
    unit, service = scenario.unit, scenario.service
    buses = ""
    for number, kind in enumerate(("kcd", "sym", "arxml"), 2):
        shutil.copyfile(DATABASES / f"drive.{kind}", unit.shared / f"drive.{kind}")
        unit.run(f"cp {unit.shared}/drive.{kind} /etc/canferry/dbc/")
        buses += f'\n[[bus]]\nname = "{kind}"\ninterface = "socketcan"\nchannel = "vcan{number}"\n'
        buses += f'dbc = ["dbc/drive.{kind}"]\n'
    service.configure(configuration() + buses)
    since = len(unit.log)
    service.reload()
    for kind in ("kcd", "sym", "arxml"):
        unit.log.said("dbc_loaded", since=since, bus=kind)
    unit.log.said("agent_reloaded", since=since)
    service.configure(configuration())
    service.reload()
    scenario.drive()
    scenario.settle()


@pytest.mark.recordings
def test_a_real_car_at_4000_frames_a_second_arrives_whole_and_wears_the_disk_little(
    scenario: Scenario, tmp_path: Path
) -> None:
    unit, service = scenario.unit, scenario.service
    expected = write_recording(unit.shared / "drive.log")
    unit.run("ip link show vcan2 2>/dev/null || ip link add vcan2 mtu 72 up type vcan")
    shutil.copyfile(RECORDINGS / "mustang.dbc", unit.shared / "mustang.dbc")  # not each folder of the host is there
    unit.run(f"cp {unit.shared}/mustang.dbc /etc/canferry/dbc/")
    bus = '\n[[bus]]\nname = "car"\ninterface = "socketcan"\nchannel = "vcan2"\ndbc = ["dbc/mustang.dbc"]\n'
    unit.run(f"sysctl --quiet --write net.core.rmem_max={LARGE_BUFFER_BYTES}")  # room for all: this is not about drops
    service.configure(configuration(interval="10s", receive_buffer=f"{LARGE_BUFFER_BYTES}B") + bus)
    since = len(unit.log)
    service.reload()
    unit.log.said("agent_reloaded", since=since)
    unit.log.said("bus_up", since=since, bus="car")
    unit.car.rate(0)
    unit.car.told()
    written, before = scenario.written_bytes(), len(scenario.account.arrivals)
    begun = float(unit.run("cut -d ' ' -f 1 /proc/uptime"))
    unit.run(f"canplayer -I {unit.shared}/drive.log vcan2=can0")
    seconds = float(unit.run("cut -d ' ' -f 1 /proc/uptime")) - begun
    scenario.until(lambda: sum(scenario.account.others.values()) >= sum(expected.values()), "the whole recording")
    payload = sum(arrival.size_bytes for arrival in scenario.account.arrivals[before:])
    ratio = (scenario.written_bytes() - written) / payload
    scenario.figures["frames/s"] = f"{RECORDED_FRAMES / seconds:.0f}"
    scenario.figures["bytes to disk for each of payload"] = f"{ratio:.2f}"
    service.configure(configuration())
    service.reload()
    scenario.drive()
    scenario.settle()
    assert scenario.account.others == expected
    assert ratio <= WRITTEN_PER_BYTE_MAX


def write_recording(path: Path) -> dict[str, int]:
    """The first frames of a drive as canplayer reads them, evenly at `RECORDED_HZ`; how many of each message."""
    database = cantools.database.load_file(RECORDINGS / "mustang.dbc", strict=False)
    assert isinstance(database, cantools.database.Database)
    names = {message.frame_id: message.name for message in database.messages}
    expected: dict[str, int] = {}
    with lzma.open(RECORDINGS / "mustang_drive.log.xz", "rt") as recording, path.open("w") as played:
        for number in range(RECORDED_FRAMES):
            _, _, frame = next(recording).split()
            played.write(f"({1 + number / RECORDED_HZ:.6f}) can0 {frame}\n")
            name = names.get(int(frame.partition("#")[0], 16))
            if name is not None:
                expected[name] = expected.get(name, 0) + 1
    return expected
