# SPDX-License-Identifier: Apache-2.0
"""The daemon in this process with the simulated car, and the real receiver: what one counted, the other has to have."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.batch.catalog import decode_catalog
from agent.batch.codec import decode_batch
from agent.config import load_config
from agent.daemon import daemon
from agent.receiver.batch_receiver import BatchReceiver
from agent.receiver.receive_loop import ReceiveLoop, filters
from agent.uplink.backoff import Backoff
from agent.uplink.mqtt_subscriber import MqttSubscriber
from agent.uplink.options import MqttOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from agent.batch.catalog import Catalog
    from agent.pipeline.packer import PackerCounters
    from agent.uplink.status import LinkState

VEHICLE = "car-1"
TOPICS = ("canferry/{vehicle}/batch", "canferry/{vehicle}/catalog")
CONFIG = """
[vehicle]
id = "{vehicle}"
[[bus]]
name = "car"
interface = "simulator"
{buses}
[batch]
interval = "100ms"
[spool]
path = "{spool}"
limit = "{limit}"
segment = "256KiB"
min_free = "0B"
journal_interval = "200ms"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
backoff_base = "20ms"
backoff_max = "400ms"
{mqtt}
[agent]
shutdown_grace = "{grace}"
"""


@dataclass
class Running:
    """A daemon that runs."""

    gauges: daemon.Gauges
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def counters(self) -> PackerCounters:
        return self.gauges.counters

    @property
    def link(self) -> LinkState:
        return self.gauges.link()

    async def until(self, condition: Callable[[LinkState], bool]) -> None:
        """Wait for a state of the link; what ends the daemon is raised."""
        while not condition(self.link):
            if self.task.done():
                await self.task
                raise AssertionError("the daemon has ended")
            await asyncio.sleep(0.01)

    async def batches(self, more: int) -> None:
        """Wait until so many more are sealed."""
        goal = self.counters.batches + more
        await self.until(lambda _: self.counters.batches >= goal)

    async def end(self) -> None:
        """Stop in good order: everything is to be acknowledged within the grace."""
        self.stop.set()
        await self.task


@asynccontextmanager
async def agent(
    folder: Path,
    port: int,
    *,
    limit: str = "16MiB",
    grace: str = "10s",
    mqtt: str = "",
    buses: str = "",
    spool: Path | None = None,
    vehicle: str = VEHICLE,
) -> AsyncIterator[Running]:
    """The daemon, its sources open; stopped at the end where the test has not done so."""
    file = folder / "agent.toml"
    settings = {
        "spool": spool or folder / "spool",
        "port": port,
        "limit": limit,
        "grace": grace,
        "vehicle": vehicle,
    }
    file.write_text(CONFIG.format(**settings, mqtt=mqtt, buses=buses))
    stop = asyncio.Event()
    started: asyncio.Future[daemon.Gauges] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(daemon.run(load_config(file), stop=stop, observe=started.set_result), name="daemon")
    try:
        while not (started.done() or task.done()):
            await asyncio.sleep(0.01)
        if task.done():
            await task
        yield Running(started.result(), stop, task)
    finally:
        stop.set()
        await asyncio.wait([task])
    await task


@asynccontextmanager
async def cloud(folder: Path, port: int, **changes: str) -> AsyncIterator[BatchReceiver]:
    """The receiver, subscribed."""
    inbox = BatchReceiver(folder)
    options = MqttOptions(host="127.0.0.1", port=port, tls=False, client_id="cloud", **changes)  # type: ignore[arg-type]
    patience = Backoff(base_s=0.02, maximum_s=0.2)
    async with MqttSubscriber(options, filters(TOPICS), backoff=patience) as subscriber:
        receive_loop = ReceiveLoop(inbox, TOPICS, lambda accepted, size: None)
        task = asyncio.create_task(receive_loop.run(subscriber), name="cloud")
        try:
            yield inbox
        finally:
            task.cancel()
            await asyncio.wait([task])


@dataclass(frozen=True)
class Received:
    """What batches add up to."""

    batches: int
    frames: int
    samples: int

    @classmethod
    def of(cls, payloads: Iterable[bytes], catalogs: Iterable[bytes]) -> Received:
        """Of different batches."""
        known: dict[str, Catalog] = {catalog.hash: catalog for catalog in map(decode_catalog, catalogs)}
        batches = [decode_batch(payload, known[decode_batch(payload).catalog]) for payload in payloads]
        assert len({batch.id for batch in batches}) == len(batches)
        columns = [column for batch in batches for group in batch.groups for column in group.columns.values()]
        return cls(len(batches), sum(batch.frames for batch in batches), sum(map(len, columns)))

    @classmethod
    def within(cls, folder: Path) -> Received:
        """Of an inbox."""
        payloads = [path.read_bytes() for path in folder.rglob("*.batch.zst")]
        return cls.of(payloads, [path.read_bytes() for path in folder.rglob("*.catalog.zst")])


async def arrived(folder: Path, *drives: PackerCounters, timeout_s: float = 120.0) -> None:
    """Wait for as many batches as were sealed on these, and see that they hold all that was counted."""
    sealed = Received(
        sum(counters.batches for counters in drives),
        sum(counters.frames for counters in drives),
        sum(counters.samples for counters in drives),
    )
    async with asyncio.timeout(timeout_s):
        while len(list(folder.rglob("*.batch.zst"))) < sealed.batches:
            await asyncio.sleep(0.02)
    assert Received.within(folder) == sealed
