# SPDX-License-Identifier: Apache-2.0
"""The status topic's message: which vehicles of a fleet are behind, dropping, evicting, failing.

From a snapshot to the fields of `uplink.status`, version 1. Pure. All numbers are whole; counters begin at the start of
the process.

    time            when they were read, UNIX seconds by the unit's clock; clock_trusted: something vouches for it
    up_s            since the process started
    frames          received from all buses; unknown, partial: of these not described, or decoded only in part
    dropped         lost before they could be read
    backlog         batches not yet acknowledged; backlog_bytes; backlog_from: when the oldest begins, UNIX seconds
    evicted         batches lost for want of room or past their time, refused: not taken by the broker, corrupt: damaged
    acknowledged    batches taken by the broker
    findings        codes of what is wrong, as `canferry status` names it: errors and warnings, the gravest first

Limits: fields that are 0 or empty are left out, except up_s and frames; at most `FINDINGS_MAX` findings: about 200
bytes a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.live.diagnosis import Level, diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.live.snapshot import BusStatus, Snapshot

FINDINGS_MAX = 8
FIRST_S = 60.0
"""About so long after its start a vehicle sends the first one."""
_SECOND_NS = 10**9


def heartbeat(snapshot: Snapshot) -> dict[str, object]:
    """The fields."""
    buses, priorities = snapshot.buses, snapshot.spool.priorities
    backlog = [each for each in priorities if each.batches]
    counted: dict[str, object] = {
        "time": snapshot.time_ns // _SECOND_NS,
        "clock_trusted": snapshot.clock_trusted,
        "up_s": int(snapshot.up_s),
        "frames": sum(bus.frames for bus in buses),
    }
    optional = {
        "unknown": sum(bus.frames - bus.known for bus in buses),
        "partial": sum(bus.partial for bus in buses),
        "dropped": _dropped(buses),
        "backlog": sum(each.batches for each in backlog),
        "backlog_bytes": sum(each.size_bytes for each in backlog),
        "backlog_from": min((each.oldest_ns for each in backlog), default=0) // _SECOND_NS,
        "evicted": sum(each.evicted + each.dropped for each in priorities),
        "refused": sum(each.refused for each in priorities),
        "corrupt": sum(each.corrupt for each in priorities),
        "acknowledged": snapshot.link.acknowledged,
        "findings": _codes(snapshot),
    }
    return counted | {key: value for key, value in optional.items() if value}


def _codes(snapshot: Snapshot) -> list[str]:
    """A renamed code is followed by the old one, for whoever filters by that."""
    grave = [finding for finding in diagnose(snapshot) if finding.level is not Level.NOTE][:FINDINGS_MAX]
    return [code for finding in grave for code in (finding.code, finding.was) if code]


def _dropped(buses: Sequence[BusStatus]) -> int:
    """All SocketCAN buses are read through one queue, and each counts what was lost there."""
    shared = max((bus.dropped for bus in buses if bus.interface == "socketcan"), default=0)
    return shared + sum(bus.dropped for bus in buses if bus.interface != "socketcan")


def pause_s(interval_s: float, roll: float, *, first: bool) -> float:
    """Seconds until the next one; the vehicles of a fleet, started together, drift apart. `roll`: in [0, 1)."""
    return min(FIRST_S, interval_s) * (0.5 + roll) if first else interval_s * (0.9 + 0.2 * roll)
