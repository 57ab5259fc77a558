# SPDX-License-Identifier: Apache-2.0
"""The network over D-Bus: a real bus, and a ModemManager that comes, changes, goes, and says what makes no sense."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

pytest.importorskip("jeepney", reason="the extra modemmanager is not installed")

from agent.uplink.cellular.modemmanager import ModemManager
from agent.uplink.cellular.network import ModemState, Registration, Sim
from tests.integration.modemmanager import AT_HOME, MODEM, NAME, ROOT, Bus, ScriptedModemManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is missing: apt-get install dbus"),
    # jeepney leaves a socket to the collector that its bus closed before it was through with greeting it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]

HOME = ModemState(Sim.READY, 1, None, "Telekom.de", "4G", -77, -95, -10.0)
NETWORK = f"{NAME}.Modem.Modem3gpp"


@pytest.fixture
async def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bus]:
    async with Bus(tmp_path).running() as running:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", running.address)
        yield running
    gc.collect()


@contextlib.asynccontextmanager
async def asking(poll_s: float = 60.0) -> AsyncIterator[ModemManager]:
    modem = ModemManager(poll_s, retry_first_s=0.05)
    task = asyncio.create_task(modem.run())
    try:
        yield modem
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_modemmanager_says_is_known_and_its_changes_at_once(bus: Bus) -> None:
    async with ScriptedModemManager(bus.address).running() as manager, asking() as modem:
        await until(lambda: modem.state == HOME)
        assert str(modem) == "modem home Telekom.de 4G -95dBm"
        with capture_logs() as logs:
            await manager.changed(NETWORK, {"RegistrationState": ("u", 5), "OperatorName": ("s", "Orange F")})
            await until(lambda: modem.state.roaming)
        assert modem.state.operator == "Orange F"
        assert [(line["event"], line["registration"]) for line in logs] == [("network_changed", "roaming")]


async def test_a_modem_that_is_unplugged_is_unknown_and_found_again_elsewhere(bus: Bus) -> None:
    async with ScriptedModemManager(bus.address).running() as manager, asking() as modem:
        await until(lambda: modem.state == HOME)
        with capture_logs() as logs:
            await manager.removed()
            await until(lambda: modem.state == ModemState())
            assert str(modem) == "modem missing"
            await manager.added(f"{ROOT}/Modem/1", AT_HOME)
            await until(lambda: modem.state == HOME)
        assert [line["event"] for line in logs] == ["modem_missing", "network_changed", "network_changed"]


async def test_a_modemmanager_that_comes_late_or_starts_anew_is_heard(bus: Bus) -> None:
    async with asking() as modem:
        await until(lambda: str(modem) == "modem without ModemManager")
        for _ in range(2):
            async with ScriptedModemManager(bus.address).running():
                await until(lambda: modem.state == HOME)
            await until(lambda: str(modem) == "modem without ModemManager")
            assert modem.state == ModemState()


async def test_a_bus_that_goes_is_opened_again(bus: Bus) -> None:
    async with asking(poll_s=1.0) as modem:
        async with ScriptedModemManager(bus.address).running():
            await until(lambda: modem.state == HOME)
            with capture_logs() as logs:
                await bus.stop()
                await until(lambda: str(modem) == "modem down")
        assert logs[0]["event"] == "modem_manager_down"
        await bus.start()
        async with ScriptedModemManager(bus.address).running():
            await until(lambda: modem.state == HOME)


async def test_a_bus_that_refuses_to_tell_of_changes_is_down_and_tried_again(bus: Bus) -> None:
    await bus.stop()
    bus.limits = '<limit name="max_match_rules_per_connection">0</limit>'
    await bus.start()
    with capture_logs() as logs:
        async with asking() as modem:
            await until(lambda: str(modem) == "modem down")
            await bus.stop()
            bus.limits = ""
            await bus.start()
            async with ScriptedModemManager(bus.address).running():
                await until(lambda: modem.state == HOME)
    assert logs[0]["event"] == "modem_manager_down"
    assert "LimitsExceeded" in logs[0]["reason"]


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("s", ("nothing",)),
        ("", ()),
        ("a{oa{sa{sv}}}", ({MODEM: {f"{NAME}.Modem": {"State": ("s", "connected")}}},)),
        ("a{oa{sa{sv}}}", ({MODEM: AT_HOME | {NETWORK: {"RegistrationState": ("d", 1.5)}}},)),
    ],
)
async def test_an_answer_that_makes_no_sense_is_nothing_known_and_passes(bus: Bus, signature: str, body: Any) -> None:
    async with ScriptedModemManager(bus.address).running() as manager, asking(poll_s=1.0) as modem:
        manager.answer = (signature, body)
        await until(lambda: manager.asked >= 3)  # the second answer has been read, and it was this one
        assert modem.state.registration is Registration.UNKNOWN
        manager.answer = None
        await until(lambda: modem.state == HOME)
