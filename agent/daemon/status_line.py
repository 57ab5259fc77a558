# SPDX-License-Identifier: Apache-2.0
"""How it goes, in one line for whoever asks ``systemctl status``.

can0 up, can1 down; 1234567 frames, 0 dropped, 3 decoded in part; spool 12 batches 340KiB; link up to host:8883

With a modem and a data plan: …; modem home operator 4G -95dBm; data plan 12.0MiB of 200.0MiB, lasts

Where there are several priorities, each follows: spool 12 batches 340KiB (critical 0, normal 2 80KiB, bulk 10 260KiB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.priorities import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.config.priorities import Priority
    from agent.pipeline.packer import PackerCounters
    from agent.pipeline.tick import Source
    from agent.spool.index import StoreStatus
    from agent.uplink.status import LinkState


def status_line(
    sources: Sequence[Source],
    counters: PackerCounters,
    spooled: Mapping[Priority, StoreStatus],
    link: LinkState,
    *cellular: object,
) -> str:
    """Buses, frames, spool, link, and what is said of the cellular network."""
    states = [f"{name} {state}" for source in sources for name, state in source.states().items()]
    dropped = sum(source.counters().dropped for source in sources)
    frames = f"{counters.frames} frames, {dropped} dropped"
    if counters.decode_errors:
        frames += f", {counters.decode_errors} decoded in part"
    return "; ".join([", ".join(states), frames, _spool(spooled), _link(link), *map(str, cellular)])


def _spool(spooled: Mapping[Priority, StoreStatus]) -> str:
    batches = sum(stats.records for stats in spooled.values())
    size_bytes = sum(stats.payload_bytes for stats in spooled.values())
    stored = f"spool {batches} batches {size_bytes >> 10}KiB"
    if len(spooled) < 2:
        return stored
    priorities = [
        f"{name} {stats.records}" + (f" {stats.payload_bytes >> 10}KiB" if stats.records else "")
        for name, stats in spooled.items()
    ]
    return f"{stored} ({', '.join(priorities)})"


def _link(link: LinkState) -> str:
    if link.connected:
        return f"link up to {link.broker}" + (f", pausing: {link.last_error}" if link.last_error else "")
    return f"no link: {link.last_error or f'{link.broker} is being tried'}"
