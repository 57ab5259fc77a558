# SPDX-License-Identifier: Apache-2.0
"""Why there is no data: from a snapshot to findings, each with a stable code, a cause, and the next move. Pure.

    error     data is lost or held up, and that does not pass by itself: somebody has to act
    warning   it may pass by itself (a dead spot, the ignition off), or nothing is lost yet
    note      worth knowing where something is looked for

Limits: only what the snapshot shows is found. A finding names the likeliest cause; its move tells how to make sure.
Counters begin at the start of the process (of a bus: at the last reload), and so do the conclusions from them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.system.clock import YEAR_2020_NS
from agent.system.former_codes import FINDINGS
from agent.units import Size
from agent.uplink.transport import SILENT_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.live.snapshot import BusStatus, LogLine, Snapshot, SpoolStatus, UplinkStatus

DAY_NS = 86_400 * 10**9
EXPIRES_SOON_NS = 30 * DAY_NS
FRAMES_ENOUGH = 20
"""Fewer prove nothing about a DBC file."""
SETTLED_S = 60.0
"""After so long a rule whose messages have not come keeps nothing, and a broker that was not reached is a wrong one."""
SILENT_S = 10.0
PARTIAL_SHARE, ERROR_SHARE = 0.2, 0.01
SPOOL_FULL_SHARE = 0.9
_NOT_YET = "not valid yet"


class Level(enum.StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: `about` names bus, priority or broker; `cause` is one sentence,
    `move` what to do next."""

    code: str
    level: Level
    about: str
    cause: str
    move: str

    @property
    def was(self) -> str:
        """The code before it was renamed; "" where it was not."""
        return FINDINGS.get(self.code, "")


ERROR, WARNING, NOTE = Level.ERROR, Level.WARNING, Level.NOTE
_GRAVITY = (ERROR, WARNING, NOTE)


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """What is wrong, the gravest first."""
    found = [
        *_of_stages(snapshot),
        *_of_clock(snapshot),
        *(finding for bus in snapshot.buses for finding in _of_bus(bus, snapshot)),
        *_of_rules(snapshot),
        *_of_link(snapshot),
        *_of_data_plan(snapshot),
        *_of_spool(snapshot.spool),
        *_of_sizes(snapshot),
    ]
    return sorted(found, key=lambda finding: _GRAVITY.index(finding.level))


def exit_status(findings: list[Finding]) -> int:
    """0: well; 1: somebody has to act."""
    return int(any(finding.level is ERROR for finding in findings))


def _of_stages(snapshot: Snapshot) -> Iterator[Finding]:
    for stage, late_s in snapshot.late.items():
        yield Finding(
            "stage_stalled",
            ERROR,
            stage,
            f"it has not moved on for {late_s:.0f} s longer than it may",
            "look at the disk (dmesg, df); the watchdog restarts the agent, nothing spooled is lost",
        )


def _of_clock(snapshot: Snapshot) -> Iterator[Finding]:
    mended = "set the clock: timedatectl, an NTP server within reach, a battery for the clock chip"
    if snapshot.time_ns < YEAR_2020_NS:
        cause = "the unit's clock says a year before 2020; batches are placed by their boot, TLS fails"
        yield Finding("clock_wrong", ERROR, "clock", cause, mended)
    elif _NOT_YET in snapshot.link.last_error:
        cause = "the broker's certificate is not valid yet by the unit's clock, so that is behind"
        yield Finding("clock_wrong", ERROR, "clock", cause, mended)
    elif not snapshot.clock_trusted:
        cause = "nothing is known to discipline the unit's clock; times are recorded as it says"
        move = "timedatectl; for chrony, ntpd or ptp4l see canferry-clock.conf"
        yield Finding("clock_not_synchronised", NOTE, "clock", cause, move)


def _of_bus(bus: BusStatus, snapshot: Snapshot) -> Iterator[Finding]:
    if bus.state != "up":
        yield from _of_closed_bus(bus, snapshot)
    elif not bus.frames:
        yield from _of_silent_bus(bus, snapshot)
    else:
        yield from _of_decoding(bus)
        if bus.error_frames > ERROR_SHARE * bus.frames:
            cause = f"{bus.error_frames} error frames beside {bus.frames} data frames"
            yield Finding(
                "bus_errors", WARNING, bus.name, cause, "check wiring and termination, and the bitrate's sample point"
            )
        if not bus.frames_s and snapshot.reloaded_s > SILENT_S:
            cause = "frames came, but none do now"
            yield Finding("bus_fell_silent", NOTE, bus.name, cause, "the ignition may be off; else the wiring")
    if bus.dropped:
        cause = f"{bus.dropped} frames were dropped before they could be read"
        move = "raise net.core.rmem_max (sysctl) up to [agent] receive_buffer, or give the agent CAP_NET_ADMIN"
        yield Finding("frames_dropped", WARNING, bus.name, cause, move)


def _of_closed_bus(bus: BusStatus, snapshot: Snapshot) -> Iterator[Finding]:
    line = _log_line_of(bus, snapshot.log_lines)
    reason = f": {line.reason}" if line and line.reason else ""
    if "permission" in reason.lower() or "not permitted" in reason.lower():
        move = "let the agent's user open it: canferry-serial.conf, the group dialout, the device's udev rule"
        yield Finding("bus_no_permission", ERROR, bus.name, f"{bus.channel} may not be opened{reason}", move)
    elif bus.state == "missing":
        move = "load its driver, plug the adapter in, or correct the bus' channel (ip link show type can)"
        yield Finding("bus_missing", ERROR, bus.name, f"there is no network interface {bus.channel}", move)
    elif bus.state == "bus_off":
        move = f"check wiring, termination and bitrate; ip link set {bus.channel} type can restart, or set restart-ms"
        yield Finding("bus_off", ERROR, bus.name, f"the controller of {bus.channel} went bus-off after errors", move)
    elif bus.state == "not_can":
        yield Finding("bus_not_can", ERROR, bus.name, f"{bus.channel} is no CAN interface", "correct the bus' channel")
    elif bus.state == "ended" and not bus.frames:
        yield from _of_silent_log(bus)
    elif bus.state == "ended":
        yield Finding("bus_ended", NOTE, bus.name, f"the recorded log {bus.channel} has ended", "none")
    else:
        socketcan = f"ip link set {bus.channel} up type can bitrate 500000"
        move = (
            socketcan if bus.interface == "socketcan" else (line and line.hint) or "check the adapter and its options"
        )
        yield Finding("bus_down", ERROR, bus.name, f"{bus.channel} is {bus.state}{reason}", move)


def _of_silent_bus(bus: BusStatus, snapshot: Snapshot) -> Iterator[Finding]:
    if bus.interface == "replay":
        if snapshot.reloaded_s > SILENT_S:
            yield from _of_silent_log(bus)
    elif bus.error_frames:
        cause = f"{bus.error_frames} error frames and no data frame: the bitrate is wrong, or nobody else is on the bus"
        move = f"compare bitrates (ip -details link show {bus.channel}; the DBC's BS_ or the car's manual), then wiring"
        yield Finding("bus_errors_only", ERROR, bus.name, cause, move)
    elif snapshot.reloaded_s > SILENT_S:
        look = f"; candump {bus.channel}" if bus.interface == "socketcan" else ""
        cause, move = "no frame has come", f"the ignition may be off; else wiring, termination{look}"
        if bus.filtered:
            cause = "no frame has come of those that rules want; the kernel lets no others through"
            move = f"candump {bus.channel}: where frames come, the DBC files or the rules do not fit this car"
        yield Finding("bus_silent", WARNING, bus.name, cause, move)


def _of_silent_log(bus: BusStatus) -> Iterator[Finding]:
    errors = f" but {bus.error_frames} error frames" if bus.error_frames else ""
    cause = f"no frame of this bus has come from the recorded log {bus.channel}{errors}"
    move = "canferry check tells the log's buses: name this one as the log does, or set options = { channel = … }"
    yield Finding("bus_silent", WARNING, bus.name, cause, move)


def _of_decoding(bus: BusStatus) -> Iterator[Finding]:
    if bus.messages and not bus.known and bus.frames >= FRAMES_ENOUGH:
        cause = f"{bus.frames} frames of {bus.unknown_ids} ids have come, and the DBC files know none of them"
        move = "give this bus its own DBC files; canferry explain ID tells what comes near"
        yield Finding("dbc_wrong", ERROR, bus.name, cause, move)
    elif bus.known >= FRAMES_ENOUGH and bus.partial > PARTIAL_SHARE * bus.known:
        cause = (
            f"{bus.partial} of {bus.known} known frames are shorter than described, or of unknown multiplexor values"
        )
        move = "the DBC file may be another model year's: canferry explain MESSAGE shows a frame beside its description"
        yield Finding("dbc_misfit", WARNING, bus.name, cause, move)


def _of_rules(snapshot: Snapshot) -> Iterator[Finding]:
    """Only of rules that name messages of the DBC files, when those had time to come and something did."""
    rules = [rule for rule in snapshot.rules if rule.messages]
    receiving = any(bus.frames or bus.filtered for bus in snapshot.buses if bus.state == "up")
    if not receiving or snapshot.reloaded_s < SETTLED_S:
        return
    idle = [rule for rule in rules if not rule.seen]
    move = "canferry explain NAME for one of them; canferry check shows what rules come to"
    if idle and len(idle) == len(snapshot.rules) and not snapshot.triggers:
        cause = "none of the messages that rules keep has come: nothing is kept at all"
        yield Finding("rule_keeps_nothing", ERROR, "collect", cause, move)
        return
    for rule in idle:
        cause = f"none of the {rule.messages} messages that it names has come"
        yield Finding("rule_keeps_nothing", WARNING, f"collect[#{rule.number}]", cause, move)


def _of_link(snapshot: Snapshot) -> Iterator[Finding]:
    link = snapshot.link
    expired = YEAR_2020_NS < link.certificate_ends_ns < snapshot.time_ns
    if expired:
        days = (snapshot.time_ns - link.certificate_ends_ns) // DAY_NS
        cause = f"the vehicle's own certificate expired {f'{days} days ago' if days else 'within the last day'}"
        move = f"{_clock_first(snapshot)}renew mqtt.certificate; it is read at the next try"
        yield Finding("certificate_expired", ERROR, link.broker, cause, move)
    elif YEAR_2020_NS < snapshot.time_ns < link.certificate_ends_ns < snapshot.time_ns + EXPIRES_SOON_NS:
        days = (link.certificate_ends_ns - snapshot.time_ns) // DAY_NS
        cause = f"the vehicle's own certificate expires in {days} days"
        yield Finding("certificate_expires", WARNING, link.broker, cause, "renew mqtt.certificate before that")
    if link.refusals_silent:
        move = "have the broker speak MQTT 5; else see in its log and access rules that it takes mqtt.topic_batch"
        level = WARNING if link.version_asked == "auto" else NOTE
        yield Finding("refusals_untold", level, link.broker, SILENT_REFUSALS, move)
    if _NOT_YET in link.last_error or (expired and link.trouble == "unauthorized"):
        return  # told already, by its cause
    if link.trouble:
        yield _of_trouble(link, snapshot)
    elif not link.connected and snapshot.up_s > SETTLED_S:
        yield Finding("broker_unreachable", WARNING, link.broker, "it has not answered yet", "canferry check")


def _clock_first(snapshot: Snapshot) -> str:
    """What has expired may not have: a clock that is ahead says the same of every certificate."""
    if snapshot.clock_trusted:
        return ""
    return f"first see whether it really is {datetime.fromtimestamp(snapshot.time_ns / 1e9, UTC):%Y-%m-%d}; "


def _of_trouble(link: UplinkStatus, snapshot: Snapshot) -> Finding:
    why, broker = link.last_error or link.trouble, link.broker
    if "its certificate" in why:
        move = _clock_first(snapshot) if "expired" in why else ""
        move += "correct mqtt.ca or mqtt.broker, or have the broker's certificate renewed; canferry check tries it"
        return Finding("broker_certificate", ERROR, broker, why, move)
    if "(0x84)" in why:
        move = "have the broker speak the version again, or set mqtt.version to the one it speaks; nothing is lost"
        return Finding("broker_version", ERROR, broker, why, move)
    if link.trouble == "unauthorized":
        move = "mend credentials, or the broker's access rules for this client and topic; nothing is lost meanwhile"
        return Finding("broker_refuses", ERROR, broker, why, move)
    if link.trouble == "no subscribers":
        move = "have a receiver subscribe (canferry receive); where the broker hands batches to rules of its own, "
        move += 'set mqtt.no_subscribers = "accept"; nothing is lost while the spool has room'
        return Finding("no_subscribers", ERROR, broker, why, move)
    if link.trouble == "taken over":
        move = "give each unit its own mqtt.client_id (and vehicle.id)"
        return Finding("client_id_taken", ERROR, broker, why, move)
    if link.trouble == "busy" and "quota" in why:
        move = "raise the broker's quota, or keep less ([[collect]]); nothing is lost while the spool has room"
        return Finding("broker_quota", ERROR, broker, why, move)
    if link.trouble == "unacceptable":
        move = "see what the broker's log says of them: its rules for topics and payloads; nothing is lost meanwhile"
        return Finding("batches_rejected", ERROR, broker, why, move)
    if link.trouble == "busy":
        move = "nothing now: it is tried again; look at the broker's limits and log if it lasts"
        return Finding("broker_busy", WARNING, broker, why, move)
    if link.links or snapshot.up_s < SETTLED_S:
        move = "nothing in a dead spot: it is tried again; else ping the broker, look at the modem"
        return Finding("broker_unreachable", WARNING, broker, why, move)
    move = "no connection since the start: canferry check; the modem, the SIM, DNS, mqtt.broker"
    return Finding("broker_unreachable", ERROR, broker, why, move)


def _of_data_plan(snapshot: Snapshot) -> Iterator[Finding]:
    """Only where something waits for it."""
    if snapshot.link.held_s and any(each.batches for each in snapshot.spool.priorities if each.name != "critical"):
        cause = f"what is not critical waits in the spool ({'; '.join(snapshot.network)})"
        move = "nothing is lost while the spool has room: keep less ([[collect]]), or raise what data_plan allows"
        yield Finding("data_plan_holds_back", WARNING, "data_plan", cause, move)


def _of_spool(spool: SpoolStatus) -> Iterator[Finding]:
    dropped = sum(each.dropped for each in spool.priorities)
    short = (
        bool(spool.priorities) and spool.free_bytes < spool.min_free_bytes
    )  # without priorities nothing was told yet
    if dropped or short:
        free, left = _size(spool.free_bytes), _size(spool.min_free_bytes)
        cause = f"{free} are free on the disk of {spool.path}, of which {left} are left to others"
        cause += f"; {dropped} new batches have found no room since the start" if dropped else ""
        move = "free room on the disk; lower spool.limit or min_free"
        yield Finding("disk_full", ERROR if short else WARNING, spool.path, cause, move)
    for each in spool.priorities:
        if each.evicted:
            full = spool.disk_bytes > SPOOL_FULL_SHARE * spool.limit_bytes
            cause = f"{each.evicted} batches were evicted" + (": the spool is full" if full else " since the start")
            move = "get the link back, raise spool.limit, or keep less"
            yield Finding("spool_evicting", ERROR if full else WARNING, each.name, cause, move)
        if each.refused:
            cause = f"{each.refused} batches were refused for good by the broker and set aside"
            move = (
                f"the broker's rules for topics and payloads, and its log; they lie in {spool.path}/{each.name}/refused"
            )
            yield Finding("batch_refused", ERROR, each.name, cause, move)
        if each.corrupt:
            cause = f"{each.corrupt} batches were damaged on disk and set aside"
            yield Finding("spool_damaged", WARNING, each.name, cause, "look at the disk: smartctl, dmesg")
        if each.put_back:
            cause = f"{each.put_back} files of the spool were deleted or moved beneath the agent, and written anew"
            move = f"find out who deletes or moves what is in {spool.path}; nothing that waits is lost yet"
            yield Finding("spool_deleted", ERROR, each.name, cause, move)


def _of_sizes(snapshot: Snapshot) -> Iterator[Finding]:
    """What waits for another limit, whatever becomes of the link meanwhile."""
    for each in snapshot.spool.priorities:
        if each.too_large:
            cause = (
                f"{each.too_large} batches wait that are larger than the {snapshot.link.batch_bytes_max} bytes which "
            )
            cause += "the broker takes; new ones are sealed to fit, stored ones cut anew where they can be"
            move = "raise the broker's limit on packets: they go then; nothing is lost while the spool has room"
            yield Finding("batch_over_limit", ERROR, each.name, cause, move)


def _log_line_of(bus: BusStatus, lines: tuple[LogLine, ...]) -> LogLine | None:
    """The last log line about an interface, or of a receiver's port."""
    name = f"bus={bus.name}"
    about = [each for each in lines if each.event.startswith(("bus_", "port_")) and name in each.about.split()]
    return about[-1] if about else None


def _size(size_bytes: int) -> str:
    return str(Size(size_bytes >> 20 << 20)) if size_bytes >> 20 else str(Size(size_bytes))
