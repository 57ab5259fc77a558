# SPDX-License-Identifier: Apache-2.0
"""`canferry report` as a process, and its page in a browser.

Screenshots are kept in the folder that the environment variable CANFERRY_ARTEFACTS names, else in the test's own.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

from agent.cli.report_page.page import page
from agent.cli.report_page.survey import survey
from agent.receiver.inventory import Inventory
from tests.conftest import RECORDINGS
from tests.support.samples import MS, START, batch, steer, store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PAGE_BYTES_MAX = 3_000_000
DRIVES = {
    "rav4": ("rav4_highway.log.xz", {"can0": "rav4_powertrain.dbc", "can1": "rav4_radar.dbc"}),
    "truck": ("j1939_truck.log.xz", {"can1": "j1939_demo.dbc", "can9": "canedge_internal.dbc"}),
}


def canferry(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "agent", *map(str, arguments)], capture_output=True, text=True)


def browse(file: Path, profile: Path, *arguments: str) -> tuple[str, list[str]]:
    """What chromium prints, and what the page's console says."""
    quiet = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", *quiet),
        *("--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}", "--virtual-time-budget=20000"),
        *(*arguments, file.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def samples_shown(content: str) -> Counter[tuple[str, str]]:
    """Samples by message and signal."""
    shown: Counter[tuple[str, str]] = Counter()
    for section in content.split('<section class="message"')[1:]:
        message = section.partition('data-name="')[2].partition('"')[0]
        for name, samples in re.findall(r'data-signal="([^"]*)" data-samples="(\d+)"', section):
            shown[unescape(message), unescape(name)] += int(samples)
    return shown


@pytest.mark.recordings
@needs_chromium
@pytest.mark.parametrize("drive", DRIVES)
def test_a_drive_is_shown_as_it_is_exported(drive: str, tmp_path: Path) -> None:
    log, files = DRIVES[drive]
    dbc = [f"--dbc={bus}={RECORDINGS / name}" for bus, name in files.items()]
    batches, html, lines = tmp_path / "batches", tmp_path / "drive.html", tmp_path / "drive.jsonl"
    assert canferry("replay", RECORDINGS / log, *dbc, "--out", batches).returncode == 0
    assert canferry("export", batches, "--format", "jsonl", "--out", lines).returncode == 0
    done = canferry("report", batches, "--html", html, "--json")
    assert done.returncode == 0, done.stderr

    exported: Counter[tuple[str, str]] = Counter()
    with lines.open() as file:
        for frame in map(json.loads, file):
            exported.update((f"{frame['bus']}.{frame['message']}", signal) for signal in frame["signals"])
    artefacts = Path(os.environ.get("CANFERRY_ARTEFACTS", tmp_path))
    light, dark = artefacts / f"report-{drive}.png", artefacts / f"report-{drive}-dark.png"
    window = "--window-size=1366,2400"
    shown, console = browse(html, tmp_path / "profile", "--dump-dom", window)
    browse(html, tmp_path / "profile2", f"--screenshot={light}", window)
    browse(html, tmp_path / "profile3", f"--screenshot={dark}", window, "--force-dark-mode")

    assert console == []
    assert samples_shown(shown) == exported
    assert f"{exported.total():,}" in shown
    assert json.loads(done.stdout)["samples"] == exported.total()
    assert "<path" in shown  # drawn, so the script ran
    assert html.stat().st_size < PAGE_BYTES_MAX
    assert all(image.read_bytes().startswith(b"\x89PNG") for image in (light, dark))
    assert light.read_bytes() != dark.read_bytes()


@pytest.mark.recordings
@needs_chromium
def test_a_drive_of_ten_minutes_is_one_small_file(tmp_path: Path) -> None:
    name, files = DRIVES["rav4"]
    with lzma.open(RECORDINGS / name, "rt") as file:
        minute = [(float(time[1:-1]), rest) for time, _, rest in (line.partition(" ") for line in file)]
    lasts_s = minute[-1][0] - minute[0][0] + 0.01
    log, html = tmp_path / "ten.log", tmp_path / "ten.html"
    with log.open("w") as out:
        for number in range(10):
            out.writelines(f"({time + number * lasts_s:.6f}) {rest}" for time, rest in minute)
    dbc = [f"--dbc={bus}={RECORDINGS / file}" for bus, file in files.items()]
    done = canferry("report", log, *dbc, "--html", html, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no terminal: how far it is is not told
    assert json.loads(done.stdout)["page_bytes"] == html.stat().st_size < PAGE_BYTES_MAX
    shown, console = browse(html, tmp_path / "profile", "--dump-dom")
    assert console == []
    assert "10 min 0 s" in shown


@needs_chromium
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('document.getElementById("signals")', 'document.getElementById("nowhere")'),
        ("</footer>", "</footer><script>document.title = 1</script>"),
        ("</footer>", '</footer><img src="https://example.com/x.png" alt="">'),
    ],
)
def test_a_page_that_is_not_well_says_so_in_the_console(good: str, bad: str, tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START + n * MS, n) for n in range(9)]))
    content = "".join(page(survey(Inventory([tmp_path])), "x", 2.0))
    file = tmp_path / "page.html"
    file.write_text(content.replace(good, bad, 1))
    _, console = browse(file, tmp_path / "profile", "--dump-dom")
    assert console


@pytest.mark.recordings
def test_a_recorded_log_is_reported_at_once(tmp_path: Path) -> None:
    log, dbc = RECORDINGS / "j1939_truck.log.xz", RECORDINGS / "canedge_internal.dbc"
    done = canferry("report", log, "--dbc", f"can9={dbc}", "--bus", "can9", "--html", tmp_path / "x.html", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["vehicle"], summary["gaps"]) == ("j1939_truck", 0)
    assert f"{summary['frames']:,}" in (tmp_path / "x.html").read_text()


TIMES = {
    "one instant": [1_727_438_342.0],
    "two instants, 292 years apart": [0.0, 9_223_372_036.0],
    "a wake-up, and a drive": [1e9, *(1e9 + 700 + n / 100 for n in range(1000))],
    "a drive, and a typing error": [*(1_727_438_342 + n / 100 for n in range(100)), 1_127_438_342.0],
    "half a second": [1e9 + n / 100 for n in range(50)],
    "fifty instants": [1e9 + n * 1200 for n in range(50)],
}
MEMORY_MAX_KB = 300_000
PEAK = """
import sys
from agent.cli import main
status = main(sys.argv[1:])
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(status)
"""
"""Of the process alone: what wait4 tells counts the memory of the process that it was forked from."""


@pytest.mark.parametrize("drive", TIMES)
def test_page_is_small_and_cheap_whatever_the_times(drive: str, tmp_path: Path) -> None:
    log, html = tmp_path / "drive.log", tmp_path / "drive.html"
    log.write_text(
        "".join(f"({time:.6f}) vehicle 100#{n % 256:02X}{n % 256:02X}\n" for n, time in enumerate(TIMES[drive]))
    )
    dbc = tmp_path / "car.dbc"
    dbc.write_text('VERSION ""\nBU_: A\nBO_ 256 M: 8 A\n SG_ X : 0|16@1+ (1,0) [0|0] "" A\n')
    report = map(str, ("report", log, "--dbc", dbc, "--html", html))
    command = ["prlimit", "--as=4294967296", sys.executable, "-c", PEAK, *report]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MEMORY_MAX_KB
    assert html.stat().st_size < 40_000


def test_frames_a_second_of_a_drive_are_not_blurred_by_an_instant(tmp_path: Path) -> None:
    wake = store(tmp_path, 0, batch(0, [steer(START, 3)]))
    later = [steer(START + 3600 * 1000 * MS + n * 10 * MS, 5) for n in range(1000)]
    assert wake != store(tmp_path, 1, batch(1, later))
    content = "".join(page(survey(Inventory([tmp_path])), "a test", 2.0))
    levels = [int(level) for level in re.findall(r'data-levels="([\d,]*)"', content)[0].split(",")]
    most = float(re.findall(r'class="traffic" data-most="([^"]*)"', content)[0])
    assert most == pytest.approx(100, rel=0.02)
    assert levels[0] == pytest.approx(10, abs=1)  # one frame in a second, of a hundred at most
    assert min(levels[3:]) > 900


def test_errors_are_one_line_with_the_contracts_status(tmp_path: Path) -> None:
    path = store(tmp_path, 0, batch(0, [steer(START, 3)]))
    junk = tmp_path / "junk.batch.zst"
    junk.write_bytes(b"junk")
    html = tmp_path / "x.html"
    cases: list[tuple[list[object], int, str]] = [
        ([path], 2, "--html"),
        ([tmp_path / "nowhere", "--html", html], 2, "nowhere"),
        ([path, "--html", tmp_path], 2, "is a folder"),
        ([path, "--html", tmp_path / "no" / "x"], 2, "no folder"),
        ([path, "--html", html, "--hours", "25"], 2, "up to 24"),
        ([path, "--html", html, "--bus", "can0"], 2, "beside --dbc"),
        ([path, path, "--html", html, "--dbc", "a.dbc"], 2, "one PATH"),
        ([path, "--html", html, "--vehicle", "other"], 2, "no batch of vehicle other"),
        ([tmp_path / "no.log", "--dbc", "a.dbc", "--html", html], 2, "no.log"),
        ([junk, "--html", html], 1, "junk.batch.zst"),
    ]
    for arguments, status, said in cases:
        done = canferry("report", *arguments)
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (status, 1, ""), done.stderr
        assert said in done.stderr
    assert not html.exists()
