# SPDX-License-Identifier: Apache-2.0
"""The simulated car: what it says is what its DBC file means, and comes when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cantools
import numpy as np
import pytest

from agent.config import demo_car_dbc
from agent.errors import DatabaseError
from agent.model import EXTENDED, FrameBlock
from agent.sources import simulator
from agent.sources.demo_car import FRAME_NS, SECOND_NS, DemoCar
from agent.sources.demo_drive import CYCLE_S, SIGNALS
from agent.sources.simulator import BEHIND_S_MAX, SimulatorSource

if TYPE_CHECKING:
    from pathlib import Path

WALL_NS = 1_800_000_000_000_000_000


class HandClock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_ns = 77 * SECOND_NS

    def wall_ns(self) -> int:
        return WALL_NS

    def monotonic_ns(self) -> int:
        return self.now_ns

    def boot_id(self) -> str:
        return "boot"

    def wall_trusted(self) -> bool:
        return True


@pytest.fixture(scope="module")
def database() -> Any:
    return cantools.database.load_file(demo_car_dbc(), strict=True)


@pytest.fixture(scope="module")
def car() -> DemoCar:
    return DemoCar(demo_car_dbc())


def frames_of(block: FrameBlock) -> list[tuple[int, bytes]]:
    return [
        (int(can_id), data[:length].tobytes())
        for can_id, data, length in zip(block.can_id, block.data, block.length, strict=True)
    ]


def decoded(database: Any, block: FrameBlock, *names: str) -> list[tuple[str, dict[str, float]]]:
    """Name and values of each frame (of these names) by cantools, which also encodes them back to the same bytes."""
    result = []
    for can_id, payload in frames_of(block):
        message = database.get_message_by_frame_id(can_id & ~EXTENDED)
        if names and message.name not in names:
            continue
        assert message.is_extended_frame is bool(can_id & EXTENDED)
        values = message.decode(payload, decode_choices=False)
        assert message.encode(values) == payload
        result.append((message.name, values))
    return result


def series(found: list[tuple[str, dict[str, float]]], message: str, signal: str) -> list[float]:
    return [values[signal] for name, values in found if name == message and signal in values]


def test_the_car_is_described_in_full(database: Any) -> None:
    assert {message.name for message in database.messages} == set(SIGNALS)
    assert sum(1000 / message.cycle_time for message in database.messages) == pytest.approx(1000, abs=20)
    assert {signal.byte_order for message in database.messages for signal in message.signals} == {
        "little_endian",
        "big_endian",
    }


def test_no_signal_that_is_computed_is_missing_in_the_description(database: Any, car: DemoCar) -> None:
    from agent.sources.demo_drive import Drive

    drive = Drive.at(np.arange(0, 3, 0.5), np.random.default_rng(1))
    for message in database.messages:
        names = {signal.name for signal in message.signals}
        assert set(SIGNALS[message.name](drive)) <= names


def test_cantools_reads_every_frame_as_it_was_meant(database: Any, car: DemoCar) -> None:
    found = decoded(database, car.second(6))
    assert len(found) == car.frames_before(7) - car.frames_before(6) == 998
    assert {name for name, _ in found} == {message.name for message in database.messages}
    for message in database.messages:
        for signal in message.signals:
            for value in series(found, message.name, signal.name):
                assert signal.minimum <= value <= signal.maximum


def test_the_car_drives_and_stops(database: Any, car: DemoCar) -> None:
    speeds, engines, brakes, odometer = [], [], [], []
    for second in range(int(CYCLE_S) + 1):
        found = decoded(database, car.second(second), "VEHICLE_SPEED", "ENGINE_SPEED", "BRAKE_PRESSURE", "ODOMETER")
        speeds += series(found, "VEHICLE_SPEED", "SPEED")
        engines += series(found, "ENGINE_SPEED", "ENGINE_RPM")
        brakes += series(found, "BRAKE_PRESSURE", "MASTER_PRESSURE")
        odometer += series(found, "ODOMETER", "TRIP_DISTANCE")
    assert speeds[0] == speeds[-1] == 0
    assert 65 < max(speeds) < 80
    assert np.abs(np.diff(speeds)).max() < 0.6  # no jumps: 50 a second
    assert 700 < np.median(engines) < 4000
    assert max(brakes) > 30
    assert odometer == sorted(odometer)
    assert odometer[-1] * 1000 == pytest.approx(np.sum(speeds) / 3.6 / 50, rel=0.02)


def test_wheels_and_speed_agree(database: Any, car: DemoCar) -> None:
    found = decoded(database, car.second(9))
    wheels = [np.mean(list(values.values())) for name, values in found if name == "WHEEL_SPEEDS"]
    assert np.mean(wheels) == pytest.approx(np.mean(series(found, "VEHICLE_SPEED", "SPEED")), abs=0.5)


def test_counters_count_without_a_gap(database: Any, car: DemoCar) -> None:
    found = decoded(database, FrameBlock.concatenate([car.second(0), car.second(1), car.second(2)]))
    for message in database.messages:
        counters = series(found, message.name, "COUNTER")
        if counters:
            length = message.get_signal_by_name("COUNTER").length
            assert counters == [n % 2**length for n in range(len(counters))]


def crc8(payload: bytes) -> int:
    crc = 0xFF
    for byte in payload:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x1D if crc & 0x80 else crc << 1) & 0xFF
    return crc ^ 0xFF


def test_the_reference_checksum_is_the_standards() -> None:
    assert crc8(b"123456789") == 0x4B  # the check value of CRC-8/SAE-J1850


def test_checksums_are_those_of_sae_j1850(database: Any, car: DemoCar) -> None:
    checked = 0
    for can_id, payload in frames_of(car.second(4)):
        message = database.get_message_by_frame_id(can_id & ~EXTENDED)
        if "CHECKSUM" in message.signal_tree:
            byte = message.get_signal_by_name("CHECKSUM").start // 8
            assert crc8(payload[:byte] + payload[byte + 1 :] + bytes([can_id & 0xFF])) == payload[byte]
            checked += 1
    assert checked > 500


def test_all_pages_of_a_multiplexed_message_come_in_turn(database: Any, car: DemoCar) -> None:
    pages = series(decoded(database, car.second(3)), "BATTERY_PACK", "PAGE")
    assert pages == [(pages[0] + n) % 4 for n in range(len(pages))]
    assert len(pages) == 10


def test_the_same_seed_is_the_same_drive() -> None:
    first, again, other = (DemoCar(demo_car_dbc(), seed).second(5) for seed in (1, 1, 2))
    assert frames_of(first) == frames_of(again)
    assert first.time_ns.tolist() == again.time_ns.tolist()
    assert frames_of(first) != frames_of(other)


def test_times_wander_but_never_collide(car: DemoCar) -> None:
    times = car.second(5).time_ns
    assert np.diff(times).min() >= FRAME_NS
    assert len(np.unique(np.diff(times))) > 100
    assert times[0] >= 5 * SECOND_NS - SECOND_NS // 10
    assert times[-1] < 6 * SECOND_NS + SECOND_NS // 10


async def test_frames_come_when_they_are_due_however_often_one_asks() -> None:
    drained: dict[int, list[tuple[int, int, bytes]]] = {}
    for step_ns in (SECOND_NS // 50, SECOND_NS * 7 // 10):
        clock = HandClock()
        async with SimulatorSource(3, "sim", clock=clock) as source:
            frames = drained.setdefault(step_ns, [])
            end_ns = clock.now_ns + 3 * SECOND_NS + SECOND_NS // 2
            while clock.now_ns < end_ns:
                clock.now_ns = min(clock.now_ns + step_ns, end_ns)
                block = source.drain()
                assert set(block.bus.tolist()) <= {3}
                assert len(block) == 0 or block.time_ns[-1] - WALL_NS <= clock.now_ns - 77 * SECOND_NS
                frames += [(int(t), i, d) for t, (i, d) in zip(block.time_ns, frames_of(block), strict=True)]
            assert source.counters().frames == len(frames)
            assert source.counters().dropped == 0
            assert not source.exhausted
            assert source.states() == {"sim": "up"}
            assert len(source.drain()) == 0
    coarse, fine = drained.values()
    assert coarse == fine
    times = [t for t, _, _ in fine]
    assert times == sorted(times)
    assert len(fine) == pytest.approx(3.5 * 998, abs=15)
    assert np.diff(times).min() >= FRAME_NS


async def test_who_comes_back_late_gets_the_last_seconds_and_the_rest_is_counted(car: DemoCar) -> None:
    clock = HandClock()
    async with SimulatorSource(0, "sim", clock=clock) as source:
        clock.now_ns += SECOND_NS // 2
        first = len(source.drain())
        clock.now_ns += 3600 * SECOND_NS
        block = source.drain()
        assert (BEHIND_S_MAX * SECOND_NS) * 0.9 < block.time_ns[-1] - block.time_ns[0] < (BEHIND_S_MAX + 1) * SECOND_NS
        counters = source.counters()
        assert counters.frames == first + len(block)
        due = car.frames_before(3600) + (frames_until := len(car.second(3600)) // 2)
        assert counters.frames + counters.dropped == pytest.approx(due, abs=frames_until // 10)


class CrowdedCar(DemoCar):
    """Its frames come up to a millisecond late or early, across the borders of seconds."""

    def second(self, second: int) -> FrameBlock:
        block = super().second(second)
        times = np.linspace(second * SECOND_NS - 1e6, (second + 1) * SECOND_NS + 1e6, len(block)).astype(np.int64)
        return FrameBlock(times, block.bus, block.can_id, block.length, block.flags, block.data)


async def test_the_first_frames_of_a_second_wait_for_the_last_of_the_one_before() -> None:
    clock = HandClock()
    async with SimulatorSource(0, "sim", clock=clock) as source:
        source._drive._car = CrowdedCar(demo_car_dbc())
        clock.now_ns += 3 * SECOND_NS
        assert np.diff(source.drain().time_ns).min() >= FRAME_NS


async def test_a_description_that_is_not_the_cars_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "demo_car.dbc"
    monkeypatch.setattr(simulator, "demo_car_dbc", lambda: file)
    for content in (None, "this is no DBC file", 'VERSION ""\n\nBU_: X\n\nBO_ 1 STRANGER: 8 X\n'):
        if content is not None:
            file.write_text(content)
        with pytest.raises(DatabaseError, match=r"demo_car.dbc: not the simulated car's"):
            async with SimulatorSource(0, "sim", clock=HandClock()):
                pass
