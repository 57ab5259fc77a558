# SPDX-License-Identifier: Apache-2.0
"""Whether a broker would take a publish, found out with one that reaches nobody.

QoS 2 takes two steps (MQTT 5.0, 4.3.3): with PUBREC the broker tells what it thinks of a message, of its topic, its
size and our right to it; it hands the message on when PUBREL comes. That never comes here, and the session ends.

Promise: what is sent is no batch, catalog or status: it is never retained, and its payload a frame of zstd's that
decompresses to nothing (RFC 8878, 3.1.2), for brokers that hand it on at once, as they may.
Limits: a broker that takes no QoS 2 is not asked. MQTT 3.1.1 cannot refuse in words: all that can be seen there is that
the broker closes the connection. A connection is good for one trial: what waits for its PUBREL counts against the
broker's Receive Maximum.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.uplink.properties import NONE
from agent.uplink.reasons import acknowledgement_text
from agent.uplink.transport import TOO_LARGE, Answer, Outcome, Trouble, outcome_of_acknowledgement, packet_bytes

if TYPE_CHECKING:
    from agent.uplink.mqtt_client import MqttConnection
    from agent.uplink.properties import MessageProperties

SKIPPABLE = b"\x50\x2a\x4d\x18"
"""The magic number of a skippable frame; its length follows in four bytes, little-endian."""
QOS_NOT_SUPPORTED = 0x9B
_CLOSED = {
    Trouble.UNAUTHORIZED: Outcome.UNAUTHORIZED,
    Trouble.BUSY: Outcome.BUSY,
    Trouble.TAKEN_OVER: Outcome.BUSY,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the broker thinks of a publish, None where it takes no QoS 2; `closed`: it ended the connection over it."""

    answer: Answer | None
    closed: bool = False


def empty_message(size_bytes: int) -> bytes:
    """A payload of this size, eight bytes at least, that holds nothing."""
    rest = max(0, size_bytes - 8)
    return SKIPPABLE + rest.to_bytes(4, "little") + bytes(rest)


def is_empty_message(payload: bytes) -> bool:
    """Whether it is one, and nothing behind it."""
    return payload[:4] == SKIPPABLE and int.from_bytes(payload[4:8], "little") == len(payload) - 8


async def try_publish(
    connection: MqttConnection, topic: str, size_bytes: int, timeout_s: float, properties: MessageProperties = NONE
) -> Verdict:
    """What the broker thinks of a message of this size on this topic; LOST where it does not say in time."""
    needed, most = packet_bytes(size_bytes, topic, properties), connection.limits.maximum_packet_bytes
    if most is not None and needed > most:
        text = f"{needed} bytes; the broker takes at most {most} a packet"
        return Verdict(Answer(Outcome.UNACCEPTABLE, TOO_LARGE, text))
    received: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    client = connection._client  # noqa: SLF001 - aiomqtt has no QoS 2 that stops half way

    def on_received() -> int:
        """PUBREC (3.5): packet id, then reason code and properties unless they are success and none."""
        packet = bytes(client._in_packet["packet"])  # noqa: SLF001
        code = packet[2] if len(packet) > 2 else 0
        if not received.done():
            received.set_result(Answer(outcome_of_acknowledgement(code), code, acknowledgement_text(code, packet[3:])))
        return 0

    connection.await_receipt()
    client._handle_pubrec = on_received  # type: ignore[assignment,method-assign]  # noqa: SLF001
    client.publish(topic, empty_message(size_bytes), qos=2)
    lost = asyncio.ensure_future(connection.lost())
    waiting: list[asyncio.Future[Any]] = [received, lost]
    await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if received.done():
        lost.cancel()
        return Verdict(received.result())
    if not lost.done():
        lost.cancel()
        return Verdict(Answer(Outcome.LOST, reason=f"no answer within {timeout_s:g} s"))
    loss = lost.result()
    if loss.code == QOS_NOT_SUPPORTED:
        return Verdict(None)
    outcome = _CLOSED.get(loss.trouble, Outcome.UNACCEPTABLE) if loss.by_peer else Outcome.LOST
    return Verdict(Answer(outcome, loss.code, loss.reason), closed=loss.by_peer)
