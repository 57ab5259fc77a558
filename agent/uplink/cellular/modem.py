# SPDX-License-Identifier: Apache-2.0
"""A modem, asked by AT commands how it stands with the network. It is asked, never told what to do: who dials, and who
unlocks the SIM, is the system's matter (ModemManager, pppd, the modem itself).

Promise: `state` is what the modem has said last, or nothing known where it says nothing. `run` never blocks the event
loop, and whatever the modem says or does not say, nothing raises out of it.

Every `poll_s` one command after the other is asked (`QUESTIONS`); what the modem says unasked is heard as well, between
the lines of an answer too: each line says by itself what it is about (`network`). Whose answer comes late is not lost,
it only ends the wait for another.

Limits: an answer is waited for `ANSWER_MAX_S`; after `UNANSWERED_MAX` commands in a row without one nothing is known
any more, and it is tried again after `poll_s`. Lines longer than `LINE_BYTES_MAX` are noise. A registration that
changes is looked into at once, and no more often than every `CHANGED_S`.

Failure: told in the log once: `modem_silent`, `sim_missing`, and `port_down` where the port is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING

import structlog

from agent.system.serial_port import RETRY_FIRST_S, LineSplitter, Port, open_serial
from agent.uplink.cellular.network import ModemState, NetworkLog, updated

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

GREETINGS = ("ATE0", "AT+CMEE=1", "AT+CREG=2", "AT+CEREG=2", "AT+COPS=3,0")
"""No echo (V.250, 6.2.4), errors as numbers (27.007, 9.1), registration told unasked, operators by name."""
QUESTIONS = ("AT+CPIN?", "AT+CEREG?", "AT+CREG?", "AT+COPS?", "AT+CSQ", "AT+CESQ")
ANSWER_MAX_S = 10.0
UNANSWERED_MAX = 3
CHANGED_S = 1.0
LINE_BYTES_MAX = 512
_FINALS = ("OK", "ERROR", "NO CARRIER", "ABORTED", "COMMAND NOT SUPPORT")


class Modem:
    """One modem at a serial port."""

    def __init__(
        self,
        device: str,
        baud: int,
        poll_s: float,
        *,
        answer_max_s: float = ANSWER_MAX_S,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self.state = ModemState()
        self._device = device
        self._poll_s = poll_s
        self._answer_max_s = answer_max_s
        self._lines = LineSplitter(LINE_BYTES_MAX)
        self._port = Port(
            {"port": device},
            functools.partial(open_serial, device, baud),
            opened=self._opened,
            received=self._received,
            closed=self._closed,
            retry_first_s=retry_first_s,
        )
        self._open = asyncio.Event()
        self._answered = asyncio.Event()
        self._changed = asyncio.Event()
        self._greeted = False  # since the port was opened, and it last fell silent
        self._unanswered = 0
        self._silent = False
        self._network_log = NetworkLog(device)

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._port.run(), name="modem-port")
            tasks.create_task(self._ask_on(), name="modem-questions")

    def __str__(self) -> str:
        """For a person: modem home operator 4G -95dBm."""
        if self._port.state != "up":
            return f"modem {self._port.state}"
        return "modem silent" if self._silent else f"modem {self.state}"

    async def _ask_on(self) -> None:
        while True:
            await self._open.wait()
            self._changed.clear()
            if not self._greeted:
                self._greeted = await self._ask_all(GREETINGS)
            if self._greeted and await self._ask_all(QUESTIONS):
                self._network_log.network(self.state)
            await self._rest()

    async def _rest(self) -> None:
        """Until the next round; not so long where something has happened."""
        pause_s = min(self._poll_s, CHANGED_S)
        await asyncio.sleep(pause_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s - pause_s):
                await self._changed.wait()

    async def _ask_all(self, commands: Sequence[str]) -> bool:
        """Ask one after the other; False where the modem has gone, or answers none."""
        for command in commands:
            self._answered.clear()
            if not self._open.is_set():
                return False
            self._port.write(f"{command}\r".encode())
            try:
                async with asyncio.timeout(self._answer_max_s):
                    await self._answered.wait()
            except TimeoutError:
                self._unanswered += 1
                if self._unanswered >= UNANSWERED_MAX:
                    self._is_silent()
                    return False
        return self._open.is_set()

    def _is_silent(self) -> None:
        if not self._silent:
            hint = "check that modem.port is the one for AT commands, and modem.baud: a modem has several ports"
            log.warning("modem_silent", port=self._device, commands=self._unanswered, hint=hint)
        self._silent, self._greeted, self._unanswered = True, False, 0
        self.state = ModemState()
        self._network_log.network(self.state)

    def _opened(self) -> None:
        self._lines.reset()
        self._greeted, self._unanswered = False, 0
        self._open.set()
        self._changed.set()

    def _closed(self) -> None:
        self._open.clear()
        self._answered.set()  # whoever waits need not any more
        self.state = ModemState()
        self._network_log.network(self.state)

    def _received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            text = line.decode("ascii", "replace").strip()
            final = text in _FINALS or text.startswith(("+CME ERROR:", "+CMS ERROR:"))
            if final or text.startswith("+"):
                self._process(text)
            if final:
                self._is_answered()

    def _process(self, text: str) -> None:
        before, self.state = self.state, updated(self.state, text)
        self._network_log.sim(before, self.state)
        if self.state.registration is not before.registration:
            self._changed.set()

    def _is_answered(self) -> None:
        self._unanswered = 0
        self._answered.set()
        if self._silent:
            self._silent = False
            log.info("modem_heard", port=self._device)
