# SPDX-License-Identifier: Apache-2.0
"""The bitrates of this machine's CAN interfaces beside an agent's figures.

The agent's service may not open netlink sockets, so the command that shows the load asks, on the same machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.sources.rtnetlink import read_links

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.live.snapshot import Snapshot


def with_bitrates(snapshot: Snapshot, bitrates: Mapping[str, int]) -> Snapshot:
    """The snapshot with what the agent does not know of its SocketCAN buses."""
    buses = tuple(
        msgspec.structs.replace(bus, bitrate=bitrates.get(bus.channel))
        if bus.interface == "socketcan" and bus.bitrate is None
        else bus
        for bus in snapshot.buses
    )
    return msgspec.structs.replace(snapshot, buses=buses)


def read_bitrates() -> dict[str, int]:
    """Bits per second by interface name, of those that have a bitrate."""
    return {name: link.bitrate for name, link in read_links().items() if link.bitrate}
