# SPDX-License-Identifier: Apache-2.0
"""The page's way from a recording to live signals on a virtual bus, command by command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.headunit.vcan.bus import ip
from tests.support.bench_page import WITH_VCAN, begun, first_line_with, lay_out

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_recording_becomes_live_signals_on_a_virtual_bus(tmp_path: Path) -> None:
    lay_out(tmp_path)
    make, run, play, tail = WITH_VCAN
    with begun(tmp_path, make) as made:
        assert made.wait(60) == 0
    try:
        with begun(tmp_path, run) as agent, begun(tmp_path, play):
            assert "rpm" in first_line_with(tmp_path, tail, "can0.ENGINE_SPEED.ENGINE_RPM")
            assert agent.poll() is None
    finally:
        ip("link", "delete", "vcan0")
