# SPDX-License-Identifier: Apache-2.0
"""The page "Bench in five minutes", tried as it is written: its file, its commands, a recording of the demo's car."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.config import demo_car_dbc
from agent.sources.simulator import Drive
from tests.support.documents import BENCH, ROOT, section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = section(BENCH, "Bench in five minutes")
WITH_VCAN, WITHOUT_VCAN = (
    [line.strip() for line in block.splitlines()] for block in re.findall(r"(?:^    \S.*\n)+", PAGE, re.MULTILINE)
)
DRIVE_S = 90


def lay_out(folder: Path, **instead: str) -> None:
    """What the page presumes: the recording, its DBC file, bench.toml (with keys that the page has others for)."""
    text = PAGE.partition("```toml\n")[2].partition("```")[0]
    for key, value in {"socket": str(folder / "agent.sock"), **instead}.items():
        text, found = re.subn(rf'^{key} = ".*"$', f'{key} = "{value}"', text, flags=re.MULTILINE)
        assert found == 1
    (folder / "bench.toml").write_text(text)
    (folder / "car.dbc").write_text(demo_car_dbc().read_text())
    with (folder / "drive.log").open("w") as file:
        for block in itertools.islice(Drive(), DRIVE_S):
            rows = zip(block.time_ns.tolist(), block.can_id.tolist(), block.length.tolist(), block.data, strict=True)
            for time_ns, can_id, length, data in rows:
                stamp = 1_700_000_000 + time_ns / 1e9
                file.write(f"({stamp:.6f}) can0 {can_id:03X}#{data[:length].tobytes().hex()}\n")


@contextmanager
def begun(folder: Path, command: str) -> Iterator[subprocess.Popen[str]]:
    """A line of the page in a shell, in this folder; ended after it."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, runs in {"canferry": f"{sys.executable} -m agent", "sudo": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {runs} "$@"\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def first_line_with(folder: Path, command: str, words: str) -> str:
    """What a command that goes on and on says of this; it is begun anew until somebody answers it."""
    while True:
        with begun(folder, command) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if words in line:
                    return line
