# SPDX-License-Identifier: Apache-2.0
"""The sender's transport over MQTT: a new connection per link, the protocol version found once.

Under version "auto" MQTT 5 is tried first, and 3.1.1 is spoken only where the broker's CONNACK refuses that (0x84, or
0x01 as 3.1.1 has it), for in 3.1.1 it cannot say that it has not taken a batch. A connection that just ends, which
anybody on the way can bring about, changes nothing. A refusal is remembered until 3.1.1 is refused as well. Once MQTT 5
has worked with a broker, which lasts over restarts (`brokers`), it is never given up.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.system.process import run_in_daemon_thread
from agent.uplink import connect, credentials
from agent.uplink.brokers import BrokerMemory
from agent.uplink.certificate_rotation import CertificateRotation
from agent.uplink.mqtt_client import V5, V311, MqttConnection
from agent.uplink.properties import NONE
from agent.uplink.transport import Answer, Outcome, RefusedError, Trouble, VersionRefusedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from aiomqtt import ProtocolVersion

    from agent.uplink.options import MqttOptions, Session
    from agent.uplink.properties import MessageProperties
    from agent.uplink.transport import LinkLimits, LinkLoss


_NEVER_GIVEN_UP = (
    '"auto" keeps to MQTT 5 with a broker that has spoken it, for in 3.1.1 it cannot tell that it refuses a batch; '
    '"3.1.1" accepts that'
)


class UnreadableError(RefusedError):
    """Nobody was asked: a file that logging in needs cannot be used."""


class Connector:
    """Opens connections to one broker; each call is one try, or two while the version is being found."""

    def __init__(
        self,
        options: MqttOptions,
        session: Session | None = None,
        rotation: CertificateRotation | None = None,
        memory: BrokerMemory | None = None,
    ) -> None:
        self._options = options
        self._session = session
        self._rotation = rotation or CertificateRotation()
        self._memory = memory or BrokerMemory()
        self._only_older = False

    async def connect(self) -> MqttConnection:
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
            return await self._connect(V5 if wanted == "5" else V311)
        if not self._only_older:
            try:
                return await self._connect_five()
            except VersionRefusedError as error:
                if error.silent:
                    raise
                if self._memory.speaks_five(self._options.address):
                    raise VersionRefusedError(f"{error} {_NEVER_GIVEN_UP}", error.trouble, error.code) from None
                self._only_older = True
        try:
            return await self._connect(V311)
        except VersionRefusedError:
            self._only_older = False
            raise

    async def _connect_five(self) -> MqttConnection:
        """MQTT 5, remembered where it works."""
        connection = await self._connect(V5)
        address = self._options.address
        if not self._memory.speaks_five(address):
            try:
                await run_in_daemon_thread(functools.partial(self._memory.remember_five, address), "uplink-brokers")
            except BaseException:
                connection.give_up("given up")
                raise
        return connection

    async def _connect(self, version: ProtocolVersion) -> MqttConnection:
        options = self._options
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                read = functools.partial(self._read_credentials, options)
                context, password = await run_in_daemon_thread(read, "uplink-credentials")
                connection = MqttConnection(options, version, password=password, session=self._session)
                sock = await connect.open_socket(options, context)
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
    """A `Link` over one connection.

    accepts_unheard   what nobody subscribes to is taken by the broker's rules
    """

    connection: MqttConnection
    rotation: CertificateRotation
    accepts_unheard: bool = False

    @property
    def limits(self) -> LinkLimits:
        """What the broker's CONNACK said."""
        return self.connection.limits

    @property
    def version(self) -> str:
        """The MQTT version that is spoken."""
        return self.connection.version_name

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: MessageProperties = NONE
    ) -> Answer:
        """QoS 1. A new certificate that may not publish is given up with its link, where there is another one."""
        answer = await self.connection.send(topic, payload, retain=retain, properties=properties)
        if answer.outcome in (Outcome.ACCEPTED, Outcome.NO_SUBSCRIBERS):
            self.rotation.proved()
            if answer.outcome is Outcome.NO_SUBSCRIBERS and (self.accepts_unheard or (retain and self.limits.retain)):
                return Answer(Outcome.ACCEPTED, answer.code)
        elif answer.outcome is Outcome.UNAUTHORIZED and self.rotation.refused(f"publish to {topic}: {answer.reason}"):
            self.connection.give_up("the other certificate is tried")
            return Answer(Outcome.LOST, answer.code, answer.reason)
        return answer

    async def lost(self) -> LinkLoss:
        """Wait for the link's end."""
        return await self.connection.lost()


class MqttTransport:
    """A `Transport` over MQTT."""

    def __init__(
        self, options: MqttOptions, rotation: CertificateRotation | None = None, memory: BrokerMemory | None = None
    ) -> None:
        self._options = options
        self._rotation = rotation or CertificateRotation()
        self._rotation.begin(options.address)
        self._connector = Connector(options, rotation=self._rotation, memory=memory)

    @property
    def address(self) -> str:
        """host:port of the broker."""
        return self._options.address

    def has_route(self) -> bool:
        """Whether the kernel knows where packets to the broker would go."""
        return connect.has_route(self._options.host)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[MqttLink, None]:
        """One link. Raises RefusedError where none comes up."""
        async with await self._connector.connect() as connection:
            try:
                yield MqttLink(connection, self._rotation, self._options.no_subscribers == "accept")
            finally:
                loss = connection.loss
                if loss is not None and loss.by_peer and self._rotation.in_use != self._rotation.kept:
                    self._rotation.refused(loss.reason, silent=loss.trouble is not Trouble.UNAUTHORIZED)
