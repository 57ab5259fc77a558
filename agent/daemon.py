# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds everything from a configuration, wires it, and sees it through to its end.

    run      sources ─► pipeline ─► packer ─► vault ─► sender ─► broker      until SIGTERM or SIGINT
    replay   a recorded log ─► packer ─► vault ─► sender ─► broker           until the log has ended
                                     └─► a folder

One event loop, one worker thread. The thread owns the disk, the decoder and the compression: everything that could
keep the loop waiting, in one order that needs no locks. The tasks live in one group: whichever fails takes the
process down, and the restart finds all that was stored.

At the end: the sources are closed, the open batch is sealed and stored, the uplink gets its grace, the journal is
marked clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from agent.batch.catalog import Catalog, encode_catalog
from agent.clock import Clock, SystemClock
from agent.decode.decoder import Decoder
from agent.decode.loading import load_databases
from agent.decode.plan import Plan
from agent.errors import UplinkError
from agent.packer import Packer
from agent.pipeline import Pipeline
from agent.settings import mqtt_options, packer_settings, sender_options
from agent.spool.journal import Journal
from agent.spool.store import Spool
from agent.spool.vault import Vault
from agent.takeover import take_over
from agent.uplink.catalogs import CatalogShelf
from agent.uplink.link import MqttTransport
from agent.uplink.sender import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from agent.config import BusConfig, Config
    from agent.model import FrameBlock
    from agent.packer import PackerCounters
    from agent.pipeline import Source
    from agent.uplink.status import LinkState

log = structlog.get_logger()

T = TypeVar("T")

STREAM = "normal"
DEFINITIONS = "definitions"
SILENCE_MARGIN_S = 1.0
REPLAY_BACKLOG_SHARE = 0.5
"""Of the spool's limit: a replay waits for the broker when this much has come together."""
REPLAY_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """What the DBC files of a configuration became."""

    decoder: Decoder
    catalog: Catalog
    content: bytes


def load_decoding(config: Config, cache: Path | None = None) -> Decoding:
    """Load and compile the DBC files; problems within them are logged, an unreadable one is a DatabaseError.

    cache   a folder where loaded definitions are kept for the next start
    """
    files = [(bus.name, path) for bus in config.buses for path in bus.dbc]
    loaded = load_databases(files, j1939={bus.name: bus.j1939 for bus in config.buses}, cache=cache)
    for report in loaded.files:
        log.info(
            "dbc_loaded",
            bus=report.bus,
            file=report.file,
            messages=report.messages,
            signals=report.signals,
            problems=len(report.problems),
            **({"hint": "canferry check names them"} if report.problems else {}),
        )
    buses = tuple(bus.name for bus in config.buses)
    keep = frozenset(bus.name for bus in config.buses if bus.keep_unknown)
    catalog = Catalog(buses, loaded.messages)
    return Decoding(Decoder(Plan(buses, loaded.messages, keep_unknown=keep)), catalog, encode_catalog(catalog))


class Worker:
    """The one thread that owns the disk."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="canferry-disk")

    async def call(self, function: Callable[..., T], /, *arguments: Any, **named: Any) -> T:
        """Run a function in the thread and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(function, *arguments, **named))

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        self._executor.shutdown(wait=True)


@dataclass(slots=True)
class Storage:
    """What lies under ``spool.path``."""

    spool: Spool
    journal: Journal
    shelf: CatalogShelf
    vault: Vault

    @classmethod
    def open(cls, config: Config) -> Storage:
        """Open or make it; SpoolError where the disk refuses or another process has it."""
        path = config.spool.path
        spool = Spool.open(
            path / STREAM,
            limit_bytes=config.spool.limit,
            segment_bytes=config.spool.segment,
            min_free_bytes=config.spool.min_free,
        )
        journal = Journal.open(path / "journal")
        return cls(spool, journal, CatalogShelf(path / "catalogs"), Vault(spool, journal))

    def close(self, *, clean: bool) -> None:
        """Make everything last."""
        self.journal.close(clean=clean)
        self.spool.close()


def make_sources(config: Config, clock: Clock) -> list[contextlib.AbstractAsyncContextManager[Source]]:
    """A source for each bus; all socketcan buses share one. Not opened yet."""
    sources: list[Any] = []
    live = [
        (index, bus.name, str(bus.channel)) for index, bus in enumerate(config.buses) if bus.interface == "socketcan"
    ]
    if live:
        from agent.sources.socketcan import SocketCanSource

        sources.append(SocketCanSource(live, receive_buffer_bytes=config.agent.receive_buffer))
    logs: dict[str, dict[str, int]] = {}
    for index, bus in enumerate(config.buses):
        if bus.interface == "replay":
            logs.setdefault(str(bus.channel), {})[str(bus.options.get("channel", bus.name))] = index
        elif bus.interface == "simulator":
            from agent.sources.simulator import SimulatorSource

            sources.append(SimulatorSource(index, bus.name, clock=clock))
        elif bus.interface != "socketcan":
            sources.append(_python_can_source(index, bus))
    for path, buses in logs.items():
        from agent.sources.replay import ReplaySource

        sources.append(ReplaySource(Path(path), buses=buses))
    return sources


def _python_can_source(index: int, bus: BusConfig) -> Any:
    from agent.sources.pythoncan import PythonCanSource

    return PythonCanSource(
        index,
        bus.name,
        bus.interface,
        bus.channel,
        bitrate=bus.bitrate,
        fd=bus.fd,
        options=bus.options,
    )


@contextlib.asynccontextmanager
async def _agent(config: Config, decoding: Decoding, clock: Clock) -> AsyncIterator[_Agent]:
    """Storage, packer and sender, built and opened; closed cleanly where nothing failed."""
    worker = Worker()
    try:
        storage = await worker.call(Storage.open, config)
        packer = Packer(decoding.decoder, decoding.catalog, storage.vault, packer_settings(config), clock)
        clean = False
        try:
            sender = Sender(
                MqttTransport(mqtt_options(config, storage.spool.stream)),
                [storage.spool],
                storage.shelf,
                worker.call,
                sender_options(config),
            )
            yield _Agent(worker, storage, packer, sender)
            clean = True
        finally:
            await worker.call(storage.close, clean=clean and not packer.has_open_batch)
    finally:
        worker.close()


@dataclass(frozen=True, slots=True)
class _Agent:
    """What both ways of running share."""

    worker: Worker
    storage: Storage
    packer: Packer
    sender: Sender

    async def take_over(self, config: Config, decoding: Decoding, clock: Clock) -> None:
        """What the process before left behind; to be called when the sources listen and nothing is taken yet."""
        storage = self.storage
        await self.worker.call(storage.shelf.put, decoding.catalog.hash, decoding.content)
        await self.worker.call(
            take_over,
            storage.spool,
            storage.journal,
            storage.shelf,
            self.packer,
            listening_ns=clock.wall_ns(),
            interval_ns=config.spool.journal_interval,
        )


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a running agent shows of itself: look at any time, on the event loop, and change nothing."""

    counters: PackerCounters
    link: Callable[[], LinkState]


async def run(
    config: Config,
    *,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    observe: Callable[[Gauges], None] | None = None,
) -> None:
    """The daemon: until SIGTERM, SIGINT or `stop`, or until every bus is a recorded log that has ended.

    Args:
        config: what to run.
        clock: the system's unless given.
        stop: ends it when set; signals are the caller's matter then.
        observe: called once, when the sources are open and before the first frame is taken.

    Raises:
        AgentError: something that it cannot do without is unusable; nothing has been started then, or all that
            was taken in is stored.

    """
    clock = clock or SystemClock()
    own_signals = stop is None
    stop = stop or asyncio.Event()
    with _stopped_by_signals(stop) if own_signals else contextlib.nullcontext():
        decoding = load_decoding(config, config.spool.path / DEFINITIONS)
        async with _agent(config, decoding, clock) as agent, contextlib.AsyncExitStack() as opened:
            sources = [await opened.enter_async_context(source) for source in make_sources(config, clock)]
            await agent.take_over(config, decoding, clock)
            pipeline = Pipeline(
                sources,
                agent.packer,
                agent.worker.call,
                tick_s=min(config.agent.tick.seconds, *(source.drain_within_s for source in sources)),
                interval_s=min(config.spool.journal_interval.seconds, config.batch.interval.seconds),
                silence_s=config.batch.interval.seconds + SILENCE_MARGIN_S,
                wall_ns=clock.wall_ns,
                stored=agent.sender.batch_available.set,
            )
            log.info("agent_started", vehicle=config.vehicle.id, stream=agent.storage.spool.stream)
            if observe is not None:
                observe(Gauges(agent.packer.counters, agent.sender.state))
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(agent.sender.run(), name="uplink")
                tasks.create_task(_stop_when(stop, pipeline), name="stop")
                await pipeline.run()
                stop.set()
                await agent.sender.drain(config.agent.shutdown_grace.seconds)
                await sending
            log.info("agent_stopped", **asdict(agent.packer.counters), spooled=agent.storage.spool.stats().records)


async def _stop_when(stop: asyncio.Event, pipeline: Pipeline) -> None:
    await stop.wait()
    pipeline.stop()


@contextlib.contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def replay(
    config: Config, blocks: Iterator[FrameBlock], *, speed: float | None = None, clock: Clock | None = None
) -> Packer:
    """A recorded log through packer, spool and uplink; times stay the log's own. None loses speed: no limit.

    Raises:
        UplinkError: the broker does not answer, or has not acknowledged everything in the end; nothing of it is kept.

    """
    clock = clock or SystemClock()
    decoding = load_decoding(config)
    async with MqttTransport(mqtt_options(config, STREAM)).connect():
        pass  # a broker that is not there is told at once, not after the whole log
    with tempfile.TemporaryDirectory(prefix="canferry-replay-") as folder:
        config = _stored_at(config, Path(folder))
        async with _agent(config, decoding, clock) as agent, asyncio.TaskGroup() as tasks:
            await agent.take_over(config, decoding, clock)
            sending = tasks.create_task(agent.sender.run(), name="uplink")
            async for block in _paced(blocks, speed):
                await agent.worker.call(agent.packer.take, block)
                agent.sender.batch_available.set()
                await _until_there_is_room(agent, config.spool.limit)
            await agent.worker.call(agent.packer.seal)
            agent.sender.batch_available.set()
            await agent.sender.drain(REPLAY_GRACE_S)
            await sending
            left = agent.storage.spool.stats().records
            if left:
                raise UplinkError(f"{left} batches were not acknowledged: {agent.sender.state().last_error}")
            return agent.packer


def replay_into(
    config: Config, blocks: Iterator[FrameBlock], out: Path, *, speed: float | None = None, clock: Clock | None = None
) -> Packer:
    """A recorded log through the packer into a folder of batch files and their catalog."""
    from agent.receiver.folder import FolderStore

    decoding = load_decoding(config)
    store = FolderStore(out, config.vehicle.id, decoding.content)
    packer = Packer(decoding.decoder, decoding.catalog, store, packer_settings(config), clock or SystemClock())

    async def through() -> None:
        async for block in _paced(blocks, speed):
            packer.take(block)

    asyncio.run(through())
    packer.seal()
    return packer


async def _paced(blocks: Iterator[FrameBlock], speed: float | None) -> AsyncIterator[FrameBlock]:
    """The blocks, each when it is over by the log's clock; at once where there is no speed."""
    loop = asyncio.get_running_loop()
    begun, first_ns = loop.time(), None
    for block in blocks:
        if speed is not None and len(block):
            first_ns = int(block.time_ns[0]) if first_ns is None else first_ns
            due = begun + (int(block.time_ns[-1]) - first_ns) / 1e9 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
        yield block


async def _until_there_is_room(agent: _Agent, limit_bytes: int) -> None:
    """Wait for the broker where the spool fills: a replay must not evict."""
    while agent.storage.spool.stats().payload_bytes > limit_bytes * REPLAY_BACKLOG_SHARE:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def _stored_at(config: Config, path: Path) -> Config:
    return msgspec.structs.replace(config, spool=msgspec.structs.replace(config.spool, path=path))
