# SPDX-License-Identifier: Apache-2.0
"""Faults planted in a running agent: `canferry status` names each as the cause, with the next move, on one screen.

Each is taken away again, or was not there before, and then it is not named. Those that need CAN interfaces are in
tests/headunit/agent/test_status.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.disks import fill, mounted
from tests.support.asking import named, status, unnamed
from tests.support.mosquitto import Certificates, free_port, running
from tests.support.processes import VEHICLE, Agent
from tests.support.scripted import ScriptedBroker, puback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.support.scripted import Publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CONFIG = """
[vehicle]
id = "{vehicle}"
{bus}
{rules}
[batch]
interval = "500ms"
[spool]
path = "{spool}"
limit = "1GiB"
min_free = "{min_free}"
journal_interval = "100ms"
[mqtt]
broker = "{broker}"
no_subscribers = "accept"
backoff_base = "50ms"
backoff_max = "500ms"
{tls}
[agent]
socket = "{socket}"
shutdown_grace = "0s"
[log]
level = "debug"
format = "json"
"""
SIMULATOR = '[[bus]]\nname = "car"\ninterface = "simulator"'
REPLAY = '[[bus]]\nname = "body"\ninterface = "replay"\nchannel = "drive.log"\ndbc = ["body.dbc"]'
DRIVE_S = 900
OF_ANOTHER_CAR = 'BO_ 256 NEVER_SENT: 8 ECU\n SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" ECU\n'
OF_THIS_CAR = 'BO_ 2016 HEARD: 8 ECU\n SG_ Level : 0|16@1+ (1,0) [0|0] "" ECU\n'
WITHOUT_OVERRIDING_RIGHTS = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: of root, who may open anything
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-m", "agent", *sys.argv[1:]])
"""
WITH_ANOTHER_CLOCK = """
import sys, time
now_ns = time.time_ns
time.time_ns = lambda: now_ns() + YEARS * 365 * 86_400 * 10**9
from agent.cli import main
sys.exit(main(sys.argv[1:]))
"""


@contextlib.asynccontextmanager
async def agent(
    folder: Path,
    broker: str,
    *,
    bus: str = SIMULATOR,
    rules: str = "",
    tls: str = "",
    spool: str = "spool",
    min_free: str = "0B",
    program: Sequence[str] = ("-m", "agent"),
) -> AsyncIterator[Agent]:
    """One that runs, in a folder of its own with a recorded drive beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "drive.log").write_text(
        "".join(f"({1_700_000_000 + n / 50:.6f}) body 7E0#0102030405060708\n" for n in range(50 * DRIVE_S))
    )
    settings = {
        "vehicle": f"{VEHICLE}-{folder.name}",
        "broker": broker,
        "socket": folder / "agent.sock",
        "bus": bus,
        "rules": rules,
        "tls": tls,
        "spool": spool,
        "min_free": min_free,
    }
    one = Agent(folder, CONFIG.format(**settings), program=program)
    try:
        await one.start()
        await one.said("agent_started")
        yield one
    finally:
        await one.close()


async def reload(one: Agent) -> None:
    assert one.process is not None
    one.process.send_signal(signal.SIGHUP)
    await one.said("agent_reloaded")


async def test_an_agent_that_nothing_is_wrong_with_is_said_to_be_well(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, agent(tmp_path / "car", broker.url()) as car:
        await car.said("batch_acknowledged")
        told = await status(car)
        assert told.status == 0
        assert "error " not in told.out


async def test_a_dbc_file_of_another_car(tmp_path: Path) -> None:
    folder = tmp_path / "car"
    folder.mkdir()
    (folder / "body.dbc").write_text(OF_ANOTHER_CAR)
    async with running(tmp_path / "broker") as broker, agent(folder, broker.url(), bus=REPLAY) as car:
        await named(car, "dbc_wrong", "body")
        (folder / "body.dbc").write_text(OF_THIS_CAR)
        await reload(car)
        await unnamed(car, "dbc_wrong")


async def test_a_device_that_the_agent_may_not_open(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    device = Path(os.ttyname(theirs))
    os.close(theirs)  # nobody reads it: what the adapter is told is lost in the line
    device.chmod(0)
    bus = f'[[bus]]\nname = "body"\ninterface = "slcan"\nchannel = "{device}"\nbitrate = 500000\nkeep_unknown = true'
    try:
        async with (
            running(tmp_path / "broker") as broker,
            agent(tmp_path / "car", broker.url(), bus=bus, program=("-c", WITHOUT_OVERRIDING_RIGHTS)) as car,
        ):
            screen = await named(car, "bus_no_permission", "body")
            assert str(device) in screen
            device.chmod(0o600)
            await unnamed(car, "bus_no_permission")
    finally:
        os.close(ours)


async def test_a_broker_that_was_never_reached(tmp_path: Path) -> None:
    port = free_port()
    async with agent(tmp_path / "car", f"mqtt://127.0.0.1:{port}") as car:
        await named(car, "broker_unreachable", f"127.0.0.1:{port}")


async def test_a_certificate_of_the_vehicle_that_has_expired(tmp_path: Path) -> None:
    made = await asyncio.to_thread(Certificates.make, tmp_path / "certificates")
    expired, key = await asyncio.to_thread(made.issue, "expired", days=0)
    tls = f'ca = "{made.ca}"\ncertificate = "car.pem"\nkey = "car.key"'
    folder = tmp_path / "car"
    folder.mkdir()
    shutil.copy(expired, folder / "car.pem")
    shutil.copy(key, folder / "car.key")
    async with (
        running(tmp_path / "broker", tls=made, client_certificates=True) as broker,
        agent(folder, broker.url(), tls=tls) as car,
    ):
        await car.said("link_refused")
        await named(car, "certificate_expired", f"127.0.0.1:{broker.port}")
        shutil.copy(made.client, folder / "car.pem")
        shutil.copy(made.client_key, folder / "car.key")
        await car.said("batch_acknowledged")  # both are read at the next try
        await unnamed(car, "certificate_expired")


async def test_a_certificate_of_the_broker_that_has_expired(tmp_path: Path) -> None:
    made = await asyncio.to_thread(Certificates.make, tmp_path / "certificates", days=0)
    tls = f'ca = "{made.ca}"'
    async with (
        running(tmp_path / "broker", tls=made) as broker,
        agent(tmp_path / "car", broker.url(), tls=tls) as car,
    ):
        screen = await named(car, "broker_certificate", f"127.0.0.1:{broker.port}")
        assert "expired" in screen


async def test_a_quota_that_is_used_up(tmp_path: Path) -> None:
    used_up = False

    def answer(publish: Publish) -> bytes:
        return puback(publish, 0x97 if used_up else 0)

    async with ScriptedBroker(answer) as broker, agent(tmp_path / "car", f"mqtt://127.0.0.1:{broker.port}") as car:
        await car.said("batch_acknowledged")
        await unnamed(car, "broker_quota")
        used_up = True
        await named(car, "broker_quota", f"127.0.0.1:{broker.port}")
        used_up = False
        await unnamed(car, "broker_quota")


async def test_a_topic_on_which_the_agent_may_not_publish(tmp_path: Path) -> None:
    allowed = True

    def answer(publish: Publish) -> bytes:
        return puback(publish, 0 if allowed else 0x87)

    async with ScriptedBroker(answer) as broker, agent(tmp_path / "car", f"mqtt://127.0.0.1:{broker.port}") as car:
        await car.said("batch_acknowledged")
        await unnamed(car, "broker_refuses")
        allowed = False
        await named(car, "broker_refuses", f"127.0.0.1:{broker.port}")
        allowed = True
        await unnamed(car, "broker_refuses")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", 24) as folder:
        yield folder


async def test_a_disk_that_others_have_filled(tmp_path: Path, small_disk: Path) -> None:
    spool = str(small_disk / "spool")
    async with (
        running(tmp_path / "broker") as broker,
        agent(tmp_path / "car", broker.url(), spool=spool, min_free="4MiB") as car,
    ):
        await car.said("batch_acknowledged")
        await unnamed(car, "disk_full")
        filler = fill(small_disk)
        await named(car, "disk_full", spool)
        filler.unlink()
        await unnamed(car, "disk_full")


async def test_a_data_plan_whose_day_is_spent(tmp_path: Path) -> None:
    plan = '[data_plan]\nper_month = "1MiB"\nper_day = "2KiB"'
    async with running(tmp_path / "broker") as broker:
        async with agent(tmp_path / "held", broker.url(), rules=plan) as held:
            told = await named(held, "data_plan_holds_back", "data_plan", level="warning")
            assert "holding back" in told
        async with agent(tmp_path / "free", broker.url()) as free:
            await free.said("batch_acknowledged")
            await unnamed(free, "data_plan_holds_back")


async def test_a_rule_that_keeps_nothing(tmp_path: Path) -> None:
    for name in ("sound", "idle"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "body.dbc").write_text(OF_THIS_CAR + OF_ANOTHER_CAR)
    rules = {"sound": '[[collect]]\nmessage = "HEARD"', "idle": '[[collect]]\nmessage = "NEVER_SENT"'}
    async with (
        running(tmp_path / "broker") as broker,
        agent(tmp_path / "sound", broker.url(), bus=REPLAY, rules=rules["sound"]) as sound,
        agent(tmp_path / "idle", broker.url(), bus=REPLAY, rules=rules["idle"]) as idle,
    ):
        await named(idle, "rule_keeps_nothing", "collect")
        await unnamed(sound, "rule_keeps_nothing")  # which has run for longer


async def test_a_clock_that_is_decades_behind(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker:
        async with agent(
            tmp_path / "car", broker.url(), program=("-c", WITH_ANOTHER_CLOCK.replace("YEARS", "-50"))
        ) as car:
            await car.said("batch_acknowledged")
            await named(car, "clock_wrong", "clock")
        async with agent(tmp_path / "car", broker.url()) as car:
            await unnamed(car, "clock_wrong")
