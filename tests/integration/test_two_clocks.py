# SPDX-License-Identifier: Apache-2.0
"""Logs whose times go back and forth between two clocks cost what their buses cost alone, at any interleaving."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.cli import main
from tests.conftest import RECORDINGS

FIELD = RECORDINGS / "field"
CASE = FIELD / "17-two-clocks-one-batch-per-frame" / "two_clocks.log"
DBC = FIELD / "simple.dbc"
T0_S = 1_700_000_000
Frame = tuple[float, str]
"""Time, and the rest of its line."""


@dataclass(frozen=True)
class Cost:
    """What a replay came to; the frames as `export` tells them."""

    batches: int
    size_bytes: int
    frames: tuple[str, ...]


def replayed(frames: list[Frame]) -> Cost:
    with TemporaryDirectory() as folder:
        log, batches = Path(folder) / "drive.log", Path(folder) / "batches"
        log.write_text("".join(f"({time:.6f}) {rest}\n" for time, rest in frames))
        command("replay", str(log), "--dbc", str(DBC), "--out", str(batches))
        command("export", str(batches), "--format", "jsonl", "--out", f"{folder}/told.jsonl")
        files = list(batches.rglob("*.batch.zst"))
        told = Path(folder, "told.jsonl").read_text()
        return Cost(len(files), sum(file.stat().st_size for file in files), tuple(told.splitlines()))


def command(*arguments: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(arguments) == 0


def drive(bus: str, begin_s: float, frames: int, every_s: float) -> list[Frame]:
    return [(begin_s + n * every_s, f"{bus} 123#1027000000{n % 251:02X}0000") for n in range(frames)]


def interleaved(first: list[Frame], second: list[Frame], bursts: list[int]) -> list[Frame]:
    """A burst of the one, a burst of the other, over and over."""
    rests, woven = [list(first), list(second)], []
    at = 0
    while any(rests):
        count = bursts[at % len(bursts)]
        woven += rests[at % 2][:count]
        del rests[at % 2][:count]
        at += 1
    return woven


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(
    st.sampled_from([0, 0.4, 1.0, 1.5, 5, 9, 9.99, 10, 10.5, 25, 3600, -1.0, -1.5, -9.5, -10, -3600, 12345 - T0_S]),
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.sampled_from([0.01, 0.05, 0.5]),
    st.sampled_from([0.01, 0.1]),
)
def test_two_clocks_cost_at_most_twice_their_buses(
    ahead_s: float, bursts: list[int], every_s: float, other_s: float
) -> None:
    first, second = drive("can0", T0_S, 600, every_s), drive("can1", T0_S + ahead_s, 600, other_s)
    alone = [replayed(each) for each in (first, second)]

    both = replayed(interleaved(first, second, bursts))

    assert both.batches <= 2 * sum(each.batches for each in alone)
    assert both.size_bytes <= 2 * sum(each.size_bytes for each in alone)
    assert sorted(both.frames) == sorted([*alone[0].frames, *alone[1].frames])


def test_two_clocks_on_one_bus_cost_no_batch_a_frame() -> None:
    first, second = drive("can0", T0_S, 2000, 0.01), drive("can0", 12345, 2000, 0.01)

    both = replayed(interleaved(first, second, [1]))

    assert both.batches <= 2 * sum(replayed(each).batches for each in (first, second))
    assert len(both.frames) == 4000


@pytest.mark.recordings
def test_field_log_of_two_clocks_costs_as_little_as_its_buses() -> None:
    frames = [(float(line[1 : line.index(")")]), line[line.index(")") + 2 :]) for line in CASE.read_text().splitlines()]
    alone = [replayed([each for each in frames if each[1].startswith(bus)]) for bus in ("can0", "can1")]

    both = replayed(frames)

    assert both.batches <= sum(each.batches for each in alone)
    assert both.size_bytes <= 1.1 * sum(each.size_bytes for each in alone)
    assert sorted(both.frames) == sorted([*alone[0].frames, *alone[1].frames])
