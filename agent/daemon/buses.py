# SPDX-License-Identifier: Apache-2.0
"""A configuration's buses, open; over a reload those stay open that it does not touch, and lose nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agent.daemon.assembly import make_collector, make_sources
from agent.model import Gap, GapKind
from agent.pipeline.packer import PackerCounters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.collect.collector import Collector
    from agent.config import BusConfig, Config
    from agent.daemon.assembly import Decoding, Filters, ReportTime
    from agent.pipeline.tick import Source
    from agent.system.clock import Clock


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration, what its DBC files became, and what goes by its rules and triggers."""

    config: Config
    decoding: Decoding
    collector: Collector | None = None

    @property
    def filters(self) -> Filters:
        """What the kernel needs to let through, of buses that it filters."""
        if not self.config.collect:
            return {}
        from agent.collect.rules.kernel_filter import kernel_filters

        live = {bus.name for bus in self.config.buses if bus.interface == "socketcan"}
        wanted = kernel_filters(self.config, self.decoding.catalog.messages)
        return {bus: frames for bus, frames in wanted.items() if bus in live}

    @classmethod
    def after(cls, running: Setup, config: Config, decoding: Decoding) -> Setup:
        """The one that follows: it collects on as before where nothing of that has changed, and begins anew else."""
        if _collected(config, decoding) == _collected(running.config, running.decoding):
            return cls(config, running.decoding, running.collector)
        return cls(config, decoding, make_collector(config, decoding, reloaded=True))


class Buses:
    """The sources of a configuration, kept open over a reload that does not touch them.

    counters     of the packer: they go on over a reload
    dropped      what the sources have lost, and was told
    drained_ns   wall clock; what came before was taken from the sources

    report_time   called with the time of satellite receivers
    """

    def __init__(self, setup: Setup, clock: Clock, report_time: ReportTime | None = None) -> None:
        self.sources: Sequence[Source] = ()
        self.counters = PackerCounters()
        self.dropped = 0
        self.drained_ns = 0
        self._setup = setup
        self._clock = clock
        self._report_time = report_time
        self._opened = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def follow(self, setup: Setup) -> Gap | None:
        """Have the sources of this configuration; what nobody heard meanwhile is returned."""
        if _wiring(setup) == _wiring(self._setup):
            return None
        await self._opened.aclose()
        self._setup, self.dropped = setup, 0
        await self._open()
        detail = "the buses were configured anew"
        return Gap(GapKind.INTERRUPTED, self.drained_ns, self._clock.wall_ns(), detail=detail)

    async def _open(self) -> None:
        made = make_sources(self._setup.config, self._clock, self._setup.filters, self._report_time)
        async with contextlib.AsyncExitStack() as opened:
            self.sources = [await opened.enter_async_context(source) for source in made]
            self._opened = opened.pop_all()


def _collected(config: Config, decoding: Decoding) -> object:
    """As far as it matters to what is kept."""
    limits = config.agent.ring, config.batch.max_bytes
    return config.buses, config.collect, config.triggers, config.integrity, limits, decoding.catalog.messages


def _wiring(setup: Setup) -> object:
    """As far as it matters to the sources."""
    config = setup.config
    return config.agent.receive_buffer, [_wires(bus) for bus in config.buses], setup.filters


def _wires(bus: BusConfig) -> object:
    return bus.name, bus.interface, bus.channel, bus.bitrate, bus.fd, bus.options
