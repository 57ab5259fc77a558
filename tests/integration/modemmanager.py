# SPDX-License-Identifier: Apache-2.0
"""A system bus of its own, and a ModemManager on it that says what its script says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from jeepney import DBusAddress, HeaderFields, MessageType, message_bus, new_error, new_method_return, new_signal
from jeepney.io.asyncio import open_dbus_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jeepney.io.asyncio import DBusConnection

NAME = "org.freedesktop.ModemManager1"
ROOT = "/org/freedesktop/ModemManager1"
MODEM = f"{ROOT}/Modem/0"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  {limits}
</busconfig>
"""

AT_HOME = {
    f"{NAME}.Modem": {
        "State": ("i", 11),
        "UnlockRequired": ("u", 1),
        "AccessTechnologies": ("u", 1 << 14),
        "SignalQuality": ("(ub)", (58, True)),
    },
    f"{NAME}.Modem.Modem3gpp": {"RegistrationState": ("u", 1), "OperatorName": ("s", "Telekom.de")},
    f"{NAME}.Modem.Signal": {
        "Lte": ("a{sv}", {"rsrp": ("d", -95.0), "rsrq": ("d", -10.0), "rssi": ("d", -77.0)}),
    },
}


class Bus:
    """A dbus-daemon; `address` is for DBUS_SYSTEM_BUS_ADDRESS. Stopped and started again as wanted.

    limits   of its configuration, from its next start on
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix:path={folder / 'bus'}"
        self.limits = ""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        config = self._folder / "bus.conf"
        config.write_text(_CONFIG.format(path=self._folder / "bus", limits=self.limits))
        self._process = await asyncio.create_subprocess_exec(
            *("dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline()

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None
            (self._folder / "bus").unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Bus]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


class ScriptedModemManager:
    """Serves `objects`; `asked` counts how often it was asked for them."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: DBusConnection
        self.objects: dict[str, Any] = {MODEM: AT_HOME}
        self.answer: tuple[str, Any] | None = None
        self.asked = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedModemManager]:
        async with await open_dbus_connection(self._address) as self._connection:
            await self._connection.send(message_bus.RequestName(NAME))
            serving = asyncio.create_task(self._serve())
            try:
                yield self
            finally:
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError, EOFError, OSError):  # its bus may have gone
                    await serving

    async def changed(self, interface: str, properties: dict[str, tuple[str, Any]], path: str = MODEM) -> None:
        """Set these, and say so as ModemManager does."""
        interfaces = dict(self.objects[path])
        interfaces[interface] = interfaces.get(interface, {}) | properties
        self.objects[path] = interfaces
        await self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", (interface, properties, []))

    async def removed(self, path: str = MODEM) -> None:
        interfaces = list(self.objects.pop(path))
        await self._signal(ROOT, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", "oas", (path, interfaces))

    async def added(self, path: str, interfaces: dict[str, Any]) -> None:
        self.objects[path] = interfaces
        body = (path, interfaces)
        await self._signal(ROOT, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", "oa{sa{sv}}", body)

    async def _signal(self, path: str, interface: str, name: str, signature: str, body: Any) -> None:
        await self._connection.send(new_signal(DBusAddress(path, interface=interface), name, signature, body))

    async def _serve(self) -> None:
        while True:
            message = await self._connection.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            if message.header.fields[HeaderFields.member] != "GetManagedObjects":
                await self._connection.send(new_error(message, "org.freedesktop.DBus.Error.UnknownMethod"))
                continue
            self.asked += 1
            signature, body = self.answer or ("a{oa{sa{sv}}}", (self.objects,))
            await self._connection.send(new_method_return(message, signature, body))
