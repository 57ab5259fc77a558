# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.errors import AgentError, ConfigError
from agent.model import EXTENDED, FrameBlock, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.interfaces import link_kind
from agent.sources.messages import BlockBuilder, can_messages
from agent.sources.transmit import BLOCKED_S_MAX, Played, open_bus, play

if TYPE_CHECKING:
    from collections.abc import Iterator

can: Any = python_can()
MS = 1_000_000


class Clock:
    """Time that passes when slept, and `each_s` with every look."""

    def __init__(self, each_s: float = 0.0) -> None:
        self.now_s, self.each_s = 50.0, each_s

    def __call__(self) -> float:
        self.now_s += self.each_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class TimedBus:
    """Notes when it was given what; takes nothing while `refusals` last."""

    def __init__(self, clock: Clock, refusals: int = 0, error: int = errno.ENOBUFS) -> None:
        self.clock, self.refusals, self.error = clock, refusals, error
        self.sent: list[tuple[float, int]] = []

    def send(self, message: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise can.CanOperationError("no room", self.error)
        self.sent.append((round(self.clock.now_s - 50, 6), message.arbitration_id))


def block(times_ms: list[int], can_ids: list[int], buses: list[int] | None = None) -> FrameBlock:
    n = len(times_ms)
    return FrameBlock(
        np.array(times_ms, np.int64) * MS,
        np.array(buses or [0] * n, np.uint8),
        np.array(can_ids, np.uint32),
        np.full(n, 8, np.uint8),
        np.zeros(n, np.uint8),
        np.zeros((n, 8), np.uint8),
    )


def run(blocks: list[FrameBlock], bus: TimedBus, speed: float = 1.0) -> Played:
    buses: Any = {0: ("vcan0", bus)}
    return play(blocks, buses, speed=speed, monotonic=bus.clock, sleep=bus.clock.sleep)


@pytest.mark.parametrize(("speed", "times"), [(1, [0, 0.01, 0.01, 0.25]), (2, [0, 0.005, 0.005, 0.125])])
def test_each_frame_is_sent_at_its_time(speed: float, times: list[float]) -> None:
    bus = TimedBus(Clock())
    played = run([block([7000, 7010], [1, 2]), block([7010, 7250], [3, 4])], bus, speed)
    assert bus.sent == list(zip(times, [1, 2, 3, 4], strict=True))
    assert played == Played({"vcan0": 4}, 0.0, ended=True)


def test_what_is_late_is_sent_at_once_and_told() -> None:
    bus = TimedBus(Clock(each_s=0.004))
    played = run([block([0, 1, 2, 3, 1000], [1, 2, 3, 4, 5])], bus)
    assert [can_id for _, can_id in bus.sent] == [1, 2, 3, 4, 5]
    assert bus.sent[3][0] < 0.1
    assert bus.sent[4][0] == pytest.approx(1.0, abs=0.02)
    assert 0.02 < played.late_s_max < 0.05


def test_frames_of_other_buses_are_passed_over() -> None:
    bus = TimedBus(Clock())
    assert run([block([0, 5, 6], [1, 2, 3], [0, 1, 0])], bus).frames == {"vcan0": 2}
    assert [can_id for _, can_id in bus.sent] == [1, 3]


def test_a_full_queue_is_waited_for() -> None:
    bus = TimedBus(Clock(), refusals=20)
    assert run([block([0, 5], [1, 2])], bus).frames == {"vcan0": 2}
    assert [can_id for _, can_id in bus.sent] == [1, 2]


def test_a_queue_that_stays_full_is_given_up() -> None:
    bus = TimedBus(Clock(), refusals=10**9)
    with pytest.raises(AgentError, match="vcan0: a frame cannot be sent: no room"):
        run([block([0], [1])], bus)
    assert BLOCKED_S_MAX <= bus.clock.now_s - 50 < 2 * BLOCKED_S_MAX


def test_a_bus_that_goes_down_ends_it_at_once() -> None:
    bus = TimedBus(Clock(), refusals=10**9, error=errno.ENETDOWN)
    with pytest.raises(AgentError, match="vcan0: a frame cannot be sent"):
        run([block([0], [1])], bus)
    assert bus.clock.now_s == 50


@pytest.fixture
def heard(request: pytest.FixtureRequest) -> Iterator[Any]:
    with can.Bus(interface="virtual", channel=request.node.name) as bus:
        yield bus


def test_what_is_sent_is_what_is_heard(heard: Any, request: pytest.FixtureRequest) -> None:
    data = np.zeros((3, 64), np.uint8)
    data[0, :3], data[2] = (1, 2, 3), range(64)
    sent = FrameBlock(
        np.array([1, 2, 3], np.int64) * MS,
        np.zeros(3, np.uint8),
        np.array([0x123, 0x123 | EXTENDED, 5], np.uint32),
        np.array([3, 0, 64], np.uint8),
        np.array([0, 0, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI], np.uint8),
        data,
    )
    with open_bus("virtual", request.node.name, allow_real=False) as bus:
        play([sent], {0: ("virtual", bus)})
    builder = BlockBuilder()
    for _ in range(3):
        builder.add(heard.recv(0), 0)
    received = builder.take()
    for name in ("can_id", "length", "flags", "data"):
        assert getattr(received, name).tolist() == getattr(sent, name).tolist()
    assert [message.timestamp for message in can_messages(sent)] == [0.001, 0.002, 0.003]


def test_a_bus_that_is_not_virtual_has_to_be_allowed() -> None:
    with (
        pytest.raises(ConfigError, match=r"PCAN_USBBUS1: .* real bus .* --real-bus"),
        open_bus("pcan", "PCAN_USBBUS1", allow_real=False),
    ):
        pass


def test_an_interface_that_is_not_there_is_named_with_how_to_make_one() -> None:
    with (
        pytest.raises(ConfigError, match=r"vcan99: no such CAN interface; .*type vcan"),
        open_bus("socketcan", "vcan99", allow_real=False),
    ):
        pass


def test_an_interface_that_python_can_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="x: nonsense does not open it"), open_bus("nonsense", "x", allow_real=True):
        pass


def test_a_link_without_a_kind_has_none() -> None:
    assert link_kind("lo") == ""
    assert link_kind("no-such-link") == ""
