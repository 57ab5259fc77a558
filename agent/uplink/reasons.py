# SPDX-License-Identifier: Apache-2.0
"""MQTT's reason codes in words, and the broker's own words where it sent some; one line each, never endless.

Failure: a property that does not decode yields no words; it is a courtesy, the code alone decides.
"""

from __future__ import annotations

from typing import Any

from agent.uplink.transport import Trouble

_REASON_STRING = 0x1F
_WORDS_MAX = 200

REFUSALS = {
    0x84: "it does not speak this MQTT version: set mqtt.version",
    0x85: "it does not accept the client id: check mqtt.client_id",
    0x86: "bad user name or password: check mqtt.username and mqtt.password_file",
    0x87: "not authorized: check this client's credentials and the broker's access rules",
    0x88: "it is unavailable",
    0x89: "it is busy",
    0x8A: "this client is banned there",
    0x8C: "it asks for another authentication method",
    0x95: "it takes no packet as large as our last will: check mqtt.topic_status",
    0x97: "quota exceeded",
    0x9A: "it keeps no retained messages: set mqtt.retain = false",
    0x9B: "it does not grant QoS 1, which canferry needs",
    0x9F: "too many connections in a short time",
}
"""CONNACK (MQTT 5.0, 3.2.2.2), with what to do."""

_ACKNOWLEDGEMENTS = {
    0x10: "nobody subscribes to it",
    0x80: "unspecified error",
    0x83: "implementation specific error",
    0x87: "not authorized",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x99: "payload format invalid",
}
"""PUBACK (MQTT 5.0, 3.4.2.1), and 0x95, which mosquitto sends there too."""

UNACCEPTABLE = {
    0x90: "correct mqtt.topic_batch",
    0x95: "raise its limit on packets; new batches are sealed to fit",
    0x99: "it looks into payloads: have it take any bytes on mqtt.topic_batch",
}
"""What to do where a batch will never be taken, by PUBACK or DISCONNECT."""


CLIENT_ID_TAKEN = "another client connects with the same client id"
"""DISCONNECT 0x8E (MQTT 5.0, 3.14.2.1)."""
ADVICE = {
    Trouble.UNAUTHORIZED: "nothing is lost: allow this client to publish to the topic in the broker's access rules",
    Trouble.BUSY: "nothing is lost: the broker asks for patience; look at its quota if this lasts",
    Trouble.NO_SUBSCRIBERS: (
        "nothing is lost: have a receiver subscribe to the topic; where the broker hands batches to rules of its own, "
        'set mqtt.no_subscribers = "accept"'
    ),
    Trouble.TAKEN_OVER: f"{CLIENT_ID_TAKEN}: give each unit its own mqtt.client_id",
}
"""What to do where the link, or what is sent over it, has to wait."""


FOREIGN_ADVICE = (
    "this client may not publish for that vehicle: allow it in the broker's access rules and restart the agent, or set "
    "vehicle.id back until they are sent; they stay in the spool"
)
"""What to do where another vehicle's batches are not allowed."""


def acknowledgement_text(code: int, properties: bytes) -> str:
    """A PUBACK's code and the broker's words; "" for success, to which 0x10 does not belong."""
    if code < 0x80 and code not in _ACKNOWLEDGEMENTS:
        return ""
    name = _ACKNOWLEDGEMENTS.get(code, "unknown reason")
    return f"{name} (0x{code:02X}){_quoted(_reason_string(properties))}"


def broker_words(properties: Any) -> str:
    """The Reason String of a decoded packet's properties, ready to be appended."""
    return _quoted(str(getattr(properties, "ReasonString", "") or ""))


def _quoted(words: str) -> str:
    words = " ".join(words.split())[:_WORDS_MAX]
    return f": {words}" if words else ""


def _reason_string(properties: bytes) -> str:
    """The Reason String where it comes first: length, 0x1F, its own length in two bytes, UTF-8."""
    start = next((number + 1 for number, byte in enumerate(properties[:4]) if byte < 0x80), 0)
    body = properties[start:]
    if len(body) < 3 or body[0] != _REASON_STRING:
        return ""
    return body[3 : 3 + int.from_bytes(body[1:3], "big")].decode("utf-8", "replace")
