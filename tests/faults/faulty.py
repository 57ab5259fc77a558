# SPDX-License-Identifier: Apache-2.0
"""Processes whose writes below one folder fail now and then (`faulty_disk.c`), started again whenever they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

START_S = 60.0
"""What starts and ends at once is started again after a pause that grows up to a second, as systemd does."""


def preloaded(folder: Path) -> Path:
    """The library, compiled; without a compiler the promise would go unproven."""
    library = folder / "faulty_disk.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("faulty_disk.c"))]
    try:
        subprocess.run([*command, "-ldl"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.fail("no C compiler: apt-get install gcc libc6-dev")
    return library


@dataclass
class Supervised:
    """One command, started again whenever it ends, until `stop`. Each process logs to the same file.

    per_mille   of its writes below `root` that fail
    ends        its exit statuses, in order
    """

    arguments: Sequence[str]
    log: Path
    out: Path
    root: Path
    library: Path
    per_mille: int
    seed: int
    ends: list[int] = field(default_factory=list)
    starts: int = 0
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True

    async def run(self) -> None:
        """Keep it running."""
        pause_s = 0.05
        while self.wanted:
            self.process = await self._start()
            began = asyncio.get_running_loop().time()
            self.ends.append(await self.process.wait())
            lasted_s = asyncio.get_running_loop().time() - began
            pause_s = 0.05 if lasted_s > 2.0 else min(2 * pause_s, 1.0)
            if self.wanted:
                await asyncio.sleep(pause_s)

    def kill(self) -> bool:
        """SIGKILL; whether there was a process."""
        if self.process is None or self.process.returncode is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        return True

    async def stop(self) -> int:
        """No more starts; SIGTERM, and the exit status of the last process."""
        self.wanted = False
        process = self.process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_S):
            return await process.wait()

    async def close(self) -> None:
        """End what runs, whatever it does."""
        self.wanted = False
        if self.kill() and self.process is not None:
            await self.process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        self.starts += 1
        faults = {
            "LD_PRELOAD": str(self.library),
            "FAULTY_ROOT": str(self.root),
            "FAULTY_SHARE": str(self.per_mille),
            "FAULTY_SEED": str(self.seed + self.starts),
        }
        environment = os.environ | faults if self.per_mille else None
        with self.log.open("ab") as err, self.out.open("wb") as out:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agent", *self.arguments, cwd=ROOT, stdout=out, stderr=err, env=environment
            )
