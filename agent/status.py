# SPDX-License-Identifier: Apache-2.0
"""How it goes, in one line for whoever asks ``systemctl status``.

can0 up, can1 down; 1234567 frames, 0 dropped, 3 undecodable; spool 12 batches 340KiB; link up to host:8883
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.packer import PackerCounters
    from agent.pipeline import Source
    from agent.spool.record import SpoolStats
    from agent.uplink.status import LinkState


def status_line(sources: Sequence[Source], counters: PackerCounters, spool: SpoolStats, link: LinkState) -> str:
    """Buses, frames, spool, link."""
    states = [f"{name} {state}" for source in sources for name, state in source.states().items()]
    dropped = sum(source.counters().dropped for source in sources)
    frames = f"{counters.frames} frames, {dropped} dropped"
    if counters.decode_errors:
        frames += f", {counters.decode_errors} decoded in part"
    stored = f"spool {spool.records} batches {spool.payload_bytes >> 10}KiB"
    return "; ".join([", ".join(states), frames, stored, _link(link)])


def _link(link: LinkState) -> str:
    if link.connected:
        return f"link up to {link.broker}" + (f", pausing: {link.last_error}" if link.last_error else "")
    return f"no link: {link.last_error or f'{link.broker} is being tried'}"
