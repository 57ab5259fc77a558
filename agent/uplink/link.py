# SPDX-License-Identifier: Apache-2.0
"""The sender's transport over MQTT: a new connection per link, the protocol version found once.

Under version "auto" MQTT 5 is tried first. A broker that refuses it (0x84, CONNACK 0x01, or closing without a
word) is asked again in 3.1.1 at once. Where it refused in words, that is remembered until 3.1.1 is refused as well;
where it only closed, the network may have done it, and the next link is asked for MQTT 5 again.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.threads import apart
from agent.uplink import credentials, dialing
from agent.uplink.labels import NONE
from agent.uplink.mqtt import V5, V311, VERSION_NAMES, ClosedEarlyError, MqttConnection, VersionRefusedError
from agent.uplink.rotation import Rotation
from agent.uplink.transport import Answer, Outcome, RefusedError, Trouble

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from aiomqtt import ProtocolVersion

    from agent.uplink.labels import Labels
    from agent.uplink.options import MqttOptions, Session
    from agent.uplink.transport import LinkLimits, LinkLoss


class UnreadableError(RefusedError):
    """Nobody was asked: a file that logging in needs cannot be used."""


class Dialer:
    """Opens connections to one broker; each call is one try, or two while the version is being found."""

    def __init__(self, options: MqttOptions, session: Session | None = None, rotation: Rotation | None = None) -> None:
        self._options = options
        self._session = session
        self._rotation = rotation or Rotation()
        self._only_older = False

    async def dial(self) -> MqttConnection:
        """A connection past its CONNACK, to be ended by `async with`. Raises RefusedError in time."""
        try:
            return await self._find_version()
        except RefusedError as error:
            doubtful = error.trouble is Trouble.UNAUTHORIZED or error.silent
            doubtful &= not isinstance(error, UnreadableError)
            if doubtful and self._rotation.refused(str(error), silent=error.silent):
                raise RefusedError(str(error), Trouble.DROPPED) from None  # no need for patience: another pair is next
            raise

    async def _find_version(self) -> MqttConnection:
        wanted = self._options.version
        if wanted != "auto":
            return await self._dial(V5 if wanted == "5" else V311)
        if not self._only_older:
            try:
                return await self._dial(V5)
            except VersionRefusedError as error:
                self._only_older = not isinstance(error, ClosedEarlyError)
        try:
            return await self._dial(V311)
        except VersionRefusedError:
            self._only_older = False
            raise

    async def _dial(self, version: ProtocolVersion) -> MqttConnection:
        options = self._options
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                read = functools.partial(self._read_credentials, options)
                context, password = await apart(read, "uplink-credentials")
                connection = MqttConnection(options, version, password=password, session=self._session)
                sock = await dialing.open_socket(options, context)
                return await connection.open(sock)
        except TimeoutError:
            raise RefusedError(
                f"broker {options.address}: no answer within {options.connect_timeout_s:g} s: "
                "check mqtt.broker and the network",
                Trouble.UNREACHABLE,
            ) from None
        except ConfigError as error:
            trouble = Trouble.UNREACHABLE if isinstance(error, credentials.TpmError) else Trouble.UNAUTHORIZED
            raise UnreadableError(f"broker {options.address}: {error}", trouble) from None

    def _read_credentials(self, options: MqttOptions) -> tuple[ssl.SSLContext | None, str | None]:
        """Anew for each connection; blocks for the disk, and for the TPM."""
        return self._rotation.context(options) if options.tls else None, credentials.read_password(options)


@dataclass(frozen=True, slots=True)
class MqttLink:
    """A `Link` over one connection."""

    connection: MqttConnection
    rotation: Rotation

    @property
    def limits(self) -> LinkLimits:
        """What the broker's CONNACK said."""
        return self.connection.limits

    @property
    def version(self) -> str:
        """The MQTT version that is spoken."""
        return VERSION_NAMES[self.connection.version]

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, labels: Labels = NONE) -> Answer:
        """QoS 1. A new certificate that may not publish is given up with its link, where there is another one."""
        answer = await self.connection.send(topic, payload, retain=retain, labels=labels)
        if answer.outcome is Outcome.ACCEPTED:
            self.rotation.proved()
        elif answer.outcome is Outcome.UNAUTHORIZED and self.rotation.refused(f"publish to {topic}: {answer.reason}"):
            self.connection.give_up("the other certificate is tried")
            return Answer(Outcome.LOST, answer.code, answer.reason)
        return answer

    async def lost(self) -> LinkLoss:
        """Wait for the link's end."""
        return await self.connection.lost()


class MqttTransport:
    """A `Transport` over MQTT."""

    def __init__(self, options: MqttOptions, rotation: Rotation | None = None) -> None:
        self._options = options
        self._rotation = rotation or Rotation()
        self._rotation.begin(options.address)
        self._dialer = Dialer(options, rotation=self._rotation)

    @property
    def address(self) -> str:
        """host:port of the broker."""
        return self._options.address

    def has_route(self) -> bool:
        """Whether the kernel knows where packets to the broker would go."""
        return dialing.has_route(self._options.host)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[MqttLink, None]:
        """One link. Raises RefusedError where none comes up."""
        async with await self._dialer.dial() as connection:
            try:
                yield MqttLink(connection, self._rotation)
            finally:
                loss = connection.loss
                if loss is not None and loss.by_peer and self._rotation.in_use != self._rotation.kept:
                    self._rotation.refused(loss.reason, silent=loss.trouble is not Trouble.UNAUTHORIZED)
