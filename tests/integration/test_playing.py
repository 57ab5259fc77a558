# SPDX-License-Identifier: Apache-2.0
"""`canferry replay --to` and `canferry simulate` as processes, and who listens on their bus."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.sources.canlib import python_can

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
can: Any = python_can()


@pytest.fixture
def group() -> str:
    """A multicast group that nobody else has just now."""
    return f"239.74.{random.randrange(256)}.{random.randrange(1, 255)}"


@pytest.fixture
def listening(group: str) -> Iterator[Any]:
    with can.Bus(interface="udp_multicast", channel=group, ignore_config=True) as bus:
        yield bus


@contextmanager
def playing(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "agent", *arguments, "--interface", "udp_multicast"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_log_is_played_onto_a_bus_frame_by_frame(tmp_path: Path, group: str, listening: Any) -> None:
    log = tmp_path / "drive.log"
    log.write_text("".join(f"(1.{number:06d}) can0 {number:03X}#{number:04X}\n" for number in range(0, 500, 5)))
    with playing("replay", str(log), "--to", group, "--json") as process:
        heard = [listening.recv(60) for _ in range(100)]
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [(each.arbitration_id, each.data.hex().upper()) for each in heard] == [
        (number, f"{number:04X}") for number in range(0, 500, 5)
    ]
    summary = json.loads(out)
    assert (summary["frames"], summary["frames_by_channel"]) == (100, {group: 100})


def test_the_simulated_car_drives_until_it_is_stopped(group: str, listening: Any) -> None:
    with playing("simulate", "--to", group, "--json") as process:
        ids = {listening.recv(60).arbitration_id for _ in range(51)}
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(ids) > 5
    assert json.loads(out)["frames"] >= 50  # the one that the signal comes upon may be sent and not counted


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "vcan0", "--dbc", "car.dbc"], "--to plays the log's frames as they are"),
        (["--to", "can7=vcan0"], "has no bus 'can7'; accepted: can0"),
        (["--to", "a", "--to", "b"], "of several, each says which bus it is"),
        (["--out", "batches"], "replay needs --config or --dbc"),
        (["--to", "vcan0", "--speed", "0"], "is no speed"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    log = tmp_path / "drive.log"
    log.write_text("(1.000000) can0 001#00\n")
    command = [sys.executable, "-m", "agent", "replay", str(log), *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
