# SPDX-License-Identifier: Apache-2.0
"""A small MQTT broker whose every answer is scripted: for what no real one can be made to say at will.

Packets are written by hand after MQTT 5.0 (and 3.1.1) chapter 3. It keeps the rules that a client can break: a packet
id in use twice, more unacknowledged publishes than Receive Maximum, an alias that was never given, are `violations`.

    answer(publish)   bytes to send back; None withholds the acknowledgement; CLOSE ends the connection
    admit(connect)    "" or why it closes instead of CONNACK
    judge(publish)    "" or why it closes over this publish, those before it unanswered; both are kept in `closed_over`
    round_trip_s      each answer to a publish takes so long
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

CLOSE = b""
ACCEPT = b"\x20\x03\x00\x00\x00"
"""CONNACK: no session, success, no properties."""


@dataclass(frozen=True)
class Publish:
    """One PUBLISH as it came in."""

    topic: str
    payload: bytes
    packet_id: int
    duplicate: bool
    retain: bool
    size_bytes: int
    qos: int = 1
    content_type: str = ""
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Connect:
    """One CONNECT as it came in; None where there is none of it."""

    level: int
    client_id: str
    keepalive_s: int
    clean: bool
    username: str | None = None
    password: str | None = None
    will: Publish | None = None
    properties: tuple[tuple[str, str], ...] = ()
    receive_maximum: int | None = None
    packet_bytes_max: int | None = None
    alpn: str | None = None
    subject: str = ""


def puback(publish: Publish, code: int = 0, words: str = "") -> bytes:
    """PUBACK with a reason code and, if given, a Reason String."""
    body = publish.packet_id.to_bytes(2, "big") + bytes([code])
    if words:
        text = words.encode()
        string = b"\x1f" + len(text).to_bytes(2, "big") + text
        body += bytes([len(string)]) + string
    return b"\x40" + bytes([len(body)]) + body


def disconnect(code: int) -> bytes:
    """DISCONNECT by the broker."""
    return b"\xe0\x02" + bytes([code, 0])


def connack(code: int = 0, properties: bytes = b"") -> bytes:
    """CONNACK of MQTT 5."""
    return b"\x20" + bytes([3 + len(properties), 0, code, len(properties)]) + properties


@dataclass
class ScriptedBroker:
    """Listens on 127.0.0.1:`port` inside `async with`."""

    answer: Callable[[Publish], bytes | None] = puback
    connack: Callable[[int], bytes | None] = lambda level: ACCEPT if level == 5 else b"\x20\x02\x00\x00"
    granted: Callable[[int], int] = lambda level: 1
    receive_maximum: int = 65_535
    answers_pings: bool = True
    admit: Callable[[Connect], str] = lambda connect: ""
    judge: Callable[[Publish, Sequence[Publish]], str] = lambda publish, unanswered: ""
    round_trip_s: float = 0.0
    tls: ssl.SSLContext | None = None
    connects: list[Connect] = field(default_factory=list)
    closed_over: list[str] = field(default_factory=list)
    port: int = 0
    levels: list[int] = field(default_factory=list)
    publishes: list[Publish] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    unacknowledged_max: int = 0
    goodbyes: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a packet brings about."""
        async with self.arrived:
            await self.arrived.wait_for(condition)

    def payloads(self, suffix: str = "/batch") -> list[bytes]:
        """What was published to topics that end so, in order."""
        return [publish.payload for publish in self.publishes if publish.topic.endswith(suffix)]

    def cut(self) -> None:
        """End every connection that is open."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await _Conversation(self, reader, writer).run()
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)
            async with self.arrived:
                self.arrived.notify_all()


@dataclass(frozen=True)
class Properties:
    """Those that a client of ours may send (MQTT 5.0, 2.2.2.2)."""

    content_type: str = ""
    alias: int = 0
    user: tuple[tuple[str, str], ...] = ()
    receive_maximum: int | None = None
    packet_bytes_max: int | None = None


@dataclass
class Fields:
    """The fields of a packet, one after the other."""

    rest: bytes

    def take(self, size: int) -> bytes:
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def data(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))

    def text(self) -> str:
        return self.data().decode()

    def properties(self) -> Properties:
        length = shift = 0
        while True:
            byte = self.take(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        inner, content_type, user = Fields(self.take(length)), "", []
        numbers: dict[int, int] = {}
        while inner.rest:
            kind = inner.take(1)[0]
            if kind == 0x03:
                content_type = inner.text()
            elif kind == 0x26:
                user.append((inner.text(), inner.text()))
            else:
                numbers[kind] = int.from_bytes(inner.take({0x11: 4, 0x21: 2, 0x23: 2, 0x27: 4}[kind]), "big")
        return Properties(content_type, numbers.get(0x23, 0), tuple(user), numbers.get(0x21), numbers.get(0x27))


class _Conversation:
    """One connection."""

    def __init__(self, broker: ScriptedBroker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._broker = broker
        self._reader = reader
        self._writer = writer
        self._level = 0
        self._open: dict[int, Publish] = {}
        self._aliases: dict[int, str] = {}

    async def run(self) -> None:
        while True:
            kind, body = await self._packet()
            reply = self._handle(kind, body)
            async with self._broker.arrived:
                self._broker.arrived.notify_all()
            if reply is CLOSE:
                return
            if reply and reply[0] == 0x40 and self._broker.round_trip_s:
                asyncio.get_running_loop().call_later(self._broker.round_trip_s, self._send, reply)
            elif reply:
                self._send(reply)
                await self._writer.drain()
                if reply[0] == 0xE0:
                    return

    def _send(self, reply: bytes) -> None:
        if reply[0] == 0x40:
            self._open.pop(int.from_bytes(reply[2:4], "big"), None)
        if not self._writer.is_closing():
            self._writer.write(reply)

    def _handle(self, kind: int, body: bytes) -> bytes | None:
        broker = self._broker
        if kind >> 4 == 1:
            self._level = body[6]
            broker.levels.append(self._level)
            connect = self._connect(body)
            broker.connects.append(connect)
            return CLOSE if self._closes(broker.admit(connect)) else broker.connack(self._level)
        if kind >> 4 == 12:
            return b"\xd0\x00" if broker.answers_pings else None
        if kind >> 4 == 8:
            properties, code = b"\x00" if self._level == 5 else b"", bytes([broker.granted(self._level)])
            return b"\x90" + bytes([3 + len(properties)]) + body[:2] + properties + code
        if kind >> 4 == 14:
            broker.goodbyes += 1
            return CLOSE
        if kind >> 4 != 3:
            broker.violations.append(f"packet type {kind >> 4}")
            return None
        publish = self._publish(kind, body)
        unanswered = [other for number, other in self._open.items() if number != publish.packet_id]
        if self._closes(broker.judge(publish, unanswered)):
            return CLOSE
        broker.publishes.append(publish)
        reply = puback(publish) if publish.topic.endswith("/status") else broker.answer(publish)
        if reply and publish.qos == 2 and reply[0] == 0x40:
            reply = b"\x50" + reply[1:]  # PUBREC says what PUBACK would
        if reply and self._level == 4 and reply[0] in (0x40, 0x50):
            return reply[:1] + b"\x02" + reply[2:4]
        return reply

    def _closes(self, reason: str) -> bool:
        if reason:
            self._broker.closed_over.append(reason)
        return bool(reason)

    def _connect(self, body: bytes) -> Connect:
        """CONNECT (3.1): name, level, flags, keep-alive, properties; client id, will, user name, password."""
        flags, keepalive_s, reader = body[7], int.from_bytes(body[8:10], "big"), Fields(body[10:])
        five = self._level == 5
        own = reader.properties() if five else Properties()
        client_id = reader.text()
        will = None
        if flags & 0x04:
            of_will = reader.properties() if five else Properties()
            topic, payload, qos = reader.text(), reader.data(), flags >> 3 & 3
            will = Publish(topic, payload, 0, False, bool(flags & 0x20), len(payload), qos, of_will.content_type)
        username = reader.text() if flags & 0x80 else None
        password = reader.text() if flags & 0x40 else None
        tls = self._writer.get_extra_info("ssl_object")
        names = dict(pair for part in (tls.getpeercert() or {}).get("subject", ()) for pair in part) if tls else {}
        return Connect(
            self._level,
            client_id,
            keepalive_s,
            bool(flags & 2),
            username,
            password,
            will,
            own.user,
            own.receive_maximum,
            own.packet_bytes_max,
            tls.selected_alpn_protocol() if tls else None,
            names.get("commonName", ""),
        )

    def _publish(self, kind: int, body: bytes) -> Publish:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, packet_id, reader = (
            body[2:end].decode(),
            int.from_bytes(body[end : end + 2], "big"),
            Fields(body[end + 2 :]),
        )
        properties = reader.properties() if self._level == 5 else Properties()
        if properties.alias:
            topic = self._alias(properties.alias, topic)
        publish = Publish(
            topic,
            reader.rest,
            packet_id,
            bool(kind & 8),
            bool(kind & 1),
            len(body),
            kind >> 1 & 3,
            properties.content_type,
            properties.user,
        )
        if packet_id in self._open:
            self._broker.violations.append(f"packet id {packet_id} twice")
        self._open[packet_id] = publish
        self._broker.unacknowledged_max = max(self._broker.unacknowledged_max, len(self._open))
        if len(self._open) > self._broker.receive_maximum:
            self._broker.violations.append("receive maximum exceeded")
        return publish

    def _alias(self, number: int, topic: str) -> str:
        if topic:
            self._aliases[number] = topic
        elif number not in self._aliases:
            self._broker.violations.append(f"topic alias {number} unknown")
        return self._aliases.get(number, topic)

    async def _packet(self) -> tuple[int, bytes]:
        kind = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, await self._reader.readexactly(length)
