# SPDX-License-Identifier: Apache-2.0
"""Real drives through the whole way: what arrives equals cantools, frame by frame, number by number."""

from __future__ import annotations

import asyncio
import json
import lzma
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.decode.plan import parameter_group
from agent.model import EXTENDED
from agent.sources.canlib import python_can
from tests.integration.test_receive import receiving
from tests.support.mosquitto import running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.recordings, pytest.mark.slow, pytest.mark.timeout(300)]
DATA = Path(__file__).parents[3] / "shared/data"


@dataclass(frozen=True)
class Recording:
    log: str
    dbc: dict[str, str]
    j1939: tuple[str, ...] = ()
    bytes_per_frame: float = 10.0

    def arguments(self) -> list[str]:
        files = [f"--dbc={bus}={DATA / name}" for bus, name in self.dbc.items()]
        return [str(DATA / self.log), *files, "--json"]


RECORDINGS = {
    "rav4": Recording(
        "rav4_highway.log.xz", {"can0": "rav4_powertrain.dbc", "can1": "rav4_radar.dbc"}, bytes_per_frame=2.1
    ),
    "mustang": Recording("mustang_drive.log.xz", {"can0": "mustang.dbc"}, bytes_per_frame=1.2),
    "obd2": Recording("obd2_gnss_drive.log.xz", {"can1": "obd2.dbc", "can2": "gnss.dbc"}),
    "truck": Recording("j1939_truck.log.xz", {"can1": "j1939_demo.dbc", "can9": "canedge_internal.dbc"}, ("can1",)),
}


def canferry(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "agent", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Oracle:
    """cantools, with its unstrict loader, one message at a time; J1939 messages by parameter group."""

    def __init__(self, recording: Recording) -> None:
        python_can()
        from cantools.database import load_file

        self.by_group = recording.j1939
        self.messages: dict[tuple[str, int], Any] = {}
        for bus, name in recording.dbc.items():
            database: Any = load_file(DATA / name, strict=False)
            for message in database.messages:
                word = message.frame_id | (EXTENDED if message.is_extended_frame else 0)
                self.messages[bus, self.key(bus, word)] = message

    def key(self, bus: str, word: int) -> int:
        return parameter_group(word) | EXTENDED if bus in self.by_group and word & EXTENDED else word

    def message(self, bus: str, word: int) -> Any:
        return self.messages.get((bus, self.key(bus, word)))


def lines_of(recording: Recording) -> Iterator[tuple[float, str, int, bytes]]:
    with lzma.open(DATA / recording.log, "rt") as log:
        for line in log:
            time, bus, frame = line.split()
            identifier, data = frame.split("#")
            word = int(identifier, 16) | (EXTENDED if len(identifier) == 8 else 0)
            yield float(time[1:-1]), bus, word, bytes.fromhex(data)


def compare(recording: Recording, exported: Path) -> dict[str, int]:
    """Frames compared, refused by cantools, unknown; fails at the first difference."""
    oracle = Oracle(recording)
    arrived: dict[tuple[str, int], list[tuple[float, str, dict[str, Any]]]] = defaultdict(list)
    count, latest = 0, 0.0
    with exported.open() as lines:
        for line in lines:
            frame = json.loads(line)
            assert frame["t"] >= latest
            latest = frame["t"]
            arrived[frame["bus"], frame["id"]].append((latest, frame["message"], frame["signals"]))
            count += 1
    counts = {"equal": 0, "refused": 0, "unknown": 0}
    position: dict[tuple[str, int], int] = defaultdict(int)
    for time, bus, word, data in lines_of(recording):
        message = oracle.message(bus, word)
        if message is None:
            counts["unknown"] += 1
            continue
        key = bus, word & ~EXTENDED
        at, name, signals = arrived[key][position[key]]
        position[key] += 1
        try:
            expected = message.decode(data, decode_choices=False)
        except Exception:  # noqa: BLE001
            counts["refused"] += 1
            continue
        assert abs(at - time) <= 0.000_501
        assert name == message.name
        assert signals == expected
        assert [type(value) for value in signals.values()] == [type(expected[name]) for name in signals]
        counts["equal"] += 1
    assert count == counts["equal"] + counts["refused"]
    return counts


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_replayed_and_exported_drive_equals_cantools(name: str, tmp_path: Path) -> None:
    recording = RECORDINGS[name]
    summary = json.loads(canferry("replay", *recording.arguments(), "--out", str(tmp_path / "out")))
    canferry("export", str(tmp_path / "out"), "--format", "jsonl", "--out", str(tmp_path / "out.jsonl"))
    counts = compare(recording, tmp_path / "out.jsonl")
    print(f"{name}: {counts}, {summary['batch_bytes'] / summary['frames_decoded']:.3f} bytes a frame")
    assert summary["frames"] == sum(counts.values())
    assert summary["frames_unknown"] == counts["unknown"]
    assert summary["decode_errors"] >= counts["refused"]
    assert summary["gaps"] == summary["lines_refused"] == summary["frames_ignored"] == 0
    assert summary["batch_bytes"] / summary["frames_decoded"] <= recording.bytes_per_frame


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_drive_through_a_broker_equals_cantools(name: str, tmp_path: Path) -> None:
    recording = RECORDINGS[name]
    received = tmp_path / "received"
    async with (
        running(tmp_path / "broker") as broker,
        receiving(broker, "--out", str(received), "--json") as receiver,
    ):
        arguments = ("replay", *recording.arguments(), "--broker", broker.url(), "--vehicle", name)
        summary = json.loads(await asyncio.to_thread(canferry, *arguments))
        async with asyncio.timeout(120):
            while len(list(received.rglob("*.batch.zst"))) < summary["batches"]:
                await asyncio.sleep(0.1)
        receiver.terminate()
        report = json.loads((await receiver.communicate())[0])
    assert report["gaps"] == []
    await asyncio.to_thread(
        canferry, "export", str(received), "--format", "jsonl", "--out", str(tmp_path / "out.jsonl")
    )
    counts = compare(recording, tmp_path / "out.jsonl")
    assert counts["equal"] + counts["refused"] == summary["frames_decoded"]
