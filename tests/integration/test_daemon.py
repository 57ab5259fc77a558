# SPDX-License-Identifier: Apache-2.0
"""`canferry run` as a service manager starts it: what it tells, and what its signals do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.config import load_config
from agent.daemon import daemon
from agent.model import GapKind
from agent.pipeline.storage import Storage
from tests.support.mosquitto import running
from tests.support.processes import SIMULATED, Agent, Receiver
from tests.unit.uplink.cellular.test_modem import ROAMING, ScriptedModem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.config import Config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OTHER_BUS = '[[bus]]\nname = "other"\ninterface = "simulator"\n[batch]'


class Manager:
    """The service manager's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def hears(self, text: str) -> str:
        """The next message that holds this text."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while True:
                message = (await loop.sock_recv(self._socket, 4096)).decode()
                self.said.append(message)
                if text in message:
                    return message

    def forget(self) -> None:
        """What was said before now."""
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manager]:  # type: ignore[misc]
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    yield manager
    manager.close()


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[tuple[Agent, Receiver]]:
    """An agent that is to be started, and the cloud."""
    async with running(folder / "broker") as broker, Receiver(folder).running(broker) as receiver:
        agent = Agent(folder, SIMULATED.replace("BROKER", broker.url()))
        try:
            yield agent, receiver
        finally:
            await agent.close()


async def all_received(agent: Agent, receiver: Receiver) -> int:
    """Stop; every frame that was counted has arrived, in batches without a hole. How many frames."""
    assert await agent.stop() == 0
    (stopped,) = agent.events("agent_stopped")
    await receiver.has(lambda files: len(files) >= stopped["batches"])
    batches = receiver.batches()
    assert [batch.id.sequence for batch in batches] == list(range(stopped["batches"]))
    assert sum(batch.frames for batch in batches) == stopped["frames"]
    return int(stopped["frames"])


async def test_the_service_manager_hears_of_readiness_life_and_end(tmp_path: Path, manager: Manager) -> None:
    async with service(tmp_path) as (agent, _):
        await agent.start()
        await manager.hears("EXTEND_TIMEOUT_USEC=")
        await manager.hears("READY=1")
        assert await manager.hears("STATUS=") == manager.said[-1]
        assert "car up; " in manager.said[-1]
        assert [await manager.hears("WATCHDOG=1") for _ in range(3)]
        assert await agent.stop() == 0
        await manager.hears("STOPPING=1")


async def test_a_modem_is_told_of_and_its_changes_are_logged(tmp_path: Path, manager: Manager) -> None:
    modem = ScriptedModem(tmp_path / "ttyUSB2")
    async with service(tmp_path) as (agent, _):
        agent.config.write_text(agent.config.read_text() + f'[modem]\nport = "{modem.path}"\npoll = "1s"\n')
        answering = asyncio.create_task(modem.run())
        await agent.start()
        await agent.said("network_changed", registration="home", operator="Telekom.de", technology="4G")
        assert "; modem home Telekom.de 4G -95dBm" in await manager.hears("modem home")
        modem.script = ROAMING
        await agent.said("network_changed", registration="roaming", before="home", operator="Orange F")
        await manager.hears("modem roaming")
        modem.unplug()
        await agent.said("port_down", port=str(modem.path))
        await manager.hears("; modem down")
        answering.cancel()
        assert await agent.stop() == 0


async def test_a_data_plan_that_is_spent_holds_back_and_is_remembered(tmp_path: Path, manager: Manager) -> None:
    async with service(tmp_path) as (agent, receiver):
        plan = '[data_plan]\nper_month = "1MiB"\nper_day = "8KiB"\n'
        agent.config.write_text(agent.config.read_text().replace('"30s"', '"1s"') + plan)
        await agent.start()
        await agent.said("batch_acknowledged")
        await manager.hears("holding back")
        first = len(agent.events("batch_acknowledged"))
        sealed = (await agent.said("batch_sealed"))["sequence"]
        await agent.said("batch_sealed", sequence=sealed + first + 5)
        assert await agent.stop() == 0
        assert "batch_acknowledged" in {line["event"] for line in agent.lines()}
        held = len(agent.events("batch_acknowledged"))
        await agent.start()
        await manager.hears("READY=1")
        await manager.hears("holding back")
        assert len(agent.events("batch_acknowledged")) == held, "the day's limit outlasts the process"
        agent.config.write_text(agent.config.read_text().replace(plan, ""))
        assert agent.process is not None
        agent.process.send_signal(signal.SIGHUP)
        await agent.said("agent_reloaded")
        stopped = await all_sent(agent)
        await receiver.has(lambda files: len(files) >= stopped)


async def all_sent(agent: Agent) -> int:
    """Wait until the spool is empty; how many batches there were."""
    sealed = len(agent.events("batch_sealed"))
    async with asyncio.timeout(60):
        while len(agent.events("batch_acknowledged")) < sealed:
            await asyncio.sleep(0.05)
    return sealed


async def test_sighup_takes_a_new_configuration_and_loses_nothing(tmp_path: Path, manager: Manager) -> None:
    async with service(tmp_path) as (agent, receiver):
        await agent.start()
        await agent.said("batch_acknowledged")
        assert agent.process is not None
        agent.config.write_text(agent.config.read_text().replace('"500ms"', '"300ms"\ntime_resolution = "10ms"'))
        agent.process.send_signal(signal.SIGHUP)
        await manager.hears("RELOADING=1")
        await manager.hears("READY=1")
        sealed = (await agent.said("agent_reloaded"))["batches"]
        await agent.said("batch_acknowledged", sequence=sealed + 2)
        frames = await all_received(agent, receiver)
        steps = {batch.id.sequence < sealed: batch.resolution_ns for batch in receiver.batches()}
        assert steps == {True: 1_000_000, False: 10_000_000}
        assert not [gap for batch in receiver.batches() for gap in batch.gaps]
        assert frames > 0


class SlowStorage:
    """Storage that opens when it may `go_on`."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self._open = Storage.open

    def open(self, config: Config, boot_id: str) -> Storage:
        self.asked.set()
        self.go_on.wait()
        return self._open(config, boot_id)


@pytest.fixture
async def ours(tmp_path: Path, manager: Manager) -> AsyncIterator[list[Exception]]:
    """An agent in this process, its signals included; what raises when it is read anew may be put into the list."""
    (tmp_path / "agent.toml").write_text(SIMULATED.replace("BROKER", "mqtt://127.0.0.1:9").replace('"30s"', '"0s"'))
    config, wrong = load_config(tmp_path / "agent.toml"), list[Exception]()

    def reread() -> Config:
        if wrong:
            raise wrong.pop()
        return config

    running = asyncio.create_task(daemon.run(config, reread=reread))
    await manager.hears("READY=1")
    yield wrong
    if not running.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_a_reload_that_takes_its_time_is_fed_for(
    manager: Manager, ours: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SlowStorage()
    monkeypatch.setattr(Storage, "open", storage.open)
    os.kill(os.getpid(), signal.SIGHUP)
    try:
        assert await asyncio.to_thread(storage.asked.wait, 60)
        manager.forget()
        for _ in range(4):
            await manager.hears("WATCHDOG=1")
    finally:
        storage.go_on.set()
    await manager.hears("READY=1")


async def test_a_reload_that_raises_what_nobody_expected_changes_nothing(
    manager: Manager, ours: list[Exception]
) -> None:
    ours.append(ValueError("Value out of range: 18446744073709551615"))
    with capture_logs() as logs:
        os.kill(os.getpid(), signal.SIGHUP)
        await manager.hears("RELOADING=1")
        await manager.hears("READY=1")
    (refused,) = [line for line in logs if line["event"] == "reload_refused"]
    assert refused["reason"] == "ValueError: Value out of range: 18446744073709551615"
    assert not [line for line in logs if line["event"] == "agent_reloaded"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"500ms"', '"5 parsecs"', "batch.interval"),
        ('"simulator"', '"simulator"\ndbc = ["missing.dbc"]', "missing.dbc"),
        ('path = "spool"', 'path = "agent.toml/spool"', "spool.path"),
        ('path = "spool"', 'path = "elsewhere"', "spool to "),
    ],
)
async def test_sighup_with_anything_wrong_changes_nothing(tmp_path: Path, old: str, new: str, reason: str) -> None:
    async with service(tmp_path) as (agent, receiver):
        await agent.start()
        await agent.said("batch_acknowledged")
        assert agent.process is not None
        agent.config.write_text(agent.config.read_text().replace(old, new))
        agent.process.send_signal(signal.SIGHUP)
        refused = await agent.said("reload_refused")
        assert reason in refused["reason"]
        await agent.said("batch_acknowledged", sequence=4)
        assert not agent.events("agent_reloaded")
        await all_received(agent, receiver)


async def test_sighup_with_other_buses_opens_them_and_tells_when_nobody_listened(tmp_path: Path) -> None:
    async with service(tmp_path) as (agent, receiver):
        await agent.start()
        await agent.said("batch_acknowledged")
        assert agent.process is not None
        agent.config.write_text(agent.config.read_text().replace("[batch]", OTHER_BUS))
        agent.process.send_signal(signal.SIGHUP)
        sealed = (await agent.said("agent_reloaded"))["batches"]
        await agent.said("batch_acknowledged", sequence=sealed + 1)
        await all_received(agent, receiver)
        gaps = {batch.id.sequence: batch.gaps for batch in receiver.batches() if batch.gaps}
        assert [(sequence, [gap.kind for gap in told]) for sequence, told in gaps.items()] == [
            (sealed, [GapKind.INTERRUPTED])
        ]
        buses = {group.bus for batch in receiver.batches() for group in batch.groups}
        assert buses == {0, 1}
