# SPDX-License-Identifier: Apache-2.0
"""Garbage that knows what a modem and a receiver say, over pseudo-terminals: cut, flipped, endless, out of range.

Nothing of it ends a reader, raises out of the room or holds up the loop; what comes after it is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from agent.sources.gnss.receiver import GnssSource
from agent.system.clock import SystemClock
from tests.support.terminal import Terminal, until
from tests.unit.sources.gnss.test_nmea import sentence
from tests.unit.sources.gnss.test_receiver import FIX, NO_FIX
from tests.unit.uplink.cellular.test_modem import AT_HOME, HOME, ROAMING, ScriptedModem, asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
PIECES = 800
BLOCKED_S = 5.0
"""A pause that only a blocked loop has; the machine's own are shorter."""
LINES = [
    *(f"{said}\r\n".encode() for script in (HOME, ROAMING) for said in script.values()),
    b"+CREG: 999999999999999999999,\r\n",
    b"+CESQ: ,,,,,\r\n+CSQ: -1,-1\r\n",
    b'+COPS: 0,0,"\xff\x00' + b"A" * 300 + b'",7\r\n',
    b"+CME ERROR: \r\nOK\r\nERROR\r\nNO CARRIER\r\n",
]
SENTENCES = [
    FIX,
    NO_FIX,
    sentence("GPRMC,999999,A,9999.999,N,99999.999,E,1e999,nan,999999,,,A"),
    sentence("GPGGA,,,,,,,,,,,,,,"),
    sentence("GPGSA" + ",1" * 40),
    sentence("GPZDA,000000,00,00,0000,,"),
    b"$" * 100 + b"\r\n",
]


def garbage(dice: random.Random, sound: Sequence[bytes]) -> bytes:
    """One piece of it."""
    piece = bytearray(dice.choice(sound))
    kind = dice.randrange(6)
    if kind == 0:
        return bytes(piece[: dice.randrange(len(piece))])
    if kind == 1:
        for _ in range(dice.randrange(1, 4)):
            piece[dice.randrange(len(piece))] ^= 1 << dice.randrange(8)
        return bytes(piece)
    if kind == 2:
        return dice.randbytes(dice.randrange(2000))
    if kind == 3:
        return bytes(piece).replace(b"\r\n", b"") * dice.randrange(1, 40)
    if kind == 4:
        return bytes(piece) + bytes(dice.choice(sound))[::-1]
    return bytes(piece)


@contextlib.asynccontextmanager
async def sound_loop() -> AsyncIterator[None]:
    """Nothing that it calls raises, which it would only log; and nothing holds it up."""
    longest_s, raised = 0.0, list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))

    async def watch() -> None:
        nonlocal longest_s
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, loop.time() - begun)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    assert raised == []
    assert longest_s < BLOCKED_S


@pytest.mark.parametrize("seed", range(3))
async def test_a_modem_that_talks_nonsense_is_listened_to_and_understood_afterwards(tmp_path: Path, seed: int) -> None:
    dice, far = random.Random(seed), ScriptedModem(tmp_path / "ttyUSB2")
    try:
        async with sound_loop(), asked(far, answer_max_s=0.05) as modem:
            await until(lambda: modem.state == AT_HOME)
            far.script = None
            for number in range(PIECES):
                await far.say(garbage(dice, LINES))
                assert str(modem)
                if number % 200 == 199:  # it hangs up in the middle of whatever that was
                    far.unplug()
                    await until(lambda: str(modem) == "modem down")
                    far.plug()
                    await until(lambda: str(modem) != "modem down")
            await far.say(b"\r\n")
            far.script = HOME
            await until(lambda: modem.state == AT_HOME)
    finally:
        far.unplug()


@pytest.mark.parametrize("seed", range(3))
async def test_a_receiver_that_talks_nonsense_is_listened_to_and_understood_afterwards(
    tmp_path: Path, seed: int
) -> None:
    dice, far = random.Random(seed), Terminal(tmp_path / "ttyUSB1")
    try:
        async with (
            sound_loop(),
            GnssSource(0, "gnss", str(far.path), clock=SystemClock(), retry_first_s=0.01) as opened,
        ):
            await until(lambda: opened.states() == {"gnss": "no fix"})
            for number in range(PIECES):
                await far.say(garbage(dice, SENTENCES))
                opened.drain()
                if number % 200 == 199:
                    far.unplug()
                    await until(lambda: opened.states() == {"gnss": "down"})
                    far.plug()
                    await until(lambda: opened.states() == {"gnss": "no fix"})
            refused = opened.refused
            assert refused > PIECES / 10
            await far.say(b"\r\n" + NO_FIX + FIX)
            await until(lambda: opened.states() == {"gnss": "fix"})
    finally:
        far.unplug()
