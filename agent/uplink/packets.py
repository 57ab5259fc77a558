# SPDX-License-Identifier: Apache-2.0
"""Parts of MQTT packets in the library's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from agent.uplink.options import MqttOptions, Session
    from agent.uplink.properties import MessageProperties


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


def labelled(properties: Properties, labels: MessageProperties) -> Properties:
    """The same of a PUBLISH, with its labels."""
    if labels.content_type:
        properties.ContentType = labels.content_type
    if labels.properties:
        properties.UserProperty = list(labels.properties)
    return properties
