# SPDX-License-Identifier: Apache-2.0
"""`canferry status --watch` on a terminal: drawn anew, cleared when the agent is gone, ended by an interrupt."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_live import bench
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLEAR = b"\x1b[H\x1b[2J"


async def test_a_watched_status_goes_when_the_agent_does_and_an_interrupt_ends_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        ours, theirs = pty.openpty()
        command = (sys.executable, "-m", "agent", "status", "--watch", "--config", str(live.agent.config))
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=os.environ | {"PYTHONUTF8": "1"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)

        async def until(words: bytes) -> bytes:
            seen = b""
            while words not in seen:
                seen += await asyncio.to_thread(os.read, ours, 65_536)
            return seen

        await until(CLEAR)
        await until(CLEAR)
        assert await live.agent.stop() == 0
        gone = await until(b"no agent answers there")
        assert gone.rpartition(CLEAR)[2].startswith(b"canferry: ")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 2
        os.close(ours)
