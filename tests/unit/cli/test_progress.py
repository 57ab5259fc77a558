# SPDX-License-Identifier: Apache-2.0
"""How far a command is: on a terminal a line that comes and goes, elsewhere nothing."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest

from agent.cli.recording import REFRESH_S, Progress
from agent.model import FrameBlock

S = 10**9


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def blocks(count: int) -> list[FrameBlock]:
    return [
        FrameBlock(
            (np.arange(100) + 100 * number + 1) * S,
            np.zeros(100, np.uint8),
            np.zeros(100, np.uint32),
            np.zeros(100, np.uint8),
            np.zeros(100, np.uint8),
            np.zeros((100, 8), np.uint8),
        )
        for number in range(count)
    ]


def test_frames_and_batches_are_counted_on_one_line_that_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, clock = Screen(), itertools.count()
    with Progress(screen, lambda: float(next(clock))) as progress:
        given = blocks(2)
        assert list(progress.frames([FrameBlock.empty(), *given], "drive.log"))[1:] == given
        progress.batches("drive.html")(7, 2000)
    assert screen.getvalue().replace("\x1b[K", "").split("\r")[1:] == [
        "drive.log: 100 frames, 1 min 39 s of it",
        "drive.log: 200 frames, 3 min 19 s of it",
        "drive.html: batch 7 of 2,000",
        "",
    ]


def test_what_comes_too_soon_is_left_out_unless_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, now_s = Screen(), [100.0]
    progress = Progress(screen, lambda: now_s[0])
    for text in ("first", "too soon"):
        progress.show(text)
    progress.show("begun", now=True)
    now_s[0] += 2 * REFRESH_S
    progress.show("x" * 500)
    said = screen.getvalue().replace("\x1b[K", "").split("\r")[1:]
    assert said[:2] == ["first", "begun"]
    assert len(said[2]) < 500


@pytest.mark.parametrize(("screen", "terminal"), [(io.StringIO(), "xterm"), (Screen(), "dumb")])
def test_into_a_pipe_nothing_is_said(screen: io.StringIO, terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", terminal)
    with Progress(screen) as progress:
        progress.show("begun", now=True)
        assert len(list(progress.frames(blocks(3), "drive.log"))) == 3
    assert screen.getvalue() == ""
