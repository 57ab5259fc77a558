# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import time
import tty
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.model import EXTENDED, FrameBlock, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.pythoncan import LISTENING, PythonCanSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(60)
can: Any = python_can()


@pytest.fixture
def other_node(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Another node on a virtual bus that is named after the test."""
    with can.Bus(interface="virtual", channel=request.node.name) as bus:
        yield bus


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not happened():
            await asyncio.sleep(0.002)


async def receive(source: PythonCanSource, frames: int) -> FrameBlock:
    blocks = [source.drain()]
    while sum(map(len, blocks)) < frames:
        await asyncio.sleep(0.002)
        blocks.append(source.drain())
    return FrameBlock.concatenate(blocks)


async def test_frames_of_a_virtual_bus_come_as_a_block(other_node: Any, request: pytest.FixtureRequest) -> None:
    async with PythonCanSource(3, "body", "virtual", request.node.name) as source:
        begin = time.time_ns()
        other_node.send(can.Message(arbitration_id=0x123, is_extended_id=False, data=b"abc"))
        other_node.send(can.Message(arbitration_id=0x123, is_extended_id=True, data=b""))
        other_node.send(
            can.Message(arbitration_id=1, is_fd=True, bitrate_switch=True, is_extended_id=False, data=bytes(12))
        )
        block = await receive(source, 3)
        assert source.states() == {"body": "up"}
    assert block.bus.tolist() == [3, 3, 3]
    assert block.can_id.tolist() == [0x123, 0x123 | EXTENDED, 1]
    assert block.length.tolist() == [3, 0, 12]
    assert block.flags.tolist() == [0, 0, FrameFlag.FD | FrameFlag.BRS]
    assert abs(int(block.time_ns[0]) - begin) < 60e9
    assert source.counters().frames == 3


async def test_who_waits_is_woken_by_the_next_frame(other_node: Any, request: pytest.FixtureRequest) -> None:
    async with PythonCanSource(0, "body", "virtual", request.node.name) as source:
        heard = asyncio.Event()
        assert source.wake(heard.set)
        other_node.send(can.Message(arbitration_id=1))
        await heard.wait()
        source.wake(None)
        heard.clear()
        assert source.wake(heard.set)  # it waits already
        assert heard.is_set()
        assert len(await receive(source, 1)) == 1


async def test_error_and_remote_frames_are_counted(other_node: Any, request: pytest.FixtureRequest) -> None:
    async with PythonCanSource(0, "body", "virtual", request.node.name) as source:
        other_node.send(can.Message(arbitration_id=1, is_remote_frame=True))
        other_node.send(can.Message(is_error_frame=True))
        other_node.send(can.Message(arbitration_id=2, data=b"x"))
        assert (await receive(source, 1)).can_id.tolist() == [2 | EXTENDED]
        counters = source.counters()
    assert (counters.remote_frames, counters.error_frames) == ({"body": 1}, {"body": 1})


async def test_a_full_queue_drops_and_counts(other_node: Any, request: pytest.FixtureRequest) -> None:
    async with PythonCanSource(0, "body", "virtual", request.node.name, queue_frames_max=5) as source:
        for number in range(20):
            other_node.send(can.Message(arbitration_id=number))
        await until(lambda: source.counters().dropped == 15)
        assert (source.drain().can_id & 0xFF).tolist() == [0, 1, 2, 3, 4]


async def test_a_drain_is_bounded(other_node: Any, request: pytest.FixtureRequest) -> None:
    async with PythonCanSource(0, "body", "virtual", request.node.name, drain_frames_max=3) as source:
        for number in range(8):
            other_node.send(can.Message(arbitration_id=number))
        await until(lambda: len(source._queue) == 8)
        assert [len(source.drain()) for _ in range(4)] == [3, 3, 2, 0]


async def test_a_time_that_is_not_of_today_becomes_the_time_of_reading(
    other_node: Any, request: pytest.FixtureRequest
) -> None:
    async with PythonCanSource(
        0, "body", "virtual", request.node.name, options={"preserve_timestamps": True}
    ) as source:
        today = time.time()
        for sender_time in (12.5, today - 5):
            message = can.Message(arbitration_id=1, timestamp=sender_time)
            other_node.send(message)
            message_of_bus = await receive(source, 1)
            seen = int(message_of_bus.time_ns[0]) / 1e9
            assert abs(seen - today) < 3600


async def test_a_bus_that_cannot_be_opened_is_tried_again_and_logged_once() -> None:
    attempts = []

    def monotonic() -> float:  # asked for at the beginning and at the end of each attempt
        attempts.append(1)
        return time.monotonic()

    source = PythonCanSource(0, "body", "slcan", "/dev/no-such-serial-line", retry_first_s=0.001, monotonic=monotonic)
    with capture_logs() as lines:
        async with source:
            await until(lambda: len(attempts) > 6)
            assert source.states() == {"body": "down"}
            assert not len(source.drain())
    (line,) = [line for line in lines if line["event"] == "bus_down"]
    assert "/dev/no-such-serial-line" in line["reason"]


class Adapter:
    """A serial CAN adapter (slcan) on a pseudo-terminal."""

    def __init__(self) -> None:
        self._end, self._far = pty.openpty()
        tty.setraw(self._far)
        os.set_blocking(self._end, False)
        self.path = os.ttyname(self._far)
        self._commands = b""

    @property
    def commands(self) -> bytes:
        """What it has been told so far."""
        with contextlib.suppress(BlockingIOError):
            while heard := os.read(self._end, 100):
                self._commands += heard
        return self._commands

    def say(self, text: str) -> None:
        os.write(self._end, text.encode())

    def unplug(self) -> None:
        os.close(self._end)
        os.close(self._far)


async def test_a_serial_adapter_is_opened_listening_only_and_read() -> None:
    adapter = Adapter()
    source = PythonCanSource(0, "body", "slcan", adapter.path, bitrate=500_000, options={"sleep_after_open": 0})
    async with source:
        await until(lambda: source.states()["body"] == "up")
        adapter.say("t1232AABB\rT000001231FF\rr0010\r")
        block = await receive(source, 2)
    assert block.can_id.tolist() == [0x123, 0x123 | EXTENDED]
    assert [bytes(row[:2]) for row in block.data] == [b"\xaa\xbb", b"\xff\0"]
    await until(lambda: b"C\r" in adapter.commands[1:])
    assert b"L\r" in adapter.commands
    assert b"O\r" not in adapter.commands
    assert b"S6\r" in adapter.commands
    assert not any(command[:1] in b"tTrR" for command in adapter.commands.split(b"\r") if command)
    adapter.unplug()


async def test_an_adapter_that_is_unplugged_and_plugged_in_again_is_opened_again(tmp_path: Any) -> None:
    link = tmp_path / "adapter"
    adapter = Adapter()
    link.symlink_to(adapter.path)
    source = PythonCanSource(0, "body", "slcan", str(link), options={"sleep_after_open": 0}, retry_first_s=0.01)
    with capture_logs() as lines:
        async with source:
            await until(lambda: source.states()["body"] == "up")
            adapter.unplug()
            await until(lambda: source.states()["body"] == "down")
            adapter = Adapter()
            link.unlink()
            link.symlink_to(adapter.path)
            await until(lambda: source.states()["body"] == "up")
            adapter.say("t0011AA\r")
            assert (await receive(source, 1)).can_id.tolist() == [1]
    adapter.unplug()
    events = [line["event"] for line in lines if line["event"].startswith("bus_")]
    assert events[0] == events[-1] == "bus_up"
    assert "bus_down" in events


def test_the_buss_own_options_come_last() -> None:
    source = PythonCanSource(0, "body", "slcan", "x", bitrate=1, fd=True, options={"listen_only": False, "a": 1})
    assert source._options(can) == {"listen_only": False, "bitrate": 1, "fd": True, "a": 1}


@pytest.mark.parametrize("interface", sorted(LISTENING))
def test_listening_options_are_ones_that_the_driver_has(interface: str) -> None:
    from importlib.util import find_spec
    from pathlib import Path

    module, _ = can.interfaces.BACKENDS[interface]
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    for option in LISTENING[interface]:
        assert option in sources
