# SPDX-License-Identifier: Apache-2.0
"""What is played onto a real vcan bus is what is heard there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent import cli
from agent.model import FrameBlock
from agent.sources.interfaces import link_kind
from agent.sources.socketcan import SocketCanSource

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.headunit.vcan.bus import Bus


async def test_a_log_of_two_buses_is_heard_as_it_was_recorded(tmp_path: Path, buses: tuple[Bus, Bus]) -> None:
    assert [link_kind(bus.name) for bus in buses] == ["vcan", "vcan"]
    lines = [f"(1.{number:06d}) can{number % 2} {number:03X}#{number:04X}" for number in range(200)]
    lines.append(f"(1.000200) can1 0000007B##3{bytes(range(64)).hex()}")
    log = tmp_path / "drive.log"
    log.write_text("\n".join(lines))
    async with SocketCanSource(((0, "a", "vcan0"), (1, "b", "vcan1"))) as source:
        assert cli.main(["replay", str(log), "--to", "can0=vcan0", "--to", "can1=vcan1"]) == 0
        block = source.drain()
        while len(block) < len(lines):  # a busy machine delivers what was sent a little later
            await asyncio.sleep(0.01)
            block = FrameBlock.concatenate([block, source.drain()])
    assert block.bus.tolist() == [number % 2 for number in range(200)] + [1]
    assert block.data[:200, :2].tolist() == [[number >> 8, number & 0xFF] for number in range(200)]
    assert block.length.tolist() == [2] * 200 + [64]
    assert bytes(block.data[200]) == bytes(range(64))


async def test_the_simulated_car_drives_on_a_vcan_bus(
    buses: tuple[Bus, Bus], capsys: pytest.CaptureFixture[str]
) -> None:
    async with SocketCanSource(((0, "a", buses[0].name),)) as source:
        assert cli.main(["simulate", "--to", "vcan0", "--seconds", "2"]) == 0
        frames = 0
        while len(block := source.drain()):
            frames += len(block)
        assert source.counters().dropped + frames > 1900
    assert "vcan0" in capsys.readouterr().out
