# SPDX-License-Identifier: Apache-2.0
"""`canferry status` as a process, asked of a running agent, and what a finding on its screen has to be like."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from tests.support.processes import Agent

SCREEN_LINES_MAX = 40
NAMED_WITHIN_S = 180.0


@dataclass(frozen=True)
class Told:
    """What a command said of an agent."""

    status: int
    out: str
    err: str


async def canferry(*arguments: str) -> Told:
    """Run a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Told(process.returncode, out.decode(), err.decode())


async def status(agent: Agent) -> Told:
    """How the agent is, as soon as it answers."""
    async with asyncio.timeout(NAMED_WITHIN_S):
        while True:
            told = await canferry("status", "--config", str(agent.config))
            if told.status in (0, 1):
                assert not told.err, told.err
                return told
            assert "no agent answers there" in told.err
            await asyncio.sleep(0.1)


async def named(agent: Agent, code: str, about: str, *, level: str = "error") -> str:
    """Wait until the fault is named, with its cause and the next move, on one screen."""
    head = f"{level} {code} ({about}): "
    async with asyncio.timeout(NAMED_WITHIN_S):
        while head not in _unwrapped((told := await status(agent)).out):
            await asyncio.sleep(0.1)
    assert len(told.out.splitlines()) <= SCREEN_LINES_MAX
    assert told.status == (level == "error")
    cause, _, move = _unwrapped(told.out).partition(head)[2].partition(" → ")
    assert cause
    assert move
    assert not re.search(r"\b(error|warning|note) [a-z_]+ \(", cause), "the move is another finding's"
    return told.out


async def unnamed(agent: Agent, code: str) -> None:
    """Wait until nothing is said of it."""
    async with asyncio.timeout(NAMED_WITHIN_S):
        while f" {code} (" in _unwrapped((await status(agent)).out):
            await asyncio.sleep(0.1)


def _unwrapped(screen: str) -> str:
    """On one line."""
    return " ".join(screen.split())
