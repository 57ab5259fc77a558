# SPDX-License-Identifier: Apache-2.0
"""What the demo shows while it runs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from agent.cli.demo_run.live import LiveShow, picture
from agent.cli.demo_run.scenario import Scenario
from agent.cli.demo_run.show import LinkView, PlainShow, Snapshot
from agent.cli.demo_run.voice import LINES_MAX, Voice

CUT = Snapshot(
    Scenario(),
    elapsed_s=10.0,
    link=LinkView.CUT,
    phase_s=3.0,
    frames=10_000,
    frames_per_s=1004.4,
    backlog_batches=4,
    backlog_bytes=12_300,
    received_batches=7,
    received_samples=40_000,
    duplicates=1,
    latency_s=0.4,
    said="link_refused reason=[not markup]",
)


def drawn(snapshot: Snapshot, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(picture(snapshot, width))
    return capture.get().splitlines()


def test_plain_lines_come_once_a_second_and_events_at_once() -> None:
    out = io.StringIO()
    with PlainShow(out) as show:
        for tenth in range(25):
            show.update(Snapshot(Scenario(), elapsed_s=tenth / 10))
        show.tell(2.45, "the link is cut")
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0.0", "1.0", "2.0", "2.5"]
    assert lines[-1].endswith("the link is cut")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_picture_says_how_it_stands_and_fits(width: int) -> None:
    lines = drawn(CUT, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    for part in ("CUT for 3.0 of 6 s", "1,004 frames/s", "12.3 kB", "7 batches", "[not markup]", "10.0 of 20 s"):
        assert part in text


def test_the_backlog_bar_grows_with_the_backlog() -> None:
    def cells(size: int) -> int:
        snapshot = Snapshot(Scenario(), backlog_batches=1, backlog_bytes=size, link=LinkView.CUT)
        return next(line for line in drawn(snapshot, 80) if "backlog" in line).count("█")

    assert cells(0) < cells(5_000) < cells(20_000)


def test_the_live_show_leaves_the_terminal_as_it_was_after_an_exception() -> None:
    out = io.StringIO()
    show = LiveShow(Console(file=out, force_terminal=True, width=80))

    def fail() -> None:
        with show:
            show.tell(1.0, "something has happened")
            show.update(CUT)
            raise KeyError("bug")

    with pytest.raises(KeyError):
        fail()
    assert "something has happened" in out.getvalue()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")  # the cursor is visible again


def test_the_agents_log_is_kept_aside_with_its_last_line_and_its_warnings() -> None:
    voice = Voice()
    for number in range(LINES_MAX + 5):
        event = {"timestamp": "…", "level": "warning", "event": "link_refused", "stream": "s", "failures": number}
        voice.write(json.dumps(event) + "\n")
    voice.write(json.dumps({"timestamp": "…", "level": "info", "event": "batch_sealed", "size_bytes": 7}) + "\n")
    voice.write("no JSON\n")
    assert voice.last == "batch_sealed size_bytes=7"
    assert len(voice.warnings) == LINES_MAX
    assert voice.warnings[-1] == f"link_refused failures={LINES_MAX + 4}"
