# SPDX-License-Identifier: Apache-2.0
"""SocketCanSource on real vcan interfaces."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.model import EXTENDED, FrameFlag
from agent.sources.socketcan import SocketCanSource
from tests.headunit.vcan.bus import BUS_OFF, ERROR, REMOTE, RESTARTED, Bus

if TYPE_CHECKING:
    from collections.abc import MutableMapping

BUSES = ((0, "powertrain", "vcan0"), (1, "chassis", "vcan1"))


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def events(lines: list[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    """What the log says of interfaces: (event, bus)."""
    return [(line["event"], line["bus"]) for line in lines if line["event"].startswith("bus_")]


async def test_one_socket_delivers_two_buses_in_order_with_every_field_exact(buses: tuple[Bus, Bus]) -> None:
    expected = []
    async with SocketCanSource(BUSES) as source:
        begin = time.time_ns()
        for number in range(1000):
            bus = number % 2
            can_id = number if number % 3 else number | EXTENDED
            payload = number.to_bytes(8, "big")[8 - number % 9 :] if number % 9 else b""
            buses[bus].send(can_id, payload)
            expected.append((bus, can_id, payload))
        end = time.time_ns()
        block = source.drain()
    lengths = block.length.tolist()
    seen = [
        (bus, can_id, bytes(row[:length]))
        for bus, can_id, row, length in zip(block.bus.tolist(), block.can_id.tolist(), block.data, lengths, strict=True)
    ]
    assert seen == expected
    assert block.data.shape == (1000, 8)
    assert all(not row[length:].any() for row, length in zip(block.data, lengths, strict=True))
    assert not block.flags.any()
    assert begin <= block.time_ns[0]
    assert block.time_ns[-1] <= end
    assert (block.time_ns[1:] >= block.time_ns[:-1]).all()


async def test_kernel_timestamps_tell_when_a_frame_came_not_when_it_was_read(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES) as source:
        buses[0].send(1)
        sent = time.time_ns()
        time.sleep(0.2)
        block = source.drain()
    assert sent - 100_000_000 < block.time_ns[0] <= sent


async def test_classic_and_fd_frames_share_a_block_and_keep_their_flags(buses: tuple[Bus, Bus]) -> None:
    brs, esi, fd = FrameFlag.BRS, FrameFlag.ESI, FrameFlag.FD
    async with SocketCanSource(BUSES) as source:
        buses[0].send(0x10, b"12345678")
        buses[0].send_fd(0x11, bytes(range(64)), brs)
        buses[1].send_fd(0x12, b"abc", brs | esi)
        buses[1].send(0x13, b"z")
        block = source.drain()
    assert block.length.tolist() == [8, 64, 3, 1]
    assert block.flags.tolist() == [0, fd | brs, fd | brs | esi, 0]
    assert block.data.shape == (4, 64)
    assert [bytes(row).rstrip(b"\0") for row in block.data] == [b"12345678", bytes(range(64)), b"abc", b"z"]


async def test_the_same_number_with_11_and_29_bits_stays_two_identifiers(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES) as source:
        buses[0].send(0x123)
        buses[0].send(0x123 | EXTENDED)
        assert source.drain().can_id.tolist() == [0x123, 0x123 | EXTENDED]


async def test_error_and_remote_frames_are_counted_by_bus_and_not_delivered(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES) as source:
        buses[0].send(0x20, b"a")
        buses[0].send(0x21 | REMOTE)
        buses[1].send(0x21 | REMOTE | EXTENDED)
        buses[1].send(ERROR | 0x04, bytes(8))
        buses[1].send(ERROR | 0x08, bytes(8))
        buses[1].send(0x22, b"b")
        block = source.drain()
        counters = source.counters()
    assert block.can_id.tolist() == [0x20, 0x22]
    assert counters.frames == 2
    assert counters.remote_frames == {"powertrain": 1, "chassis": 1}
    assert counters.error_frames == {"powertrain": 0, "chassis": 2}


async def test_a_full_queue_drops_frames_and_counts_every_one_of_them(buses: tuple[Bus, Bus]) -> None:
    sent = 3000
    async with SocketCanSource(BUSES, receive_buffer_bytes=64 << 10) as source:
        for number in range(sent):
            buses[0].send(number % 0x800)
        dropped_before_reading = source.counters().dropped
        kept = len(source.drain())
        assert 0 < kept < sent
        assert dropped_before_reading == sent - kept
        buses[0].send(1)
        assert len(source.drain()) == 1
        assert source.counters().dropped == sent - kept
        for number in range(sent):
            buses[0].send(number % 0x800)
        kept += len(source.drain())
        buses[0].send(1)
        assert len(source.drain()) == 1
    assert source.counters().dropped == 2 * sent - kept
    assert source.counters().frames == kept + 2


async def test_dropped_frames_are_logged_with_what_to_do_and_not_again(buses: tuple[Bus, Bus]) -> None:
    clock = Clock()
    async with SocketCanSource(BUSES, receive_buffer_bytes=64 << 10, monotonic=clock) as source:
        for number in range(1000):
            buses[0].send(number)
        with capture_logs() as lines:
            kept = 0
            for _ in range(20):
                clock.now += 1.5
                kept += len(source.drain())
    (line,) = [line for line in lines if line["event"] == "frames_dropped"]
    assert line["frames"] == 1000 - kept
    assert "rmem_max" in line["hint"]


async def test_a_burst_larger_than_one_drain_comes_in_the_next_ones(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES, drain_frames_max=300) as source:
        for number in range(700):
            buses[0].send(number)
        blocks = [source.drain() for _ in range(4)]
    assert [len(block) for block in blocks] == [300, 300, 100, 0]
    assert [can_id for block in blocks for can_id in block.can_id.tolist()] == list(range(700))


async def test_kernel_filters_let_through_what_any_bus_wants(buses: tuple[Bus, Bus]) -> None:
    wanted = {"powertrain": [(0x100, 0x7FF)], "chassis": [(0x18FE0000 | EXTENDED, 0x1FFF0000)]}
    async with SocketCanSource(BUSES, filters=wanted) as source:
        for bus in buses:
            bus.send(0x100)
            bus.send(0x100 | EXTENDED)
            bus.send(0x101)
            bus.send(0x18FE1234 | EXTENDED)
            bus.send(0x18FF1234 | EXTENDED)
            bus.send(0x7 | REMOTE)
            bus.send(ERROR | 0x04, bytes(8))
        block = source.drain()
        counters = source.counters()
    assert block.can_id.tolist() == [0x100, 0x18FE1234 | EXTENDED] * 2
    assert counters.remote_frames == {"powertrain": 1, "chassis": 1}
    assert counters.error_frames == {"powertrain": 1, "chassis": 1}


async def test_as_many_filters_as_the_kernel_takes_are_set(buses: tuple[Bus, Bus]) -> None:
    filters = {name: [(can_id, 0x7FF) for can_id in range(511)] for _, name, _ in BUSES}
    async with SocketCanSource(BUSES, filters=filters) as source:
        for can_id in (0, 510, 511, 0x7FF):
            buses[0].send(can_id)
        assert source.drain().can_id.tolist() == [0, 510]


async def test_a_bus_nobody_wants_anything_of_does_not_open_the_filter(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES, filters={"powertrain": [], "chassis": [(0x5, 0x7FF)]}) as source:
        buses[0].send(0x6)
        buses[1].send(0x5)
        assert source.drain().can_id.tolist() == [0x5]


async def test_frames_of_interfaces_that_are_not_configured_are_ignored(buses: tuple[Bus, Bus]) -> None:
    async with SocketCanSource(BUSES[:1]) as source:
        buses[1].send(0x31)
        buses[1].send(0x32 | REMOTE)
        buses[0].send(0x30)
        assert source.drain().can_id.tolist() == [0x30]
        assert source.counters().remote_frames == {"powertrain": 0}


async def test_an_interface_missing_at_start_is_logged_once_and_joins_when_it_appears(
    buses: tuple[Bus, Bus], late_bus: Bus
) -> None:
    clock = Clock()
    configured = ((0, "powertrain", "vcan0"), (1, "body", "vcan2"))
    with capture_logs() as lines:
        async with SocketCanSource(configured, monotonic=clock) as source:
            assert source.states() == {"powertrain": "up", "body": "missing"}
            for _ in range(3):
                clock.now += 2
                buses[0].send(0x40)
                assert len(source.drain()) == 1
            late_bus.create()
            late_bus.send(0x41)  # before anyone has looked again: nothing of it may be lost
            block = source.drain()
            assert (block.bus.tolist(), block.can_id.tolist()) == ([1], [0x41])
            assert source.states() == {"powertrain": "up", "body": "up"}
    assert events(lines) == [
        ("bus_up", "powertrain"),
        ("bus_missing", "body"),
        ("bus_up", "body"),
    ]


async def test_an_interface_that_goes_down_and_up_costs_only_itself(buses: tuple[Bus, Bus]) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with SocketCanSource(BUSES, monotonic=clock) as source:
            buses[1].down()
            clock.now += 2
            buses[0].send(0x50)
            assert source.drain().can_id.tolist() == [0x50]
            assert source.states() == {"powertrain": "up", "chassis": "down"}
            buses[1].up()
            clock.now += 2
            buses[1].send(0x51)
            assert source.drain().bus.tolist() == [1]
            assert source.states() == {"powertrain": "up", "chassis": "up"}
    assert events(lines)[2:] == [("bus_down", "chassis"), ("bus_up", "chassis")]
    (line,) = [line for line in lines if line["event"] == "bus_down"]
    assert "ip link set vcan1 up" in line["hint"]


async def test_an_interface_that_comes_back_with_another_index_loses_nothing(buses: tuple[Bus, Bus]) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with SocketCanSource(BUSES, monotonic=clock) as source:
            before = socket.if_nametoindex("vcan1")
            buses[1].send(0x60)  # still queued when its interface is gone
            buses[1].delete()
            clock.now += 2
            assert source.drain().can_id.tolist() == [0x60]
            assert source.states()["chassis"] == "missing"
            buses[0].send(0x61)
            assert source.drain().can_id.tolist() == [0x61]
            buses[1].create()
            assert socket.if_nametoindex("vcan1") != before
            buses[1].send(0x62)
            block = source.drain()
            assert (block.bus.tolist(), block.can_id.tolist()) == ([1], [0x62])
    assert events(lines)[2:] == [("bus_missing", "chassis"), ("bus_up", "chassis")]


async def test_an_interface_replaced_between_two_looks_keeps_the_frames_of_both(
    buses: tuple[Bus, Bus],
) -> None:
    async with SocketCanSource(BUSES, monotonic=Clock()) as source:
        buses[1].send(0x63)
        buses[1].delete()
        buses[1].create()
        buses[1].send(0x64)
        block = source.drain()
        assert (block.bus.tolist(), block.can_id.tolist()) == ([1, 1], [0x63, 0x64])


async def test_bus_off_is_noticed_and_taken_back_when_the_controller_restarts(buses: tuple[Bus, Bus]) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with SocketCanSource(BUSES, monotonic=clock) as source:
            buses[1].send(BUS_OFF, bytes(8))
            source.drain()
            assert source.states() == {"powertrain": "up", "chassis": "bus_off"}
            clock.now += 2
            source.drain()
            assert source.states()["chassis"] == "bus_off"
            buses[1].send(RESTARTED, bytes(8))
            source.drain()
            assert source.states()["chassis"] == "up"
    assert events(lines)[2:] == [("bus_off", "chassis"), ("bus_up", "chassis")]


async def test_a_network_interface_that_is_no_can_bus_is_told_apart(buses: tuple[Bus, Bus]) -> None:
    with capture_logs() as lines:
        async with SocketCanSource(((0, "powertrain", "vcan0"), (1, "wrong", "lo"))) as source:
            assert source.states() == {"powertrain": "up", "wrong": "not_can"}
    assert ("bus_not_can", "wrong") in events(lines)


async def test_listening_puts_nothing_on_the_bus(buses: tuple[Bus, Bus]) -> None:
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as witness:
        witness.bind(("vcan0",))
        witness.setblocking(False)
        async with SocketCanSource(BUSES) as source:
            buses[0].send(0x70)
            assert len(source.drain()) == 1
        assert witness.recv(16)[:4] == (0x70).to_bytes(4, "little")
        with pytest.raises(BlockingIOError):
            witness.recv(16)
