# SPDX-License-Identifier: Apache-2.0
"""What the demo shows while it runs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from agent.cli.demo_run.scenario import Scenario
from agent.cli.demo_run.terminal_view import TerminalView, render
from agent.cli.demo_run.view import LINES_MAX, DemoStatus, LinkPhase, LogCapture, PlainView

CUT = DemoStatus(
    Scenario(),
    elapsed_s=10.0,
    link=LinkPhase.CUT,
    phase_s=3.0,
    frames=10_000,
    frames_per_s=1004.4,
    backlog_batches=4,
    backlog_bytes=12_300,
    received_batches=7,
    received_samples=40_000,
    duplicates=1,
    latency_s=0.4,
    log_line="link_refused reason=[not markup]",
)


def drawn(snapshot: DemoStatus, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(render(snapshot, width))
    return capture.get().splitlines()


def test_plain_lines_come_once_a_second_and_events_at_once() -> None:
    out = io.StringIO()
    with PlainView(out) as view:
        for tenth in range(25):
            view.update(DemoStatus(Scenario(), elapsed_s=tenth / 10))
        view.report(2.45, "the link is cut")
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
        snapshot = DemoStatus(Scenario(), backlog_batches=1, backlog_bytes=size, link=LinkPhase.CUT)
        return next(line for line in drawn(snapshot, 80) if "backlog" in line).count("█")

    assert cells(0) < cells(5_000) < cells(20_000)


def test_the_live_show_leaves_the_terminal_as_it_was_after_an_exception() -> None:
    out = io.StringIO()
    view = TerminalView(Console(file=out, force_terminal=True, width=80))

    def fail() -> None:
        with view:
            view.report(1.0, "something has happened")
            view.update(CUT)
            raise KeyError("bug")

    with pytest.raises(KeyError):
        fail()
    assert "something has happened" in out.getvalue()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")  # the cursor is visible again


def test_the_agents_log_is_kept_aside_with_its_last_line_and_its_warnings() -> None:
    log_capture = LogCapture()
    for number in range(LINES_MAX + 5):
        event = {"timestamp": "…", "level": "warning", "event": "link_refused", "stream": "s", "failures": number}
        log_capture.write(json.dumps(event) + "\n")
    log_capture.write(json.dumps({"timestamp": "…", "level": "info", "event": "batch_sealed", "size_bytes": 7}) + "\n")
    log_capture.write("no JSON\n")
    assert log_capture.last == "batch_sealed size_bytes=7"
    assert len(log_capture.warnings) == LINES_MAX
    assert log_capture.warnings[-1] == f"link_refused failures={LINES_MAX + 4}"
