# SPDX-License-Identifier: Apache-2.0
"""The screen of `canferry status`."""

from __future__ import annotations

import re

import pytest

from agent.live.diagnosis import diagnose
from agent.live.snapshot import LogLine
from agent.live.status_screen import duration, screen, size, spool_lasts_s
from tests.support.snapshots import NOW_NS, S, snapshot

WRONG = snapshot(
    bus_state="missing",
    clock_trusted=False,
    link_connected=False,
    link_trouble="unreachable",
    link_last_error="broker:8883: no answer in time",
    link_next_try_s=12.0,
    log_lines=(
        LogLine(time_ns=NOW_NS - 5 * S, level="error", event="batch_dropped", about="stream=x", hint="free some room"),
    ),
)


def test_an_agent_that_is_well_fits_one_screen() -> None:
    well = snapshot()
    lines = screen(well, diagnose(well))
    assert len(lines) < 24
    assert lines[0].startswith("car-1   canferry 0.1.0, process 1, up 2 h 0 min")
    text = "\n".join(lines)
    assert re.search(r"powertrain +up +22 % +1,000 +60,000 +98 % +0 +0 +0", text)
    assert re.search(r"normal +2 +19.5 KiB +1 min 30 s ago +400,000 +0", text)
    assert "link broker:8883: up since 1 h 0 min; 7 batches" in text
    assert lines[-1] == "all is well"


def test_an_agent_that_is_well_has_no_line_that_a_terminal_of_eighty_would_break() -> None:
    well = snapshot(clock_trusted=False, up_s=90_000.0, normal_sealed_bytes=10 << 20)
    lines = screen(well, diagnose(well), width=80)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    assert lines[1].startswith("clock 2026-11-18 ")


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({}, None),
        ({"normal_sealed_bytes": 72 << 20, "up_s": 59.0}, None),
        ({"normal_sealed_bytes": 72 << 20}, (512 - 2) * 100),
        ({"normal_sealed_bytes": 72 << 20, "spool_free_bytes": 100 << 20}, (36 + 4 - 2) * 100),
        ({"normal_sealed_bytes": 72 << 20, "spool_free_bytes": 0, "spool_disk_bytes": 0}, 0),
        ({"normal_sealed_bytes": 72 << 20, "normal_size_bytes": 600 << 20}, 0),
    ],
)
def test_how_long_the_spool_has_room_is_told_of_what_was_kept_so_far(
    changes: dict[str, float], room: float | None
) -> None:
    well = snapshot(**({"normal_size_bytes": 2 << 20} | changes))
    assert spool_lasts_s(well) == room
    assert ("without a link" in " ".join(screen(well, []))) is (room is not None)


def test_what_is_wrong_stands_there_with_its_next_move() -> None:
    lines = screen(WRONG, diagnose(WRONG), width=80)
    text = "\n".join(lines)
    assert "error bus_missing (powertrain): there is no network interface can0" in text
    assert "  → load its driver" in text
    assert text.count("no answer in time") == 1
    assert "\n  tried again every 12 s or so\n" in text
    assert "no answer in time, tried again every 12 s or so" in "\n".join(screen(WRONG, [], width=80))
    assert "5 s ago error batch_dropped stream=x → free some room" in text
    told = lines[next(n for n, line in enumerate(lines) if line.startswith("error")) :]
    assert all(len(line) <= 80 for line in told)


def test_what_a_finding_has_told_is_not_told_again_by_the_log() -> None:
    reason = "[Errno 2] could not open port /dev/ttyUSB0"
    said = [
        LogLine(time_ns=NOW_NS - S, level="warning", event="bus_down", about="bus=powertrain", reason=reason),
        LogLine(time_ns=NOW_NS - S, level="warning", event="status_refused", reason="not authorized"),
    ]
    wrong = snapshot(bus_state="down", bus_interface="slcan", log_lines=tuple(said))
    text = " ".join(" ".join(screen(wrong, diagnose(wrong))).split())
    assert text.count(reason) == 1
    assert "warning bus_down" not in text
    assert "status_refused not authorized" in text


def test_what_modem_and_data_plan_say_stands_below_the_link() -> None:
    lines = screen(snapshot(network=("modem home operator 4G -95dBm", "data plan 1.0MiB of 20.0MiB, lasts")), [])
    place = next(n for n, line in enumerate(lines) if line.startswith("link "))
    assert lines[place + 1] == "  modem home operator 4G -95dBm; data plan 1.0MiB of 20.0MiB, lasts"


def test_colours_are_only_for_terminals() -> None:
    plain = "\n".join(screen(WRONG, diagnose(WRONG)))
    coloured = "\n".join(screen(WRONG, diagnose(WRONG), coloured=True))
    assert "\x1b" not in plain
    assert "\x1b[31mmissing\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_a_load_needs_a_bitrate_and_classic_frames() -> None:
    for unknown in (snapshot(bus_bitrate=None), snapshot(bus_bits_s=None)):
        assert re.search(r"powertrain +up +- ", "\n".join(screen(unknown, [])))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"), (3 << 40, "3072 GiB")],
)
def test_sizes_are_short(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text
