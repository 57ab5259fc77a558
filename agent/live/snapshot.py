# SPDX-License-Identifier: Apache-2.0
"""The status of an agent at one moment, as the socket tells it: counters and states, no judgement.

Times are nanoseconds of the unit's wall clock, 0 where there is none. Counters grow from the start of the process,
or from the last reload where it says so. All of it is plain JSON on the wire, with the keys as named here;
`canferry status --json` prints it under "snapshot". Keys may be added; those that are here keep their meaning.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.system.printable import LIMIT, printable


class BusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One bus.

    state             up, down, missing, bus_off, not_can, opening or ended, as its source sees it
    bitrate           bits per second, None where it is not known (SocketCAN: the system sets it, and the command asks)
    frames, known     data frames since the start or reload; those of an id that a DBC file describes
    partial           known ones that could be decoded only in part
    ids, unknown_ids  different ids that came, and those that no DBC file describes
    frames_s, bits_s  the rate of late; bits without stuff bits, None of CAN FD
    last_ns           the last frame's own time
    dropped           lost in the queue that the bus is read through; all SocketCAN buses share one
    error_frames, remote_frames   since the bus was opened
    filtered          the kernel lets through only what rules want
    dbc               the DBC files that describe it
    messages          how many messages these describe
    """

    name: str
    interface: str
    channel: str
    state: str
    bitrate: int | None = None
    frames: int = 0
    known: int = 0
    partial: int = 0
    ids: int = 0
    unknown_ids: int = 0
    frames_s: float = 0.0
    bits_s: float | None = 0.0
    last_ns: int = 0
    dropped: int = 0
    error_frames: int = 0
    remote_frames: int = 0
    filtered: bool = False
    keep_unknown: bool = False
    dbc: tuple[str, ...] = ()
    messages: int = 0


class PriorityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One priority's batches: what waits in its spool, and what has become of others since the process started.

    batches, size_bytes   not yet acknowledged
    oldest_ns             when the oldest of them begins
    evicted, dropped      gone without having been sent: the oldest for want of room or past their time, or the newest
    corrupt, refused      in quarantine: damaged on disk, or refused by the broker for good
    put_back              files that somebody has deleted or moved beneath the agent, and that were written anew
    too_large             of those that wait, larger than the broker takes
    samples, sealed_bytes   kept, and what they took in sealed batches, since the start
    acknowledged          taken by the broker since the start; acknowledged_ns when the last of them was, and
    acknowledged_end_ns   when the latest of them ends: what came later, and before that, may still be waiting
    """

    name: str
    batches: int = 0
    size_bytes: int = 0
    oldest_ns: int = 0
    evicted: int = 0
    dropped: int = 0
    corrupt: int = 0
    refused: int = 0
    put_back: int = 0
    too_large: int = 0
    samples: int = 0
    sealed_bytes: int = 0
    acknowledged: int = 0
    acknowledged_ns: int = 0
    acknowledged_end_ns: int = 0


class SpoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The spool of all priorities.

    disk_bytes, limit_bytes      in files, and what these may take
    free_bytes, min_free_bytes   on its disk, and what is left to others there
    """

    path: str
    priorities: tuple[PriorityStatus, ...] = ()
    disk_bytes: int = 0
    limit_bytes: int = 0
    free_bytes: int = 0
    min_free_bytes: int = 0


class UplinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The uplink.

    trouble             why there is no link, or why sending pauses: unreachable, dropped, busy, unauthorized,
                        taken over, no subscribers, unacceptable; "" where all is well
    last_error          the same in words
    since_ns            when the link came up or was lost
    next_try_s          when sending is tried again, counted from when that was decided
    links               connections that came up
    certificate_ends_ns when the vehicle's own certificate expires, 0 where there is none or it cannot be read
    batch_bytes_max     the largest batch that the broker takes, as far as it is known; 0: any
    version             of MQTT, as the latest link spoke it; "" before the first
    version_asked       as configured, or as the profile wants it: "auto", "5" or "3.1.1"
    refusals_silent     in the version that is spoken nobody can tell whether the broker refuses a batch
    held_s              the data plan holds back what is not critical, and is asked again after so long
    """

    broker: str
    connected: bool = False
    trouble: str = ""
    last_error: str = ""
    since_ns: int = 0
    next_try_s: float = 0.0
    links: int = 0
    in_flight: int = 0
    sent: int = 0
    acknowledged: int = 0
    acknowledged_bytes: int = 0
    refused: int = 0
    certificate_ends_ns: int = 0
    batch_bytes_max: int = 0
    version: str = ""
    version_asked: str = ""
    refusals_silent: bool = False
    held_s: float = 0.0


class RuleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A ``[[collect]]`` rule: how many of the messages that it keeps anything of the DBC files describe, and how many
    of those have come. Rules with ``keep = false`` are not told."""

    number: int
    messages: int
    seen: int


class IntegrityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose counter or checksum is verified, as bus.message: its frames since the start or reload, how many
    of them are wrong or repeated, and how many are missing between them."""

    subject: str
    frames: int = 0
    wrong: int = 0
    missing: int = 0
    repeated: int = 0


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """The latest warning or error of one kind that the agent has logged; `about` is what it is about, as bus=can0."""

    time_ns: int
    level: str
    event: str
    about: str = ""
    reason: str = ""
    hint: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    time_ns, clock_trusted   the unit's wall clock, and whether anything vouches for it
    up_s, reloaded_s         since the process started, and since its configuration was read last
    log_level                the least that is logged: debug, info, warning or error; "" where it is not known
    network                  what modem and data plan report, in words
    late                     stages that have not moved on in their time, and by how many seconds
    log_lines                warnings and errors, the latest last
    """

    agent: str
    vehicle: str
    pid: int
    time_ns: int
    clock_trusted: bool
    up_s: float
    reloaded_s: float
    buses: tuple[BusStatus, ...]
    spool: SpoolStatus
    link: UplinkStatus
    triggers: int = 0
    rules: tuple[RuleStatus, ...] = ()
    integrity: tuple[IntegrityStatus, ...] = ()
    log_level: str = ""
    network: tuple[str, ...] = ()
    late: dict[str, float] = {}
    log_lines: tuple[LogLine, ...] = ()


SENTENCES, SENTENCE_LENGTH_MAX = ("last_error", "reason", "hint", "network", "path"), 1000


def printable_snapshot(snapshot: Snapshot) -> Snapshot:
    """The same for a person to read: its texts are fit for a terminal."""
    return msgspec.convert(_printable(msgspec.to_builtins(snapshot)), Snapshot)


def _printable(value: Any, limit: int = LIMIT) -> Any:
    if isinstance(value, dict):
        limits = {key: SENTENCE_LENGTH_MAX if key in SENTENCES else LIMIT for key in value}
        return {key: _printable(each, limits[key]) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each, limit) for each in value]
    return printable(value, limit) if isinstance(value, str) else value
