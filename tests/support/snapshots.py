# SPDX-License-Identifier: Apache-2.0
"""Snapshots of an agent that is well, to be changed where a test wants something wrong."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.live.snapshot import BusStatus, PriorityStatus, Snapshot, SpoolStatus, UplinkStatus

S = 10**9
NOW_NS = 1_795_000_000 * S

BUS = BusStatus(
    name="powertrain",
    interface="socketcan",
    channel="can0",
    state="up",
    bitrate=500_000,
    frames=60_000,
    known=59_000,
    ids=60,
    unknown_ids=2,
    frames_s=1000.0,
    bits_s=111_000.0,
    last_ns=NOW_NS,
    dbc=("/etc/canferry/dbc/powertrain.dbc",),
    messages=80,
)
NORMAL = PriorityStatus(name="normal", batches=2, size_bytes=20_000, oldest_ns=NOW_NS - 90 * S, samples=400_000)
SPOOL = SpoolStatus(
    path="/var/lib/canferry",
    priorities=(NORMAL,),
    disk_bytes=4 << 20,
    limit_bytes=512 << 20,
    free_bytes=8 << 30,
    min_free_bytes=64 << 20,
)
LINK = UplinkStatus(broker="broker:8883", connected=True, links=1, acknowledged=7, since_ns=NOW_NS - 3600 * S)
WELL = Snapshot(
    agent="0.1.0",
    vehicle="car-1",
    pid=1,
    time_ns=NOW_NS,
    clock_trusted=True,
    up_s=7200.0,
    reloaded_s=3600.0,
    buses=(BUS,),
    spool=SPOOL,
    link=LINK,
)


def snapshot(**changes: Any) -> Snapshot:
    """The agent that is well but for these: keys of the snapshot, or bus_…, spool_…, normal_… and link_…."""
    parts: dict[str, dict[str, Any]] = {"bus": {}, "spool": {}, "normal": {}, "link": {}, "": {}}
    for key, value in changes.items():
        part, _, name = key.partition("_")
        parts[part if name and part in parts else ""][name if name and part in parts else key] = value
    replace = msgspec.structs.replace
    normal = replace(NORMAL, **parts["normal"])
    whole = {
        "buses": (replace(BUS, **parts["bus"]),),
        "spool": replace(SPOOL, **({"priorities": (normal,)} | parts["spool"])),
        "link": replace(LINK, **parts["link"]),
    }
    return replace(WELL, **(whole | parts[""]))
