# SPDX-License-Identifier: Apache-2.0
"""The daemon: puts the parts together, wires them, and sees them through to the end.

    sources ─► pipeline ─► packer ─► streams ─► stores ─► sender ─► broker

One event loop, one worker thread. The tasks live in one group: whichever fails takes the process down, and the restart
finds all that was stored.

Signals:

    SIGTERM, SIGINT   the sources are closed, the open batch is sealed and stored, the uplink gets its grace, the
                      journal is marked clean
    SIGHUP            the configuration and the DBC files are read anew while all goes on. Where anything of them is
                      wrong, or the spool would be in another folder, where nobody would find what waits in this one,
                      one line says what, and nothing changes. Else the open batch is sealed and the parts are
                      built from the new ones; buses that are configured as before stay open, and lose nothing.
                      Where definitions, rules and triggers are as before, these go on where they were.
                      The uplink connects anew, with the certificate that is there now
    SIGUSR1           debug lines are logged too; at the next one as much as is configured

The service manager hears when the buses are open and startup recovery is over (ready), every `LOOK_S` or as
often as its watchdog asks that all is well, if it is, and one line about how it goes. All is well when each stage has
moved on in its time, and the worker answers, or, where parts are closed and opened, as long as that may take
(`ReloadWatchdog`): what hangs is not fed for, and the manager restarts the process.

Engineers are answered at a UNIX socket (`agent.live`), which the agent can do without.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.config import AgentConfig
from agent.daemon.assembly import (
    Agent,
    Lasting,
    load_decoding,
    make_collector,
    make_data_plan,
    make_modem,
    make_send_policy,
    open_agent,
)
from agent.daemon.buses import Buses, Setup
from agent.daemon.watchdog import ReloadWatchdog, watch
from agent.errors import AgentError
from agent.pipeline.tick import Pipeline, TickTiming
from agent.spool.listening import ListeningMark
from agent.system.clock import Clock, GnssSyncSource, KernelSyncSource, SystemClock, TimesyncdSyncSource
from agent.system.process import run_in_daemon_thread
from agent.system.systemd_notify import LOOK_S, ServiceManager
from agent.uplink.certificate_rotation import CertificateRotation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from agent.config import Config
    from agent.daemon.status import StatusWriter
    from agent.model import Gap
    from agent.pipeline.packer import PackerCounters
    from agent.pipeline.traffic import TrafficStatistics
    from agent.system.log import Logging
    from agent.uplink.cellular.data_plan import DataPlan
    from agent.uplink.cellular.modem import Modem
    from agent.uplink.cellular.modemmanager import ModemManager
    from agent.uplink.send_policy import SendPolicy
    from agent.uplink.status import LinkState, Presence

log = structlog.get_logger()

DEFAULT_SOCKET = AgentConfig().socket


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a running agent shows of itself: look at any time, on the event loop, and change nothing."""

    counters: PackerCounters
    link: Callable[[], LinkState]


async def run(
    config: Config,
    *,
    reread: Callable[[], Config] | None = None,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    observe: Callable[[Gauges], None] | None = None,
    logging: Logging | None = None,
) -> None:
    """Until SIGTERM, SIGINT or `stop`, or until every bus is a recorded log that has ended.

    Args:
        config: what to run.
        reread: the configuration as it is now, for SIGHUP; raises AgentError where it cannot be run.
        clock: the system's unless given.
        stop: ends it when set; signals are the caller's matter then.
        observe: called when the sources are open and before the first frame is taken, again after each reload.
        logging: how the process logs: its level can be changed, and those who ask at the socket hear of it.

    Raises:
        AgentError: something that it cannot do without is unusable; nothing has been started then, or all that
            was taken in is stored.

    """
    gnss, manager = GnssSyncSource(), ServiceManager()
    clock = clock or SystemClock(sync_sources=[KernelSyncSource(), TimesyncdSyncSource(), gnss])
    watchdog = ReloadWatchdog(manager)
    listening = ListeningMark(config.spool.path)
    process = Process(
        stop=stop or asyncio.Event(),
        hangup=asyncio.Event(),
        clock=clock,
        manager=manager,
        watchdog=watchdog,
        rotation=CertificateRotation(),
        listening=listening,
        reread=reread,
        observe=observe,
        logging=logging,
    )
    with _signals(process) if stop is None else contextlib.nullcontext():
        decoding = load_decoding(config)
        first = Setup(config, decoding, make_collector(config, decoding))
        async with watchdog.fed_for():
            await asyncio.to_thread(process.listening.begin, clock.wall_ns())
            async with Buses(first, process.clock, gnss.report) as buses:
                setup: Setup | None = first
                while setup is not None:
                    gap = await buses.follow(setup)
                    setup = await _run_session(setup, buses, gap, process)
            await asyncio.to_thread(process.listening.end)


@dataclass(frozen=True, slots=True)
class Process:
    """What lasts from the process's first moment to its last."""

    stop: asyncio.Event
    hangup: asyncio.Event
    clock: Clock
    manager: ServiceManager
    watchdog: ReloadWatchdog
    rotation: CertificateRotation
    listening: ListeningMark
    reread: Callable[[], Config] | None
    observe: Callable[[Gauges], None] | None
    logging: Logging | None
    started_s: float = field(default_factory=time.monotonic)


async def _run_session(setup: Setup, buses: Buses, gap: Gap | None, process: Process) -> Setup | None:
    """Run with one configuration: the next one after a reload, None at the end."""
    config, clock = setup.config, process.clock
    traffic = _make_traffic(config, _block_s(config))
    modem = make_modem(config)
    plan = make_data_plan(config, modem, clock)
    if plan is not None:
        await asyncio.to_thread(plan.load)
    policy = make_send_policy(config, modem, plan)
    lasting = Lasting(buses.counters, process.rotation, traffic, policy, setup.collector)
    async with open_agent(config, setup.decoding, clock, lasting) as agent:
        await agent.recover(config, setup.decoding, clock, process.listening)
        if gap is not None:
            await agent.worker.call(agent.packer.report_gap, gap)
        session = Session(
            setup=setup,
            buses=buses,
            process=process,
            agent=agent,
            pipeline=_make_pipeline(config, buses, agent, clock),
            traffic=traffic,
            modem=modem,
            plan=plan,
            policy=policy,
        )
        streams = ", ".join(spool.stream for spool in agent.storage.spools)
        log.info("agent_started", vehicle=config.vehicle.id, stream=streams)
        if process.observe is not None:
            process.observe(Gauges(agent.packer.counters, agent.sender.state))
        process.watchdog.end()
        following = await _run_until_over(session)
        if following is not None:
            process.watchdog.begin()
        buses.dropped, buses.drained_ns = session.pipeline.dropped, session.pipeline.drained_ns
        counters = agent.packer.counters.as_dict() | {"spooled": agent.storage.records}
    log.info("agent_stopped" if following is None else "agent_reloaded", **counters)
    return following


@dataclass(frozen=True, slots=True)
class Session:
    """What runs with one configuration."""

    setup: Setup
    buses: Buses
    process: Process
    agent: Agent
    pipeline: Pipeline
    traffic: TrafficStatistics | None
    modem: Modem | ModemManager | None
    plan: DataPlan | None
    policy: SendPolicy

    @property
    def network(self) -> list[object]:
        """Those who know something of the cellular network, each with a line about it."""
        return [each for each in (self.modem, self.plan) if each is not None]

    def beside(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """What goes on beside the way of the data, by name."""
        config, agent = self.setup.config, self.agent
        yield "watch", watch(agent, self.pipeline, self.buses, self.process.manager, self.network)
        yield "expiry", _expire(agent, self.process.clock)
        if self.traffic is not None:
            writer = _status_writer(self, self.traffic)
            if config.agent.socket:
                yield "live", _serve(writer)
            if heartbeat_s := _heartbeat_s(config):
                yield "heartbeat", _report(writer, agent.sender.presence, heartbeat_s)
        if self.modem is not None:
            yield "modem", self.modem.run()
        if self.plan is not None:
            yield "data-plan", self.plan.run(agent.worker.call)


async def _run_until_over(session: Session) -> Setup | None:
    """Until the buses have ended or something else is to be run, and what was taken in is stored."""
    following: list[Setup] = []
    sender, process = session.agent.sender, session.process
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(sender.run(), name="uplink")
        beside = [tasks.create_task(work, name=name) for name, work in session.beside()]
        waiting = [
            tasks.create_task(_stop_when(process.stop, session.pipeline), name="stop"),
            tasks.create_task(_reload_on_hangup(following, session), name="reload"),
        ]
        await session.pipeline.run()
        for task in waiting:
            task.cancel()
        if not following:
            process.manager.stopping()
        await sender.drain(0.0 if following else session.setup.config.agent.shutdown_grace.seconds)
        await sending
        for task in beside:
            task.cancel()
    return following[0] if following else None


def _make_pipeline(config: Config, buses: Buses, agent: Agent, clock: Clock) -> Pipeline:
    return Pipeline(
        buses.sources,
        agent.packer,
        agent.worker.call,
        timing=TickTiming(
            tick_s=min(config.agent.tick.seconds, *(source.drain_within_s for source in buses.sources)),
            interval_s=_block_s(config),
            silence_s=config.batch.silence.seconds,
        ),
        clock=clock,
        stored=agent.sender.batch_available.set,
        woken=lambda _: agent.sender.resumed(),
        dropped=buses.dropped,
    )


def _block_s(config: Config) -> float:
    """What blocks of frames may span at most."""
    return min(config.spool.journal_interval.seconds, config.batch.interval.seconds)


async def _stop_when(stop: asyncio.Event, pipeline: Pipeline) -> None:
    await stop.wait()
    pipeline.stop()


async def _reload_on_hangup(following: list[Setup], session: Session) -> None:
    """At each SIGHUP: whole or not at all."""
    process = session.process
    while not following:
        await process.hangup.wait()
        process.hangup.clear()
        process.manager.reloading()
        try:
            following.append(
                await run_in_daemon_thread(functools.partial(_read_anew, process.reread, session.setup), "reload")
            )
        except Exception as error:  # noqa: BLE001 - whatever a new file makes happen, what runs goes on
            reason = str(error) if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"
            hint = "nothing has changed: mend it and reload again"
            log.error("reload_refused", reason=reason, hint=hint)  # noqa: TRY400
            process.manager.ready()
    if process.logging is not None:
        process.logging.configure(following[0].config.log.level, following[0].config.log.format)
    if following[0].collector is session.setup.collector:
        session.agent.packer.hand_over()
    session.pipeline.stop()


def _read_anew(reread: Callable[[], Config] | None, running: Setup) -> Setup:
    assert reread is not None
    config = reread()
    old, new = running.config.spool.path, config.spool.path
    if new != old:
        advice = f"stop the agent, move {old} to {new}, start the agent"
        raise config.refusal("spool.path", f'"{new}" is another folder, and what waits is in {old}; accepted: {advice}')
    return Setup.after(running, config, load_decoding(config))


def _make_traffic(config: Config, block_s: float) -> TrafficStatistics | None:
    """Traffic statistics; None where nobody can ask for them."""
    if not config.agent.socket and not _heartbeat_s(config):
        return None
    from agent.pipeline.traffic import TrafficStatistics

    return TrafficStatistics(len(config.buses), block_s)


def _heartbeat_s(config: Config) -> float:
    """How often the cloud is told how it goes; 0: never."""
    mqtt = config.mqtt
    return mqtt.heartbeat.seconds if mqtt is not None and mqtt.topic_status else 0.0


def _status_writer(session: Session, traffic: TrafficStatistics) -> StatusWriter:
    from agent.daemon.status import StatusWriter

    setup, agent, process = session.setup, session.agent, session.process
    return StatusWriter(
        config=setup.config,
        catalog=setup.decoding.catalog,
        content=setup.decoding.content,
        filtered=frozenset(setup.filters),
        sources=session.buses.sources,
        counters=session.buses.counters,
        traffic=traffic,
        storage=agent.storage,
        call=agent.worker.call,
        link=agent.sender.state,
        deadlines=(session.pipeline.deadline, agent.sender.deadline),
        clock=process.clock,
        logging=process.logging,
        started_s=process.started_s,
        verified=agent.packer.verified,
        network=session.network,
        policy=session.policy,
    )


async def _report(writer: StatusWriter, presence: Presence, interval_s: float) -> None:
    """Tell the cloud how it goes, now and then."""
    from agent.live.heartbeat import heartbeat, pause_s

    await asyncio.sleep(pause_s(interval_s, random.random(), first=True))  # noqa: S311 - jitter, not a secret
    while True:
        presence.update(heartbeat(await writer.status()))
        await asyncio.sleep(pause_s(interval_s, random.random(), first=False))  # noqa: S311


async def _serve(writer: StatusWriter) -> None:
    """Answer at the socket; where there can be none, say so and go on without."""
    from agent.live.server import LiveServer, listening

    config = writer.config
    path = Path(config.agent.socket)
    try:
        with listening(path) as sock:
            await LiveServer(sock, writer).run()
    except AgentError as error:
        if config.agent.socket == DEFAULT_SOCKET and not path.parent.is_dir():
            log.info("socket_left_out", reason=str(error))  # no service manager has made a place for it
        else:
            hint = "status, tail and explain do not work; the agent does: see [agent] socket"
            log.warning("socket_unavailable", reason=str(error), hint=hint)


async def _expire(agent: Agent, clock: Clock) -> None:
    """Give up, now and then, what is past its time to live."""
    while agent.storage.ttls_ns:
        await agent.worker.call(agent.storage.expire, clock)
        await asyncio.sleep(LOOK_S)


@contextlib.contextmanager
def _signals(process: Process) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handlers = {signal.SIGTERM: process.stop.set, signal.SIGINT: process.stop.set}
    if process.reread is not None:
        handlers[signal.SIGHUP] = process.hangup.set
    if process.logging is not None:
        handlers[signal.SIGUSR1] = process.logging.toggle_debug
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
