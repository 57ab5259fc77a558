# SPDX-License-Identifier: Apache-2.0
"""A sender over a real spool in its own worker thread, as the daemon has it, for tests against brokers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from agent.model import SealedBatch
from agent.spool.catalogs import CatalogStore
from agent.spool.store import Spool, SpoolOptions
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.options import MqttOptions
from agent.uplink.sender import Sender, SenderOptions, SpoolAccess
from agent.uplink.status import status_payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
VEHICLE = "car-1"


def options(port: int, **changes: Any) -> MqttOptions:
    """A plain loopback broker; quick to find out that something is wrong. It need not have a subscriber."""
    chosen: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "tls": False,
        "client_id": "canferry-car-1",
        "connect_timeout_s": 5.0,
        "no_subscribers": "accept",
        "will_topic": f"canferry/{VEHICLE}/status",
        "will_payload": status_payload(online=False, stream=""),
    }
    return MqttOptions(**{**chosen, **changes})


class Rig:
    """A spool, a shelf, a sender. Batches are named by their number."""

    def __init__(self, folder: Path, mqtt: MqttOptions, worker: ThreadPoolExecutor, **changes: Any) -> None:
        self._worker = worker
        self.spool = Spool.open(folder / "normal", SpoolOptions(64 << 20))
        self.shelf = CatalogStore(folder / "catalogs")
        chosen: dict[str, Any] = {"vehicle": VEHICLE, "backoff_base_s": 0.05, "backoff_max_s": 0.4}
        self.sender = Sender(
            MqttTransport(mqtt),
            SpoolAccess([self.spool], self.shelf, self.call),
            SenderOptions(**{**chosen, **changes}),
        )

    async def call(self, function: Callable[..., T], /, *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, functools.partial(function, *arguments))

    async def append(self, payload: bytes, catalog: str = "") -> None:
        await self.call(self.spool.append, SealedBatch(payload, catalog=catalog, begin_ns=1, end_ns=2, frames=3))
        self.sender.batch_available.set()

    async def stored(self) -> list[int]:
        return [record.sequence for record in await self.call(self.spool.oldest, -1, 10_000)]

    async def emptied(self) -> None:
        """Wait until everything is acknowledged or set aside."""
        while await self.stored() or self.sender.state().in_flight_batches:
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The sender runs inside; what ends it early is raised."""
        task = asyncio.create_task(self.sender.run(), name="sender")
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.contextmanager
def rig(folder: Path, mqtt: MqttOptions, **changes: Any) -> Iterator[Rig]:
    """Made, and closed in the end."""
    with ThreadPoolExecutor(1) as worker:
        made = Rig(folder, mqtt, worker, **changes)
        try:
            yield made
        finally:
            made.spool.close()
