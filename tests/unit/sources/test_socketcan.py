# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.errors import AgentError
from agent.model import FrameFlag
from agent.sources import socketcan
from agent.sources.interfaces import InterfaceState, look_at
from agent.sources.socketcan import SocketCanSource
from tests.unit.sources.stand_in import ERROR, EXTENDED, REMOTE, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSES = ((0, "powertrain", "can0"), (1, "chassis", "can1"))
UP, DOWN, OFF = InterfaceState.UP, InterfaceState.DOWN, InterfaceState.BUS_OFF


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def can() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        stand_in.set("can0", UP, 3)
        stand_in.set("can1", UP, 70_000)
        yield stand_in


def source_of(can: StandIn, clock: Clock | None = None, drain_frames_max: int = 4096) -> SocketCanSource:
    return SocketCanSource(
        BUSES,
        drain_frames_max=drain_frames_max,
        monotonic=clock or Clock(),
        open_socket=lambda: can.receiver,
        look=can.look,
    )


async def test_frames_come_with_their_bus_identifier_and_payload(can: StandIn) -> None:
    async with source_of(can) as source:
        can.send(3, 0x123, b"abc")
        can.send(70_000, 0x123 | EXTENDED, b"12345678")
        can.send(3, 0x7FF)
        block = source.drain()
    assert block.bus.tolist() == [0, 1, 0]
    assert block.can_id.tolist() == [0x123, 0x123 | EXTENDED, 0x7FF]
    assert block.length.tolist() == [3, 8, 0]
    assert [bytes(row) for row in block.data] == [b"abc\0\0\0\0\0", b"12345678", bytes(8)]
    assert block.data.flags.c_contiguous


async def test_who_waits_is_woken_by_the_next_frame_until_it_has_had_enough(can: StandIn) -> None:
    async with source_of(can) as source:
        heard = asyncio.Event()
        assert source.wake(heard.set)
        await asyncio.sleep(0.01)
        assert not heard.is_set()
        can.send(3, 1)
        await heard.wait()
        source.wake(None)
        heard.clear()
        can.send(3, 2)
        await asyncio.sleep(0.01)
        assert not heard.is_set()
        assert len(source.drain()) == 2


async def test_the_kernel_tells_the_times(can: StandIn) -> None:
    async with source_of(can) as source:
        begin = time.time_ns()
        can.send(3, 1)
        end = time.time_ns()
        block = source.drain()
    assert begin <= block.time_ns[0] <= end


async def test_a_block_stays_as_it_is_when_the_next_frame_arrives(can: StandIn) -> None:
    async with source_of(can) as source:
        can.send(3, 1, b"first")
        block = source.drain()
        can.send(70_000, 2, b"second")
        source.drain()
    assert (block.bus[0], block.can_id[0], bytes(block.data[0])) == (0, 1, b"first\0\0\0")


async def test_fd_frames_widen_the_block_and_keep_their_flags(can: StandIn) -> None:
    async with source_of(can) as source:
        can.send_fd(3, 1, bytes(range(48)), FrameFlag.ESI)
        can.send(3, 2, b"x")
        block = source.drain()
        can.send_fd(3, 3, b"short", FrameFlag.BRS | FrameFlag.FD)
        narrow = source.drain()
    assert block.data.shape == (2, 64)
    assert block.flags.tolist() == [FrameFlag.FD | FrameFlag.ESI, 0]
    assert bytes(block.data[0]) == bytes(range(48)) + bytes(16)
    assert bytes(block.data[1]) == b"x" + bytes(63)
    assert narrow.data.shape == (1, 8)
    assert narrow.flags.tolist() == [FrameFlag.FD | FrameFlag.BRS]


async def test_error_and_remote_frames_are_counted_by_bus(can: StandIn) -> None:
    async with source_of(can) as source:
        can.send(3, 0x10 | REMOTE)
        can.send(70_000, ERROR | 0x4, bytes(8))
        can.send(70_000, ERROR | REMOTE | 0x4, bytes(8))  # an error frame's low bits are a class, not flags
        can.send(3, 0x11)
        assert source.drain().can_id.tolist() == [0x11]
        counters = source.counters()
    assert counters.remote_frames == {"powertrain": 1, "chassis": 0}
    assert counters.error_frames == {"powertrain": 0, "chassis": 2}


async def test_more_frames_than_one_call_or_one_drain_takes_are_all_delivered_in_order(can: StandIn) -> None:
    can.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    delivered: list[int] = []
    async with source_of(can, drain_frames_max=5) as source:
        for number in range(8):
            can.send(3, number)
        sizes = []
        for _ in range(3):
            block = source.drain()
            sizes.append(len(block))
            delivered += block.can_id.tolist()
    assert sizes == [5, 3, 0]
    assert delivered == list(range(8))


async def test_a_new_interface_index_is_looked_up_at_once(can: StandIn) -> None:
    async with source_of(can) as source:
        can.set("can1", UP, 9)
        can.send(9, 0x20)
        assert source.drain().bus.tolist() == [1]


async def test_a_stranger_is_looked_up_once_an_interval_not_at_each_frame(can: StandIn) -> None:
    looks = []

    def look(sock: socket.socket, name: str) -> object:
        looks.append(name)
        return can.look(sock, name)

    clock = Clock()
    source = SocketCanSource(
        BUSES,
        monotonic=clock,
        open_socket=lambda: can.receiver,
        look=look,  # type: ignore[arg-type]
    )
    async with source:
        for _ in range(10):
            can.send(77, 0x30)
            assert not len(source.drain())
        assert looks == ["can0", "can1"] * 2
        clock.now += 5
        can.send(77, 0x30)
        source.drain()
        assert looks == ["can0", "can1"] * 4
    assert source.counters().frames == 0


async def test_each_change_of_an_interface_is_logged_once(can: StandIn) -> None:
    clock = Clock()
    can.set("can1", DOWN, 70_000)
    with capture_logs() as lines:
        async with source_of(can, clock) as source:
            for state in (DOWN, UP, UP, OFF, OFF, UP, DOWN):
                can.set("can1", state, 70_000)
                clock.now += 2
                source.drain()
                assert source.states() == {"powertrain": "up", "chassis": str(state)}
            del can.interfaces["can1"]
            clock.now += 2
            source.drain()
    events = [line["event"] for line in lines if line.get("bus") == "chassis"]
    assert events == [
        "bus_down",
        "bus_up",
        "bus_off",
        "bus_up",
        "bus_down",
        "bus_missing",
    ]


async def test_traffic_after_a_bus_off_takes_it_back(can: StandIn) -> None:
    async with source_of(can) as source:
        can.send(3, ERROR | 0x40, bytes(8))
        can.send(70_000, 1)
        source.drain()
        assert source.states() == {"powertrain": "bus_off", "chassis": "up"}
        can.send(3, 1)
        source.drain()
        assert source.states()["powertrain"] == "up"
        can.send(3, 2)
        can.send(3, ERROR | 0x40, bytes(8))
        source.drain()
        assert source.states()["powertrain"] == "bus_off"


async def test_the_granted_receive_buffer_is_logged(can: StandIn) -> None:
    with capture_logs() as lines:
        async with source_of(can):
            pass
    (line,) = [line for line in lines if line["event"] == "receive_buffer_granted"]
    assert line["granted_bytes"] <= line["asked_bytes"] == 16 << 20


async def test_draining_a_closed_source_is_a_mistake(can: StandIn) -> None:
    source = source_of(can)
    with pytest.raises(RuntimeError):
        source.drain()
    assert source.fileno() == -1


async def test_a_socket_that_fails_for_good_is_one_clear_error(can: StandIn) -> None:
    async with source_of(can) as source:
        can.receiver.close()
        with pytest.raises(AgentError, match=r"CAN socket failed: Bad file descriptor"):
            source.drain()
        can.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        source._socket = can.receiver


async def test_the_kernels_count_of_lost_frames_goes_on_past_its_32_bits(
    can: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [0]
    monkeypatch.setattr(socketcan, "dropped_so_far", lambda _: told[-1])
    async with source_of(can) as source:

        def dropped(word: int) -> int:
            told.append(word)
            return source.counters().dropped

        counted = [dropped(word) for word in (0, 0x7000_0000, 0xE000_0000, 0x10, 0xFFFF_FFFF, 0x11)]
    assert counted == [0, 0x7000_0000, 0xE000_0000, *[(1 << 32) + 0x10] * 2, (1 << 32) + 0x11]


def test_two_buses_on_one_interface_are_refused() -> None:
    with pytest.raises(ValueError, match="one interface"):
        SocketCanSource([(0, "a", "can0"), (1, "b", "can0")])


async def test_a_kernel_without_socketcan_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr("agent.sources.cansocket.socket.socket", refuse)
    with pytest.raises(AgentError, match=r"modprobe can-raw") as caught:
        async with SocketCanSource(BUSES):
            pass
    assert "\n" not in str(caught.value)


def test_absent_interface_is_missing_and_one_of_another_kind_not_can() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert look_at(sock, "nosuchinterface").state is InterfaceState.MISSING
        assert look_at(sock, "a-name-longer-than-any-interface-has").state is InterfaceState.MISSING
        assert look_at(sock, "lo").state is InterfaceState.NOT_CAN


async def test_a_small_receive_buffer_wants_to_be_drained_more_often() -> None:
    within_s = []
    for size in (64 << 10, 1 << 20):
        with StandIn() as machine:
            machine.set("can0", InterfaceState.UP, 1)
            source = SocketCanSource(
                [(0, "bus", "can0")],
                receive_buffer_bytes=size,
                open_socket=lambda machine=machine: machine.receiver,  # type: ignore[misc]
                look=machine.look,
            )
            async with source:
                within_s.append(source.drain_within_s)
    assert within_s[0] == pytest.approx(2 * (64 << 10) // 768 / 4 / 8000, rel=0.02)
    assert within_s[1] > 3 * within_s[0]
