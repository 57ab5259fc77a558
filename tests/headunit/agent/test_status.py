# SPDX-License-Identifier: Apache-2.0
"""Faults of a bus, planted while the agent runs: `canferry status` names each as the cause; those that need no CAN
interface are in tests/faults/test_agent_status.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.headunit.agent.drive import driving
from tests.headunit.vcan.bus import ERROR
from tests.support.asking import named, status, unnamed

if TYPE_CHECKING:
    from pathlib import Path

LOST_ARBITRATION, PROTOCOL_VIOLATION = ERROR | 0x002, ERROR | 0x008
"""linux/can/error.h: what a controller tells that is set to another bitrate than the bus."""


async def test_a_wrong_bitrate_is_named_by_error_frames_without_any_data(tmp_path: Path) -> None:
    async with driving(tmp_path) as drive:
        await drive.start()
        chassis = drive.buses["chassis"]
        await unnamed(drive.agent, "bus_errors_only")
        for number in range(30):
            chassis.send((LOST_ARBITRATION, PROTOCOL_VIOLATION)[number % 2], bytes(8))
        chassis.close()
        await named(drive.agent, "bus_errors_only", "chassis")
        await drive.feed()
        await drive.feed_on(100)
        await unnamed(drive.agent, "bus_errors_only")
        await drive.end_feeding()


async def test_an_interface_that_is_down_is_named_until_it_is_up(tmp_path: Path) -> None:
    async with driving(tmp_path) as drive:
        await drive.start()
        chassis = drive.buses["chassis"]
        assert " bus_down (" not in (await status(drive.agent)).out
        chassis.down()
        screen = await named(drive.agent, "bus_down", "chassis")
        assert "error bus_down (powertrain)" not in screen
        chassis.up()
        await unnamed(drive.agent, "bus_down")
