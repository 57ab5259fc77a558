# SPDX-License-Identifier: Apache-2.0
"""The status of a running agent, gathered when somebody asks at its socket.

Promise: nothing is gathered unless asked for. What the worker owns is asked of the worker. Where that does not answer
within `WORKER_S`, the snapshot has what the worker answered last, and names the stage as late.

Failure: a certificate that cannot be read has no end; a disk that does not say how much is free has 0 bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from agent import __version__
from agent.live.protocol import define
from agent.live.snapshot import (
    BusStatus,
    IntegrityStatus,
    LogLine,
    PriorityStatus,
    RuleStatus,
    Snapshot,
    SpoolStatus,
    UplinkStatus,
)
from agent.pipeline.traffic import BusTraffic
from agent.uplink.credentials import expiry_s
from agent.uplink.profiles import GENERIC, PROFILES
from agent.uplink.send_policy import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.batch.catalog import Catalog
    from agent.collect.integrity.verify import IntegrityCounters
    from agent.config import Config
    from agent.config.priorities import Priority
    from agent.live.protocol import Definitions
    from agent.pipeline.packer import PackerCounters
    from agent.pipeline.storage import Storage
    from agent.pipeline.tick import Source
    from agent.pipeline.traffic import LastFrame, TrafficStatistics
    from agent.spool.index import StoreStatus
    from agent.system.clock import Clock
    from agent.system.liveness import LivenessDeadline
    from agent.system.log import Logging
    from agent.uplink.cursor import Worker
    from agent.uplink.send_policy import SendPolicy
    from agent.uplink.status import LinkState

WORKER_S = 5.0
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the worker answers."""

    spool: Mapping[Priority, StoreStatus] = field(default_factory=dict)
    free_bytes: int = 0
    traffic: Sequence[BusTraffic] = ()
    seen: Sequence[int] = ()
    certificate_ends_ns: int = 0
    integrity: Sequence[IntegrityStatus] = ()
    too_large: Mapping[Priority, int] = field(default_factory=dict)


@dataclass(slots=True)
class StatusWriter:
    """Of one run with one configuration; see `daemon` for where each comes from.

    content          the catalog's bytes
    filtered         names of the buses of which the kernel lets through only what rules want
    verified         asks the worker's packer for the counters of verified messages
    started_s        of the monotonic clock: the process
    network          modem and data plan, where there are any: each says in words how it goes
    policy           what these let the uplink do
    """

    config: Config
    catalog: Catalog
    content: bytes
    filtered: frozenset[str]
    sources: Sequence[Source]
    counters: PackerCounters
    traffic: TrafficStatistics
    storage: Storage
    call: Worker
    link: Callable[[], LinkState]
    deadlines: Sequence[LivenessDeadline]
    clock: Clock
    logging: Logging | None
    started_s: float
    verified: Callable[[], Mapping[str, IntegrityCounters]] = dict
    network: Sequence[object] = ()
    policy: SendPolicy = UNLIMITED
    _loaded_s: float = field(default_factory=time.monotonic)
    _stored: _Stored = field(default_factory=_Stored)
    _kept: list[tuple[int, frozenset[int]]] | None = None

    def wall_ns(self) -> int:
        """Now, by the unit's wall clock."""
        return self.clock.wall_ns()

    async def frames(self, after: int, limit: int) -> tuple[Sequence[LastFrame], int]:
        """The last frames that have come after a stamp, see `TrafficStatistics.changes`."""
        return await self.call(self.traffic.changes, after, limit)

    def set_log_level(self, level: str) -> None:
        """Say from now on what is of this level and above."""
        if self.logging is not None:
            self.logging.set_level(level)

    def definitions(self) -> Definitions:
        """What the configuration and the DBC files say."""
        return define(self.config, self.catalog.messages, self.content)

    async def status(self) -> Snapshot:
        """The agent at this moment."""
        late = {deadline.stage: round(deadline.late_s(), 1) for deadline in self.deadlines if deadline.late_s()}
        try:
            async with asyncio.timeout(WORKER_S):
                self._stored = await self.call(self._ask_worker)
        except TimeoutError:
            late[WORKER] = WORKER_S
        now_s = time.monotonic()
        return Snapshot(
            agent=__version__,
            vehicle=self.config.vehicle.id,
            pid=os.getpid(),
            time_ns=self.clock.wall_ns(),
            clock_trusted=self.clock.wall_trusted(),
            up_s=round(now_s - self.started_s, 3),
            reloaded_s=round(now_s - self._loaded_s, 3),
            buses=self._buses(),
            spool=self._spool(),
            link=self._link(),
            triggers=len(self.config.triggers),
            rules=await self._rules(),
            network=tuple(map(str, self.network)),
            late=late,
            integrity=tuple(self._stored.integrity),
            log_level="" if self.logging is None else self.logging.level,
            log_lines=() if self.logging is None else tuple(LogLine(**line) for line in self.logging.recent.lines()),
        )

    def _ask_worker(self) -> _Stored:
        """In the worker's thread."""
        free_bytes = 0
        with contextlib.suppress(OSError):
            free_bytes = shutil.disk_usage(self.config.spool.path).free
        return _Stored(
            self.storage.stats(),
            free_bytes,
            self.traffic.buses(),
            self.traffic.messages(),
            self._certificate_ends_ns(),
            [IntegrityStatus(subject=subject, **asdict(found)) for subject, found in self.verified().items()],
            self.storage.larger_than(self.link().batch_bytes_max),
        )

    def _certificate_ends_ns(self) -> int:
        mqtt = self.config.mqtt
        if mqtt is not None and mqtt.certificate is not None:
            with contextlib.suppress(OSError, ValueError):
                return round(expiry_s(mqtt.certificate.read_text(encoding="latin-1")) * 1e9)
        return 0

    def _buses(self) -> tuple[BusStatus, ...]:
        states: dict[str, str] = {}
        dropped: dict[str, int] = {}
        errors: dict[str, int] = {}
        remotes: dict[str, int] = {}
        for source in self.sources:
            of_source, counted = source.states(), source.counters()
            states |= of_source
            dropped |= dict.fromkeys(of_source, counted.dropped)
            errors |= counted.error_frames
            remotes |= counted.remote_frames
        traffic = self._stored.traffic or [BusTraffic()] * len(self.config.buses)
        return tuple(
            BusStatus(
                name=bus.name,
                interface=bus.interface,
                channel=str(bus.channel),
                state=states.get(bus.name, "opening"),
                bitrate=bus.bitrate,
                frames=of_bus.frames,
                known=of_bus.known,
                partial=of_bus.partial,
                ids=of_bus.ids,
                unknown_ids=of_bus.unknown_ids,
                frames_s=round(of_bus.frames_s, 1),
                bits_s=None if of_bus.bits_s is None else round(of_bus.bits_s),
                last_ns=of_bus.last_ns,
                dropped=dropped.get(bus.name, 0),
                error_frames=errors.get(bus.name, 0),
                remote_frames=remotes.get(bus.name, 0),
                filtered=bus.name in self.filtered,
                keep_unknown=bus.keep_unknown,
                dbc=tuple(map(str, bus.dbc)),
                messages=sum(message.bus == bus.name for message in self.catalog.messages),
            )
            for bus, of_bus in zip(self.config.buses, traffic, strict=True)
        )

    def _spool(self) -> SpoolStatus:
        stats, spool = self._stored.spool, self.config.spool
        now_ns, now_s = self.clock.wall_ns(), time.monotonic()
        return SpoolStatus(
            path=str(spool.path),
            priorities=tuple(
                PriorityStatus(
                    name=str(priority),
                    batches=held.records,
                    size_bytes=held.payload_bytes,
                    oldest_ns=held.oldest_begin_ns,
                    evicted=held.evicted_records,
                    dropped=held.dropped_records,
                    corrupt=held.corrupt_records,
                    refused=held.refused_records,
                    put_back=held.put_back_files,
                    too_large=self._stored.too_large.get(priority, 0),
                    samples=self.counters.of(priority).samples,
                    sealed_bytes=self.counters.of(priority).batch_bytes,
                    acknowledged=held.acknowledged_records,
                    acknowledged_ns=now_ns - round((now_s - held.acknowledged_s) * 1e9)
                    if held.acknowledged_records
                    else 0,
                    acknowledged_end_ns=held.acknowledged_end_ns,
                )
                for priority, held in stats.items()
            ),
            disk_bytes=sum(held.disk_bytes for held in stats.values()),
            limit_bytes=int(spool.limit),
            free_bytes=self._stored.free_bytes,
            min_free_bytes=int(spool.min_free),
        )

    def _link(self) -> UplinkStatus:
        link, mqtt = self.link(), self.config.mqtt
        profile = PROFILES[mqtt.profile] if mqtt is not None else GENERIC
        return UplinkStatus(
            broker=link.broker,
            connected=link.connected,
            trouble=link.trouble,
            last_error=link.last_error,
            since_ns=link.since_ns,
            next_try_s=round(link.next_try_s, 1),
            links=link.links,
            in_flight=link.in_flight_batches,
            sent=link.sent_batches,
            acknowledged=link.acknowledged_batches,
            acknowledged_bytes=link.acknowledged_bytes,
            refused=link.refused_batches,
            certificate_ends_ns=self._stored.certificate_ends_ns,
            batch_bytes_max=link.batch_bytes_max,
            version=link.version,
            version_asked=profile.version_of(mqtt) if mqtt is not None else "",
            refusals_silent=profile.hides_refusals(link.version),
            held_s=round(self.policy.wait_s(critical=False), 1),
        )

    async def _rules(self) -> tuple[RuleStatus, ...]:
        if not self.config.collect:
            return ()
        if self._kept is None:
            self._kept = await asyncio.to_thread(_kept_by_rule, self.config, self.catalog)
        seen = frozenset(self._stored.seen)
        return tuple(
            RuleStatus(number=number, messages=len(kept), seen=len(kept & seen)) for number, kept in self._kept
        )


def _kept_by_rule(config: Config, catalog: Catalog) -> list[tuple[int, frozenset[int]]]:
    """Each rule that keeps anything, by its number, and the messages of which it does."""
    from agent.collect.rules.rules import RuleBook

    book = RuleBook.of(config.collect)
    kept: dict[int, set[int]] = {rule.number: set() for rule in book.rules if rule.config.keep}
    for index, message in enumerate(catalog.messages):
        for signal in message.signals:
            for rule in book.keepers(message.bus, message.name, signal.name):
                kept[rule.number].add(index)
    return [(number, frozenset(messages)) for number, messages in kept.items()]
