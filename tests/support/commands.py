# SPDX-License-Identifier: Apache-2.0
"""Commands of canferry as processes, by pipes or on a terminal; what still runs at the end of a test is killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator


@asynccontextmanager
async def running_command(
    *arguments: str,
    program: tuple[str, ...] = ("-m", "agent"),
    terminal: int | None = None,
    environment: dict[str, str] | None = None,
) -> AsyncIterator[Process]:
    """A command with pipes for stdout and stderr, or with a terminal for both and for stdin."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdin=terminal,
        stdout=pipe if terminal is None else terminal,
        stderr=pipe if terminal is None else terminal,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class CommandOnTerminal:
    """A command and what it has drawn so far."""

    def __init__(self, process: Process, descriptor: int) -> None:
        self.process = process
        self.drawn = b""
        self._descriptor = descriptor

    async def read(self) -> None:
        """Wait for the next piece of what it draws."""
        self.drawn += await asyncio.to_thread(os.read, self._descriptor, 65_536)

    async def until(self, words: bytes, count: int = 1) -> None:
        """Read until it has drawn these words so often."""
        while self.drawn.count(words) < count:
            await self.read()


@asynccontextmanager
async def on_terminal(
    *arguments: str, rows: int = 24, columns: int = 80, environment: dict[str, str] | None = None
) -> AsyncIterator[CommandOnTerminal]:
    """A command on a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    try:
        async with running_command(*arguments, terminal=theirs, environment=environment) as process:
            os.close(theirs)
            theirs = -1
            yield CommandOnTerminal(process, ours)
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
