# SPDX-License-Identifier: Apache-2.0
"""The cloud's end in the demo: the real receiver, and counters of what it received.

Promise: what is counted was received over MQTT, stored, and decoded again from the stored file. A duplicate is counted
as a duplicate and never as data.

`ReceivedCounters.json_bytes` is what the same frames take as one JSON object each: the lines of
``canferry export --format jsonl`` (time, bus, id, message, every signal by name), with newlines and without MQTT.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from agent.batch.codec import decode_batch
from agent.receiver.batch_receiver import BatchReceiver, Verdict
from agent.receiver.inventory import read_limited
from agent.receiver.layout import CatalogFolders
from agent.receiver.lines import json_lines
from agent.receiver.receive_loop import ReceiveLoop, filters
from agent.receiver.windows import batch_parts
from agent.uplink.mqtt_subscriber import MqttSubscriber
from agent.uplink.options import MqttOptions

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from agent.receiver.batch_receiver import Accepted

TOPICS = ("canferry/{vehicle}/catalog", "canferry/{vehicle}/batch")
LATENCIES_MAX = 10_000


@dataclass(slots=True)
class ReceivedCounters:
    """What was received.

    frames, samples   of the batches that were decoded
    batch_bytes       of those batches, each once
    json_bytes        what their frames are as JSON
    latencies_s       of each batch, from its newest sample to its arrival
    """

    frames: int = 0
    samples: int = 0
    batches: int = 0
    duplicates: int = 0
    batch_bytes: int = 0
    json_bytes: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))

    @property
    def latency_s(self) -> float:
        """The usual one."""
        return median(self.latencies_s) if self.latencies_s else 0.0


class Cloud:
    """Subscribed at the broker's port from `async with` on; `run` receives."""

    def __init__(self, folder: Path, port: int) -> None:
        options = MqttOptions(host="127.0.0.1", port=port, tls=False, client_id="demo-cloud", version="3.1.1")
        self.received = ReceivedCounters()
        self._receiver = BatchReceiver(folder)
        self._catalogs = CatalogFolders()
        self._subscriber = MqttSubscriber(options, filters(TOPICS), session_expiry_s=0)
        self._stored: asyncio.Queue[Path] = asyncio.Queue()
        self._counted = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._subscriber)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Receive and count until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._count_stored(), name="tally")
            await ReceiveLoop(self._receiver, TOPICS, self._on_message).run(self._subscriber)

    async def caught_up(self, samples: int, timeout_s: float) -> bool:
        """Wait for so many samples; False where nothing more has come for so long."""
        while self.received.samples < samples:
            self._counted.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._counted.wait()
            except TimeoutError:
                return False
        return True

    def gaps(self) -> list[str]:
        """What the receiver knows to be missing."""
        return [str(gap) for gap in self._receiver.report()]

    def _on_message(self, accepted: Accepted, _size: int) -> None:
        received = self.received
        received.duplicates += accepted.verdict is Verdict.DUPLICATE
        if accepted.verdict is Verdict.BATCH and accepted.batch is not None and accepted.path is not None:
            received.latencies_s.append((time.time_ns() - accepted.batch.sealed_ns) / 1e9)
            self._stored.put_nowait(accepted.path)

    async def _count_stored(self) -> None:
        while True:
            await asyncio.to_thread(self._count, await self._stored.get())
            self._counted.set()

    def _count(self, path: Path) -> None:
        """Read back what was stored, and count its values."""
        payload = read_limited(path)
        name = decode_batch(payload).catalog
        if not self._catalogs.has(name):
            self._catalogs.add_above(path.parent)
        catalog = self._catalogs.get(name)
        batch = decode_batch(payload, catalog)
        parts = list(batch_parts(batch, catalog))
        samples = sum(len(column) for part in parts for column in part.group.columns.values())
        received = self.received
        received.json_bytes += sum(len("".join(json_lines(part).tolist()).encode()) for part in parts)
        received.frames += batch.frames
        received.batches += 1
        received.batch_bytes += len(payload)
        received.samples += samples  # last: whoever waits for them finds all else counted
