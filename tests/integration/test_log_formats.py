# SPDX-License-Identifier: Apache-2.0
"""A drive is the same in every format, in every time zone; and all that is in a file is accounted for."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.model import FrameFlag
from tests.support.log_drives import FORMATS, Format
from tests.support.recorded_logs import seen, time_zone

pytestmark = pytest.mark.timeout(120)  # asammdf, which writes MF4, brings pandas
SHARED = Path(__file__).parents[3] / "shared" / "data"
FIELD = SHARED / "field"
ITEMS = {
    "03-channel-number-off-by-one/g1_twobus.asc": 4,
    "04-asc-unreadable-date-1970/a1.asc": 3,
    "04-asc-unreadable-date-1970/a16_cr.asc": 3,
    "04-asc-unreadable-date-1970/a2_ger_latin1.asc": 3,
    "04-asc-unreadable-date-1970/a3_fr.asc": 3,
    "04-asc-unreadable-date-1970/a3d_it.asc": 3,
    "04-asc-unreadable-date-1970/j4_iso_date.asc": 2,
    "05-blf-trc-local-time-read-as-utc/same.asc": 1,
    "05-blf-trc-local-time-read-as-utc/same.blf": 2,
    "05-blf-trc-local-time-read-as-utc/same.trc": 1,
    "06-asc-relative-timestamps/a4_relative.asc": 6,
    "07-mf4-without-ide/h1_noide.mf4": 2,
    "08-asc-first-frame-lost/a10_busmaster.asc": 2,
    "08-asc-first-frame-lost/a11_nodate.asc": 2,
    "09-negative-times/c2_neg.blf": 2,
    "10-trc-1.0-error-line/b10.trc": 5,
    "11-trc-1.2-semicolon-3.0/b12.trc": 3,
    "11-trc-1.2-semicolon-3.0/b12semi.trc": 2,
    "11-trc-1.2-semicolon-3.0/b_pcanview_old.trc": 1,
    "15-candump-N-and-8/d1_len8dlc.log": 5,
    "15-candump-N-and-8/i1_ns_screen.log": 2,
    "15-candump-N-and-8/i2_len8_screen.log": 2,
    "16-mf4-errorframe-kills-log/h2_kvaser_err.mf4": 3,
    "18-cryptic-csv-error/e1_gvret.csv": 2,
    "18-cryptic-csv-error/e3c_pycan_semicolon.csv": 1,
    "18-cryptic-csv-error/e3d_blank.csv": 2,
}
"""By file: lines that begin with a number, objects of the header's count, records; all but the first of them frames
where the format's text says so.
"""


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_a_drive_is_the_same_in_every_format_and_zone(name: str, zone: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    with time_zone(zone):
        path = tmp_path / f"drive{kind.suffix}"
        kind.write(path, kind.moments)
        log = seen(path)
    data = [moment for moment in kind.moments if moment.kind == "data"]
    assert log.times_ns == [moment.time_ns for moment in data]
    assert log.buses == [kind.bus or f"can{moment.bus}" for moment in data]
    assert log.frames.can_id.tolist() == [moment.word for moment in data]
    assert log.payloads == [moment.payload.hex() for moment in data]
    mask = FrameFlag.FD if kind.fd == "length" else ~0
    assert log.frames.flags.tolist() == [moment.flags & mask for moment in data]
    assert log.errors == _counted(kind, "error")
    assert log.remotes == _counted(kind, "remote")
    assert (log.events, log.failure) == ([], "")


def _counted(kind: Format, what: str) -> dict[str, int]:
    return {kind.bus or f"can{moment.bus}": 1 for moment in kind.moments if moment.kind == what}


@pytest.mark.parametrize("name", FORMATS)
def test_frames_ignored_and_refused_are_all_that_a_log_has(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    path = tmp_path / f"drive{kind.suffix}"
    kind.write(path, kind.moments)
    log = seen(path)
    assert (log.items, log.refused) == (len(kind.moments) + kind.events, 0)


@pytest.mark.parametrize(
    "name", [name for name, kind in FORMATS.items() if kind.suffix in {".log", ".asc", ".trc", ".csv"}]
)
def test_a_line_that_is_damaged_is_one_of_them(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    path = tmp_path / f"drive{kind.suffix}"
    kind.write(path, kind.moments)
    lines = path.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.lstrip()[:1] in b"0123456789(" and b"0" in line)
    frame = next(line for line in lines[first:] if b"Start" not in line)
    path.write_bytes(b"".join([*lines, frame.replace(b"1", b"~").replace(b"0", b"?")]))
    log = seen(path)
    assert (log.items, log.refused) == (len(kind.moments) + kind.events + 1, 1)


@pytest.mark.recordings
@pytest.mark.parametrize("name", ITEMS)
def test_what_came_from_the_field_is_accounted_for(name: str) -> None:
    log = seen(_needed(FIELD / name))
    assert (log.items, log.refused, log.failure) == (ITEMS[name], 0, "")


@pytest.mark.recordings
@pytest.mark.parametrize(
    "name", ["rav4_highway.log.xz", "mustang_drive.log.xz", "obd2_gnss_drive.log.xz", "j1939_truck.log.xz"]
)
def test_a_recording_is_accounted_for(name: str) -> None:
    with lzma.open(_needed(SHARED / name)) as lines:
        told = sum(1 for line in lines if line.strip())
    assert seen(SHARED / name).items == told


@pytest.mark.recordings
@pytest.mark.parametrize("name", ["05-blf-trc-local-time-read-as-utc/same.blf", "10-trc-1.0-error-line/b10.trc"])
def test_replay_prints_an_account_of_all(name: str, tmp_path: Path) -> None:
    log = _needed(FIELD / name)
    command = [sys.executable, "-m", "agent", "replay", str(log), "--dbc", str(FIELD / "simple.dbc")]
    ended = subprocess.run([*command, "--out", str(tmp_path / "out"), "--json"], capture_output=True, text=True)
    told = json.loads(ended.stdout)
    assert told["frames"] + told["frames_ignored"] + told["lines_refused"] == ITEMS[name]


@pytest.mark.recordings
def test_a_damaged_log_is_replayed_up_to_there_and_said_in_one_line(tmp_path: Path) -> None:
    log = _needed(FIELD / "02-blf-zero-size-object-hang" / "c6_size0.blf")
    options = ["--dbc", str(FIELD / "simple.dbc"), "--json"]
    command = [sys.executable, "-m", "agent", "replay", str(log), *options, "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    told = json.loads(ended.stdout)
    assert (told["frames"], told["lines_refused"], ended.returncode) == (1, 2, 1)
    (line,) = ended.stderr.splitlines()
    assert "c6_size0.blf: object 2, in the container at byte 144: the file is damaged" in line


def _needed(path: Path) -> Path:
    """A file of the project's data; without it the test is left out."""
    if path.exists():
        return path
    if os.environ.get("CI"):
        pytest.fail(f"no {path}")
    pytest.skip(f"no {path}")
