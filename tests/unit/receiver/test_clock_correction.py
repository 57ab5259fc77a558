# SPDX-License-Identifier: Apache-2.0
"""Frames of a wrong clock come out where they belong, and what was moved is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.batch.codec import decode_batch
from agent.cli import main
from agent.model import ClockReading, Event, EventKind
from agent.receiver.clock_correction import DRIFT, RESOLUTION_NS, ClockCorrection
from agent.receiver.export import ExportSummary, export
from agent.receiver.inventory import Inventory
from tests.support.samples import CATALOG, MS, SECOND, START, batch, modes, steer, store

if TYPE_CHECKING:
    from pathlib import Path

    from agent.batch.codec import Batch
    from tests.support.samples import Frame

BOOT = bytes.fromhex("0e1b2c3d00004000800000000000abcd")
OTHER_BOOT = bytes(range(16))
HOUR = 3600 * SECOND
BOOTED = START
"""When the unit was booted: monotonic time 0."""


def reading(
    at_ns: int, error_ns: int = 0, *, trusted: bool = False, boot: bytes = BOOT, holds: bool = False
) -> ClockReading:
    """At so many nanoseconds after boot, of a wall clock that is off by so many."""
    return ClockReading(boot, BOOTED + at_ns + error_ns, at_ns, trusted, holds)


def frames(at_ns: int, count: int, error_ns: int = 0, *, first: int = 0) -> list[Frame]:
    """Ten a second, numbered by their angle, as a clock with this error stamps them."""
    return [steer(BOOTED + at_ns + error_ns + n * 100 * MS, 2 * (first + n)) for n in range(count)]


def exported(tmp_path: Path) -> tuple[ExportSummary, list[Any]]:
    out = tmp_path / "out.jsonl"
    summary = export(Inventory([tmp_path]), "jsonl", out)
    return summary, [json.loads(line) for line in out.read_text().splitlines()]


def times_ns(lines: list[Any]) -> list[int]:
    """After boot."""
    return [round(line["t"] * 1000) * MS - BOOTED for line in lines]


IN_1970 = -BOOTED


def test_a_first_minute_in_1970_is_placed_before_the_second_one(tmp_path: Path) -> None:
    for n in range(6):
        clock = reading((n + 1) * 10 * SECOND, IN_1970)
        store(tmp_path, n, batch(n, frames(n * 10 * SECOND, 100, IN_1970, first=100 * n), clock=clock))
    clock = reading(70 * SECOND, trusted=True)
    store(tmp_path, 6, batch(6, frames(60 * SECOND, 100, first=600), clock=clock))

    summary, lines = exported(tmp_path)

    assert times_ns(lines) == [n * 100 * MS for n in range(700)]
    assert [line["signals"]["ANGLE"] for line in lines] == [-n for n in range(700)]
    assert [(each.batches, each.least_ns, each.most_ns) for each in summary.corrections] == [(6, BOOTED, BOOTED)]


@pytest.mark.parametrize("error_ns", [HOUR, -HOUR])
def test_an_hour_that_the_clock_was_off_for_a_while_is_taken_back(tmp_path: Path, error_ns: int) -> None:
    for n, (error, trusted) in enumerate([(0, True), (error_ns, False), (error_ns, False), (0, True)]):
        clock = reading((n + 1) * 10 * SECOND, error, trusted=trusted)
        store(tmp_path, n, batch(n, frames(n * 10 * SECOND, 100, error, first=100 * n), clock=clock))

    summary, lines = exported(tmp_path)

    assert times_ns(lines) == [n * 100 * MS for n in range(400)]
    assert [line["signals"]["ANGLE"] for line in lines] == [-n for n in range(400)]
    assert [(each.batches, each.least_ns, each.most_ns) for each in summary.corrections] == [(2, -error_ns, -error_ns)]


@pytest.mark.parametrize(
    ("error_ns", "read_ns"),
    [
        *((error_ns, 10 * SECOND) for error_ns in (HOUR, -HOUR, IN_1970, 3 * SECOND, -3 * SECOND)),
        (3 * SECOND, 20 * SECOND),  # only the frames' order tells
    ],
)
def test_frames_of_two_settings_in_one_batch_are_told_apart(tmp_path: Path, error_ns: int, read_ns: int) -> None:
    store(tmp_path, 0, batch(0, frames(0, 50, error_ns), clock=reading(5 * SECOND, error_ns)))
    both = frames(5 * SECOND, 30, error_ns, first=50) + frames(8 * SECOND, 20, first=80)
    store(tmp_path, 1, batch(1, both, clock=reading(read_ns, trusted=True)))

    summary, lines = exported(tmp_path)

    assert times_ns(lines) == [n * 100 * MS for n in range(100)]
    assert [line["signals"]["ANGLE"] for line in lines] == [-n for n in range(100)]
    assert summary.corrections[0].batches == 2


def test_a_batch_that_was_read_after_the_clock_was_set_is_of_the_setting_before(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(0, 100, IN_1970), clock=reading(10 * SECOND, IN_1970)))
    late = batch(1, frames(10 * SECOND, 50, IN_1970, first=100), clock=reading(15 * SECOND, trusted=True))
    store(tmp_path, 1, late)

    _, lines = exported(tmp_path)

    assert times_ns(lines) == [n * 100 * MS for n in range(150)]


def test_stamp_a_little_ahead_of_the_clock_reading_keeps_the_clock_epoch(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(95 * SECOND, 1, 30 * SECOND), clock=reading(98 * SECOND, 30 * SECOND)))
    store(tmp_path, 1, batch(1, frames(110 * SECOND, 1, first=1), clock=reading(110 * SECOND, trusted=True)))
    both = frames(99 * SECOND, 1, 30 * SECOND, first=2) + frames(125 * SECOND, 1, first=3)
    both += frames(130 * SECOND + 20 * MS, 1, first=4)
    store(tmp_path, 2, batch(2, both, clock=reading(130 * SECOND)))

    _, lines = exported(tmp_path)

    assert times_ns(lines) == [95 * SECOND, 99 * SECOND, 110 * SECOND, 125 * SECOND, 130 * SECOND + 20 * MS]


def placed(*batches: bytes) -> list[Batch]:
    """As a receiver has them that has all of them."""
    decoded, placing = [decode_batch(each, CATALOG) for each in batches], ClockCorrection()
    for each in decoded:
        placing.learn("car-1", each.clock)
    return [placing.correct(each).batch for each in decoded]


@pytest.mark.parametrize("error_ns", [HOUR, -HOUR, 20 * SECOND, -20 * SECOND])
def test_what_was_put_by_is_of_the_setting_whose_reading_holds_for_its_batch(error_ns: int) -> None:
    wrong = reading(2 * HOUR, error_ns, holds=True)
    right = reading(2 * HOUR + 10 * SECOND, trusted=True, holds=True)
    put_by = frames(2 * HOUR + 5 * SECOND, 2) + frames(2 * HOUR - 10 * SECOND, 1) + frames(HOUR + SECOND, 1)
    absent = Event(EventKind.ABSENT, BOOTED + 2 * HOUR - 30 * SECOND, "can0.STEER")
    second = batch(1, put_by, clock=right, events=(absent,))
    _, found = placed(batch(0, frames(2 * HOUR, 1, error_ns), clock=wrong), second)
    assert found.groups[0].time_ns.tolist() == [time_ns for time_ns, *_ in put_by]
    assert found.events == (absent,)


@pytest.mark.parametrize("error_ns", [HOUR, -HOUR])
@pytest.mark.parametrize("holds", [True, False])
def test_events_are_placed_as_frames_are(error_ns: int, *, holds: bool) -> None:
    told = tuple(Event(EventKind.BACK, BOOTED + error_ns + at * SECOND, "can0.STEER") for at in (7, 4, 9))
    wrong = reading(10 * SECOND, error_ns, holds=holds)
    first, _ = placed(
        batch(0, frames(8 * SECOND, 1, error_ns), clock=wrong, events=told),
        batch(1, frames(10 * SECOND, 1), clock=reading(11 * SECOND, trusted=True, holds=holds)),
    )
    assert [event.time_ns for event in first.events] == [BOOTED + at * SECOND for at in (7, 4, 9)]


def test_what_an_earlier_version_had_put_by_is_not_of_before_the_boot() -> None:
    put_by = frames(55 * SECOND, 1) + frames(45 * SECOND, 1) + frames(58 * SECOND, 1)
    *_, found = placed(
        batch(0, frames(0, 1, HOUR), clock=reading(10 * SECOND, HOUR)),
        batch(1, frames(20 * SECOND, 1), clock=reading(20 * SECOND, trusted=True)),
        batch(2, put_by, clock=reading(60 * SECOND, trusted=True)),
    )
    assert found.groups[0].time_ns.tolist() == [time_ns for time_ns, *_ in put_by]


def test_events_of_two_settings_in_one_batch_are_told_apart_whatever_their_order() -> None:
    at = {2: HOUR, 1: HOUR, 7: 0, 3: HOUR, 8: 0}
    told = tuple(Event(EventKind.BACK, BOOTED + error + each * SECOND, "can0.STEER") for each, error in at.items())
    _, second = placed(
        batch(0, frames(0, 1, HOUR), clock=reading(5 * SECOND, HOUR)),
        batch(1, frames(8 * SECOND, 1), clock=reading(10 * SECOND, trusted=True), events=told),
    )
    assert [event.time_ns for event in second.events] == [BOOTED + each * SECOND for each in at]


def test_trusted_readings_that_no_drift_explains_say_each_what_was_right_by_it() -> None:
    readings = [
        reading(10 * SECOND, trusted=True),
        reading(15 * SECOND),
        reading(20 * SECOND, -HOUR),
        reading(30 * SECOND, HOUR, trusted=True),
    ]
    batches = [
        batch(number, frames(each.monotonic_ns - SECOND, 1, each.wall_ns - BOOTED - each.monotonic_ns), clock=each)
        for number, each in enumerate(readings)
    ]
    times = [int(each.groups[0].time_ns[0]) - BOOTED for each in placed(*batches)]
    assert times == [9 * SECOND, 14 * SECOND, 19 * SECOND + HOUR, 29 * SECOND + HOUR]


def test_a_suspend_leaves_every_time_where_it_was(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(0, 100), clock=reading(10 * SECOND, trusted=True)))
    store(tmp_path, 1, batch(1, frames(10 * SECOND, 20, first=100), clock=reading(8 * HOUR)))
    store(tmp_path, 2, batch(2, frames(8 * HOUR, 100, first=120), clock=reading(8 * HOUR + 10 * SECOND)))
    store(tmp_path, 3, batch(3, frames(9 * HOUR, 1, first=220), clock=reading(9 * HOUR, trusted=True)))

    summary, lines = exported(tmp_path)

    assert [line["signals"]["ANGLE"] for line in lines] == [-n for n in range(221)]
    assert (times_ns(lines)[119], times_ns(lines)[120]) == (11_900 * MS, 8 * HOUR)
    assert summary.corrections == ()


def test_a_clock_that_came_out_of_a_suspend_wrong_is_set_right(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(0, 100), clock=reading(10 * SECOND, trusted=True)))
    store(
        tmp_path, 1, batch(1, frames(8 * HOUR, 100, IN_1970, first=100), clock=reading(8 * HOUR + 10 * SECOND, IN_1970))
    )
    store(tmp_path, 2, batch(2, frames(8 * HOUR + 10 * SECOND, 50, first=200), clock=reading(9 * HOUR, trusted=True)))

    _, lines = exported(tmp_path)

    assert [line["signals"]["ANGLE"] for line in lines] == [-n for n in range(250)]
    assert times_ns(lines)[100:] == [8 * HOUR + n * 100 * MS for n in range(150)]


def test_a_clock_left_to_itself_is_corrected_little_by_little(tmp_path: Path) -> None:
    lag = 2 * SECOND
    assert lag <= 8 * HOUR * DRIFT
    store(tmp_path, 0, batch(0, frames(0, 1), clock=reading(SECOND, trusted=True)))
    for n in range(1, 5):
        clock = reading(n * 2 * HOUR)
        store(tmp_path, n, batch(n, frames(n * 2 * HOUR - SECOND, 2, first=n), clock=clock))
    store(
        tmp_path,
        5,
        batch(5, frames(8 * HOUR + SECOND, 1, lag, first=5), clock=reading(8 * HOUR + 2 * SECOND, lag, trusted=True)),
    )

    summary, lines = exported(tmp_path)

    moved = [
        time - each
        for time, each in zip(times_ns(lines)[1:-1:2], [n * 2 * HOUR - SECOND for n in range(1, 5)], strict=True)
    ]
    assert moved == [pytest.approx(n * lag / 4, abs=2 * MS) for n in range(1, 5)]
    assert times_ns(lines)[-1] == 8 * HOUR + SECOND + lag
    assert 0 <= summary.corrections[0].least_ns < summary.corrections[0].most_ns <= lag


def test_a_boot_that_never_knew_the_time_stays_as_it_is(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(0, 10, IN_1970), clock=reading(SECOND, IN_1970, boot=OTHER_BOOT)))
    store(tmp_path, 1, batch(1, frames(SECOND, 10, HOUR), clock=reading(2 * SECOND, HOUR, boot=OTHER_BOOT)))
    store(tmp_path, 2, batch(2, frames(0, 10), clock=reading(SECOND, trusted=True)))

    summary, lines = exported(tmp_path)

    assert [line["t"] for line in lines[:3]] == [0.0, 0.1, 0.2]
    assert len(lines) == 30
    assert summary.corrections == ()


def test_a_correction_within_the_resolution_is_left_undone(tmp_path: Path) -> None:
    def moved_by(error_ns: int) -> int:
        placing, wrong = ClockCorrection(), reading(SECOND, error_ns)
        placing.learn("car-1", wrong)
        placing.learn("car-1", reading(HOUR, trusted=True))
        return placing.correct(decode_batch(batch(0, frames(0, 1, error_ns), clock=wrong))).most_ns

    assert moved_by(RESOLUTION_NS) == 0
    assert moved_by(-RESOLUTION_NS) == 0
    assert moved_by(RESOLUTION_NS + 1) == pytest.approx(-RESOLUTION_NS, abs=MS)


def test_a_correction_keeps_the_batchs_resolution(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, frames(0, 10, 123_456_789), clock=reading(SECOND, 123_456_789)))
    store(tmp_path, 1, batch(1, frames(SECOND, 10), clock=reading(2 * SECOND, trusted=True)))

    _, lines = exported(tmp_path)

    assert times_ns(lines) == [n * 100 * MS for n in range(20)]
    assert all(
        len(line.split(",")[0]) <= len('{"t": 1700000000.000')
        for line in (tmp_path / "out.jsonl").read_text().splitlines()
    )


def test_another_vehicles_clock_and_another_boots_teach_nothing(tmp_path: Path) -> None:
    placing, wrong = ClockCorrection(), reading(SECOND, HOUR)
    placing.learn("car-1", wrong)
    placing.learn("car-2", reading(2 * SECOND, trusted=True))
    placing.learn("car-1", reading(2 * SECOND, trusted=True, boot=OTHER_BOOT))
    head = decode_batch(batch(0, frames(0, 1, HOUR), clock=wrong))
    assert placing.correct(head).batch is head
    placing.learn("car-1", reading(2 * SECOND, trusted=True))
    assert placing.correct(head).batch.opened_ns == BOOTED


@pytest.mark.parametrize(
    "impossible",
    [
        ClockReading(b"", START, SECOND, True),
        ClockReading(BOOT, -(1 << 63), SECOND, True),
        ClockReading(BOOT, (1 << 63) - 1, SECOND, True),
        ClockReading(BOOT, START, -SECOND, True),
        ClockReading(BOOT, START, (1 << 63) - 1, True),
    ],
)
def test_a_reading_that_no_unit_can_have_is_not_learnt_from(impossible: ClockReading) -> None:
    placing, wrong = ClockCorrection(), replace(reading(SECOND, HOUR), boot_id=impossible.boot_id)
    for each in (wrong, impossible):
        placing.learn("car-1", each)
    for each in (wrong, impossible):
        head = decode_batch(batch(0, frames(0, 1, HOUR), clock=each))
        assert placing.correct(head).batch is head


@pytest.mark.parametrize("time_ns", [-(1 << 62), 0, (1 << 62)])
def test_a_frame_of_an_absurd_time_does_no_harm_to_the_others(tmp_path: Path, time_ns: int) -> None:
    store(tmp_path, 0, batch(0, [modes(time_ns, 3), *frames(0, 3, HOUR)], clock=reading(SECOND, HOUR)))
    store(tmp_path, 1, batch(1, frames(SECOND, 1, first=3), clock=reading(2 * SECOND, trusted=True)))

    _, lines = exported(tmp_path)

    assert times_ns([line for line in lines if line["message"] == "STEER"]) == [0, 100 * MS, 200 * MS, SECOND]


def test_the_command_tells_what_it_has_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, 0, batch(0, frames(0, 10, -HOUR), clock=reading(SECOND, -HOUR)))
    store(tmp_path, 1, batch(1, frames(SECOND, 10), clock=reading(2 * SECOND, trusted=True)))

    assert main(["export", str(tmp_path), "--format", "jsonl", "--out", str(tmp_path / "out.jsonl")]) == 0
    assert "clock: boot 0e1b2c3d00004000800000000000abcd: 1 batch moved by +3600.000 s" in capsys.readouterr().err

    assert main(["export", str(tmp_path), "--format", "jsonl", "--out", str(tmp_path / "out.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["corrections"] == [
        {"boot_id": BOOT.hex(), "batches": 1, "least_ns": HOUR, "most_ns": HOUR}
    ]
