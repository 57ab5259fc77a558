# SPDX-License-Identifier: Apache-2.0
"""`canferry status --watch` on a terminal: drawn anew, cleared when the agent is gone, ended by an interrupt."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_live import bench
from tests.support.commands import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLEAR = b"\x1b[H\x1b[2J"


async def test_a_watched_status_goes_when_the_agent_does_and_an_interrupt_ends_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        command = ("status", "--watch", "--config", str(live.agent.config))
        async with on_terminal(*command, environment={"PYTHONUTF8": "1"}) as terminal:
            await terminal.until(CLEAR, 2)
            assert await live.agent.stop() == 0
            await terminal.until(b"no agent answers there")
            assert terminal.drawn.rpartition(CLEAR)[2].startswith(b"canferry: ")
            terminal.process.send_signal(signal.SIGINT)
            assert await terminal.process.wait() == 2
