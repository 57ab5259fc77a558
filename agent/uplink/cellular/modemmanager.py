# SPDX-License-Identifier: Apache-2.0
"""The network as ModemManager knows it, over D-Bus: for units on which it has the modem's ports to itself.

Promise: `state` is what ModemManager has said last, or nothing known where it, or the modem, is not there. It is
asked, never told what to do, nor started by being asked. `run` never blocks the event loop, and whatever is said or not
said, nothing raises out of it.

All objects are read (`GetManagedObjects`) when something has changed, and every `poll_s`: a modem that was unplugged or
reset comes back as another object. What they say is read by `managed`.

Limits: an answer is waited for `ANSWER_MAX_S`; changes are looked into no more often than every `CHANGED_S`. The bus is
tried again after `RETRY_FIRST_S` at first and at most every `RETRY_MAX_S`.

Failure: told in the log once: `modem_manager_down`, `modem_missing`, `sim_missing`.

jeepney speaks D-Bus: pure Python, with asyncio, and kept by who writes much of Python's packaging.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog
from jeepney import DBusAddress, DBusErrorResponse, MatchRule, MessageFlag, message_bus, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.io.asyncio import Proxy, open_dbus_router
from jeepney.io.common import RouterClosed
from jeepney.wrappers import unwrap_msg

from agent.system.serial_port import RETRY_FIRST_S, RETRY_MAX_S
from agent.uplink.cellular.managed import NAME, ROOT, state_of
from agent.uplink.cellular.network import ModemState, NetworkLog

if TYPE_CHECKING:
    from jeepney.io.asyncio import DBusRouter

log = structlog.get_logger()

ANSWER_MAX_S = 10.0
CHANGED_S = 1.0
MISSING = "missing"
_OBJECTS = DBusAddress(ROOT, bus_name=NAME, interface="org.freedesktop.DBus.ObjectManager")
_BUS = "org.freedesktop.DBus"
_FAILURES = (
    *(OSError, EOFError, ValueError, KeyError, TimeoutError),
    *(RouterClosed, AuthenticationError, DBusErrorResponse),
)


class ModemManager:
    """Whatever modem ModemManager has, by the system's bus (DBUS_SYSTEM_BUS_ADDRESS, else its usual place)."""

    def __init__(
        self, poll_s: float, *, answer_max_s: float = ANSWER_MAX_S, retry_first_s: float = RETRY_FIRST_S
    ) -> None:
        self.state = ModemState()
        self._poll_s = poll_s
        self._answer_max_s = answer_max_s
        self._retry_first_s = retry_first_s
        self._down = "opening"
        self._network_log = NetworkLog(NAME)

    async def run(self) -> None:
        """Listen until cancelled."""
        delay_s = self._retry_first_s
        while True:
            try:
                async with contextlib.AsyncExitStack() as opened:
                    async with asyncio.timeout(self._answer_max_s):
                        router = await opened.enter_async_context(open_dbus_router(bus="SYSTEM"))
                    delay_s = self._retry_first_s
                    await self._listen(router)
            except _FAILURES as error:
                self._is_down("down", str(error) or type(error).__name__)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    def __str__(self) -> str:
        """For a person: modem home operator 4G -95dBm."""
        return f"modem {self._down or self.state}"

    async def _listen(self, router: DBusRouter) -> None:
        bus = Proxy(message_bus, router)
        owner = MatchRule(type="signal", sender=_BUS, interface=_BUS, member="NameOwnerChanged")
        owner.add_arg_condition(0, NAME)
        changed = MatchRule(type="signal", path_namespace=ROOT)
        changes: asyncio.Queue[Any] = asyncio.Queue(1)
        with router.filter(owner, queue=changes), router.filter(changed, queue=changes):
            for rule in (owner, changed):
                async with asyncio.timeout(self._answer_max_s):
                    await bus.AddMatch(rule)
            while True:
                await self._look(router)
                await asyncio.sleep(min(self._poll_s, CHANGED_S))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await changes.get()

    async def _look(self, router: DBusRouter) -> None:
        """Read all there is; one that does not answer in words is no failure of the bus."""
        call = new_method_call(_OBJECTS, "GetManagedObjects")
        call.header.flags |= MessageFlag.no_auto_start
        try:
            async with asyncio.timeout(self._answer_max_s):
                (objects,) = unwrap_msg(await router.send_and_get_reply(call))
        except DBusErrorResponse as error:
            self._is_down("without ModemManager", error.name)
            return
        state = state_of(objects) if isinstance(objects, dict) else None
        if state is None:
            self._is_down(MISSING, "ModemManager has no modem")
            return
        before, self.state, self._down = self.state, state, ""
        self._network_log.sim(before, state)
        self._network_log.network(state)

    def _is_down(self, down: str, reason: str) -> None:
        if self._down != down:
            hint = "check that ModemManager runs and has the modem (mmcli -L); it is asked again until it has"
            if down == MISSING:
                log.warning("modem_missing", reason=reason, hint=hint)
            else:
                log.warning("modem_manager_down", reason=reason, hint=hint)
        self._down, self.state = down, ModemState()
        self._network_log.network(self.state)
