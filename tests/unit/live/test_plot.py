# SPDX-License-Identifier: Apache-2.0
"""Live signals as curves: what is drawn of them, on how much room, and how much is remembered."""

from __future__ import annotations

import math
import re

import pytest

from agent.live import plot, table
from agent.live.plot import ASCII, POINTS_MAX, SIGNALS_MAX, Plot, SignalHistory
from agent.live.signals import LiveMessage, Sample

S = 10**9
START = 1_700_000_000 * S


def message(time_s: float, *samples: Sample, bus: str = "car", can_id: int = 0x100) -> LiveMessage:
    return LiveMessage(bus, can_id, "DRIVE", True, 1, START + round(time_s * S), samples)


def speed(value: float) -> Sample:
    return Sample("SPEED", value, "km/h")


def screen(text: str) -> list[str]:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).splitlines()


def drawn(figure: Plot, time_s: float, *messages: LiveMessage, width: int = 40, height: int = 9) -> list[str]:
    return screen(figure.draw(messages, START + round(time_s * S), 0, width, height))


def test_a_rising_signal_is_a_rising_line_with_its_values_and_times() -> None:
    figure = Plot(10, ASCII)
    for second in range(10):
        drawn(figure, second, message(second, speed(second + 0.5)))
    assert drawn(figure, 9, width=50) == [
        "car.DRIVE.SPEED  9.5 km/h         min 0.5  max 9.5",
        "10 |                                            **",
        "   |                              **************",
        "   |                     *********",
        "   |       **************",
        " 0 |    ***",
        "    -10 s                  -5 s                now",
        "1 signal; the latest at each update",
    ]


def test_states_are_steps_and_bear_their_names() -> None:
    figure = Plot(10, ASCII)
    for second in range(10):
        drawn(figure, second, message(second, Sample("GEAR", 2 + (second >= 5), name="Third" if second >= 5 else "")))
    head, *lines = drawn(figure, 9)
    assert 'car.DRIVE.GEAR  3 "Third"' in head
    assert "min 2  max 3" in head
    assert lines[:5] == [
        "3 |                      ***************",
        "  |                      *",
        "  |                      *",
        "  |                      *",
        "2 |   ********************",
    ]


def test_curves_stand_in_the_order_in_which_they_were_asked_for() -> None:
    figure = Plot(10, ASCII, ("car.DRIVE.TORQUE", "S*", "*"))
    update = message(0, Sample("ANGLE", 1.5), speed(1.5), Sample("STEER", 1.5), Sample("TORQUE", 1.5))
    heads = [line for line in drawn(figure, 0, update, width=80, height=24) if line.startswith("car")]
    assert [head.split()[0].rpartition(".")[2] for head in heads] == ["TORQUE", "SPEED", "STEER", "ANGLE"]


def test_an_adapters_clock_may_be_a_little_ahead() -> None:
    figure = Plot(10, ASCII)
    for second in range(5):
        lines = drawn(figure, second, message(second + 0.9, speed(second + 0.5)))
    assert "*" in "".join(lines)
    assert "max 4.5" in drawn(figure, 4, width=80)[0]


def test_a_silence_breaks_the_curve_and_the_value_bears_its_age() -> None:
    figure = Plot(60, ASCII)
    drawn(figure, 0, message(0, speed(0.5)))
    drawn(figure, 20, message(20, speed(5.5)))
    lines = drawn(figure, 50)
    assert "(30 s ago)" in lines[0]
    assert len(lines[0]) <= 40
    assert sum(line.count("*") for line in lines) == 2
    figure = Plot(60, ASCII)
    drawn(figure, 0, message(0, speed(0.5)))
    drawn(figure, 4, message(4, speed(5.5)))
    assert sum(line.count("*") for line in drawn(figure, 50)) > 2


def test_what_is_older_than_the_span_is_gone() -> None:
    figure = Plot(10, ASCII)
    drawn(figure, 0, message(0, speed(100.5)))
    assert "max 1.5" in drawn(figure, 11, message(11, speed(1.5)), width=80)[0]
    assert "min" not in drawn(figure, 60, width=80)[0]


def test_a_flat_line_lies_in_the_middle() -> None:
    figure = Plot(10, ASCII)
    for second in range(10):
        lines = drawn(figure, second, message(second, speed(50.0)))
    assert [("*" in line) for line in lines[1:6]] == [False, False, True, False, False]
    assert lines[1].startswith("55 |")
    assert lines[5].startswith("45 |")


@pytest.mark.parametrize(("width", "height", "curves"), [(80, 24, 5), (200, 50, 11), (40, 8, 1), (20, 3, 1)])
def test_it_fits_its_terminal_and_tells_what_it_leaves_out(width: int, height: int, curves: int) -> None:
    figure = Plot(60)
    samples = [Sample(f"SIGNAL_{number:02}", number * 1000.5, "degC") for number in range(20)]
    lines = drawn(figure, 1, message(1, *samples), width=width, height=height)
    assert sum("SIGNAL" in line for line in lines[:-1]) == min(curves, 20)
    assert (
        lines[-1]
        == f"20 signals, {20 - curves} more: choose fewer, or a higher terminal; the latest at each update"[:width]
    )
    if height > 8:
        assert len(lines) < height
        assert max(map(len, lines)) <= width


def test_a_line_of_the_foot_stands_for_what_was_never_there() -> None:
    assert "no number of these signals has come" in drawn(Plot(60), 0, width=100)[0]
    figure = Plot(60)
    lines = drawn(figure, 0, message(0, Sample("data", "0102ff"), speed(math.nan)), width=100)
    assert lines[0].startswith("car.DRIVE.SPEED")
    assert not any("data" in line for line in lines)
    assert "7 updates skipped" in screen(figure.draw([], START, 7, 100, 24))[-1]


def test_it_draws_over_what_it_drew_before() -> None:
    text = Plot(60).draw([message(0, speed(1))], START, 0, 80, 24)
    assert text.startswith(table.HOME)
    assert text.endswith(table.CLEAR_REST)
    assert all(line.endswith(table.CLEAR_LINE) for line in text.splitlines()[:-1])


def test_memory_is_bounded_and_nothing_between_two_points_is_lost() -> None:
    history = SignalHistory(60 * S)
    for number in range(100_000):
        history.add(START + number * S // 1000, 1000.5 if number == 70_123 else math.sin(number))
    assert len(history) <= POINTS_MAX + 1
    points = history.within(START + 40 * S, START + 100 * S)
    assert max(point.high for point in points) == 1000.5
    assert points[0].time_ns >= START + 40 * S
    figure = Plot(60)
    for number in range(2 * SIGNALS_MAX):
        drawn(figure, 1, message(1, speed(number), can_id=number))
    assert screen(figure.draw([], START, 0, 80, 24))[-1].startswith(f"{SIGNALS_MAX} signals")


def test_a_clock_that_is_set_back_begins_the_curve_anew() -> None:
    history = SignalHistory(60 * S)
    for time_s in (0, 1, 2, -3600, -3599):
        history.add(START + time_s * S, 1.0)
    assert [point.time_ns for point in history.within(0, 2 * START)] == [START - 3600 * S, START - 3599 * S]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ((812.5, 3104.75), 0, 4000),
        ((0.0011, 0.0019), 0.001, 0.002),
        ((-40, -39), -40, -39),
        ((1e300, -1e300), -1e300, 1e300),
        ((1.7e308, -1.7e308), -1.7e308, 1.7e308),
        ((5e-324, 0), 0, 1),
        ((0, 0), -1, 1),
        ((3, 3), 2, 4),
        ((0.5, 0.5), 0.45, 0.55),
        ((1e17, 1e17 + 16), 1e17, 1e17 + 20),
    ],
)
def test_the_scale_is_of_round_numbers_around_the_values(values: tuple[float, ...], low: float, high: float) -> None:
    history = SignalHistory(S)
    for number, value in enumerate(values):
        history.add(START + number * 10 * S // 1000, value)
    found = plot._scale(history.within(0, 2 * START))
    assert found == pytest.approx((low, high), rel=0.3)
    assert found[0] <= min(values)
    assert found[1] >= max(values)
    assert found[0] < found[1]
