# SPDX-License-Identifier: Apache-2.0
"""What a broker may send, and how much of it: asked of each packet before anything else looks at it.

    packet                    where nobody has subscribed             where somebody has
    CONNACK                   once, first                             the same
    PUBACK, PINGRESP          as they come                            the same
    DISCONNECT                in MQTT 5                               the same
    SUBACK                    no                                      as they come
    PUBLISH, QoS 0 or 1       dropped, `UNASKED_BYTES_MAX` in all     as they come, cut where they are too long
    PUBLISH, QoS 2            no                                      no, for QoS 1 is the most that is asked for
    PUBREC                    where one publish is a trial, once      no
    PUBREL, PUBCOMP           no: they belong to QoS 2                no
    any other                 no                                      no

Promise: what is not allowed costs the connection, and is neither kept nor answered. So nothing that a broker sends, of
whatever kind, in whatever order, at whatever rate, takes more memory than these limits: a PUBCOMP is no acknowledgement
of a publish with QoS 1, and no packet is collected because somebody says that it comes.
Limits: MQTT 3.1.1 has no Maximum Packet Size, and not every broker keeps to it. Of a PUBLISH longer than
`MESSAGE_BYTES_MAX` only the first `CUT_BYTES` are kept; the rest is read and dropped. A broker is not held to the
Receive Maximum that it was told: mosquitto 2.0.11 sends more. What
waits is bounded by its bytes: above `WAITING_BYTES_MAX` the connection reads no more, and TCP holds the broker back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.uplink.transport import Received


ANSWER_BYTES_MAX = 64 << 10
ASKED_BYTES_MAX = 32 << 20
"""What the broker is told to be the longest packet to a subscriber: it drops longer ones without a word."""
MESSAGE_BYTES_MAX, CUT_BYTES = 5 << 20, 256 << 10
UNASKED_BYTES_MAX = 1 << 20
"""Some brokers subscribe their clients to a topic of their own; so much of that is no reason to go."""
LEAST_BYTES = 1 << 10
"""A message counts as this much at least: it has to be kept or answered, however small it is."""

CONNACK, PUBLISH, PUBACK, PUBREC, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 5, 9, 13, 14
_NAMES = {5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP", 9: "SUBACK", 11: "UNSUBACK", 12: "PINGREQ", 15: "AUTH"}


@dataclass(slots=True)
class Gate:
    """Of one connection.

    subscribed       somebody takes messages away
    five             MQTT 5 is spoken
    awaits_receipt   a publish with QoS 2 is tried: its PUBREC may come
    """

    subscribed: bool
    five: bool
    awaits_receipt: bool = False
    _greeted: bool = False
    _unasked_bytes: int = 0

    def is_cut(self, command: int, size_bytes: int) -> bool:
        """Whether only the first `CUT_BYTES` of a packet are kept."""
        return self.subscribed and command >> 4 == PUBLISH and size_bytes > MESSAGE_BYTES_MAX

    def is_too_long(self, command: int, size_bytes: int) -> bool:
        """Whether nobody can have asked for a packet of this size."""
        return size_bytes > ANSWER_BYTES_MAX and not (self.subscribed and command >> 4 == PUBLISH)

    def refusal(self, command: int, size_bytes: int) -> str:
        """Why a packet with this first byte is not allowed; "" where it is."""
        kind, first = command >> 4, not self._greeted
        self._greeted = True
        if first != (kind == CONNACK):
            return "the broker did not begin with its CONNACK" if first else "the broker has sent a second CONNACK"
        if kind == PUBLISH:
            return self._refusal_of_publish(command >> 1 & 3, size_bytes)
        allowed = {CONNACK, PUBACK, PINGRESP}
        allowed |= {SUBACK} if self.subscribed else set()
        allowed |= {DISCONNECT} if self.five else set()
        if kind == PUBREC and self.awaits_receipt:
            self.awaits_receipt = False
            return ""
        if kind in allowed:
            return ""
        return f"the broker has sent a packet that nothing of ours asks for ({_NAMES.get(kind, f'type {kind}')})"

    def _refusal_of_publish(self, qos: int, size_bytes: int) -> str:
        if qos > 1:
            return f"the broker has sent a message with QoS {qos}, which nobody asked for"
        if self.subscribed:
            return ""
        self._unasked_bytes += max(size_bytes, LEAST_BYTES)
        too_much = self._unasked_bytes > UNASKED_BYTES_MAX
        return "the broker keeps sending messages, though nobody has subscribed" if too_much else ""


WAITING_BYTES_MAX = 16 << 20


class Incoming:
    """waiting_bytes   of payloads, not yet taken away."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._messages: asyncio.Queue[Received | None] = asyncio.Queue()

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self.waiting_bytes > WAITING_BYTES_MAX

    def put(self, message: Received) -> None:
        """One has come in."""
        self.waiting_bytes += _counted(message)
        self._messages.put_nowait(message)

    def end(self) -> None:
        """Nothing more comes."""
        self._messages.put_nowait(None)

    async def next(self) -> Received | None:
        """The next one; None, for ever, once the connection has ended and nothing is left."""
        message = await self._messages.get()
        if message is None:
            self.end()
            return None
        self.waiting_bytes -= _counted(message)
        return message


def _counted(message: Received) -> int:
    return max(LEAST_BYTES, len(message.payload))
