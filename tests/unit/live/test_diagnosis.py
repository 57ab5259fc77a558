# SPDX-License-Identifier: Apache-2.0
"""Each cause of "no data" has a finding, and an agent that is well has none."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from agent.live import diagnosis
from agent.live.diagnosis import DAY_NS, Level, diagnose, exit_status
from agent.live.snapshot import LogLine, RuleStatus
from agent.system.former_codes import EVENTS, FINDINGS
from agent.uplink.connect import explain
from agent.uplink.reasons import REFUSALS, acknowledgement_text
from tests.support.documents import OPERATION, rows
from tests.support.snapshots import NOW_NS, snapshot

DENIED = LogLine(
    time_ns=NOW_NS,
    level="warning",
    event="bus_down",
    about="bus=powertrain",
    reason="SerialException: [Errno 13] Permission denied: '/dev/ttyUSB0'",
)
OLDER = f"broker b:1883: {REFUSALS[0x84]} (0x84)"
IDLE = (RuleStatus(number=1, messages=4, seen=0), RuleStatus(number=3, messages=2, seen=1))


def verification(code: int, message: str) -> str:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return explain(error)


CAUSES: list[tuple[str, Level, dict[str, Any]]] = [
    ("dbc_wrong", Level.ERROR, {"bus_known": 0, "bus_unknown_ids": 60}),
    ("dbc_misfit", Level.WARNING, {"bus_partial": 20_000}),
    ("bus_errors_only", Level.ERROR, {"bus_frames": 0, "bus_known": 0, "bus_error_frames": 9}),
    ("bus_errors", Level.WARNING, {"bus_error_frames": 6000}),
    ("bus_silent", Level.WARNING, {"bus_frames": 0, "bus_known": 0}),
    ("bus_silent", Level.WARNING, {"bus_frames": 0, "bus_known": 0, "bus_filtered": True}),
    ("bus_fell_silent", Level.NOTE, {"bus_frames_s": 0.0}),
    ("bus_down", Level.ERROR, {"bus_state": "down"}),
    ("bus_down", Level.ERROR, {"bus_state": "opening"}),
    ("bus_missing", Level.ERROR, {"bus_state": "missing"}),
    ("bus_off", Level.ERROR, {"bus_state": "bus_off"}),
    ("bus_not_can", Level.ERROR, {"bus_state": "not_can"}),
    ("bus_ended", Level.NOTE, {"bus_state": "ended"}),
    ("bus_no_permission", Level.ERROR, {"bus_state": "down", "log_lines": (DENIED,)}),
    ("frames_dropped", Level.WARNING, {"bus_dropped": 5}),
    ("rule_keeps_nothing", Level.WARNING, {"rules": IDLE}),
    ("rule_keeps_nothing", Level.ERROR, {"rules": IDLE[:1]}),
    ("broker_unreachable", Level.WARNING, {"link_connected": False, "link_trouble": "unreachable"}),
    ("broker_unreachable", Level.WARNING, {"link_connected": False, "link_trouble": "dropped"}),
    ("broker_unreachable", Level.ERROR, {"link_connected": False, "link_trouble": "unreachable", "link_links": 0}),
    ("broker_unreachable", Level.WARNING, {"link_connected": False, "link_links": 0}),
    ("broker_refuses", Level.ERROR, {"link_trouble": "unauthorized", "link_last_error": "not authorized (0x87)"}),
    ("broker_quota", Level.ERROR, {"link_trouble": "busy", "link_last_error": acknowledgement_text(0x97, b"")}),
    ("broker_busy", Level.WARNING, {"link_trouble": "busy", "link_last_error": "it is busy"}),
    ("no_subscribers", Level.ERROR, {"link_trouble": "no subscribers", "link_last_error": "nobody subscribes to it"}),
    ("batches_rejected", Level.ERROR, {"link_trouble": "unacceptable", "link_last_error": "payload format (0x99)"}),
    ("batch_over_limit", Level.ERROR, {"normal_too_large": 3, "link_batch_bytes_max": 900}),
    ("broker_version", Level.ERROR, {"link_connected": False, "link_last_error": OLDER, "link_trouble": "unreachable"}),
    ("refusals_untold", Level.WARNING, {"link_refusals_silent": True, "link_version_asked": "auto"}),
    ("refusals_untold", Level.NOTE, {"link_refusals_silent": True, "link_version_asked": "3.1.1"}),
    ("client_id_taken", Level.ERROR, {"link_connected": False, "link_trouble": "taken over"}),
    ("certificate_expired", Level.ERROR, {"link_certificate_ends_ns": NOW_NS - 3 * DAY_NS}),
    ("certificate_expires", Level.WARNING, {"link_certificate_ends_ns": NOW_NS + 3 * DAY_NS}),
    (
        "broker_certificate",
        Level.ERROR,
        {"link_connected": False, "link_trouble": "unreachable", "link_last_error": verification(10, "expired")},
    ),
    ("disk_full", Level.ERROR, {"spool_free_bytes": 1 << 20}),
    ("disk_full", Level.WARNING, {"normal_dropped": 1}),
    ("spool_evicting", Level.ERROR, {"normal_evicted": 3, "spool_disk_bytes": 510 << 20}),
    ("spool_evicting", Level.WARNING, {"normal_evicted": 3}),
    ("batch_refused", Level.ERROR, {"normal_refused": 1}),
    ("spool_damaged", Level.WARNING, {"normal_corrupt": 1}),
    ("spool_deleted", Level.ERROR, {"normal_put_back": 3}),
    ("clock_wrong", Level.ERROR, {"time_ns": 86_400 * 10**9}),
    ("clock_not_synchronised", Level.NOTE, {"clock_trusted": False}),
    ("data_plan_holds_back", Level.WARNING, {"link_held_s": 60.0, "network": ("data plan 20.0MiB of 20.0MiB",)}),
    ("stage_stalled", Level.ERROR, {"late": {"pipeline": 31.0}}),
]


def test_an_agent_that_is_well_has_no_findings() -> None:
    assert diagnose(snapshot()) == []
    assert exit_status([]) == 0


@pytest.mark.parametrize(("code", "level", "wrong"), CAUSES)
def test_each_cause_is_found_alone_with_its_next_move(code: str, level: Level, wrong: dict[str, Any]) -> None:
    (finding,) = diagnose(snapshot(**wrong))
    assert (finding.code, finding.level) == (code, level)
    assert finding.about
    assert finding.cause
    assert finding.move
    assert exit_status([finding]) == (level is Level.ERROR)


def test_a_broker_whose_certificate_is_not_valid_yet_means_a_clock_that_is_behind() -> None:
    reason = verification(9, "certificate is not yet valid")
    findings = diagnose(snapshot(link_connected=False, link_trouble="unreachable", link_last_error=reason))
    assert [finding.code for finding in findings] == ["clock_wrong"]


@pytest.mark.parametrize("trusted", [True, False])
def test_what_has_expired_may_be_a_clock_that_is_ahead(trusted: bool) -> None:
    broker = {"link_connected": False, "link_trouble": "unreachable", "link_last_error": verification(10, "expired")}
    for wrong in (broker, {"link_certificate_ends_ns": NOW_NS - DAY_NS}):
        found = diagnose(snapshot(clock_trusted=trusted, **wrong))[0]
        assert ("whether it really is 2026-11-18" in found.move) is not trusted


def test_an_expired_certificate_is_not_told_twice() -> None:
    wrong = {"link_connected": False, "link_trouble": "unauthorized", "link_certificate_ends_ns": NOW_NS - DAY_NS}
    assert [finding.code for finding in diagnose(snapshot(**wrong))] == ["certificate_expired"]


def test_what_has_had_no_time_to_come_is_not_missed() -> None:
    young = {"up_s": 5.0, "reloaded_s": 5.0}
    assert diagnose(snapshot(bus_frames=0, bus_known=0, rules=IDLE, **young)) == []
    (finding,) = diagnose(snapshot(link_connected=False, link_trouble="unreachable", link_links=0, **young))
    assert finding.level is Level.WARNING


def test_a_few_unknown_frames_prove_nothing() -> None:
    assert diagnose(snapshot(bus_frames=diagnosis.FRAMES_ENOUGH - 1, bus_known=0)) == []
    assert diagnose(snapshot(bus_known=0, bus_messages=0, bus_keep_unknown=True)) == []


def test_candump_is_for_socketcan_alone() -> None:
    for interface in ("socketcan", "slcan"):
        (finding,) = diagnose(snapshot(bus_frames=0, bus_known=0, bus_interface=interface))
        assert ("candump can0" in finding.move) is (interface == "socketcan")


def test_a_rule_for_raw_frames_alone_is_not_missed() -> None:
    assert diagnose(snapshot(rules=(RuleStatus(number=1, messages=0, seen=0),))) == []


@pytest.mark.parametrize("state", ["up", "ended"])
def test_a_silent_recording_is_no_matter_of_kernels_and_wires(state: str) -> None:
    log = {"bus_interface": "replay", "bus_channel": "/var/drive.log", "bus_state": state}
    (finding,) = diagnose(snapshot(**log, bus_frames=0, bus_known=0, bus_error_frames=3))
    assert (finding.code, finding.level) == ("bus_silent", Level.WARNING)
    assert finding.cause == "no frame of this bus has come from the recorded log /var/drive.log but 3 error frames"
    assert finding.move.startswith("canferry check tells the log's buses")


def test_rules_are_not_blamed_while_no_bus_says_anything() -> None:
    codes = [finding.code for finding in diagnose(snapshot(rules=IDLE, bus_frames=0, bus_known=0))]
    assert codes == ["bus_silent"]


def test_a_worker_that_has_told_nothing_yet_has_no_full_disk() -> None:
    assert diagnose(snapshot(spool_priorities=(), spool_free_bytes=0)) == []


def test_a_data_plan_that_nothing_waits_for_is_no_matter() -> None:
    assert diagnose(snapshot(link_held_s=60.0, normal_batches=0)) == []
    assert diagnose(snapshot(link_held_s=60.0, normal_name="critical")) == []  # which is not held back


def test_a_receivers_port_that_may_not_be_opened_is_told_as_that() -> None:
    reason = "[Errno 13] could not open port /dev/ttyUSB1: [Errno 13] Permission denied: '/dev/ttyUSB1'"
    said = LogLine(time_ns=NOW_NS, level="warning", event="port_down", about="bus=powertrain port=can0", reason=reason)
    (finding,) = diagnose(snapshot(bus_state="down", bus_interface="gnss", log_lines=(said,)))
    assert (finding.code, finding.about) == ("bus_no_permission", "powertrain")


def test_the_gravest_comes_first() -> None:
    found = diagnose(snapshot(clock_trusted=False, bus_dropped=1, normal_refused=1))
    assert [finding.level for finding in found] == [Level.ERROR, Level.WARNING, Level.NOTE]


def test_operation_names_every_former_code_beside_the_code() -> None:
    for title, former in (("| finding |", FINDINGS), ("| event |", EVENTS)):
        told = rows(OPERATION, title)
        for code, was in former.items():
            assert code == "bus_up" or f"was `{was}`" in told[code][1], code
            assert was not in told


def test_a_renamed_finding_knows_its_former_code() -> None:
    (renamed,) = diagnose(snapshot(normal_refused=1))
    (other,) = diagnose(snapshot(normal_corrupt=1))
    assert (renamed.was, other.was) == ("batches_refused", "")


def test_operation_tells_every_finding_with_its_levels() -> None:
    table = OPERATION.read_text().partition("| finding | level |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    told = {(first.strip("`"), level) for first, levels, *_ in cells for level in levels.split(", ")}
    assert told == {(code, str(level)) for code, level, _ in CAUSES}
    assert all(len(row) == 4 and all(row) for row in cells)
    source = Path(diagnosis.__file__).read_text()
    in_code = set(re.findall(r'Finding\(\s*"([a-z_]+)"', source))
    assert in_code == {code for code, _ in told}
