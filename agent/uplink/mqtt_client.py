# SPDX-License-Identifier: Apache-2.0
"""The MQTT library behind the link: one aiomqtt client per connection, made to tell the truth.

Promise: a publish returns at its PUBACK, with the reason code in it, or at the link's loss, whichever is first.
Receive Maximum, Maximum Packet Size, Retain Available and Topic Alias Maximum of the CONNACK are honoured
(MQTT 5.0, 3.2.2.3). A connection is made by `connect`, never in a thread, and used once: what was in flight
when it ended is forgotten here, because the spool still has it.

Limits: QoS 1 only. A dead link is found `acknowledge_timeout_s` after the last byte
that moved while a publish waits, `keepalive_s + answer_timeout_s` after it on an idle link. What the broker sends is
not trusted: `Gate` checks each packet before the library sees it, and the broker is told what it may send at all.

aiomqtt drives paho-mqtt by the event loop and is kept for that. The rest it hides (reason codes, CONNACK
properties, the reason of a loss before CONNACK), so this reads private attributes of both; their versions are
pinned to a narrow range.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.enums import MQTTErrorCode

from agent.uplink import connect
from agent.uplink.in_flight import DeadLinkDetector, InFlight
from agent.uplink.incoming import CONNACK, CUT_BYTES, PUBACK, PUBLISH, Gate, Incoming
from agent.uplink.options import Session
from agent.uplink.packets import TopicAliases, client_arguments, limits_of_connack, publish_properties, read_publish
from agent.uplink.properties import NONE
from agent.uplink.reasons import REFUSALS, broker_words
from agent.uplink.transport import (
    TOO_LARGE,
    Answer,
    ClosedEarlyError,
    LinkLimits,
    LinkLoss,
    Outcome,
    Received,
    RefusedError,
    Trouble,
    VersionRefusedError,
    packet_bytes,
    trouble_of_disconnect,
    trouble_of_refusal,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    import paho.mqtt.client as paho
    from paho.mqtt.reasoncodes import ReasonCode

    from agent.uplink.in_flight import Traffic
    from agent.uplink.options import MqttOptions
    from agent.uplink.properties import MessageProperties

V5 = aiomqtt.ProtocolVersion.V5
V311 = aiomqtt.ProtocolVersion.V311
VERSION_NAMES = {V5: "5", V311: "3.1.1"}

_ALIASES = 8
_GOODBYE_S = 2.0
_READ_BYTES = 64 << 10
_SILENT = logging.Logger("canferry.mqtt", logging.CRITICAL + 1)


class MqttConnection(aiomqtt.Client):
    """One connection, once: `open` it, then `async with` to have it ended in good order."""

    def __init__(
        self,
        options: MqttOptions,
        version: aiomqtt.ProtocolVersion,
        *,
        password: str | None = None,
        session: Session | None = None,
    ) -> None:
        session = session or Session()
        five = version is V5
        arguments = client_arguments(options, session, five=five)
        super().__init__(options.host, options.port, password=password, protocol=version, logger=_SILENT, **arguments)
        self.options = options
        self.version = version
        self.limits = LinkLimits()
        self.session_present = False
        self._loss: asyncio.Future[LinkLoss] = self._loop.create_future()
        self._incoming = Incoming()
        self._paused = False
        self._gate = Gate(subscribed=not session.clean, five=five)
        self._aliases = TopicAliases()
        self._dead_link = DeadLinkDetector()
        self._in_flight = InFlight(self._dead_link)
        self._io_error: OSError | None = None
        self._wire(self._client)

    async def open(self, sock: socket.socket) -> Self:
        """Speak MQTT until CONNACK on a connected, non-blocking socket, owned from here on. Raises RefusedError."""
        self._client._create_socket = [sock].pop  # type: ignore[method-assign]  # noqa: SLF001 - and forgets it
        try:
            self._client_connect()
            await self._connected
        except BaseException:
            self._end(LinkLoss(Trouble.CLOSED, "given up"))
            raise
        return self

    async def __aenter__(self) -> Self:
        """Nothing more to do: `open` has done it."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """DISCONNECT, which also withdraws the last will, as far as the link lets it out; then close."""
        try:
            if not self._loss.done() and self._client.disconnect() == MQTT_ERR_SUCCESS:
                await asyncio.wait([self._loss], timeout=_GOODBYE_S)
        finally:
            self._end(LinkLoss(Trouble.CLOSED, "closed"))
            await asyncio.sleep(0)
            if self._misc_task is not None:
                self._misc_task.cancel()
                await asyncio.wait([self._misc_task])

    @property
    def version_name(self) -> str:
        """The MQTT version that is spoken."""
        return VERSION_NAMES[self.version]

    async def lost(self) -> LinkLoss:
        """Wait for the link's end."""
        return await asyncio.shield(self._loss)

    @property
    def loss(self) -> LinkLoss | None:
        """Why the link ended; None while it is up."""
        return self._loss.result() if self._loss.done() else None

    def await_receipt(self) -> None:
        """The next publish is one with QoS 2, of which only the PUBREC is wanted."""
        self._gate.awaits_receipt = True

    def give_up(self, reason: str) -> None:
        """End the link now; what is in flight is lost."""
        self._end(LinkLoss(Trouble.DROPPED, reason))

    async def send(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: MessageProperties = NONE
    ) -> Answer:
        """Publish with QoS 1 and wait for PUBACK or the link's loss. Cancelling does not unsend."""
        if self.version is V311:
            properties = NONE
        most, limit = self.limits.payload_bytes(topic, properties), self.limits.maximum_packet_bytes
        if most is not None and len(payload) > most:
            text = (
                f"{len(payload)} bytes; the broker takes at most {limit} a packet, {most} beside topic and properties"
            )
            return Answer(Outcome.UNACCEPTABLE, TOO_LARGE, text)
        await self._in_flight.place()
        if self._loss.done():
            return self._lost_answer()
        name, alias = self._aliases.shorten(topic)
        size = packet_bytes(len(payload), topic, properties)
        retain = retain and self.limits.retain and size <= (self.options.retained_bytes_max or size)
        info = self._client.publish(name, payload, 1, retain, publish_properties(alias, properties))
        if info.rc != MQTT_ERR_SUCCESS:
            self._end(self._local_loss("it cannot be sent"))
            return self._lost_answer()
        return await self._in_flight.sent(info.mid)

    async def receive(self) -> Received | None:
        """The next message that came in; None once the link has ended and nothing is left."""
        message = await self._incoming.next()
        if self._paused and not self._incoming.is_full:
            self._resume()
        return message

    async def subscribe_all(self, filters: Sequence[str], qos: int) -> None:
        """Subscribe; messages then wait for `acknowledge`. Raises RefusedError where one is not granted."""
        where = f"broker {self.options.address}"
        try:
            granted = await self.subscribe([(name, qos) for name in filters])
        except aiomqtt.MqttError as error:
            text = f"{where}: cannot subscribe: {str(error).lower()}"
            raise RefusedError(text, Trouble.UNREACHABLE) from None
        for name, code in zip(filters, granted, strict=False):
            value = int(getattr(code, "value", 0x80))
            if value >= 0x80:
                text = f"{where}: refuses to subscribe us to {name} (0x{value:02X}): check its access rules"
                raise RefusedError(text, Trouble.UNAUTHORIZED)

    # From here on: called in the event loop, by paho's socket callbacks and by the task that looks for a dead link.

    def _wire(self, client: paho.Client) -> None:
        """Put our own handling where paho would hide something, or aiomqtt would be a step late."""
        client.disable_logger()
        record = functools.partial(setattr, self, "_io_error")
        receive = connect.reporting_errors(client._sock_recv, record)  # noqa: SLF001
        send = connect.reporting_errors(
            client._sock_send,  # noqa: SLF001
            lambda error: record(connect.last_alert(client.socket(), error)),
        )
        client._sock_recv = lambda size: receive(self._allowed(size))  # type: ignore[assignment,method-assign]  # noqa: SLF001
        client._sock_send = send  # type: ignore[assignment,method-assign]  # noqa: SLF001
        client._packet_handle = functools.partial(self._on_packet, client._packet_handle)  # type: ignore[method-assign]  # noqa: SLF001

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._loop.add_reader(sock.fileno(), self._read)
        self._misc_task = self._loop.create_task(self._misc_loop(), name="mqtt-dead-link")

    def _read(self) -> None:
        """Take in what has come, as far as there is room for it."""
        try:
            self._client.loop_read()
            while not self._incoming.is_full and getattr(self._client.socket(), "pending", int)() > 0:
                self._client.loop_read()
        except Exception as error:  # noqa: BLE001 - what a peer sends must not end the process
            self._end(self._local_loss(f"what the broker sent is not understood ({error})"))
        sock = self._client.socket()
        if sock is not None and self._incoming.is_full:
            self._paused = self._loop.remove_reader(sock.fileno())

    def _resume(self) -> None:
        self._paused = False
        sock = self._client.socket()
        if sock is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            self._loop.call_soon(self._read)  # what TLS has decrypted makes no socket readable

    def _on_socket_register_write(self, client: paho.Client, _userdata: Any, sock: Any) -> None:
        def writable() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - as above
                self._end(self._local_loss(f"it cannot be sent ({error})"))

        self._loop.add_writer(sock.fileno(), writable)

    def _on_connect(
        self, _client: Any, _userdata: Any, flags: Any, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        code = reason_code.value
        if self._connected.done():
            return
        if code == 0 and getattr(properties, "MaximumQoS", 1) < 1:
            code = 0x9B
        if code == 0:
            self.session_present = bool(flags.session_present)
            self._set_limits(properties)
            self._connected.set_result(None)
            return
        self._refuse(code, str(reason_code).lower(), properties)

    def _refuse(self, code: int, words: str, properties: Any) -> None:
        kind = VersionRefusedError if code == 0x84 else RefusedError
        text = f"broker {self.options.address}: {REFUSALS.get(code, words)} (0x{code:02X}){broker_words(properties)}"
        self._connected.set_exception(kind(text, trouble_of_refusal(code), code))

    def _set_limits(self, properties: Any) -> None:
        self.limits = limits_of_connack(properties, self.options)
        self._in_flight.allow(self.limits.receive_maximum)
        self._aliases = TopicAliases(min(getattr(properties, "TopicAliasMaximum", 0), _ALIASES))

    def _on_disconnect(
        self, _client: Any, _userdata: Any, flags: Any, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        code = reason_code.value
        if flags.is_disconnect_packet_from_server:
            name = f"{str(reason_code).lower()} (0x{code:02X}){broker_words(properties)}"
            loss = LinkLoss(trouble_of_disconnect(code), f"the broker disconnected: {name}", code, by_peer=True)
        elif code == 0:
            loss = LinkLoss(Trouble.CLOSED, "closed")
        elif code == 0x8D:
            loss = self._local_loss("no answer to a ping")
        else:
            loss = self._local_loss("the other end closed the connection", by_peer=True)
        self._end(loss)

    def _allowed(self, size: int) -> int:
        """How many bytes of a packet to read at once: none of one that nobody can have asked for."""
        packet = self._client._in_packet  # noqa: SLF001
        head, whole = packet["command"], packet["remaining_length"]
        if packet["have_remaining"] and self._gate.is_too_long(head, whole):
            text = f"the broker announced a packet of {whole} bytes, which nobody asked for"
            self._end(self._local_loss(text))
            raise ConnectionAbortedError(text)
        if self._gate.is_cut(head, whole):
            del packet["packet"][CUT_BYTES:]
        return min(size, _READ_BYTES)

    def _on_packet(self, handle: Callable[[], MQTTErrorCode]) -> MQTTErrorCode:
        """A whole packet, in paho's hands: what is not for us goes no further, what paho would hide is read here."""
        head, packet = self._client._in_packet["command"], self._client._in_packet["packet"]  # noqa: SLF001
        if refusal := self._gate.refusal(head, len(packet)):
            self._end(self._local_loss(refusal))
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        if head >> 4 == PUBACK:
            return self._on_acknowledgement(bytes(packet))
        if head >> 4 == PUBLISH:
            return self._on_message_packet(head, packet)
        if head >> 4 == CONNACK and self.version is V311 and packet[1:] == b"\x01":
            self._refuse(0x84, "", None)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return handle()

    def _on_message_packet(self, head: int, packet: bytearray) -> MQTTErrorCode:
        """A message; one that nobody subscribed to is acknowledged, and dropped."""
        size = self._client._in_packet["remaining_length"]  # noqa: SLF001
        if self._gate.is_cut(head, size):
            del packet[CUT_BYTES:]
        message = read_publish(head, packet, five=self.version is V5)
        acknowledge = functools.partial(self._acknowledge, message.packet_id)
        if self._gate.subscribed:
            omitted = size - len(packet)
            self._incoming.put(Received(message.topic, message.payload, message.retain, acknowledge, omitted))
        else:
            acknowledge()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_acknowledgement(self, packet: bytes) -> MQTTErrorCode:
        """PUBACK (3.4): packet id, then reason code and properties unless they are success and none.

        Read here rather than by paho, which drops the connection over a code that the standard does not
        list for PUBACK; mosquitto sends 0x95 there.
        """
        if len(packet) < 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        packet_id = int.from_bytes(packet[:2], "big")
        self._client._out_messages.pop(packet_id, None)  # noqa: SLF001
        self._in_flight.answered(packet_id, packet[2] if len(packet) > 2 else 0, packet[3:])
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _acknowledge(self, packet_id: int) -> None:
        if packet_id and not self._loss.done():
            self._client._send_puback(packet_id)  # noqa: SLF001

    async def _misc_loop(self) -> None:
        """Keep-alive, and the end of a link on which nothing moves although something should."""
        tick_s = min(1.0, self.options.acknowledge_timeout_s / 4, self.options.answer_timeout_s / 4)
        while not self._loss.done():
            await asyncio.sleep(tick_s)
            self._client.loop_misc()
            sock = self._client.socket()
            if sock is not None:
                self._check_movement(connect.traffic(sock))  # type: ignore[arg-type]

    def _check_movement(self, traffic: Traffic) -> None:
        now, dead_link, options = self._loop.time(), self._dead_link, self.options
        dead_link.update(now, traffic)
        pinged_at = self._client._ping_t  # noqa: SLF001 - in the same clock, time.monotonic
        if self._in_flight and dead_link.unacknowledged_s(now) > options.acknowledge_timeout_s:
            self._end(self._local_loss(f"no acknowledgement for {options.acknowledge_timeout_s:g} s"))
        elif dead_link.unanswered_s(time.monotonic(), pinged_at) > options.answer_timeout_s:
            self._end(self._local_loss(f"no answer to a ping for {options.answer_timeout_s:g} s"))

    def _local_loss(self, reason: str, *, by_peer: bool = False) -> LinkLoss:
        if self._io_error is not None:
            reason, by_peer = connect.explain(self._io_error), isinstance(self._io_error, ConnectionError)
        return LinkLoss(Trouble.DROPPED, reason, by_peer=by_peer)

    def _end(self, loss: LinkLoss) -> None:
        """The one end of the link: said once, to everyone who waits; the socket closed."""
        if self._loss.done():
            return
        self._loss.set_result(loss)
        if not self._connected.done():
            self._connected.set_exception(self._lost_before_connack(loss))
            self._connected.exception()
        self._in_flight.end(self._lost_answer())
        for granted in self._pending_subscribes.values():
            if not granted.done():
                granted.set_exception(aiomqtt.MqttError(loss.reason))
        self._incoming.end()
        self._loop.call_soon(self._client._sock_close)  # noqa: SLF001 - soon: paho may hold its callback lock

    def _lost_before_connack(self, loss: LinkLoss) -> RefusedError:
        """Brokers that do not know a protocol version, or a client, often just close."""
        if self._io_error is not None and not isinstance(self._io_error, ConnectionError):
            return connect.refused(self.options, self._io_error)
        where = f"broker {self.options.address}"
        if not loss.by_peer:
            return RefusedError(f"{where}: {loss.reason}", Trouble.UNREACHABLE)
        hint = "" if self.options.tls else ", and whether this port wants mqtts://"
        text = f"{where}: it closed the connection without an answer: check its log{hint}"
        if self.version is V5:
            text += '; where it speaks MQTT 3.1.1 alone and closes over any other, set mqtt.version = "3.1.1"'
        return ClosedEarlyError(text, Trouble.UNREACHABLE)

    def _lost_answer(self) -> Answer:
        loss = self._loss.result()
        return Answer(Outcome.LOST, loss.code, loss.reason)
