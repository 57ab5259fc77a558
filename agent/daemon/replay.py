# SPDX-License-Identifier: Apache-2.0
"""A recorded log through the agent's own parts, as fast as it goes or paced: to a broker, or into a folder.

    replay        log ─► packer ─► store ─► sender ─► broker     the spool is a temporary one
    replay_into   log ─► packer ─► a folder of batch files and their catalog

Promise: the same frames make the same batches as on the live bus; none is evicted, the log waits for the broker.
Limits: a broker that acknowledges nothing for `PATIENCE_S` while the log waits for it is given up.
Failure: UplinkError where the broker does not answer, takes no more, or has not acknowledged everything in the end.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.config.collecting import priorities_in_use
from agent.daemon.assembly import Agent, load_decoding, make_packer, open_agent
from agent.daemon.options import mqtt_options
from agent.errors import UplinkError
from agent.sources.logs.pace import LogPace
from agent.system.clock import Clock, LogClock
from agent.uplink.mqtt_transport import MqttTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from agent.config import Config
    from agent.config.priorities import Priority
    from agent.model import FrameBlock
    from agent.pipeline.packer import Packer
    from agent.pipeline.stream import Store

BACKLOG_SHARE = 0.5
"""Of the spool's limit: the log waits for the broker when this much has come together."""
PATIENCE_S = 120.0
GRACE_S = 60.0


async def replay(
    config: Config, blocks: Iterator[FrameBlock], *, speed: float | None = None, clock: Clock | None = None
) -> Packer:
    """A recorded log through packer, spool and uplink; times stay the log's own. None loses speed: no limit.

    Raises:
        UplinkError: the broker does not answer, takes no more, or has not acknowledged everything in the end; nothing
            of it is kept.

    """
    clock = clock or LogClock()
    decoding = load_decoding(config)
    async with MqttTransport(mqtt_options(config, "")).connect():
        pass  # a broker that is not there is told at once, not after the whole log
    with tempfile.TemporaryDirectory(prefix="canferry-replay-") as folder:
        config = _stored_at(config, Path(folder))
        async with open_agent(config, decoding, clock) as agent, asyncio.TaskGroup() as tasks:
            await agent.recover(config, decoding, clock)
            sending = tasks.create_task(agent.sender.run(), name="uplink")
            async for block in _paced(blocks, speed):
                await agent.worker.call(agent.packer.process, block)
                agent.sender.batch_available.set()
                await _until_there_is_room(agent, config.spool.limit)
            await agent.worker.call(agent.packer.seal)
            agent.sender.batch_available.set()
            await agent.sender.drain(GRACE_S)
            await sending
            left = await agent.worker.call(lambda: agent.storage.records)
            if left:
                raise UplinkError(f"{left} batches were not acknowledged: {agent.sender.state().last_error}")
            return agent.packer


def replay_into(
    config: Config,
    blocks: Iterator[FrameBlock],
    out: Path,
    *,
    speed: float | None = None,
    clock: Clock | None = None,
    opens: Callable[[Path, str, bytes, Iterable[Priority]], Mapping[Priority, Store]] | None = None,
) -> Packer:
    """A recorded log through the packer into a folder of batch files and their catalog.

    opens: gives the stores of a folder, a vehicle and a catalog; None: `open_folder`, whose files are durable
    """
    from agent.receiver.folder import open_folder

    decoding = load_decoding(config)
    priorities = priorities_in_use(config.collect, config.triggers)
    stores = (opens or open_folder)(out, config.vehicle.id, decoding.content, priorities)
    packer = make_packer(config, decoding, stores, clock or LogClock())

    async def through() -> None:
        async for block in _paced(blocks, speed):
            packer.process(block)

    asyncio.run(through())
    packer.seal()
    return packer


async def _paced(blocks: Iterator[FrameBlock], speed: float | None) -> AsyncIterator[FrameBlock]:
    """The blocks, each when it is over by the log's clock; at once where there is no speed."""
    loop = asyncio.get_running_loop()
    begun, pace = loop.time(), LogPace()
    for block in blocks:
        if speed is not None and len(block):
            due = begun + int(pace.elapsed_ns(block.time_ns)[-1]) / 1e9 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
        yield block


async def _until_there_is_room(agent: Agent, limit_bytes: int) -> None:
    """Wait for the broker where the spool fills: a replay must not evict. Raises UplinkError if it takes no more."""
    loop = asyncio.get_running_loop()
    acknowledged, since_s = -1, 0.0
    while await agent.worker.call(lambda: agent.storage.payload_bytes) > limit_bytes * BACKLOG_SHARE:
        link = agent.sender.state()
        if link.acknowledged_batches != acknowledged:
            acknowledged, since_s = link.acknowledged_batches, loop.time()
        elif loop.time() - since_s >= PATIENCE_S:
            why = link.last_error or "it is connected and does not answer"
            raise UplinkError(f"broker {link.broker}: no batch was acknowledged for {PATIENCE_S:.0f} s: {why}")
        await asyncio.sleep(0.1)


def _stored_at(config: Config, path: Path) -> Config:
    return msgspec.structs.replace(config, spool=msgspec.structs.replace(config.spool, path=path))
