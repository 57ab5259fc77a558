# SPDX-License-Identifier: Apache-2.0
"""Curves of dots on a grid of characters, in three kinds of them."""

from __future__ import annotations

import pytest

from agent.live.plot import ASCII, BLOCKS, BRAILLE, Canvas, Dots, dots_for


def test_each_dot_of_braille_is_the_one_that_unicode_has_there() -> None:
    shown = set()
    for x in range(2):
        for y in range(4):
            canvas = Canvas(1, 1)
            canvas.vertical(x, y, y)
            shown.add((x, y, canvas.lines()[0]))
    assert shown == {
        *((0, 0, "⠁"), (0, 1, "⠂"), (0, 2, "⠄"), (0, 3, "⡀")),
        *((1, 0, "⠈"), (1, 1, "⠐"), (1, 2, "⠠"), (1, 3, "⢀")),
    }


@pytest.mark.parametrize(
    ("dots", "drawn"),
    [
        (BRAILLE, ["  ⡠⠊", "⡠⠊  "]),
        (BLOCKS, ["  ▄▀", "▄▀  "]),
        (ASCII, ["  **", "**  "]),
    ],
)
def test_a_line_rises_from_corner_to_corner(dots: Dots, drawn: list[str]) -> None:
    canvas = Canvas(4, 2, dots)
    canvas.line((0, canvas.height - 1), (canvas.width - 1, 0))
    assert canvas.lines() == drawn


def test_a_steep_line_has_no_holes_and_a_step_is_upright() -> None:
    steep, step = Canvas(3, 4, ASCII), Canvas(3, 4, ASCII)
    steep.line((0, 3), (2, 0))
    step.step((0, 3), (2, 0))
    assert steep.lines() == ["  *", " * ", " * ", "*  "]
    assert step.lines() == ["  *", "  *", "  *", "***"]


def test_what_lies_outside_is_not_drawn() -> None:
    canvas = Canvas(2, 2, ASCII)
    canvas.line((-2, -3), (4, 9))
    canvas.vertical(2, 0, 1)
    canvas.vertical(-1, 0, 1)
    assert all(len(line) == 2 for line in canvas.lines())
    canvas.vertical(0, -5, 5)
    assert [line[0] for line in canvas.lines()] == ["*", "*"]


@pytest.mark.parametrize(
    ("encoding", "terminal", "dots"),
    [
        ("utf-8", "xterm-256color", BRAILLE),
        ("utf-8", "linux", BLOCKS),
        ("cp437", "vt100", BLOCKS),
        ("iso-8859-1", "xterm", ASCII),
        ("ascii", "xterm", ASCII),
    ],
)
def test_a_terminal_gets_the_finest_dots_that_it_shows(encoding: str, terminal: str, dots: Dots) -> None:
    assert dots_for(encoding, terminal) is dots
