# SPDX-License-Identifier: Apache-2.0
"""The bus that feeder.py keeps alive, seen from a test: what was sent on it, and an agent's configuration for it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.support import feeder
from tests.support.mosquitto import free_port
from tests.support.processes import START_S, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

CONFIG = """
[vehicle]
id = "{vehicle}"
[[bus]]
name = "car"
interface = "udp_multicast"
channel = "{group}"
dbc = ["car.dbc"]
options = {{ port = {port} }}
[batch]
interval = "2s"
[spool]
path = "spool"
limit = "64MiB"
segment = "1MiB"
min_free = "0B"
journal_interval = "1s"
[mqtt]
broker = "{broker}"
backoff_base = "50ms"
backoff_max = "500ms"
[agent]
shutdown_grace = "30s"
[log]
level = "debug"
format = "json"
"""


@dataclass
class FedBus:
    """What was sent on it: when, in ns, by count; and begin and end of each stall of this machine or its disk."""

    group: str
    port: int
    times: NDArray[np.int64]
    stalls: NDArray[np.int64]

    def fed(self) -> NDArray[np.int64]:
        """When each frame was sent, ns."""
        return self.times[: int(np.count_nonzero(self.times))].copy()

    def held_up_s(self, begin_ns: int, end_ns: int) -> float:
        """For how long this machine or its disk kept everyone waiting between these times."""
        begin, end = self.stalls[:, 0].clip(begin_ns, end_ns), self.stalls[:, 1].clip(begin_ns, end_ns)
        return float((end - begin).sum() / 1e9)

    def config(self, vehicle: str, broker: str) -> str:
        """Of an agent that hears it; `car.dbc` is to lie beside the file, and more tables may follow."""
        return CONFIG.format(vehicle=vehicle, group=self.group, port=self.port, broker=broker)


@asynccontextmanager
async def fed_bus(folder: Path, rate: float) -> AsyncIterator[FedBus]:
    """Frames come inside, so many a second."""
    group, port = f"239.74.{random.randint(1, 254)}.{random.randint(1, 254)}", free_port()
    file, log = folder / "times", folder / "feeder.log"
    process = await spawn("-m", "tests.support.feeder", group, str(port), str(file), str(rate), log=log)
    try:
        async with asyncio.timeout(START_S):
            while not file.exists() or file.stat().st_size < 8 * feeder.FRAMES_MAX:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        stalls = np.memmap(file.with_suffix(".stalls"), np.int64, "r", shape=(feeder.STALLS_MAX, 2))
        yield FedBus(group, port, np.memmap(file, np.int64, "r"), stalls)
    finally:
        process.kill()
        await process.wait()


def udp_drops(pid: int) -> int:
    """Datagrams that the kernel had no room for in the process's sockets: the test's bus loses them, not the agent."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(path.readlink()))
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[12]) for row in rows if f"socket:[{row[9]}]" in inodes)
