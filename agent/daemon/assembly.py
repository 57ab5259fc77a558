# SPDX-License-Identifier: Apache-2.0
"""The parts of an agent, each built from a configuration; `daemon` and `replay` put them together.

    Decoding     what the DBC files became: the decoder, and the catalog that describes its signals to the receiver
    make_collector, make_packer   rules and triggers, and the streams of their priorities, into stores
    sources      one for each bus
    Agent        worker thread, storage, packer and sender: what a live run and a replay have in common

The worker is one thread that owns the disk, the decoder and the compression: everything that could keep the event
loop waiting, in one order that needs no locks.

Failure: DatabaseError, SpoolError or ConfigError of whichever part cannot be had; nothing stays open then.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from agent.batch.catalog import Catalog, encode_catalog
from agent.config.collecting import reporting_priority
from agent.config.priorities import Priority
from agent.daemon.options import data_plan, mqtt_options, sender_options, stream_settings
from agent.decode.decoder import Decoder
from agent.decode.loading import load_buses
from agent.decode.plan import Plan
from agent.errors import DatabaseError
from agent.pipeline.batch_cutter import BatchCutter
from agent.pipeline.packer import Packer, PackerCounters
from agent.pipeline.startup_recovery import Start, recover
from agent.pipeline.storage import Storage
from agent.pipeline.stream import Stream
from agent.uplink import brokers
from agent.uplink.brokers import BrokerMemory
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.send_policy import UNLIMITED
from agent.uplink.sender import Sender, SpoolAccess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from agent.collect.collector import Collector
    from agent.config import BusConfig, Config
    from agent.pipeline.stream import Store
    from agent.pipeline.tick import Source
    from agent.pipeline.traffic import TrafficStatistics
    from agent.sources.replay import ReplaySource
    from agent.spool.listening import ListeningMark
    from agent.system.clock import Clock
    from agent.uplink.cellular.data_plan import DataPlan
    from agent.uplink.cellular.modem import Modem
    from agent.uplink.cellular.modemmanager import ModemManager
    from agent.uplink.certificate_rotation import CertificateRotation
    from agent.uplink.send_policy import SendPolicy

    ReportTime = Callable[[int, int, int], None]
    """`GnssSyncSource.report`: UTC in ns since 1970, the monotonic clock at that moment, the error."""

    Filters = Mapping[str, Sequence[tuple[int, int]]]
    """By bus: the (arbitration id word, mask) that are wanted of it; everything of one that is not named."""

log = structlog.get_logger()

DATA_PLAN = "data-plan"
"""Beside the spool: the ledger of what was spent."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decoding:
    """What the DBC files of a configuration became."""

    decoder: Decoder
    catalog: Catalog
    content: bytes


def load_decoding(config: Config) -> Decoding:
    """Load and compile the DBC files; problems within them are logged.

    Raises:
        DatabaseError: a file of the command line cannot be read.
        ConfigError: one of a configuration file cannot, or a rule or a trigger does not fit the definitions.

    """
    try:
        return _load_decoding(config)
    except DatabaseError as error:
        if not config.file:
            raise
        raise config.refusal(_key_of(config, str(error)), str(error)) from None


def _key_of(config: Config, error: str) -> str:
    """Of an error that names a DBC file first: where the configuration names it."""
    keys = (f"bus[{bus.name}].dbc" for bus in config.buses for path in bus.dbc if error.startswith(f"{path}:"))
    return next(keys, "bus.dbc")


def _load_decoding(config: Config) -> Decoding:
    loaded = load_buses(config.buses)
    for report in loaded.files:
        log.info(
            "dbc_loaded",
            bus=report.bus,
            path=report.file,
            messages=report.messages,
            signals=report.signals,
            problems=len(report.problems),
            **({"hint": "canferry check names them"} if report.problems else {}),
        )
    if config.collect or config.triggers or config.integrity:
        from agent.collect.conditions.binding import Directory
        from agent.collect.config_check import violations

        for key, text in violations(config, Directory(loaded.messages)):
            raise config.refusal(key, text)
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


def make_packer(
    config: Config,
    decoding: Decoding,
    stores: Mapping[Priority, Store],
    clock: Clock,
    *,
    counters: PackerCounters | None = None,
    traffic: TrafficStatistics | None = None,
    collector: Collector | None = None,
) -> Packer:
    """A packer that stores each priority's batches in its store; `stores` has the highest first.

    collector   as `make_collector` makes it, which is done unless one is given
    """
    counters = counters or PackerCounters()
    streams = {
        priority: Stream(decoding.catalog, store, stream_settings(config, priority), clock, counters.of(priority))
        for priority, store in stores.items()
    }
    reporting = reporting_priority(config.collect, config.triggers)
    collector = make_collector(config, decoding) if collector is None else collector
    return Packer(decoding.decoder, streams, reporting, collector, counters, traffic)


def make_collector(config: Config, decoding: Decoding, *, reloaded: bool = False) -> Collector | None:
    """Rules, triggers and what is verified, which fit the DBC files.

    reloaded   what conditions say already is no event

    None where there is nothing of these, nor a message that is missed when it stops: modules are not paid for then.
    """
    from agent.collect.integrity.protection import protections_of
    from agent.collect.rules.absence import stopped_after_ns

    messages = decoding.catalog.messages
    protections = protections_of(messages, config.integrity)
    if not (config.collect or config.triggers or protections or any(map(stopped_after_ns, messages))):
        return None
    from agent.collect.collector import Collector
    from agent.collect.conditions.binding import Directory
    from agent.collect.rules.rules import RuleBook
    from agent.collect.triggers.triggers import Trigger

    directory = Directory(messages)
    decoder = decoding.decoder
    return Collector(
        decoder.plan,
        RuleBook.of(config.collect),
        reporting_priority(config.collect, config.triggers),
        [Trigger.of(trigger, directory, armed=not reloaded) for trigger in config.triggers],
        decoder.decode_again,
        config.agent.ring,
        config.batch.max_bytes,
        protections,
    )


def make_sources(
    config: Config, clock: Clock, filters: Filters, report_time: ReportTime | None = None
) -> list[contextlib.AbstractAsyncContextManager[Source]]:
    """A source for each bus; all socketcan buses share one, and heed `filters`. Not opened yet.

    report_time   called with the time of satellite receivers
    """
    sources: list[Any] = []
    live = [
        (index, bus.name, str(bus.channel)) for index, bus in enumerate(config.buses) if bus.interface == "socketcan"
    ]
    if live:
        from agent.sources.socketcan import SocketCanSource

        sources.append(SocketCanSource(live, filters=filters, receive_buffer_bytes=config.agent.receive_buffer))
    for index, bus in enumerate(config.buses):
        if bus.interface == "simulator":
            from agent.sources.simulator import SimulatorSource

            sources.append(SimulatorSource(index, bus.name, clock=clock))
        elif bus.interface == "gnss":
            from agent.sources.gnss.receiver import GnssSource

            sources.append(
                GnssSource(index, bus.name, str(bus.channel), baud=bus.bitrate, clock=clock, report_time=report_time)
            )
        elif bus.interface not in ("socketcan", "replay"):
            sources.append(_python_can_source(index, bus))
    if any(bus.interface == "replay" for bus in config.buses):
        sources += _logs(config)
    return sources


def _logs(config: Config) -> Iterator[ReplaySource]:
    """One for each recorded log, of all buses that are in it."""
    from agent.sources.logs.channels import wanted_channels
    from agent.sources.replay import ReplaySource

    index = {bus.name: number for number, bus in enumerate(config.buses)}
    for path, names in wanted_channels(config.buses).items():
        buses = {channel: index[bus] for channel, bus in names.items()}
        yield ReplaySource(Path(path), buses=buses, names=names)


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


def make_modem(config: Config) -> Modem | ModemManager | None:
    """What tells how the unit stands with the network, where something does."""
    if config.modem is None:
        return None
    if config.modem.port is None:
        from agent.uplink.cellular.modemmanager import ModemManager

        return ModemManager(config.modem.poll.seconds)
    from agent.uplink.cellular.modem import Modem

    return Modem(config.modem.port, config.modem.baud, config.modem.poll.seconds)


def make_data_plan(config: Config, modem: Modem | ModemManager | None, clock: Clock) -> DataPlan | None:
    """The plan that is to be kept to, where there is one; to be loaded."""
    if config.data_plan is None or config.mqtt is None:
        return None
    from agent.uplink.cellular.data_plan import DataPlan

    return DataPlan(
        data_plan(config.data_plan),
        config.spool.path / DATA_PLAN,
        len(config.topic(config.mqtt.topic_batch)),
        clock,
        roaming=(lambda: False) if modem is None else (lambda: modem.state.roaming),
        interface=config.data_plan.interface or "",
    )


def make_send_policy(config: Config, modem: Modem | ModemManager | None, plan: DataPlan | None) -> SendPolicy:
    """What the cellular network lets the uplink do, where something is known of it."""
    if modem is None and plan is None:
        return UNLIMITED
    from agent.uplink.cellular.send_policy import CellularSendPolicy

    return CellularSendPolicy(modem, 0.0 if config.modem is None else config.modem.weak_rate, plan)


@dataclass(frozen=True, slots=True)
class Agent:
    """What both ways of running share."""

    worker: Worker
    storage: Storage
    packer: Packer
    sender: Sender

    async def recover(
        self, config: Config, decoding: Decoding, clock: Clock, listening: ListeningMark | None = None
    ) -> None:
        """Startup recovery; to be called when the sources listen and no frame is processed yet.

        listening: noted before they were opened; None where what they give can be had again
        """
        storage, listening_ns = self.storage, clock.wall_ns()
        await self.worker.call(storage.catalogs.put, decoding.catalog.hash, decoding.content)
        await self.worker.call(
            recover,
            storage.stores,
            reporting_priority(config.collect, config.triggers),
            storage.catalogs,
            self.packer,
            Start(listening_ns, config.spool.journal_interval, 0 if listening is None else listening.since_ns),
        )
        if listening is not None:
            await self.worker.call(listening.recovered, listening_ns)


@dataclass(frozen=True, slots=True)
class Lasting:
    """What an agent is given that was there before it: all of it goes on over a reload, the collector where it may."""

    counters: PackerCounters | None = None
    rotation: CertificateRotation | None = None
    traffic: TrafficStatistics | None = None
    policy: SendPolicy = UNLIMITED
    collector: Collector | None = None


@contextlib.asynccontextmanager
async def open_agent(
    config: Config, decoding: Decoding, clock: Clock, lasting: Lasting | None = None
) -> AsyncIterator[Agent]:
    """Storage, packer and sender, built and opened; closed cleanly where nothing failed."""
    lasting = lasting or Lasting()
    worker = Worker()
    try:
        storage = await worker.call(Storage.open, config, clock.boot_id())
        memory = await worker.call(BrokerMemory, config.spool.path / brokers.FILE)
        clean = False
        try:
            packer = make_packer(
                config,
                decoding,
                storage.stores,
                clock,
                counters=lasting.counters,
                traffic=lasting.traffic,
                collector=lasting.collector,
            )
            transport = MqttTransport(mqtt_options(config, storage.spools[0].stream), lasting.rotation, memory)
            cutter = BatchCutter(storage.stores, storage.catalogs, packer, config.vehicle.id)
            cutter.fit(memory.payload_bytes(transport.address))

            def fit(payload_bytes: int | None) -> None:
                cutter.fit(payload_bytes)
                memory.remember_payload_bytes(transport.address, payload_bytes)

            spools = SpoolAccess(
                storage.spools,
                storage.catalogs,
                worker.call,
                critical=[priority is Priority.CRITICAL for priority in storage.stores],
                fit=fit,
                cut=cutter.cut_next,
            )
            sender = Sender(transport, spools, sender_options(config), policy=lasting.policy)
            yield Agent(worker, storage, packer, sender)
            clean = not packer.has_open_batch
        finally:
            await worker.call(storage.close, clean=clean)
    finally:
        worker.close()
