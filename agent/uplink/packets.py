# SPDX-License-Identifier: Apache-2.0
"""Parts of MQTT packets in the library's own types, and the numbers that stand for topics on a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.uplink.incoming import ANSWER_BYTES_MAX, ASKED_BYTES_MAX
from agent.uplink.transport import RECEIVE_MAXIMUM, LinkLimits

if TYPE_CHECKING:
    from agent.uplink.options import MqttOptions, Session
    from agent.uplink.properties import MessageProperties


@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH (3.3) as it comes in; `packet_id` 0 with QoS 0."""

    topic: str
    payload: bytes
    retain: bool
    packet_id: int


def read_publish(head: int, packet: bytes | bytearray, *, five: bool) -> Publish:
    """A PUBLISH, cut or whole, without its properties; raises ValueError where its head is not whole.

    paho's own reader gives up the connection over a property that it does not know, or a topic that is not UTF-8.
    """
    at = 2 + int.from_bytes(packet[:2], "big")
    topic = packet[2:at].decode("utf-8", "backslashreplace")
    packet_id = 0
    if head & 0x06:
        packet_id, at = int.from_bytes(packet[at : at + 2], "big"), at + 2
    if at > len(packet) or (head & 0x06 and not packet_id):
        raise ValueError("a PUBLISH that is cut short")
    if five:
        at = _behind_properties(packet, at)
    return Publish(topic, bytes(packet[at:]), bool(head & 0x01), packet_id)


def _behind_properties(packet: bytes | bytearray, at: int) -> int:
    """Where they end: their length is a variable byte integer (1.5.5)."""
    length = 0
    for place, byte in enumerate(packet[at : at + 4]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return at + place + 1 + length
    raise ValueError("a PUBLISH whose properties have no length")


def client_arguments(options: MqttOptions, session: Session, *, five: bool) -> dict[str, Any]:
    """What the library's client is made with, for this session; `five`: in MQTT 5."""
    most = ANSWER_BYTES_MAX if session.clean else ASKED_BYTES_MAX
    return {
        "username": options.username,
        "identifier": options.client_id,
        "clean_session": None if five else session.clean,
        "clean_start": session.clean if five else MQTT_CLEAN_START_FIRST_ONLY,
        "timeout": options.connect_timeout_s,
        "keepalive": options.keepalive_s,
        "max_inflight_messages": 0,
        "properties": connect_properties(session, most) if five else None,
        "will": last_will(options),
    }


def limits_of_connack(properties: Any, options: MqttOptions) -> LinkLimits:
    """What the broker allows (3.2.2.3), as far as the endpoint is not known to take less."""
    sizes = (options.message_bytes_max, getattr(properties, "MaximumPacketSize", None))
    return LinkLimits(
        receive_maximum=getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM),
        maximum_packet_bytes=min(filter(None, sizes), default=None),
        retain=options.retain and bool(getattr(properties, "RetainAvailable", 1)),
    )


def connect_properties(session: Session, packet_bytes_max: int) -> Properties:
    """Of CONNECT (3.1.2.11): how long the session lasts, and what the broker may send."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = packet_bytes_max
    if session.expiry_s:
        properties.SessionExpiryInterval = session.expiry_s
    properties.ReceiveMaximum = session.receive_maximum or 1  # the least that there is
    return properties


def last_will(options: MqttOptions) -> aiomqtt.Will | None:
    """What the broker is to say when the link is gone."""
    if not options.will_topic:
        return None
    return aiomqtt.Will(options.will_topic, options.will_payload, qos=1, retain=options.retain)


def publish_properties(alias: int | None, message: MessageProperties) -> Properties | None:
    """Of PUBLISH (3.3.2.3): the topic's alias, and the message's own; None where there are neither."""
    if alias is None and not message:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if alias is not None:
        properties.TopicAlias = alias
    if message.content_type:
        properties.ContentType = message.content_type
    if message.properties:
        properties.UserProperty = list(message.properties)
    return properties


class TopicAliases:
    """Numbers that stand for topics on one connection, `maximum` of them (MQTT 5.0, 3.3.2.3.4)."""

    def __init__(self, maximum: int = 0) -> None:
        self._maximum = maximum
        self._numbers: dict[str, int] = {}

    def shorten(self, topic: str) -> tuple[str, int | None]:
        """The topic with its alias at first use, the alias alone afterwards; no alias where there are too many."""
        known = topic in self._numbers
        if not known and len(self._numbers) >= self._maximum:
            return topic, None
        return "" if known else topic, self._numbers.setdefault(topic, len(self._numbers) + 1)
