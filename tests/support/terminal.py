# SPDX-License-Identifier: Apache-2.0
"""The far end of a serial port: a pseudo-terminal behind a name that can vanish and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 20.0


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.002)


class Terminal:
    """A device at `path`, plugged in from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard = b""
        self._master = self._slave = -1
        self.plug()

    def plug(self) -> None:
        """The device is there."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        """The device goes, whoever has it open."""
        self.path.unlink(missing_ok=True)
        for descriptor in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._master = self._slave = -1

    async def say(self, data: bytes) -> None:
        """All of it, as fast as somebody reads."""
        async with asyncio.timeout(PATIENCE_S):
            while data:
                try:
                    data = data[os.write(self._master, data) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)

    def listen(self) -> bytes:
        """What was said to it since the last call; also added to `heard`."""
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return b""
        self.heard += data
        return data
